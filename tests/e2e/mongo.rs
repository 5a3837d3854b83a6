//! MongoDB drivers through Weir to a real mongod: Weir counts what the drivers counted, and the applications notice nothing.

use crate::support::{
    counted::{Counts, assert_same, by_client},
    net,
    numbers::Numbers,
    parts::{self, json, mongod, node, part, python},
    process::Process,
    weir::Weir,
};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;

crate::tests!("mongo":
    pymongo_counts_equal,
    write_concern_errors_are_told_apart,
    what_cannot_be_understood_passes_and_is_counted,
    pymongo_4_6_counts_equal,
    node_counts_equal,
    compression_hides_nothing,
    long_polls_stay_out_of_latencies,
    a_dead_server_is_an_error_reply,
);

fn front(port: u16) -> Weir {
    Weir::start(&format!(
        "listeners: {{ db: {{ bind: \"127.0.0.1:0\", mongo: {{ cluster: db }} }} }}\n\
         clusters: {{ db: {{ endpoints: [\"127.0.0.1:{port}\"] }} }}\n"
    ))
}

fn uri(weir: &Weir) -> String {
    format!("mongodb://127.0.0.1:{}/?directConnection=true", weir.port("db"))
}

/// What drivers do on their own account and do not publish as commands.
const UNPUBLISHED: [&str; 5] = ["hello", "isMaster", "saslStart", "saslContinue", "_other"];

/// Runs the client and compares: per command, collection, result and code.
fn compare(client: &mut Command, database: &str, compressor: Option<&str>) {
    compare_at(mongod(), client, database, compressor);
}

fn compare_at(server: u16, client: &mut Command, database: &str, compressor: Option<&str>) -> Numbers {
    let weir = front(server);
    compare_through(&weir, &uri(&weir), client, database, compressor)
}

/// The same through the listener `db` of a Weir of the caller's.
pub fn compare_through(
    weir: &Weir,
    uri: &str,
    client: &mut Command,
    database: &str,
    compressor: Option<&str>,
) -> Numbers {
    let printed = json(client.arg(uri).arg(database).args(compressor));
    let mut expected: Counts<4> = by_client(&printed);
    // A command that no server knows has no name of its own in Weir's numbers, so that clients cannot invent labels.
    let unknown: u64 = expected.iter().filter(|(key, _)| key[0] == "noSuchCommand").map(|(_, n)| n).sum();
    expected.retain(|key, _| key[0] != "noSuchCommand");
    let wanted: u64 = expected.values().sum();
    let published = |numbers: &Numbers| {
        let mut counts = numbers.operations("db", ["operation", "resource", "result", "code"]);
        counts.retain(|key, _| !UNPUBLISHED.contains(&key[0].as_str()));
        counts
    };
    // The last commands (endSessions) may be answered while the client is already gone.
    let numbers = weir.numbers_soon(|numbers| published(numbers).values().sum::<u64>() >= wanted);
    assert_same(&format!("{} {compressor:?}", printed["driver"]), &expected, &published(&numbers));
    assert_eq!(
        numbers.sum("weir_operations_total", &[("operation", "_other"), ("result", "error")]),
        unknown
    );
    assert_eq!(
        numbers.sum("weir_operations_total", &[("operation", "_other"), ("code", "CommandNotFound")]),
        unknown
    );
    // A driver that ends leaves what its monitors wait for.
    assert_eq!(numbers.sum("weir_operations_total", &[("operation", "hello"), ("result", "client_gone")]), 0);
    for result in ["client_gone", "upstream_lost"] {
        assert_eq!(numbers.sum("weir_operations_total", &[("result", result), ("operation", "find")]), 0);
    }
    let bytes = numbers.sum("weir_operation_request_bytes_total", &[("operation", "insert")]);
    assert!(bytes > if compressor.is_some() { 500 } else { 500 * 50 }, "{bytes} bytes of inserts");
    let timed = numbers.sum("weir_operation_duration_seconds_count", &[("operation", "find")]);
    assert_eq!(timed, numbers.sum("weir_operations_total", &[("operation", "find")]));
    numbers
}

fn pymongo_counts_equal() {
    compare(&mut python("mongo.py"), "py", None);
}

fn pymongo_4_6_counts_equal() {
    compare(python("mongo.py").env("PYTHONPATH", part("pymongo46")), "py46", None);
}

fn write_concern_errors_are_told_apart() {
    let set = parts::calm_set();
    let primary = set.primary();
    for (mut client, database) in [(python("mongo.py"), "concern_py"), (node("mongo.js"), "concern_node")] {
        let numbers = compare_at(primary, &mut client, database, None);
        let told = [("result", "write_concern_error"), ("code", "UnsatisfiableWriteConcern")];
        assert_eq!(numbers.sum("weir_operations_total", &told), 1, "{database}");
    }
}

fn node_counts_equal() {
    compare(&mut node("mongo.js"), "node", None);
}

fn compression_hides_nothing() {
    for compressor in ["snappy", "zlib", "zstd"] {
        compare(&mut python("mongo.py"), &format!("py_{compressor}"), Some(compressor));
    }
    for compressor in ["snappy", "zlib", "zstd"] {
        let mut old = python("mongo.py");
        old.env("PYTHONPATH", part("pymongo46"));
        compare(&mut old, &format!("py46_{compressor}"), Some(compressor));
        compare(&mut node("mongo.js"), &format!("node_{compressor}"), Some(compressor));
    }
}

fn what_cannot_be_understood_passes_and_is_counted() {
    let weir = front(net::echo());
    let mut client = TcpStream::connect(("127.0.0.1", weir.port("db"))).expect("it listens");
    client.set_read_timeout(Some(std::time::Duration::from_secs(30))).expect("a timeout can be set");
    let mut exchange = |sent: &[u8]| {
        client.write_all(sent).expect("it reads");
        let mut came = vec![0; sent.len()];
        client.read_exact(&mut came).expect("it answers");
        assert_eq!(came, sent);
    };
    // Shorter than a header: no message. Everything after it is bytes, whatever it looks like.
    exchange(&[5, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14]);
    exchange(b"what a server may understand all the same");
    let numbers = weir.numbers();
    for (name, wanted) in [
        ("weir_connections_degraded_total", 1),
        ("weir_connections_degraded_open", 1),
        ("weir_malformed_total", 1),
    ] {
        assert_eq!(numbers.sum(name, &[("listener", "db"), ("protocol", "mongo")]), wanted, "{name}");
    }
    drop(client);
    weir.numbers_when("the connection has ended", |numbers| {
        numbers.sum("weir_connections_degraded_open", &[]) == 0
    });
}

fn long_polls_stay_out_of_latencies() {
    let weir = front(mongod());
    json(python("mongo.py").arg(uri(&weir)).arg("polls"));
    let numbers = weir.numbers();
    let getmores = [("operation", "getMore"), ("resource", "polls.tail")];
    assert_eq!(numbers.sum("weir_operations_total", &getmores), 1);
    assert_eq!(numbers.sum("weir_operation_duration_seconds_count", &getmores), 0);
}

fn a_dead_server_is_an_error_reply() {
    let folder = tempfile::tempdir().expect("a folder");
    let port = net::free_port();
    let mut mongod = crate::support::process::command(part("mongod/fiftyone/db/bin/mongod"));
    mongod
        .args(["--bind_ip", "127.0.0.1", "--nounixsocket", "--port", &port.to_string(), "--dbpath"])
        .arg(folder.path());
    let mut server = Process::start("mongod", mongod.stdout(std::process::Stdio::null()));
    net::wait_for(port);
    let weir = front(port);
    let mut client = Process::start(
        "mongo_dies.py",
        python("mongo_dies.py")
            .arg(uri(&weir))
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped()),
    );
    assert_eq!(client.line(), "sleeping");
    server.signal("KILL");
    server.wait();
    // The driver gets an answer in its own words and says which.
    assert_eq!(client.line(), "6 HostUnreachable");
    // The client hears of it before it is counted.
    let numbers = weir.numbers_when("it is counted", |n| {
        n.sum("weir_operations_total", &[("operation", "find"), ("result", "upstream_lost")]) == 1
    });
    let (_, slow) = weir.get("/slow");
    let at = format!("\"endpoint\": \"127.0.0.1:{port}\"");
    assert!(slow.contains("\"upstream_lost\"") && slow.contains(&at), "{slow}");
    assert!(numbers.sum("weir_endpoint_attempts_total", &[("outcome", "failed")]) >= 1);
    // The driver's monitor waited on the same server and lost it too.
    assert!(
        numbers
            .sum("weir_failures_total", &[("side", "network"), ("phase", "waiting"), ("reason", "closed")])
            >= 1
    );
}
