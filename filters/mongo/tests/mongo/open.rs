//! Cursors, transactions and retries, from operation to operation.

use crate::harness::Connection;
use bson::spec::BinarySubtype;
use bson::{Binary, Document, doc};
use weir_decide::exchange::{Class, Fault, Now, Phase, Reason, Side, Trait};

/// Runs a command to its end and says whether it had been sent before.
pub fn run(connection: &mut Connection, mut command: Document, reply: Document) -> bool {
    command.insert("$db", "d");
    let mut op = connection.command(command);
    let outcome = connection.reply(&mut op, reply);
    connection.ended(&mut op, &outcome, Now(0), Now(1_000_000));
    op.as_ref().traits.has(Trait::Resent)
}

pub fn told(connection: &Connection, family: &str) -> Vec<String> {
    let mut text = Vec::new();
    connection.measure.prometheus(&mut text);
    let text = String::from_utf8(text).unwrap();
    let lines =
        text.lines().filter_map(|line| line.strip_prefix(family)?.strip_prefix("{listener=\"orders-db\""));
    let lines = lines.map(|line| line.trim_start_matches(',').replace(['}', '"'], ""));
    lines.filter(|line| !line.ends_with(" 0")).collect()
}

pub fn cursor(id: i64) -> Document {
    doc! { "cursor": { "id": id, "ns": "d.c", "firstBatch": [{}] }, "ok": 1 }
}

pub fn session(n: u8) -> Document {
    doc! { "id": Binary { subtype: BinarySubtype::Uuid, bytes: vec![n; 16] } }
}

#[test]
fn cursors_have_batches_and_an_end() {
    let mut connection = Connection::new();
    let getmore = |id: i64| doc! { "getMore": id, "collection": "c" };
    run(&mut connection, doc! { "find": "c" }, cursor(0));
    assert!(told(&connection, "weir_mongo_cursors_open").is_empty());
    run(&mut connection, doc! { "find": "c" }, cursor(7));
    run(&mut connection, getmore(7), cursor(7));
    run(&mut connection, doc! { "aggregate": "c", "pipeline": [], "cursor": {} }, cursor(8));
    run(&mut connection, doc! { "find": "c" }, cursor(9));
    assert_eq!(told(&connection, "weir_mongo_cursors_open"), [" 3"]);
    run(&mut connection, getmore(7), cursor(0));
    run(&mut connection, doc! { "killCursors": "c", "cursors": [8_i64] }, doc! { "ok": 1 });
    run(&mut connection, getmore(9), doc! { "ok": 0, "code": 43 });
    // One whose connection is lost may still be there.
    run(&mut connection, doc! { "find": "c" }, cursor(10));
    let mut op = connection.command(doc! { "getMore": 10_i64, "collection": "c", "$db": "d" });
    let fault = Fault::new(Side::Network, Phase::Waiting, Reason::Reset);
    let (mut outcome, _) = connection.fail(&mut op, fault);
    outcome.fault = Some(fault);
    connection.ended(&mut op, &outcome, Now(0), Now(1));
    // So may one whose client has left it while it waited for news, which is no failure.
    let waits = doc! { "getMore": 10_i64, "collection": "c", "maxTimeMS": 1000, "$db": "d" };
    let mut op = connection.command(waits);
    let fault = Fault::new(Side::Client, Phase::Waiting, Reason::Closed);
    let (mut outcome, _) = connection.fail(&mut op, fault);
    assert_eq!(outcome.result, "ok");
    (outcome.fault, outcome.class) = (None, Class::Cancelled);
    connection.ended(&mut op, &outcome, Now(0), Now(1));
    assert_eq!(told(&connection, "weir_mongo_cursors_open"), [" 1"]);
    let ends = told(&connection, "weir_mongo_cursors_total");
    assert_eq!(ends, ["end=exhausted 1", "end=failed 1", "end=killed 1"]);
    let batches = told(&connection, "weir_mongo_cursor_batches_sum");
    assert_eq!(batches, ["end=exhausted 3.0", "end=failed 1.0", "end=killed 1.0"]);
}

#[test]
fn every_cursor_that_is_killed_has_ended() {
    let mut connection = Connection::new();
    for id in 1..=1030 {
        run(&mut connection, doc! { "find": "c" }, cursor(id));
    }
    assert_eq!(told(&connection, "weir_mongo_cursors_open"), [" 1030"]);
    run(&mut connection, doc! { "killCursors": "c", "cursors": [2_i64, 3_i64, 4_i64] }, doc! { "ok": 1 });
    assert_eq!(told(&connection, "weir_mongo_cursors_open"), [" 1027"]);
    let limit = |connection: &Connection| told(connection, "weir_message_limits_total");
    let before = limit(&connection);
    // Where there are more than are looked at, that is said.
    let all: Vec<i64> = (1..=1030).collect();
    run(&mut connection, doc! { "killCursors": "c", "cursors": all }, doc! { "ok": 1 });
    assert_eq!(told(&connection, "weir_mongo_cursors_open"), [" 5"]);
    assert_ne!(limit(&connection), before);
}

#[test]
fn a_transaction_ends_with_the_next_one_and_its_cursors_with_it() {
    let mut connection = Connection::new();
    let find = |number: i64| doc! { "find": "c", "lsid": session(1), "txnNumber": number, "autocommit": false, "startTransaction": true };
    run(&mut connection, find(1), cursor(7));
    assert_eq!(told(&connection, "weir_mongo_cursors_open"), [" 1"]);
    run(&mut connection, find(2), cursor(8));
    assert_eq!(told(&connection, "weir_mongo_transactions_open"), [" 1"]);
    assert_eq!(told(&connection, "weir_mongo_cursors_open"), [" 1"]);
    let abort = doc! { "abortTransaction": 1, "lsid": session(1), "txnNumber": 2_i64, "autocommit": false };
    run(&mut connection, abort, doc! { "ok": 1 });
    assert_eq!(told(&connection, "weir_mongo_transactions_open"), [" 0"; 0]);
    assert_eq!(told(&connection, "weir_mongo_transactions_total"), ["end=aborted 2"]);
    assert_eq!(told(&connection, "weir_mongo_cursors_total"), ["end=killed 2"]);
}

#[test]
fn transactions_are_counted_by_their_end() {
    let mut connection = Connection::new();
    let statement = |n: u8, number: i64, first: bool| {
        let mut insert = doc! { "insert": "c", "documents": [{}], "lsid": session(n), "txnNumber": number, "autocommit": false };
        if first {
            insert.insert("startTransaction", true);
        }
        insert
    };
    let end = |name: &str, n: u8, number: i64| doc! { name: 1, "lsid": session(n), "txnNumber": number, "autocommit": false };
    let ok = doc! { "n": 1, "ok": 1 };
    for (n, number) in [(1, 1), (2, 1), (3, 1)] {
        run(&mut connection, statement(n, number, true), ok.clone());
    }
    run(&mut connection, statement(1, 1, false), ok.clone());
    run(&mut connection, end("commitTransaction", 1, 1), ok.clone());
    // A driver may ask again whether it was committed.
    run(&mut connection, end("commitTransaction", 1, 1), ok.clone());
    run(&mut connection, statement(1, 2, true), ok.clone());
    run(&mut connection, end("abortTransaction", 1, 2), ok);
    run(&mut connection, end("commitTransaction", 2, 1), doc! { "ok": 0, "code": 251 });
    assert_eq!(told(&connection, "weir_mongo_transactions_started_total"), [" 4"]);
    assert_eq!(told(&connection, "weir_mongo_transactions_open"), [" 1"]);
    let ends = told(&connection, "weir_mongo_transactions_total");
    assert_eq!(ends, ["end=aborted 1", "end=commit_failed 1", "end=committed 1"]);
    let statements = told(&connection, "weir_mongo_transaction_statements_sum");
    assert_eq!(statements, ["end=aborted 1.0", "end=commit_failed 1.0", "end=committed 2.0"]);
    assert_eq!(told(&connection, "weir_mongo_transaction_duration_seconds_count"), ends);
}

#[test]
fn a_write_that_comes_again_is_resent() {
    let mut connection = Connection::new();
    let ok = doc! { "n": 1, "ok": 1 };
    let insert = |n: u8, number: i64| doc! { "insert": "c", "documents": [{}], "lsid": session(n), "txnNumber": number };
    assert!(!run(&mut connection, insert(1, 1), ok.clone()));
    assert!(run(&mut connection, insert(1, 1), ok.clone()));
    assert!(!run(&mut connection, insert(1, 2), ok.clone()));
    assert!(!run(&mut connection, insert(2, 2), ok.clone()));
    // Without a number the server does not know it either.
    let plain = doc! { "insert": "c", "documents": [{}], "lsid": session(1) };
    assert!(!run(&mut connection, plain.clone(), ok.clone()) && !run(&mut connection, plain, ok));
}
