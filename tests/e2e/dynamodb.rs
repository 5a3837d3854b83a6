//! AWS SDKs through Weir to moto and dynalite: Weir counts the calls that the SDKs made, by operation, table and error.

use crate::support::{
    counted::{Counts, assert_same, by_client},
    net,
    parts::{dynalite, json, moto, node, python, root},
    weir::Weir,
};
use serde_json::Value;
use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
};

crate::tests!("dynamodb":
    boto3_counts_equal,
    node_counts_equal,
    every_operation_is_known_by_its_tables,
    what_replies_say_of_parts_is_counted,
    own_replies_are_dynamodb_shaped,
    what_no_route_takes_is_an_unknown_operation,
);

/// Node.js servers close what has been idle for five seconds; Weir has to be quicker, or a PutItem may meet the closing connection.
fn front(port: u16) -> Weir {
    Weir::start(&format!(
        "listeners: {{ tables: {{ bind: \"127.0.0.1:0\", dynamodb: {{ cluster: tables }} }} }}\n\
         clusters: {{ tables: {{ endpoints: [\"127.0.0.1:{port}\"], idle_timeout: 2s }} }}\n"
    ))
}

fn compare(weir: &Weir, printed: &Value) {
    let expected: Counts<3> = by_client(printed);
    let numbers = weir.numbers();
    assert_same("calls", &expected, &numbers.operations("tables", ["operation", "resource", "code"]));
    // Errors are the caller's or the server's, never a success.
    for sample in numbers.of("weir_operations_total", &[]) {
        assert_eq!(sample.label("code").is_empty(), sample.label("result") == "ok", "{sample:?}");
        assert_eq!(sample.label("protocol"), "dynamodb");
    }
}

fn boto3_counts_equal() {
    for (port, server) in [(moto(), "moto"), (dynalite(), "dynalite")] {
        let weir = front(port);
        let printed =
            json(python("dynamo.py").arg(format!("http://127.0.0.1:{}", weir.port("tables"))).arg(server));
        compare(&weir, &printed);
        // A call on several tables is one operation, and charges each of its tables.
        let tables = weir.numbers();
        for table in ["orders", "items"] {
            let charged = [("operation", "BatchWriteItem"), ("table", table)];
            assert_eq!(tables.sum("weir_dynamodb_table_operations_total", &charged), 1, "{table}");
        }
    }
}

fn node_counts_equal() {
    for (port, server) in [(moto(), "moto"), (dynalite(), "dynalite")] {
        let weir = front(port);
        let printed =
            json(node("dynamo.js").arg(format!("http://127.0.0.1:{}", weir.port("tables"))).arg(server));
        compare(&weir, &printed);
    }
}

/// A server that answers each operation with a file of the fixtures' replies and this status, all others with `{}`; its port.
fn staged(replies: &'static [(&'static str, u16, &'static str)]) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port is free");
    let port = listener.local_addr().expect("it is bound").port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || while answer(&stream, replies).is_some() {});
        }
    });
    port
}

/// Reads a request and answers it; `None` when the client is gone.
fn answer(mut stream: &TcpStream, replies: &[(&str, u16, &str)]) -> Option<()> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).expect("text").to_lowercase();
    let field =
        |name: &str| head.split(name).nth(1)?.split("\r\n").next().map(|value| value.trim().to_owned());
    let length = field("content-length:").and_then(|n| n.parse().ok()).unwrap_or(0);
    stream.read_exact(&mut vec![0; length]).ok()?;
    let target = field("x-amz-target:").expect("it is a call");
    let staged =
        replies.iter().find(|(operation, ..)| target.ends_with(&format!(".{}", operation.to_lowercase())));
    let (status, body) = staged.map_or((200, b"{}".to_vec()), |(_, status, file)| {
        (*status, std::fs::read(fixture("replies", file)).expect("a fixture"))
    });
    let head = format!(
        "HTTP/1.1 {status} Staged\r\ncontent-type: application/x-amz-json-1.0\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(&[head.as_bytes(), &body].concat()).ok()
}

fn fixture(folder: &str, file: &str) -> PathBuf {
    root().join("fixtures/dynamodb").join(folder).join(file)
}

fn every_operation_is_known_by_its_tables() {
    let weir = front(staged(&[]));
    let printed = json(python("dynamo_all.py").arg(format!("http://127.0.0.1:{}", weir.port("tables"))));
    // All 62 of DynamoDB and the 4 of DynamoDB Streams, as of the model that the SDK is made of.
    assert_eq!(printed["counted"].as_array().map(Vec::len), Some(66));
    compare(&weir, &printed);
}

fn what_replies_say_of_parts_is_counted() {
    let weir = front(staged(&[
        ("BatchGetItem", 200, "unprocessed_keys.json"),
        ("BatchWriteItem", 200, "unprocessed_items.json"),
        ("BatchExecuteStatement", 200, "batch_execute_errors.json"),
        ("TransactWriteItems", 400, "transact_write_cancelled.json"),
        ("Query", 400, "throttled.json"),
        ("Scan", 200, "truncated.json"),
    ]));
    let at = SocketAddr::from(([127, 0, 0, 1], weir.port("tables")));
    for (operation, request, status) in [
        ("BatchGetItem", "batch_get_item.json", 200),
        ("BatchWriteItem", "batch_write_item.json", 200),
        ("BatchExecuteStatement", "batch_execute_statement.json", 200),
        ("TransactWriteItems", "transact_write_items.json", 400),
        ("Query", "query_index.json", 400),
        ("Scan", "scan.json", 200),
        ("PutItem", "", 200),
    ] {
        let body = match request {
            "" => "{\"TableName\": \"Music\", \"Item\": {".to_owned(),
            file => std::fs::read_to_string(fixture("requests", file)).expect("a fixture"),
        };
        let asked = format!(
            "POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\nx-amz-target: DynamoDB_20120810.{operation}\r\n\
             content-type: application/x-amz-json-1.0\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        assert_eq!(net::exchange(at, &asked).0, status, "{operation}");
    }
    let numbers = weir.numbers_when("all are counted", |n| n.sum("weir_operations_total", &[]) == 7);
    type Wanted<'a> = (&'a str, &'a [(&'a str, &'a str)], u64);
    let wanted: &[Wanted<'_>] = &[
        ("weir_dynamodb_unprocessed_total", &[("table", "Music"), ("operation", "BatchGetItem")], 2),
        ("weir_dynamodb_unprocessed_total", &[("table", "Books"), ("operation", "BatchGetItem")], 1),
        ("weir_dynamodb_unprocessed_total", &[("table", "Music"), ("operation", "BatchWriteItem")], 1),
        ("weir_dynamodb_unprocessed_total", &[("table", "Books"), ("operation", "BatchWriteItem")], 2),
        (
            "weir_dynamodb_item_errors_total",
            &[("table", "Nowhere"), ("code", "ResourceNotFoundException")],
            1,
        ),
        ("weir_dynamodb_item_errors_total", &[("table", "Books"), ("code", "ThrottlingException")], 1),
        (
            "weir_dynamodb_item_errors_total",
            &[
                ("table", "Books"),
                ("operation", "TransactWriteItems"),
                ("code", "ConditionalCheckFailedException"),
            ],
            1,
        ),
        ("weir_dynamodb_item_errors_total", &[], 3),
        (
            "weir_dynamodb_throttles_total",
            &[("table", "Music"), ("index", ""), ("access", "read"), ("cause", "provisioned_throughput")],
            1,
        ),
        (
            "weir_dynamodb_throttles_total",
            &[
                ("table", "Music"),
                ("index", "ByYear"),
                ("access", "write"),
                ("cause", "key_range_throughput"),
            ],
            1,
        ),
        (
            "weir_dynamodb_throttles_total",
            &[("table", "_other"), ("access", "_other"), ("cause", "_other")],
            1,
        ),
        ("weir_dynamodb_opaque_bodies_total", &[("body", "request")], 1),
        ("weir_dynamodb_opaque_bodies_total", &[("body", "reply")], 1),
        ("weir_operations_total", &[("result", "partial")], 3),
        ("weir_operations_total", &[("result", "throttled"), ("operation", "Query")], 1),
        ("weir_operations_total", &[("result", "transaction_cancelled")], 1),
    ];
    for (name, labels, value) in wanted {
        let all: Vec<_> = numbers.of(name, &[]).collect();
        assert_eq!(numbers.sum(name, labels), *value, "{name} {labels:?}: {all:#?}");
    }
}

fn own_replies_are_dynamodb_shaped() {
    let weir = front(net::nobody());
    let printed = json(python("dynamo_down.py").arg(format!("http://127.0.0.1:{}", weir.port("tables"))));
    assert_eq!(printed["code"], "InternalServerError");
    assert_eq!(printed["status"], 503);
    let numbers = weir.numbers();
    let lost = [("operation", "GetItem"), ("resource", "orders")];
    assert_eq!(numbers.sum("weir_operations_total", &lost), 1);
    assert_eq!(
        numbers.sum("weir_failures_total", &[("phase", "connecting"), ("reason", "connect_failed")]),
        1
    );
}

fn what_no_route_takes_is_an_unknown_operation() {
    let weir = Weir::start(&format!(
        "listeners: {{ tables: {{ bind: \"127.0.0.1:0\", dynamodb: {{ routes: [{{ host: other, cluster: tables }}] }} }} }}\n\
         clusters: {{ tables: {{ endpoints: [\"127.0.0.1:{}\"] }} }}\n",
        net::nobody()
    ));
    let printed = json(python("dynamo_down.py").arg(format!("http://127.0.0.1:{}", weir.port("tables"))));
    assert_eq!((&printed["code"], &printed["status"]), (&"UnknownOperationException".into(), &400.into()));
    let lost = [
        ("protocol", "dynamodb"),
        ("operation", "GetItem"),
        ("resource", "orders"),
        ("code", "UnknownOperationException"),
    ];
    assert_eq!(weir.numbers().sum("weir_operations_total", &lost), 1);
}
