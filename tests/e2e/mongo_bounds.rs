//! What clients may do to Weir and to the server: being many, large messages that come slowly, and going away in the middle.

use crate::support::{
    parts::{calm_set, mongod, python},
    process::{Process, output},
    weir::Weir,
};
use std::process::Stdio;

crate::tests!("mongo_bounds":
    a_hundred_connections_fit_in_ten_mebibytes,
    large_messages_that_come_slowly_take_no_memory,
    a_client_that_goes_takes_its_operation_with_it,
);

/// Connections that send at a time.
const CONNECTIONS: u64 = 200;

/// What they may take together.
const ROOM: u64 = 64 << 20;

/// Weir in front of the server at this port.
fn front(server: u16, rules: &str) -> Weir {
    Weir::start(&format!(
        "workers: 2\nlisteners:\n  db:\n    bind: \"127.0.0.1:0\"\n    mongo:\n      cluster: db\n      mode: transparent\n      {rules}\n\
         clusters: {{ db: {{ endpoints: [\"127.0.0.1:{server}\"] }} }}\n"
    ))
}

/// A release build has about 7.9 MiB resident when it starts, nearly all of it pages of its own file. A debug build has more than the
/// ten of those alone; what is in no file grows alike, and is held to what a release build has left.
fn a_hundred_connections_fit_in_ten_mebibytes() {
    let mut weir = front(mongod(), "");
    let idle = weir.process().size("RssAnon");
    let mut client = python("mongo_held.py");
    client.args([&weir.port("db").to_string(), "100"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut client = Process::start("mongo_held.py", &mut client);
    assert_eq!(client.line(), (100 * 10 * 100).to_string(), "every client has read everything every time");
    weir.numbers_when("they are all there, and alone", |numbers| {
        ["weir_listener_connections_open", "weir_cluster_connections_open"]
            .iter()
            .all(|open| numbers.sum(open, &[]) == 100)
    });
    let (most, own) = (weir.process().size("VmHWM"), weir.process().size("RssAnon").saturating_sub(idle));
    if cfg!(debug_assertions) {
        assert!(own < 2 << 20, "{} KiB above idle", own >> 10);
    } else {
        assert!(most < 10 << 20, "{} KiB", most >> 10);
    }
}

fn large_messages_that_come_slowly_take_no_memory() {
    let rule = "rules: [{ name: closed, match: { database: nothing }, deny: {} }]";
    for rules in ["", rule] {
        let mut client = python("mongo_large.py");
        client.arg(CONNECTIONS.to_string()).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut client = Process::start("mongo_large.py", &mut client);
        let server = client.line();
        let mut weir = front(server.parse().expect("a port"), rules);
        let port = weir.port("db");
        let idle = weir.process().size("VmRSS");
        for encoding in ["plain", "late", "snappy", "zlib", "zstd"] {
            let what = format!("{encoding}, {}", if rules.is_empty() { "no rules" } else { "rules" });
            client.tell(&format!("{port} {encoding}"));
            let said = client.line();
            let numbers: Vec<u64> = said.split(' ').map(|n| n.parse().expect("a number")).collect();
            let took = weir.process().size("VmHWM").saturating_sub(idle);
            assert!(took < ROOM, "{what}: {} KiB above idle", took >> 10);
            // What was looked into is there for the server. Where a rule has to be sure and there is not enough memory for all of
            // the windows that clients ask for, some connections have ended; where it waits for what comes last, all stand.
            if rules.is_empty() || encoding != "zstd" {
                assert_eq!(numbers[0], CONNECTIONS, "{what}");
            }
            if rules.is_empty() || !["late", "zstd"].contains(&encoding) {
                assert!(
                    numbers[1] >= CONNECTIONS * (512 << 10),
                    "{what}: the server got {} bytes",
                    numbers[1]
                );
            }
            client.tell("enough");
            assert_eq!(client.line(), "ended");
            weir.numbers_when("all have gone", |numbers| {
                numbers.sum("weir_listener_connections_open", &[]) == 0
            });
        }
        let over = weir.numbers().sum("weir_malformed_total", &[("reason", "over_budget")]);
        let met = weir.numbers().sum("weir_message_limits_total", &[("limit", "held_request")]);
        assert_eq!(met > 0, !rules.is_empty(), "{met}: more waits than there is memory for");
        // A window that is asked for costs nothing before it is used: whether any has to give way is a matter of who comes when.
        assert!(over == 0 || !rules.is_empty(), "{over}: nobody loses anything where nothing is decided");
    }
}

fn a_client_that_goes_takes_its_operation_with_it() {
    let set = calm_set();
    for server in [mongod(), set.primary()] {
        let weir = front(server, "");
        let direct = format!("mongodb://127.0.0.1:{server}/?directConnection=true");
        let mut client = python("mongo_gone.py");
        client.arg(format!("mongodb://127.0.0.1:{}/?directConnection=true", weir.port("db")));
        let client = client.args([&direct, "gone"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut client = Process::start("mongo_gone.py", client);
        assert_eq!(client.line(), "sleeping");
        client.signal("KILL");
        output(python("mongo_ops.py").args([&direct, "gone.sleepy"]));
        let gone = [("operation", "find"), ("resource", "gone.sleepy"), ("result", "client_gone")];
        weir.numbers_when("it is counted", |numbers| numbers.sum("weir_operations_total", &gone) == 1);
    }
}
