//! What stays open or comes again between MongoDB's operations: cursors, transactions, writes that are sent twice.

use crate::support::{
    net,
    parts::{ReplicaSet, calm_set, python},
    process::{Process, output},
    weir::Weir,
};
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::Stdio;

crate::tests!("mongo_open":
    what_is_left_lying_is_abandoned,
    a_write_that_is_sent_twice_is_seen_on_both_sides,
    drivers_send_again_what_they_have_not_heard_of,
);

/// A Weir in front of the set's primary.
fn front(set: &ReplicaSet, settings: &str) -> Weir {
    Weir::start(&format!(
        "listeners: {{ db: {{ bind: \"127.0.0.1:0\", mongo: {{ cluster: db, mode: transparent{settings} }} }} }}\n\
         clusters: {{ db: {{ endpoints: [\"127.0.0.1:{}\"] }} }}\n",
        set.primary()
    ))
}

fn what_is_left_lying_is_abandoned() {
    let set = calm_set();
    let weir = front(&set, ", abandoned: { cursors: 5s, transactions: 5s }");
    let uri = |port: u16| format!("mongodb://127.0.0.1:{port}/?directConnection=true");
    let mut client = python("mongo_calls.py");
    client.args([&uri(weir.port("db")), "lying", &uri(set.primary())]);
    let mut client = Process::start("a client", client.stdin(Stdio::piped()).stdout(Stdio::piped()));
    assert_eq!(client.line(), "left");
    // The client hears its last reply before that is counted.
    let numbers =
        weir.numbers_when("the transaction is seen", |n| n.sum("weir_mongo_transactions_open", &[]) == 1);
    assert_eq!(numbers.sum("weir_mongo_cursors_open", &[]), 2);
    let ended = |numbers: &crate::support::numbers::Numbers, what: &str, end| {
        numbers.sum(&format!("weir_mongo_{what}s_total"), &[("listener", "db"), ("end", end)])
    };
    assert_eq!((ended(&numbers, "cursor", "killed"), ended(&numbers, "cursor", "failed")), (1, 1));
    // Whether or not anybody does anything else.
    net::until("nobody has gone on with them for long", || {
        let numbers = weir.numbers();
        ended(&numbers, "cursor", "abandoned") == 2 && ended(&numbers, "transaction", "abandoned") == 1
    });
    let numbers = weir.numbers();
    assert_eq!(
        numbers.sum("weir_mongo_cursors_open", &[]) + numbers.sum("weir_mongo_transactions_open", &[]),
        0
    );
    // It says on which collection they were left.
    let of = |end| {
        let how = [("end", end)];
        let ended = numbers.of("weir_mongo_collection_cursors_total", &how);
        ended.filter(|sample| sample.label("resource").ends_with(".people")).map(|s| s.value).sum::<f64>()
    };
    assert_eq!(["abandoned", "killed", "failed", "exhausted"].map(of), [2.0, 1.0, 1.0, 0.0]);
    assert_eq!(numbers.sum("weir_mongo_collection_cursors_open", &[]), 0);
    assert!(numbers.sum("weir_mongo_collection_cursor_batches_total", &[]) >= 4);
}

/// An `OP_MSG` of this body.
fn op_msg(body: &[u8]) -> Vec<u8> {
    let mut message = Vec::new();
    for word in [21 + body.len() as i32, 7, 0, 2013, 0] {
        message.extend(word.to_le_bytes());
    }
    message.push(0);
    message.extend(body);
    message
}

/// A message, whole.
fn message(mut stream: &TcpStream) -> Option<Vec<u8>> {
    let mut length = [0; 4];
    stream.read_exact(&mut length).ok()?;
    let mut rest = vec![0; (u32::from_le_bytes(length) as usize).checked_sub(4)?];
    stream.read_exact(&mut rest).ok()?;
    Some([&length[..], &rest].concat())
}

fn holds(message: &[u8], word: &[u8]) -> bool {
    message.windows(word.len()).any(|window| window == word)
}

/// The insert of one document as a retryable write: session and number tell it from others.
fn retryable_insert() -> Vec<u8> {
    let text = |value: &str| [&(value.len() as u32 + 1).to_le_bytes()[..], value.as_bytes(), b"\0"].concat();
    let element = |kind: u8, name: &str, value: &[u8]| [&[kind], name.as_bytes(), b"\0", value].concat();
    let document = |elements: &[Vec<u8>]| {
        let inner = elements.concat();
        [&(inner.len() as u32 + 5).to_le_bytes()[..], &inner, b"\0"].concat()
    };
    let mut session = [7; 16];
    session[..4].copy_from_slice(&std::process::id().to_le_bytes());
    let id = [&16u32.to_le_bytes()[..], &[4], &session].concat();
    document(&[
        element(2, "insert", &text("twice")),
        element(
            4,
            "documents",
            &document(&[element(3, "0", &document(&[element(16, "n", &5u32.to_le_bytes())]))]),
        ),
        element(3, "lsid", &document(&[element(5, "id", &id)])),
        element(18, "txnNumber", &3u64.to_le_bytes()),
        element(2, "$db", &text("open")),
    ])
}

fn traits(weir: &Weir, operation: &str) -> [u64; 2] {
    let numbers = weir.numbers();
    ["resent", "recognised"]
        .map(|one| numbers.sum("weir_operation_traits_total", &[("operation", operation), ("trait", one)]))
}

fn a_write_that_is_sent_twice_is_seen_on_both_sides() {
    let set = calm_set();
    let weir = front(&set, "");
    let request = op_msg(&retryable_insert());
    let replies: Vec<_> = (0..2)
        .map(|_| {
            let mut stream = TcpStream::connect(("127.0.0.1", weir.port("db"))).expect("it listens");
            stream.write_all(&request).expect("it reads");
            message(&stream).expect("an answer")
        })
        .collect();
    assert!(
        !holds(&replies[0], b"retriedStmtIds") && holds(&replies[1], b"retriedStmtIds"),
        "the server knows it"
    );
    weir.numbers_when("both are counted", |n| {
        n.sum("weir_operations_total", &[("operation", "insert"), ("result", "ok")]) == 2
    });
    assert_eq!(traits(&weir, "insert"), [1, 1]);
    let written = weir.numbers().sum("weir_operation_items_affected_total", &[("operation", "insert")]);
    assert_eq!(written, 2, "the server says of both that they have written");
}

/// A relay to this port that loses a connection when the first insert has been answered, before anybody hears of it.
fn forgetful(to: u16) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port is free");
    let port = listener.local_addr().expect("it is bound").port();
    let lost = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let lost = lost.clone();
            std::thread::spawn(move || relay(&client, to, &lost));
        }
    });
    port
}

fn relay(mut client: &TcpStream, to: u16, lost: &std::sync::atomic::AtomicBool) -> Option<()> {
    let mut server = TcpStream::connect(("127.0.0.1", to)).ok()?;
    // Nothing streams: each request has one answer, but for those that want none or many.
    let back = server.try_clone().ok()?;
    loop {
        let request = message(client)?;
        server.write_all(&request).ok()?;
        let reply = message(&back)?;
        if holds(&request, b"insert\0") && !lost.swap(true, std::sync::atomic::Ordering::Relaxed) {
            return None;
        }
        client.write_all(&reply).ok()?;
    }
}

fn drivers_send_again_what_they_have_not_heard_of() {
    let set = calm_set();
    let weir = front(&set, "");
    let port = forgetful(weir.port("db"));
    // Asked for news, a server streams its answers, which this relay does not take.
    let uri = format!("mongodb://127.0.0.1:{port}/?directConnection=true&serverMonitoringMode=poll");
    output(python("mongo_calls.py").args([&uri, "retried"]));
    weir.numbers_when("both are counted", |n| {
        n.sum("weir_operations_total", &[("operation", "insert"), ("result", "ok")]) == 2
    });
    assert_eq!(traits(&weir, "insert"), [1, 1]);
}
