//! Three independent oracles in one run: the driver's command monitoring, the server's opcounters and its profiler. docs/mongodb.md says
//! what each number of the server's is in Weir's.

use crate::support::{
    counted::{Counts, assert_opcounters, assert_same, by_client},
    front::{UNPUBLISHED, published},
    net,
    numbers::Numbers,
    parts::{json, mongod_at, python},
    process::Process,
    weir::Weir,
};
use serde_json::Value;
use std::process::Stdio;

crate::tests!("mongo_oracles":
    driver_opcounters_and_profiler_agree_with_weir,
);

fn driver_opcounters_and_profiler_agree_with_weir() {
    let folder = tempfile::tempdir().expect("a folder");
    let port = net::free_port();
    let mut server = mongod_at(port, folder.path());
    server.args(["--replSet", "solo", "--oplogSize", "16"]).stdout(Stdio::null());
    let _server = Process::start("mongod", &mut server);
    net::wait_for(port);
    let weir = Weir::start(&format!(
        "listeners: {{ db: {{ bind: \"127.0.0.1:0\", mongo: {{ cluster: db, mode: transparent }} }} }}\n\
         clusters: {{ db: {{ endpoints: [\"127.0.0.1:{port}\"] }} }}\n"
    ));
    let mut client = python("mongo_oracles.py");
    client.arg(format!("mongodb://127.0.0.1:{}/?directConnection=true", weir.port("db")));
    let printed = json(client.arg(format!("mongodb://127.0.0.1:{port}/")).arg("oracles"));

    let mut expected: Counts<3> = by_client(&printed);
    expected.retain(|key, _| !UNPUBLISHED.contains(&key[0].as_str()));
    let wanted: u64 = expected.values().sum();
    let numbers = weir.numbers_soon(|numbers| published(numbers).values().sum::<u64>() >= wanted);
    assert_same("the driver", &expected, &published(&numbers));
    opcounters(&printed["opcounters"], &numbers);
    profiler(&printed, &numbers);
}

/// The application's, on both databases.
fn on_people(numbers: &Numbers, family: &str, operation: &str) -> u64 {
    let of = |n| [("operation", operation), ("resource", ["oracles_0.people", "oracles_1.people"][n])];
    (0..2).map(|n| numbers.sum(family, &of(n))).sum()
}

fn opcounters(counted: &Value, numbers: &Numbers) {
    assert_opcounters(counted, |family, operation| on_people(numbers, family, operation));
}

/// One entry of the profiler's is one operation; of updates and deletes it is one statement.
fn profiler(printed: &Value, numbers: &Numbers) {
    let server: Counts<4> = by_client(&serde_json::json!({ "counted": printed["profiled"] }));
    let mut ours = Counts::<4>::new();
    for ([operation, resource, result], count) in published(numbers) {
        let statements = [("operation", &*operation), ("resource", &*resource)];
        let statements = numbers.sum("weir_operation_items_sent_total", &statements);
        let (op, count, result) = match &*operation {
            "insert" => ("insert", count, "ok"),
            "find" => ("query", count, &*result),
            "getMore" => ("getmore", count, &*result),
            "update" => ("update", statements, "ok"),
            "delete" => ("remove", statements, "ok"),
            // It is about no collection.
            "ping" | "endSessions" => continue,
            _ => ("command", count, &*result),
        };
        let key = [op, &resource, &operation, result].map(str::to_owned);
        let row = ours.entry(key).or_insert(0);
        *row = if matches!(op, "update" | "remove") { count } else { *row + count };
    }
    assert_same("the profiler", &server, &ours);
    let documents: Counts<2> = by_client(&serde_json::json!({ "counted": printed["documents"] }));
    let mut ours = Counts::<2>::new();
    for (what, family, operation) in [
        ("inserted", "weir_operation_items_affected_total", "insert"),
        ("returned", "weir_operation_items_returned_total", "find"),
        ("returned", "weir_operation_items_returned_total", "getMore"),
        ("returned", "weir_operation_items_returned_total", "aggregate"),
    ] {
        for sample in numbers.of(family, &[("operation", operation)]) {
            *ours.entry([what.to_owned(), sample.label("resource").to_owned()]).or_insert(0) +=
                sample.value as u64;
        }
    }
    assert_same("the profiler's documents", &documents, &ours);
}
