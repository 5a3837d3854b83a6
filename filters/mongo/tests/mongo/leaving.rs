//! What a connection stays for in a drain, and which requests are turned away.

use std::time::Duration;

use crate::harness::Connection;
use crate::open::{cursor, run, session, told};
use bson::{Document, doc};
use weir_decide::exchange::{Fault, Phase, Reason, Side};
use weir_decide::protocol::Stays;

const QUIET: Stays = Stays::Quiet(Duration::from_secs(1));

fn get_more(id: i64) -> Document {
    doc! { "getMore": id, "collection": "c" }
}

/// A connection on which somebody has done something.
fn used() -> Connection {
    let mut connection = Connection::new();
    run(&mut connection, doc! { "ping": 1 }, doc! { "ok": 1 });
    connection
}

#[test]
fn a_monitor_stays_for_the_others() {
    let mut connection = Connection::new();
    assert_eq!(connection.stays(None), Stays::Others);
    run(&mut connection, doc! { "hello": 1 }, doc! { "ok": 1 });
    assert_eq!(connection.stays(None), Stays::Others);
    let hello = doc! { "hello": 1, "topologyVersion": {}, "maxAwaitTimeMS": 1, "$db": "admin" };
    let mut op = connection.flagged(1 << 16, hello);
    assert_eq!(connection.stays(Some(&op)), Stays::Others);
    let (outcome, reply) =
        connection.fail(&mut op, Fault::new(Side::Proxy, Phase::Waiting, Reason::Draining));
    assert_eq!((outcome.result, reply.len()), ("refused", 0), "its connection ends, which tells it more");
    assert_eq!(used().stays(None), QUIET);
}

#[test]
fn a_cursor_is_waited_for_until_it_ends() {
    let mut connection = used();
    run(&mut connection, doc! { "find": "c" }, cursor(0));
    assert_eq!(connection.stays(None), QUIET);
    run(&mut connection, doc! { "find": "c" }, cursor(7));
    assert_eq!(connection.stays(None), Stays::Open);
    // Somebody goes on with it on another connection: then both are waited for.
    let mut other = connection.beside();
    run(&mut other, doc! { "ping": 1 }, doc! { "ok": 1 });
    assert_eq!(other.stays(None), QUIET);
    run(&mut other, get_more(7), cursor(7));
    assert_eq!(other.stays(None), Stays::Open);
    run(&mut other, get_more(7), cursor(0));
    assert_eq!((other.stays(None), connection.stays(None)), (QUIET, QUIET));
    for (end, reply) in [
        (get_more(8), cursor(0)),
        (doc! { "killCursors": "c", "cursors": [8_i64] }, doc! { "ok": 1 }),
        (get_more(8), doc! { "ok": 0, "code": 43 }),
    ] {
        run(&mut connection, doc! { "aggregate": "c", "pipeline": [] }, cursor(8));
        assert_eq!(connection.stays(None), Stays::Open);
        run(&mut connection, end, reply);
        assert_eq!(connection.stays(None), QUIET);
    }
}

#[test]
fn a_transaction_is_waited_for_until_it_ends() {
    let statement = |name: &str, number: i64, first: bool| {
        let mut command = doc! { name: "c", "lsid": session(1), "txnNumber": number, "autocommit": false };
        if first {
            command.insert("startTransaction", true);
        }
        command
    };
    let ok = doc! { "ok": 1 };
    let mut connection = used();
    for (number, end) in [(1, "commitTransaction"), (2, "abortTransaction")] {
        run(&mut connection, statement("insert", number, true), ok.clone());
        run(&mut connection, statement("insert", number, false), ok.clone());
        assert_eq!(connection.stays(None), Stays::Open);
        run(&mut connection, statement(end, number, false), ok.clone());
        assert_eq!(connection.stays(None), QUIET);
    }
    // Its end may come on another connection.
    run(&mut connection, statement("insert", 3, true), ok.clone());
    run(&mut connection.beside(), statement("commitTransaction", 3, false), ok);
    assert_eq!(connection.stays(None), QUIET);
}

#[test]
fn a_change_stream_stays_for_the_others_and_a_tailable_cursor_is_waited_for() {
    let watch = doc! { "aggregate": 1, "pipeline": [{ "$changeStream": {} }] };
    let mut connection = used();
    run(&mut connection, watch, cursor(401));
    assert_eq!(connection.stays(None), QUIET);
    let mut wait = get_more(401);
    wait.insert("$db", "d");
    let mut op = connection.command(wait);
    assert_eq!(connection.stays(Some(&op)), Stays::Others);
    let outcome = connection.reply(&mut op, cursor(401));
    connection.ended(&mut op, &outcome, weir_decide::exchange::Now(1), weir_decide::exchange::Now(2));
    assert_eq!(connection.stays(None), QUIET);
    run(&mut connection, doc! { "find": "c", "tailable": true, "awaitData": true }, cursor(402));
    assert_eq!(connection.stays(None), Stays::Open);
    run(&mut connection, get_more(402), cursor(402));
    let op = connection.command(doc! { "getMore": 402_i64, "collection": "c", "$db": "d" });
    assert_eq!(connection.stays(Some(&op)), Stays::Open);
}

#[test]
fn what_is_open_has_room_for_so_many() {
    let mut connection = used();
    for id in 1..=64 {
        run(&mut connection, doc! { "find": "c" }, cursor(id));
    }
    let mut other = connection.beside();
    run(&mut other, get_more(1), cursor(0));
    run(&mut connection, doc! { "find": "c" }, cursor(65));
    let limit = |connection: &Connection| {
        told(connection, "weir_message_limits_total")
            .iter()
            .filter(|line| line.contains("limit=open"))
            .count()
    };
    assert_eq!(limit(&connection), 0, "what had ended elsewhere gave way");
    run(&mut connection, doc! { "find": "c" }, cursor(66));
    assert_eq!(limit(&connection), 1);
    for id in 3..=66 {
        assert_eq!(connection.stays(None), Stays::Open);
        run(&mut other, get_more(id), cursor(0));
    }
    assert_eq!(connection.stays(None), QUIET, "the second was forgotten");
}

#[test]
fn what_a_driver_does_anew_by_itself_is_known() {
    let mut connection = used();
    let txn = |mut document: Document| {
        document.extend(doc! { "lsid": session(1), "txnNumber": 1_i64, "autocommit": false });
        document
    };
    for (command, expected) in [
        (doc! { "find": "c" }, true),
        (doc! { "aggregate": "c", "pipeline": [{ "$match": {} }] }, true),
        (doc! { "aggregate": "c", "pipeline": [{ "$out": "d" }] }, false),
        (doc! { "aggregate": 1, "pipeline": [{ "$changeStream": {} }] }, true),
        (doc! { "insert": "c", "lsid": session(1), "txnNumber": 1_i64 }, true),
        (doc! { "insert": "c" }, false),
        (doc! { "update": "c" }, false),
        (get_more(7), false),
        (doc! { "ping": 1 }, false),
        (txn(doc! { "find": "c" }), false),
        (txn(doc! { "insert": "c" }), false),
        (txn(doc! { "commitTransaction": 1 }), false),
    ] {
        let mut whole = command.clone();
        whole.insert("$db", "d");
        let op = connection.command(whole);
        assert_eq!(connection.repeats(&op), expected, "{command}");
    }
}
