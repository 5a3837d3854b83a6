//! gRPC clients through Weir to a real gRPC server: every call ends in exactly one status, the one that the client saw.

use crate::support::{
    counted::{Counts, assert_same, by_client},
    numbers::Numbers,
    parts::{grpc, json, node, python},
    process::{Process, command, output},
    weir::Weir,
};
use std::process::{Command, Stdio};

crate::tests!("grpc":
    grpcio_counts_equal,
    grpc_js_counts_equal,
    a_failing_and_a_dying_endpoint_fail_no_call,
    messages_are_counted,
    what_is_no_message_is_counted,
    own_replies_are_statuses,
    what_no_route_takes_is_unimplemented,
);

fn front(ports: &[u16], route: &str, more: &str) -> Weir {
    let endpoints: Vec<String> = ports.iter().map(|port| format!("\"127.0.0.1:{port}\"")).collect();
    Weir::start(&format!(
        "listeners: {{ calls: {{ bind: \"127.0.0.1:0\", grpc: {{ routes: [{{ cluster: calls {route} }}] }} }} }}\n\
         clusters: {{ calls: {{ endpoints: [{}], protocol: http2 {more} }} }}\n",
        endpoints.join(", ")
    ))
}

fn compare(client: &mut Command) {
    let (_server, port) = grpc("one", false);
    let weir = front(&[port], "", "");
    let printed = json(client.arg(format!("127.0.0.1:{}", weir.port("calls"))));
    let expected: Counts<2> = by_client(&printed);
    let wanted: u64 = expected.values().sum();
    // A cancel reaches Weir after the client has counted it.
    let numbers = weir.numbers_soon(|numbers| {
        numbers.operations("calls", ["operation", "code"]).values().sum::<u64>() >= wanted
    });
    assert_same("calls", &expected, &numbers.operations("calls", ["operation", "code"]));
    for sample in numbers.of("weir_operations_total", &[]) {
        assert_eq!(sample.label("resource"), "weir.test.Echo", "{sample:?}");
        assert_eq!(sample.label("result") == "ok", sample.label("code") == "OK", "{sample:?}");
    }
}

fn grpcio_counts_equal() {
    compare(&mut python("grpc_client.py"));
}

fn grpc_js_counts_equal() {
    compare(&mut node("grpc_client.js"));
}

/// Calls through a cluster of three: one that answers `Who` and `Flaky`, a bad one, and one that is killed meanwhile.
fn calls_pass_a_bad_endpoint_and_a_death(bad: u16, method: &str) {
    let (_good, one) = grpc("one", false);
    let (dies, two) = grpc("two", false);
    let weir = front(
        &[one, bad, two],
        ", idempotent: [\"weir.test.Echo/*\"], retry: { retry_on: [unavailable, connect-failure, reset], max_retries: 3 }",
        ", outlier_ejection: {}",
    );
    let mut client = python("grpc_many.py");
    client.arg(format!("127.0.0.1:{}", weir.port("calls"))).args([method, "3000"]).stdout(Stdio::piped());
    let mut client = Process::start("grpc_many.py", &mut client);
    let attempts = |numbers: &Numbers, port: u16, outcome: &str| {
        let endpoint = format!("127.0.0.1:{port}");
        let labels = [("endpoint", &*endpoint), ("outcome", outcome)];
        numbers.sum("weir_endpoint_attempts_total", &labels)
    };
    weir.numbers_when("it serves some", |n| attempts(n, two, "success") > 100);
    dies.signal("KILL");
    let at_death = weir.numbers().sum("weir_operations_total", &[]);
    assert!(at_death < 2900, "{method}: it was killed too late");
    let printed: serde_json::Value = serde_json::from_str(&client.rest()).expect("JSON");
    assert_eq!(printed["failed"], 0, "{method}: {printed}");
    assert_eq!(printed["answered"], 3000, "{method}");
    let numbers = weir.numbers_when("all are counted", |n| {
        n.sum("weir_operations_total", &[("operation", method), ("code", "OK")]) == 3000
    });
    assert_eq!(numbers.sum("weir_operations_total", &[]), 3000, "{method}");
    assert!(numbers.sum("weir_operation_retries_total", &[]) > 0, "{method}");
    assert!(attempts(&numbers, bad, "failed") > 0, "{method}: the bad one was asked");
    assert!(attempts(&numbers, two, "failed") > 0, "{method}: the death was noticed");
    assert!(numbers.sum("weir_endpoint_ejections_total", &[]) > 0, "{method}");
}

fn a_failing_and_a_dying_endpoint_fail_no_call() {
    let mut busy = node("http_origin.js");
    busy.args(["http2", "503"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut busy = Process::start("http_origin.js", &mut busy);
    let busy_port = busy.line().parse().expect("it prints its port");
    calls_pass_a_bad_endpoint_and_a_death(busy_port, "Who");
    // UNAVAILABLE at once, and in trailers after an early head.
    let (_failing, failing) = grpc("three", true);
    for method in ["Flaky", "Late"] {
        calls_pass_a_bad_endpoint_and_a_death(failing, method);
    }
}

fn messages_are_counted() {
    let (_server, port) = grpc("three", false);
    let weir = front(&[port], "", "");
    let at = format!("127.0.0.1:{}", weir.port("calls"));
    for more in [&[][..], &["gzip"]] {
        let printed = json(python("grpc_many.py").arg(&at).args(["Who", "10"]).args(more));
        assert_eq!(printed["answered"], 10, "{printed}");
    }
    let numbers = weir.numbers_when("all are counted", |n| n.sum("weir_operations_total", &[]) == 20);
    let messages = |direction, compressed| {
        let labels = [("direction", direction), ("compressed", compressed)];
        numbers.sum("weir_grpc_messages_total", &labels)
    };
    assert_eq!((messages("request", "false"), messages("request", "true")), (10, 10));
    assert_eq!((messages("reply", "false"), messages("reply", "true")), (20, 0));
    let bytes = |direction| numbers.sum("weir_grpc_message_bytes_total", &[("direction", direction)]);
    // Ten of a hundred bytes each, and ten of the same compressed; twenty times `three`.
    assert!((1100..2000).contains(&bytes("request")), "{}", bytes("request"));
    assert_eq!(bytes("reply"), 100);
    assert_eq!(numbers.sum("weir_grpc_broken_streams_total", &[]), 0);
    assert_eq!(numbers.sum("weir_operation_first_byte_seconds_count", &[]), 20);
}

fn what_is_no_message_is_counted() {
    let mut server = node("http_origin.js");
    server.arg("http2").stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut server = Process::start("http_origin.js", &mut server);
    let weir = front(&[server.line().parse().expect("it prints its port")], "", "");
    let mut curl = command("curl");
    curl.args(["-sS", "--max-time", "30", "--http2-prior-knowledge", "-H", "content-type: application/grpc"]);
    curl.args(["-H", "te: trailers", "-d", "neither"]);
    let got = output(curl.arg(format!("http://127.0.0.1:{}/weir.test.Echo/Broken", weir.port("calls"))));
    assert_eq!(got, "no message", "observed, and passed on all the same");
    let numbers = weir.numbers_when("it is counted", |n| n.sum("weir_operations_total", &[]) == 1);
    for direction in ["request", "reply"] {
        let broken = [("direction", direction)];
        assert_eq!(numbers.sum("weir_grpc_broken_streams_total", &broken), 1, "{direction}");
    }
    assert_eq!(numbers.sum("weir_grpc_messages_total", &[]), 0);
}

fn own_replies_are_statuses() {
    let weir = front(&[crate::support::net::nobody()], "", "");
    let printed =
        json(python("grpc_many.py").arg(format!("127.0.0.1:{}", weir.port("calls"))).args(["Who", "3"]));
    assert_eq!(printed["failed"], 3);
    assert_eq!(printed["codes"], serde_json::json!(["UNAVAILABLE"]));
    assert_eq!(
        weir.numbers().sum("weir_operations_total", &[("operation", "Who"), ("code", "UNAVAILABLE")]),
        3
    );
}

fn what_no_route_takes_is_unimplemented() {
    let weir = front(&[crate::support::net::nobody()], ", path_prefix: /another.Service", "");
    let at = format!("127.0.0.1:{}", weir.port("calls"));
    let printed = json(python("grpc_many.py").arg(&at).args(["Who", "3"]));
    assert_eq!(printed["codes"], serde_json::json!(["UNIMPLEMENTED"]), "{printed}");
    let mut curl = command("curl");
    let plain =
        output(curl.args(["-sS", "--max-time", "30", "-w", "%{http_code}"]).arg(format!("http://{at}/")));
    assert!(plain.ends_with("404"), "{plain}");
    let numbers = weir.numbers_when("all are counted", |n| n.sum("weir_operations_total", &[]) == 4);
    let calls = [
        ("protocol", "grpc"),
        ("operation", "Who"),
        ("resource", "weir.test.Echo"),
        ("code", "UNIMPLEMENTED"),
    ];
    assert_eq!(numbers.sum("weir_operations_total", &calls), 3);
    let plain = [("protocol", "http"), ("operation", "GET"), ("code", "404")];
    assert_eq!(numbers.sum("weir_operations_total", &plain), 1);
    assert_eq!(numbers.sum("weir_refusals_total", &[("reason", "no_route")]), 4);
}
