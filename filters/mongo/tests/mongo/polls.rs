//! Long polls: what waits for news is not slow.

use bson::{Document, doc};

use crate::harness::{Connection, recorded};

fn get_more(id: i64) -> Document {
    doc! { "getMore": id, "collection": "orders", "$db": "shop" }
}

fn cursor(id: i64) -> Document {
    doc! { "cursor": { "id": id, "ns": "shop.orders", "firstBatch": [] }, "ok": 1.0 }
}

/// Whether a getMore on the cursor that this command opens is a long poll; on a connection of its own.
fn polls(open: Document, id: i64) -> bool {
    let mut first = Connection::new();
    let mut op = first.command(open);
    assert!(!op.as_ref().parked, "the first batch comes at once");
    first.reply(&mut op, cursor(id));
    // Drivers take any of their connections.
    let mut second = Connection::new();
    second.command(get_more(id)).as_ref().parked
}

#[test]
fn cursors_that_wait_for_data_are_known() {
    assert!(polls(doc! { "find": "orders", "tailable": true, "awaitData": true, "$db": "shop" }, 101));
    assert!(!polls(doc! { "find": "orders", "tailable": true, "$db": "shop" }, 102));
    assert!(!polls(doc! { "find": "orders", "$db": "shop" }, 103));
    assert!(polls(
        doc! { "aggregate": "orders", "pipeline": [{ "$changeStream": {} }, { "$match": {} }], "$db": "shop" },
        104
    ));
    assert!(!polls(doc! { "aggregate": "orders", "pipeline": [{ "$match": {} }], "$db": "shop" }, 105));
}

#[test]
fn a_getmore_with_a_time_waits_for_data() {
    let mut connection = Connection::new();
    let mut document = get_more(201);
    assert!(!connection.command(document.clone()).as_ref().parked);
    document.insert("maxTimeMS", 50);
    assert!(connection.command(document).as_ref().parked);
}

#[test]
fn a_cursor_is_forgotten_at_its_end() {
    let watch = doc! { "aggregate": 1, "pipeline": [{ "$changeStream": {} }], "$db": "shop" };
    let ends: [(Document, Document); 2] = [
        (get_more(301), doc! { "ok": 0, "code": 43, "codeName": "CursorNotFound" }),
        (
            doc! { "killCursors": "orders", "cursors": [301i64], "$db": "shop" },
            doc! { "cursorsKilled": [301i64], "ok": 1 },
        ),
    ];
    for (last, reply) in ends {
        assert!(polls(watch.clone(), 301));
        let mut connection = Connection::new();
        let mut op = connection.command(last);
        connection.reply(&mut op, reply);
        assert!(!connection.command(get_more(301)).as_ref().parked);
    }
}

#[test]
fn recorded_streams_are_parked() {
    for (name, expected) in [
        ("watch", vec![false, true, false]),
        ("watch_db", vec![false, true, false]),
        ("tailable", vec![false, true, false]),
        ("find_getmore", vec![false, false, false]),
    ] {
        let mut connection = Connection::new();
        let conversation = recorded(name, "request").into_iter().zip(recorded(name, "reply"));
        let parked: Vec<bool> = conversation
            .map(|(request, reply)| {
                let mut op = connection.send(&request);
                connection.answer(&mut op, &reply);
                op.as_ref().parked
            })
            .collect();
        assert_eq!(parked, expected, "{name}");
    }
}

#[test]
fn a_streamed_hello_stays_parked() {
    let mut connection = Connection::new();
    let hello = recorded("streaming_hello", "request")[1].clone();
    let mut op = connection.send(&hello);
    assert_eq!(connection.said(&op), "hello admin Stream parked");
    let streamed: Vec<Vec<u8>> =
        recorded("streaming_hello", "reply").into_iter().filter(|reply| reply[16] & 2 != 0).collect();
    assert_eq!(streamed.len(), 2);
    for reply in streamed {
        let (outcome, more) = connection.answer(&mut op, &reply);
        assert_eq!((outcome.result, more), ("ok", true));
    }
}
