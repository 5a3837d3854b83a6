//! What nobody gets past on a `dynamodb` listener: requests that some server could take for calls, denials of routes, tunnels.

use crate::support::{net, weir::Weir};
use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener},
};

crate::tests!("dynamodb_guards":
    unknown_targets_are_calls_and_two_are_refused,
    a_denial_of_a_route_is_in_dynamodbs_words,
    tunnels_are_refused_and_eject_nobody,
);

/// A server that answers each request with `{}`, and closes on a CONNECT, as Node.js does.
fn server() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port is free");
    let port = listener.local_addr().expect("bound").port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut bytes = [0; 4096];
                while let Ok(n @ 1..) = stream.read(&mut bytes) {
                    if bytes[..n].starts_with(b"CONNECT") {
                        return;
                    }
                    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/x-amz-json-1.0\r\ncontent-length: 2\r\n\r\n{}";
                    stream.write_all(head.as_bytes()).ok();
                }
            });
        }
    });
    port
}

fn post(weir: &Weir, host: &str, fields: &str, body: &str) -> (u16, String) {
    let address = SocketAddr::from(([127, 0, 0, 1], weir.port("tables")));
    let length = body.len();
    net::exchange(
        address,
        &format!(
            "POST / HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n{fields}content-length: {length}\r\n\r\n{body}"
        ),
    )
}

const GET: &str = "x-amz-target: DynamoDB_20120810.GetItem\r\n";
const ORDERS: &str = r#"{"TableName":"orders"}"#;

fn unknown_targets_are_calls_and_two_are_refused() {
    let weir = Weir::start(&format!(
        "listeners: {{ tables: {{ bind: \"127.0.0.1:0\", dynamodb: {{ cluster: tables }} }} }}\n\
         clusters: {{ tables: {{ endpoints: [\"127.0.0.1:{}\"] }} }}\n",
        server()
    ));
    for target in [
        "Foo.DeleteTable",
        "DynamoDB_20120810.Foo",
        "DynamoDB_20111205.GetItem",
        "dynamodb_20120810.getitem",
        "",
    ] {
        let (status, _) = post(&weir, "a", &format!("x-amz-target: {target}\r\n"), ORDERS);
        assert_eq!(status, 200, "{target}");
    }
    let unknown =
        [("protocol", "dynamodb"), ("operation", "_other"), ("resource", "orders"), ("result", "ok")];
    weir.numbers_when("all are counted as calls", |n| n.sum("weir_operations_total", &unknown) == 5);
    for twice in [
        format!("{GET}X-Amz-Target: DynamoDB_20120810.DeleteTable\r\n"),
        "x-amz-target: DynamoDB_20120810.GetItem, DynamoDB_20120810.DeleteTable\r\n".into(),
    ] {
        let (status, body) = post(&weir, "a", &twice, ORDERS);
        assert_eq!(status, 400, "{body}");
        assert!(body.contains("SerializationException") && body.contains("two targets"), "{body}");
    }
    let refused = [("protocol", "dynamodb"), ("operation", "_other"), ("code", "SerializationException")];
    weir.numbers_when("both are counted", |n| n.sum("weir_operations_total", &refused) == 2);
}

fn a_denial_of_a_route_is_in_dynamodbs_words() {
    let weir = Weir::start(&format!(
        "listeners: {{ tables: {{ bind: \"127.0.0.1:0\", dynamodb: {{ routes: [\
         {{ host: denied, direct_response: {{ status: 403, body: 'not from here' }} }},\
         {{ host: busy, direct_response: {{ status: 429 }} }},\
         {{ host: page, direct_response: {{ status: 200, body: hello }} }},\
         {{ cluster: tables }} ] }} }} }}\n\
         clusters: {{ tables: {{ endpoints: [\"127.0.0.1:{}\"] }} }}\n",
        server()
    ));
    for (host, status, name, text) in [
        ("denied", 403, "AccessDeniedException", "not from here"),
        ("busy", 429, "ThrottlingException", "too many requests"),
    ] {
        let (got, body) = post(&weir, host, GET, ORDERS);
        let value: serde_json::Value = serde_json::from_str(&body).unwrap_or_else(|_| panic!("{body}"));
        assert_eq!(got, status, "{body}");
        assert!(value["__type"].as_str().is_some_and(|kind| kind.ends_with(name)), "{body}");
        assert!(value["message"].as_str().is_some_and(|message| message.contains(text)), "{body}");
        let counted =
            [("operation", "GetItem"), ("resource", "orders"), ("code", name), ("result", "refused")];
        weir.numbers_when("it is counted", |n| n.sum("weir_operations_total", &counted) == 1);
    }
    // What is no denial, or no call, is as it stands.
    assert_eq!(post(&weir, "page", GET, ORDERS), (200, "hello".into()));
    assert_eq!(post(&weir, "denied", "", ""), (403, "not from here".into()));
}

fn tunnels_are_refused_and_eject_nobody() {
    for section in ["dynamodb", "grpc", "http"] {
        let weir = Weir::start(&format!(
            "listeners: {{ tables: {{ bind: \"127.0.0.1:0\", {section}: {{ cluster: tables }} }} }}\n\
             clusters: {{ tables: {{ endpoints: [\"127.0.0.1:{}\", \"127.0.0.1:{}\"], outlier_ejection: {{}} }} }}\n",
            server(),
            server()
        ));
        let address = SocketAddr::from(([127, 0, 0, 1], weir.port("tables")));
        for _ in 0..12 {
            let (status, body) =
                net::exchange(address, "CONNECT a.test:443 HTTP/1.1\r\nhost: a.test:443\r\n\r\n");
            assert_eq!(status, 405, "{section}: {body}");
            assert!(body.contains("`connect: true`"), "{section}: {body}");
        }
        let numbers = weir.numbers_when("all are counted", |n| {
            n.sum("weir_refusals_total", &[("reason", "method_not_allowed")]) == 12
        });
        assert_eq!(numbers.sum("weir_endpoint_attempts_total", &[]), 0, "{section}");
        assert_eq!(post(&weir, "a", GET, ORDERS).0, 200, "{section}");
    }
}
