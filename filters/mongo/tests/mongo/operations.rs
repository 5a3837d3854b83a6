//! Which operation a request is.

use bson::doc;
use weir_decide::exchange::{NameId, Replies};
use weir_decide::protocol::{Malformed, Protocol as _};

use crate::harness::{Connection, op_msg, recorded};

#[test]
fn requests_are_named() {
    let mut connection = Connection::new();
    for (document, flags, expected) in [
        (doc! { "find": "orders", "$db": "shop" }, 0, "find shop.orders idempotent"),
        (doc! { "insert": "orders", "$db": "shop" }, 0, "insert shop.orders"),
        (doc! { "insert": "orders", "$db": "shop" }, 2, "insert shop.orders None"),
        (doc! { "find": "orders", "$db": "shop" }, 2, "find shop.orders idempotent None"),
        (doc! { "insert": "orders", "writeConcern": { "w": 0 }, "$db": "shop" }, 0, "insert shop.orders"),
        (
            doc! { "getMore": 5i64, "collection": "orders", "$db": "shop" },
            1 << 16,
            "getMore shop.orders Stream",
        ),
        (doc! { "hello": 1, "$db": "admin" }, 0, "hello admin"),
        (doc! { "hello": 1, "topologyVersion": {}, "$db": "admin" }, 0, "hello admin"),
        (
            doc! { "hello": 1, "topologyVersion": {}, "maxAwaitTimeMS": 10_000, "$db": "admin" },
            1 << 16,
            "hello admin Stream parked",
        ),
        (doc! { "inventedYesterday": 1, "$db": "shop" }, 0, "_other shop"),
        (
            doc! { "aggregate": "orders", "pipeline": [], "$db": "shop" },
            0,
            "aggregate shop.orders idempotent",
        ),
        (
            doc! { "aggregate": "orders", "pipeline": [{ "$out": "x" }], "$db": "shop" },
            0,
            "aggregate shop.orders",
        ),
        (
            doc! { "find": "orders", "txnNumber": 1i64, "autocommit": false, "$db": "shop" },
            0,
            "find shop.orders",
        ),
        (doc! { "find": "x".repeat(400), "$db": "shop" }, 0, "find _other idempotent"),
    ] {
        let op = connection.flagged(flags, document.clone());
        assert_eq!(connection.said(&op), expected, "{document}");
    }
}

#[test]
fn the_application_is_known_from_the_first_hello_on() {
    for recording in ["handshake", "handshake_op_query"] {
        let mut connection = Connection::new();
        let before = connection.command(doc! { "ping": 1, "$db": "admin" });
        assert_eq!(before.as_ref().application, NameId::NONE);
        let hello = connection.send(&recorded(recording, "request")[0]);
        assert_eq!(connection.said(&hello), "isMaster admin orders-api");
        let after = connection.command(doc! { "find": "orders", "$db": "shop" });
        assert_eq!(connection.said(&after), "find shop.orders orders-api idempotent");
    }
}

#[test]
fn a_request_in_pieces_is_the_same_operation() {
    for recording in [
        "insert",
        "handshake",
        "find",
        "aggregate_out",
        "watch",
        "unacknowledged",
        "snappy",
        "zstd",
        "transaction",
    ] {
        for message in recorded(recording, "request") {
            let whole = Connection::new();
            let mut connection = whole;
            let op = connection.send(&message);
            let expected = (connection.said(&op), op.as_ref().tag);
            for step in [1, 7, 100] {
                let mut connection = Connection::new();
                let op = connection.send_cut(&message, step);
                assert_eq!((connection.said(&op), op.as_ref().tag), expected, "{recording} {step}");
            }
        }
    }
}

#[test]
fn what_cannot_be_understood_passes_and_ends_the_reading() {
    let good = op_msg(1, 0, 0, &doc! { "ping": 1, "$db": "admin" });
    let mut bad = good.clone();
    bad[20] = 7;
    let mut connection = Connection::new();
    connection.send(&good);
    let (passed, malformed) = connection.stumble(&bad);
    assert_eq!((passed, malformed), (bad.len(), Malformed::Syntax("section_kind")));
    // Once is enough: the loop goes on with bytes.
    assert_eq!(connection.stumble(&good), (0, Malformed::Syntax("section_kind")));

    let mut connection = Connection::new();
    assert_eq!(connection.stumble(b"GET / HTTP/1.1\r\n"), (0, Malformed::Syntax("http_request")));
}

#[test]
fn replies_due_follow_the_flags_alone() {
    let mut connection = Connection::new();
    let op = connection.send(&recorded("unacknowledged", "request")[0]);
    assert_eq!(op.as_ref().replies, Replies::None);
    let op = connection.send(&recorded("exhaust", "request")[1]);
    assert_eq!(op.as_ref().replies, Replies::Stream);
}

#[test]
fn only_observing_degrades() {
    let measure = weir_measure::Measure::new(weir_measure::Limits::default());
    let protocol = weir_mongo::Protocol::new(&"l".into(), &measure, Default::default());
    let (session, ..) = protocol.session();
    assert!(protocol.degrades(&session));
}
