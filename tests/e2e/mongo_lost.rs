//! A server that is lost in the middle of operations, with real drivers: what the application sees of each kind of operation, how often
//! its driver tries, whether it clears its pool. (What rules refuse is in `mongo_rules`, drains in `mongo_drain`, members that die in
//! `mongo_members` and `mongo_secured`.)

use crate::support::{
    cut::{Cutting, Mark},
    parts::{calm_set, json, node, part, python},
    weir::Weir,
};
use serde_json::{Value, json};
use std::process::Command;

crate::tests!("mongo_lost":
    pymongo_does_anew_what_it_may,
    pymongo_4_6_does_anew_what_it_may,
    node_does_anew_what_it_may,
);

const MARKS: &[Mark] = &[
    &["lost_find"],
    &["lost_insert"],
    &["lost_many"],
    &["getMore", "lost_more"],
    &["commitTransaction"],
    &["lost_txn"],
    &["getMore", "lost_stream"],
];

fn lost(mut client: Command, database: &str) {
    let set = calm_set();
    let primary = set.primary();
    let relay = Cutting::new(primary, MARKS);
    let weir = Weir::start(&format!(
        "listeners: {{ db: {{ bind: \"127.0.0.1:0\", mongo: {{ cluster: db, mode: transparent }} }} }}\n\
         clusters: {{ db: {{ endpoints: [\"127.0.0.1:{}\"] }} }}\n",
        relay.port
    ));
    let uri = |port| format!("mongodb://127.0.0.1:{port}/?directConnection=true");
    let printed = json(client.arg(uri(weir.port("db"))).arg(uri(primary)).arg(database));
    assert_eq!(relay.left(), Vec::<Mark>::new(), "{printed}");
    // What the application sees, and how each try ends.
    let (retry, transient) = (json!(["RetryableWriteError"]), json!(["TransientTransactionError"]));
    let commit = json!(["RetryableWriteError", "UnknownTransactionCommitResult"]);
    let stream = json!(["ResumableChangeStreamError"]);
    let none = json!([]);
    for (what, code, tries) in [
        ("warm", 0, json!([["find", 0, none]])),
        ("find", 0, json!([["find", 6, none], ["find", 0, none]])),
        ("insert", 0, json!([["insert", 6, retry], ["insert", 0, none]])),
        ("many", 6, json!([["update", 6, none]])),
        ("more", 6, json!([["getMore", 6, stream]])),
        (
            "commit",
            0,
            json!([["insert", 0, none], ["commitTransaction", 6, commit], ["commitTransaction", 0, none]]),
        ),
        (
            "txn",
            0,
            json!([
                ["insert", 6, transient],
                ["abortTransaction"],
                ["insert", 0, none],
                ["commitTransaction", 0, none]
            ]),
        ),
        ("stream", 0, json!([["getMore", 6, stream], ["aggregate", 0, none], ["getMore", 0, none]])),
    ] {
        let result = &printed["results"][what];
        let found = result["tries"].as_array().expect("a list").iter();
        // Cursors are killed in between, and streams opened; how often a stream waits in vain is not told.
        let found = found.filter(|one| one[0] != "killCursors");
        let found = found.skip_while(|one| what == "stream" && one[1] == 0);
        // The server may have ended the transaction with its connection.
        let found: Vec<Value> = found
            .map(|one| if one[0] == "abortTransaction" { json!([one[0]]) } else { one.clone() })
            .collect();
        let found = json!(found);
        let same = match what {
            "stream" => {
                found.as_array().is_some_and(|found| found.starts_with(tries.as_array().expect("a list")))
            }
            _ => found == tries,
        };
        assert!(
            same && result["code"] == code,
            "{} {what}: {found}, not {tries}: {result}",
            printed["driver"]
        );
        assert_eq!(result["cleared"], 0, "{} {what}: {result}", printed["driver"]);
    }
    assert_eq!(printed["seen"], json!(["x"]));
    // Each was done once, also what the server had done before it was lost.
    assert_eq!(printed["written"], json!({ "insert": 1, "many": 10, "txn": 1, "commit": 1 }));
    let numbers = weir.numbers();
    let lost = |name: &str| {
        let labels = [("operation", name), ("result", "upstream_lost"), ("code", "HostUnreachable")];
        numbers.sum("weir_operations_total", &labels)
    };
    let counts = ["find", "insert", "update", "getMore", "commitTransaction"].map(lost);
    assert_eq!(counts, [1, 2, 1, 2, 1], "{printed}");
    for code in ["NotWritablePrimary", "ShutdownInProgress", "PrimarySteppedDown"] {
        assert_eq!(numbers.sum("weir_operations_total", &[("code", code)]), 0, "{code}");
    }
}

fn pymongo_does_anew_what_it_may() {
    lost(python("mongo_lost.py"), "lost_py");
}

fn pymongo_4_6_does_anew_what_it_may() {
    let mut client = python("mongo_lost.py");
    client.env("PYTHONPATH", part("pymongo46"));
    lost(client, "lost_py46");
}

fn node_does_anew_what_it_may() {
    lost(node("mongo_lost.js"), "lost_node");
}
