//! What clients may do to Weir and to the server: large messages that come slowly, and going away in the middle.

use crate::support::{
    parts::{mongod, python, replica_set},
    process::{Process, output},
    weir::Weir,
};
use std::process::Stdio;
use std::sync::PoisonError;

crate::tests!("mongo_bounds":
    large_messages_that_come_slowly_take_no_memory,
    a_client_that_goes_takes_its_operation_with_it,
);

/// Connections that send at a time.
const CONNECTIONS: u64 = 200;

/// What they may take together.
const ROOM: u64 = 64 << 20;

/// Of a process, in bytes: what is resident, and the most that ever was.
fn memory(process: u32) -> (u64, u64) {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("it runs");
    let of = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).expect("the kernel says so");
        line.split_whitespace().nth(1).and_then(|n| n.parse::<u64>().ok()).expect("a number") << 10
    };
    (of("VmRSS:"), of("VmHWM:"))
}

fn large_messages_that_come_slowly_take_no_memory() {
    let rule = "rules: [{ name: closed, match: { database: nothing }, deny: {} }]";
    for rules in ["", rule] {
        let mut client = python("mongo_large.py");
        client.arg(CONNECTIONS.to_string()).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut client = Process::start("mongo_large.py", &mut client);
        let server = client.line();
        let mut weir = Weir::start(&format!(
            "listeners:\n  db:\n    bind: \"127.0.0.1:0\"\n    mongo:\n      cluster: db\n      mode: transparent\n      {rules}\n\
             clusters: {{ db: {{ endpoints: [\"127.0.0.1:{server}\"] }} }}\n"
        ));
        let port = weir.port("db");
        let process = weir.process().id();
        let (idle, _) = memory(process);
        for encoding in ["plain", "snappy", "zlib", "zstd"] {
            let what = format!("{encoding}, {}", if rules.is_empty() { "no rules" } else { "rules" });
            client.tell(&format!("{port} {encoding}"));
            let said = client.line();
            let numbers: Vec<u64> = said.split(' ').map(|n| n.parse().expect("a number")).collect();
            let (_, most) = memory(process);
            let took = most.saturating_sub(idle);
            assert!(took < ROOM, "{what}: {} KiB above idle", took >> 10);
            // What was looked into is there for the server. Where a rule has to be sure and there is not enough memory for all of
            // the windows that clients ask for, some connections have ended.
            if rules.is_empty() || encoding != "zstd" {
                assert_eq!(numbers[0], CONNECTIONS, "{what}");
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
        assert_eq!(
            over > 0,
            !rules.is_empty(),
            "{over}: the windows that were asked for are more than there is for them"
        );
    }
}

fn a_client_that_goes_takes_its_operation_with_it() {
    let primary = replica_set().read().unwrap_or_else(PoisonError::into_inner).primary();
    for server in [mongod(), primary] {
        let weir = Weir::start(&format!(
            "listeners: {{ db: {{ bind: \"127.0.0.1:0\", mongo: {{ cluster: db, mode: transparent }} }} }}\n\
             clusters: {{ db: {{ endpoints: [\"127.0.0.1:{server}\"] }} }}\n"
        ));
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
