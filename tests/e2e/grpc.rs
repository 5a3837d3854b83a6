//! gRPC clients through Weir to a real gRPC server: every call ends in exactly one status, the one that the client saw.

use crate::support::{
    counted::{Counts, assert_same, by_client},
    parts::{grpc, json, node, python},
    weir::Weir,
};
use std::process::Command;

crate::tests!("grpc": grpcio_counts_equal, grpc_js_counts_equal, a_failing_endpoint_fails_no_call, own_replies_are_statuses);

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

fn a_failing_endpoint_fails_no_call() {
    let (_good, one) = grpc("one", false);
    let (_also, two) = grpc("two", false);
    let (_failing, three) = grpc("three", true);
    let dead = crate::support::net::free_port();
    let weir = front(
        &[one, two, three, dead],
        ", retry: { retry_on: [unavailable, connect-failure, reset], max_retries: 3 }",
        ", outlier_ejection: {}",
    );
    for method in ["Flaky", "Late"] {
        let printed = json(
            python("grpc_many.py").arg(format!("127.0.0.1:{}", weir.port("calls"))).args([method, "300"]),
        );
        assert_eq!(printed["failed"], 0, "{method}: {printed}");
        assert_eq!(printed["answered"], 300, "{method}");
    }
    let numbers = weir.numbers();
    assert_eq!(numbers.sum("weir_operations_total", &[("code", "OK")]), 600);
    assert!(numbers.sum("weir_operation_retries_total", &[]) > 0);
}

fn own_replies_are_statuses() {
    let weir = front(&[crate::support::net::free_port()], "", "");
    let printed =
        json(python("grpc_many.py").arg(format!("127.0.0.1:{}", weir.port("calls"))).args(["Who", "3"]));
    assert_eq!(printed["failed"], 3);
    assert_eq!(printed["codes"], serde_json::json!(["UNAVAILABLE"]));
    assert_eq!(
        weir.numbers().sum("weir_operations_total", &[("operation", "Who"), ("code", "UNAVAILABLE")]),
        3
    );
}
