//! What Weir measures on MongoDB against independent oracles: the driver's command monitoring, document by document, and the
//! server's own opcounters.

use crate::support::{
    counted::{Counts, assert_opcounters, assert_same, by_client},
    net,
    numbers::Numbers,
    parts::{json, mongod, part, python},
    process::{Process, command, output},
    weir::{Weir, binary},
};
use serde_json::Value;
use std::path::Path;
use std::process::Stdio;

crate::tests!("mongo_measure":
    documents_cursors_transactions_and_slow_operations,
    authentications_have_an_outcome,
    compression_saves_bytes,
    compressed_requests_have_a_shape,
);

/// The families of documents, by the client's word for them.
const DOCUMENTS: [&str; 4] = ["sent", "returned", "affected", "modified"];

fn documents(numbers: &Numbers) -> Counts<3> {
    let mut counts = Counts::new();
    for what in DOCUMENTS {
        for sample in numbers.of(&format!("weir_operation_items_{what}_total"), &[("listener", "db")]) {
            let key = [sample.label("operation"), sample.label("resource"), what].map(str::to_owned);
            *counts.entry(key).or_insert(0) += sample.value as u64;
        }
    }
    counts
}

fn documents_cursors_transactions_and_slow_operations() {
    let folder = tempfile::tempdir().expect("a folder");
    let port = net::free_port();
    let _server = mongod_with(&["--replSet", "solo", "--oplogSize", "16"], port, folder.path());
    let weir = Weir::start(&format!(
        "listeners:\n  db:\n    bind: \"127.0.0.1:0\"\n    mongo: {{ cluster: db, slow: {{ threshold: 1h, commands: {{ find: 150ms }} }} }}\n\
         clusters: {{ db: {{ endpoints: [\"127.0.0.1:{port}\"] }} }}\n"
    ));
    let mut client = python("mongo_measure.py");
    client.arg(format!("mongodb://127.0.0.1:{}/?directConnection=true", weir.port("db")));
    let printed = json(client.arg(format!("mongodb://127.0.0.1:{port}/")).arg("measured"));

    let ended = |numbers: &Numbers| numbers.sum("weir_operations_total", &[("operation", "endSessions")]) > 0;
    let numbers = weir.numbers_soon(ended);
    assert_same("documents", &by_client(&printed), &documents(&numbers));
    batches(&numbers);
    server_agrees(&printed["opcounters"], &numbers);
    traits(&numbers);
    open_things(&numbers);
    slow(&weir);
    shown(&weir);
}

/// A server of this test's own.
fn mongod_with(options: &[&str], port: u16, folder: &Path) -> Process {
    let mut mongod = command(part("mongod/fiftyone/db/bin/mongod"));
    mongod.args(["--bind_ip", "127.0.0.1", "--nounixsocket"]).args(options);
    mongod.args(["--setParameter", "diagnosticDataCollectionEnabled=false"]);
    mongod.args(["--port", &port.to_string(), "--dbpath"]).arg(folder);
    let server = Process::start("mongod", mongod.stdout(Stdio::null()));
    net::wait_for(port);
    server
}

/// A Weir in front of the server at this port.
fn front(port: u16) -> Weir {
    Weir::start(&format!(
        "listeners: {{ db: {{ bind: \"127.0.0.1:0\", mongo: {{ cluster: db }} }} }}\n\
         clusters: {{ db: {{ endpoints: [\"127.0.0.1:{port}\"] }} }}\n"
    ))
}

fn authentications_have_an_outcome() {
    let folder = tempfile::tempdir().expect("a folder");
    let port = net::free_port();
    let _server = mongod_with(&["--auth"], port, folder.path());
    let weir = front(port);
    let said = output(python("mongo_auth.py").arg(format!("mongodb://127.0.0.1:{}/", weir.port("db"))));
    assert_eq!(said.trim(), "18");
    let count = |numbers: &Numbers, mechanism, result| {
        let labels = [("mechanism", mechanism), ("result", result)];
        numbers.sum("weir_mongo_authentications_total", &labels)
    };
    let numbers = weir.numbers_when("the last one has failed", |n| count(n, "SCRAM-SHA-256", "failed") > 0);
    assert!(count(&numbers, "SCRAM-SHA-1", "ok") >= 1 && count(&numbers, "SCRAM-SHA-256", "ok") >= 1);
    assert_eq!(count(&numbers, "SCRAM-SHA-1", "failed"), 0);
    let (_, slow) = weir.get("/slow");
    assert!(!slow.contains("sasl") && !slow.contains("createUser") && !slow.contains("secret"), "{slow}");
}

fn compression_saves_bytes() {
    let weir = front(mongod());
    let uri = format!("mongodb://127.0.0.1:{}/?directConnection=true", weir.port("db"));
    json(python("mongo.py").arg(uri).arg("saved").arg("zlib"));
    let whose = [("application", "weir-e2e")];
    let closed = |numbers: &Numbers| numbers.sum("weir_mongo_connections_open", &whose) == 0;
    let numbers = weir.numbers_when("its connections are closed", closed);
    assert!(numbers.sum("weir_mongo_connections_total", &whose) >= 2);
    for sample in numbers.of("weir_mongo_connections_total", &whose) {
        assert!(
            sample.label("driver").starts_with("PyMongo") && sample.label("version").starts_with('4'),
            "{sample:?}"
        );
    }
    for direction in ["request", "reply"] {
        let labels = [("compressor", "zlib"), ("direction", direction)];
        let wire = numbers.sum("weir_mongo_compressed_bytes_total", &labels);
        let plain = numbers.sum("weir_mongo_uncompressed_bytes_total", &labels);
        assert!(wire > 0 && 2 * wire < plain, "{direction}: {wire} of {plain}");
    }
}

fn compressed_requests_have_a_shape() {
    for compressor in ["snappy", "zlib", "zstd"] {
        let weir = front(mongod());
        let uri = format!(
            "mongodb://127.0.0.1:{}/?directConnection=true&compressors={compressor}",
            weir.port("db")
        );
        output(python("mongo_calls.py").args([&uri, "slow"]));
        let packed = [("compressor", compressor), ("direction", "request")];
        assert!(weir.numbers().sum("weir_mongo_compressed_bytes_total", &packed) > 0, "{compressor}");
        let (_, slow) = weir.get("/slow");
        let kept: Value = serde_json::from_str(&slow).expect("JSON");
        let finds =
            kept["operations"].as_array().expect("a list").iter().filter(|one| one["operation"] == "find");
        let shapes: Vec<_> = finds.map(|one| one["shape"]["text"].as_str().unwrap_or_default()).collect();
        assert_eq!(shapes, ["{find: ?, filter: {name: ?, $where: ?}, limit: ?}"], "{slow}");
        assert!(!slow.contains("secret"), "no value is kept");
    }
}

/// Sizes of batches add up to what was sent and returned.
fn batches(numbers: &Numbers) {
    for (direction, what) in [("request", "sent"), ("reply", "returned")] {
        for operation in ["insert", "update", "delete", "find", "getMore", "aggregate", "distinct"] {
            let labels = [("operation", operation), ("direction", direction)];
            let sizes = numbers.sum("weir_operation_batch_items_sum", &labels);
            let all = numbers.sum(&format!("weir_operation_items_{what}_total"), &[("operation", operation)]);
            assert_eq!(sizes, all, "{operation} {direction}");
        }
    }
    let finds = [("operation", "find"), ("direction", "reply")];
    let of = |labels: &[(&str, &str)]| numbers.sum("weir_operation_batch_items_bucket", labels);
    let at_most = |le| of(&[finds[0], finds[1], ("le", le)]);
    assert_eq!(numbers.sum("weir_operation_batch_items_count", &finds), at_most("+Inf"));
    assert!(
        at_most("0.0") < at_most("101.0") && at_most("101.0") == at_most("+Inf"),
        "batches of 100 at most"
    );
}

fn server_agrees(opcounters: &Value, numbers: &Numbers) {
    assert_opcounters(opcounters, |family, operation| {
        numbers.sum(family, &[("operation", operation), ("resource", "measured.people")])
    });
}

fn traits(numbers: &Numbers) {
    let of = |operation, one| {
        numbers.sum("weir_operation_traits_total", &[("operation", operation), ("trait", one)])
    };
    assert_eq!(of("find", "unbounded"), 2);
    assert_eq!(of("find", "no_deadline"), 3);
    assert_eq!((of("update", "many"), of("delete", "many")), (2, 1));
    assert_eq!((of("aggregate", "writes_result"), of("aggregate", "watch")), (1, 1));
    assert_eq!(of("insert", "transaction"), 3);
    assert_eq!(of("insert", "resent") + of("insert", "recognised"), 0, "nothing was sent twice");
}

fn open_things(numbers: &Numbers) {
    let ended = |family, end| numbers.sum(family, &[("listener", "db"), ("end", end)]);
    assert_eq!(ended("weir_mongo_cursors_total", "exhausted"), 1);
    assert_eq!(ended("weir_mongo_cursor_batches_sum", "exhausted"), 3);
    assert_eq!(ended("weir_mongo_cursor_batches_count", "exhausted"), 1);
    assert_eq!(ended("weir_mongo_cursor_duration_seconds_count", "killed"), 2);
    assert_eq!(ended("weir_mongo_cursors_total", "killed"), 2, "one half read, one change stream");
    assert_eq!(numbers.sum("weir_mongo_cursors_open", &[]), 0);
    assert_eq!(numbers.sum("weir_mongo_transactions_started_total", &[]), 2);
    assert_eq!(ended("weir_mongo_transactions_total", "committed"), 1);
    assert_eq!(ended("weir_mongo_transactions_total", "aborted"), 1);
    assert_eq!(ended("weir_mongo_transaction_statements_sum", "committed"), 2);
    assert_eq!(ended("weir_mongo_transaction_duration_seconds_count", "committed"), 1);
    assert_eq!(numbers.sum("weir_mongo_transactions_open", &[]), 0);
    let web = [("application", "weir-e2e-measure"), ("operation", "find"), ("result", "ok")];
    assert_eq!(numbers.sum("weir_application_operations_total", &web), 4);
}

fn slow(weir: &Weir) {
    let (status, text) = weir.get("/slow");
    assert_eq!(status, 200);
    let kept: Value = serde_json::from_str(&text).expect("JSON");
    let [one] = &kept["operations"].as_array().expect("a list")[..] else { panic!("one was slow: {text}") };
    assert_eq!(
        (one["operation"].as_str(), one["resource"].as_str()),
        (Some("find"), Some("measured_more.people"))
    );
    assert_eq!(one["application"], "weir-e2e-measure");
    assert_eq!(one["shape"]["text"], "{find: ?, filter: {name: ?, $where: ?}}");
    assert!(
        one["duration"].as_f64() >= Some(0.15) && one["phases"]["waiting"].as_f64() >= Some(0.15),
        "{one}"
    );
    assert_eq!(one["items"]["returned"], 1);
    assert!(!text.contains("secret"), "no value is kept");
    let logged: Vec<Value> =
        weir.log().into_iter().filter(|line| line["message"] == "a slow operation").collect();
    assert!(logged.len() == 1 && logged[0]["shape"] == one["shape"]["text"], "{logged:?}");
    assert_eq!(weir.numbers().sum("weir_slow_operations_total", &[("why", "slow")]), 1);
}

fn shown(weir: &Weir) {
    let admin = weir.admin().to_string();
    let slow = output(binary().args(["top", "--once", "--page", "slow", "--admin", &admin]));
    assert!(slow.contains("{find: ?, filter: {name: ?, $where: ?}}"), "{slow}");
    // Nothing happens any more.
    let table = output(binary().args(["top", "--once", "--by", "collection", "--admin", &admin]));
    assert_eq!(table, "Nothing has happened.\n");
    // Without a terminal there is nothing to watch on.
    let refused = binary().args(["top", "--admin", &admin]).stdin(Stdio::null()).output().expect("weir runs");
    assert_eq!(refused.status.code(), Some(1));
}
