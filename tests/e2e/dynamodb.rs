//! AWS SDKs through Weir to moto and dynalite: Weir counts the calls that the SDKs made, by operation, table and error.

use crate::support::{
    counted::{Counts, assert_same, by_client},
    parts::{dynalite, json, moto, node, python},
    weir::Weir,
};
use serde_json::Value;

crate::tests!("dynamodb": boto3_counts_equal, node_counts_equal, own_replies_are_dynamodb_shaped);

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
    for port in [moto(), dynalite()] {
        let weir = front(port);
        let printed = json(node("dynamo.js").arg(format!("http://127.0.0.1:{}", weir.port("tables"))));
        compare(&weir, &printed);
    }
}

fn own_replies_are_dynamodb_shaped() {
    let weir = front(crate::support::net::free_port());
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
