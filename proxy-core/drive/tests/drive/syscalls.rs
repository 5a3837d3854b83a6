//! System calls per exchange, counted by strace: a read and a write on either side, and nothing else but waiting.

use crate::house::*;
use crate::toy::{FILTERS, frame};
use std::collections::BTreeMap;
use std::process::Command;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[path = "../shared/syscalls.rs"]
mod strace;

/// Run by the other tests, under strace: so many exchanges through a listener.
#[test]
#[ignore = "not a test: the program that is traced"]
fn traced() {
    let exchanges: usize = std::env::var("EXCHANGES").unwrap().parse().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let up = Upstream::new().await.echo();
        let filters = if std::env::var("SECTION").unwrap() == "tcp" { TCP } else { FILTERS };
        let section = filters[0].section().key();
        let house = House::start_with(
            &format!(
                "workers: 1
listeners: {{ l: {{ bind: '127.0.0.1:0', {section}: {{ cluster: up }} }} }}
clusters: {{ up: {{ endpoints: ['{up}'] }} }}"
            ),
            filters,
        )
        .await
        .unwrap();
        let mut client = house.connect("l").await;
        let message = frame(1, &[&b"get "[..], &[b'x'; 1000]].concat());
        let mut back = vec![0; message.len()];
        for _ in 0..exchanges {
            if std::env::var("EACH").unwrap() == "connection" {
                client = house.connect("l").await;
            }
            client.write_all(&message).await.unwrap();
            client.read_exact(&mut back).await.unwrap();
        }
    });
}

/// The worker's system calls, by name.
fn trace(section: &str, each: &str, exchanges: usize) -> BTreeMap<String, usize> {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("trace");
    let output = Command::new("strace")
        .args(["-f", "-qq", "-o"])
        .arg(&log)
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "syscalls::traced", "--ignored", "--nocapture"])
        .env("EXCHANGES", exchanges.to_string())
        .env("SECTION", section)
        .env("EACH", each)
        .output()
        .expect("strace is needed for this test");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    strace::of_the_worker(&std::fs::read_to_string(log).unwrap())
}

/// What `section` costs per exchange, without what a connection costs.
fn per_exchange(section: &str, each: &str) -> BTreeMap<String, f64> {
    let (few, many) = (trace(section, each, 200), trace(section, each, 1200));
    many.iter()
        .map(|(call, count)| {
            let difference = count - few.get(call).unwrap_or(&0).min(count);
            (call.clone(), difference as f64 / 1000.0)
        })
        .filter(|(_, count)| *count > 0.0)
        .collect()
}

fn check(section: &str) {
    let calls = per_exchange(section, "message");
    let waiting: f64 = calls.get("epoll_wait").copied().unwrap_or_default();
    let moving: f64 = ["recvfrom", "sendto"].iter().filter_map(|call| calls.get(*call)).sum();
    let all: f64 = calls.values().sum();
    // Where the trace was cut off one call may be missing from the difference.
    assert!((moving - 4.0).abs() < 0.01, "{section}: {calls:?}");
    // The ticks of the clock come on top, now and then.
    assert!(all - moving - waiting < 0.05, "{section}: {calls:?}");
    assert!(waiting <= 2.1, "{section}: {calls:?}");
}

#[test]
fn of_a_message_exchange() {
    check("toy");
}

#[test]
fn of_relayed_bytes() {
    check("tcp");
}

#[test]
fn of_a_relayed_connection() {
    let calls = per_exchange("tcp", "connection");
    // A debug build asks of each descriptor whether it is open before it closes it.
    let not_ours = ["epoll_wait", "fcntl"].iter().filter_map(|call| calls.get(*call)).sum::<f64>();
    let all: f64 = calls.values().sum();
    assert!(all - not_ours < 25.1, "{calls:?}");
}
