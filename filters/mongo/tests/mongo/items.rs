//! How many documents an operation is about, and what else it is.

use crate::harness::Connection;
use bson::{Document, doc};
use weir_decide::exchange::{Items, Trait};

fn traits(op: &weir_mongo::MongoOp) -> Vec<&'static str> {
    let traits = op.as_ref().traits;
    Trait::ALL.iter().filter(|one| traits.has(**one)).map(|one| one.label()).collect()
}

#[test]
fn documents_are_counted_both_ways() {
    let batch = |id: i64| doc! { "id": id, "ns": "d.c", "nextBatch": [{ "_id": 1 }, { "_id": 2 }] };
    let cases: Vec<(Document, Document, [u64; 4])> = vec![
        (doc! { "insert": "c", "documents": [{}, {}, {}] }, doc! { "n": 2, "ok": 1 }, [3, 0, 2, 0]),
        (
            doc! { "update": "c", "updates": [{ "q": {}, "u": {}, "multi": true }] },
            doc! { "n": 7, "nModified": 4, "ok": 1 },
            [1, 0, 7, 4],
        ),
        (
            doc! { "delete": "c", "deletes": [{ "q": {}, "limit": 0 }] },
            doc! { "n": 5, "ok": 1 },
            [1, 0, 5, 0],
        ),
        (
            doc! { "findAndModify": "c", "query": {}, "remove": true },
            doc! { "lastErrorObject": { "n": 1 }, "value": {}, "ok": 1 },
            [0, 0, 1, 0],
        ),
        (
            doc! { "bulkWrite": 1, "ops": [{ "insert": 0, "document": {} }, { "insert": 0, "document": {} }], "nsInfo": [{ "ns": "d.c" }] },
            doc! { "cursor": { "id": 0_i64, "firstBatch": [] }, "nInserted": 1, "nMatched": 2, "nModified": 1, "nUpserted": 3, "nDeleted": 4, "ok": 1 },
            [2, 0, 10, 1],
        ),
        (doc! { "find": "c" }, doc! { "cursor": { "id": 0_i64, "firstBatch": [{}] }, "ok": 1 }, [0, 1, 0, 0]),
        (doc! { "getMore": 5_i64, "collection": "c" }, doc! { "cursor": batch(0), "ok": 1 }, [0, 2, 0, 0]),
        (doc! { "distinct": "c", "key": "a" }, doc! { "values": [1, 2, 3], "ok": 1 }, [0, 3, 0, 0]),
        // What is explained is not done.
        (
            doc! { "explain": { "update": "c", "updates": [{ "q": {}, "u": {} }] } },
            doc! { "queryPlanner": {}, "ok": 1 },
            [0, 0, 0, 0],
        ),
        // What count says is no document.
        (doc! { "count": "c" }, doc! { "n": 9, "ok": 1 }, [0, 0, 0, 0]),
        (doc! { "insert": "c", "documents": [{}] }, doc! { "ok": 0, "code": 13 }, [1, 0, 0, 0]),
    ];
    for (mut command, reply, [sent, returned, affected, modified]) in cases {
        command.insert("$db", "d");
        let mut connection = Connection::new();
        let mut op = connection.command(command.clone());
        let has_batch = ["cursor", "values"].iter().any(|key| reply.contains_key(key));
        let expected = Items { sent, returned, has_batch, affected, modified };
        connection.reply(&mut op, reply);
        assert_eq!(op.as_ref().items, expected, "{command}");
    }
}

#[test]
fn what_else_an_operation_is() {
    let cases: Vec<(Document, &[&str])> = vec![
        (doc! { "find": "c", "$db": "d" }, &["unbounded", "no_deadline"]),
        (doc! { "find": "c", "filter": {}, "limit": 0, "maxTimeMS": 5, "$db": "d" }, &["unbounded"]),
        (doc! { "find": "c", "filter": { "a": 1 }, "$db": "d" }, &["no_deadline"]),
        // Which is no limit.
        (doc! { "find": "c", "filter": { "a": 1 }, "maxTimeMS": 0, "$db": "d" }, &["no_deadline"]),
        (doc! { "explain": { "delete": "c", "deletes": [{ "q": {}, "limit": 0 }] }, "$db": "d" }, &[]),
        (doc! { "explain": { "aggregate": "c", "pipeline": [{ "$out": "e" }] }, "$db": "d" }, &[]),
        (doc! { "find": "c", "limit": 1, "maxTimeMS": 5, "$db": "d" }, &[]),
        (doc! { "find": "c", "tailable": true, "$db": "d" }, &[]),
        (doc! { "getMore": 1_i64, "collection": "c", "$db": "d" }, &[]),
        (doc! { "aggregate": "c", "pipeline": [{ "$changeStream": {} }], "$db": "d" }, &["watch"]),
        (
            doc! { "aggregate": "c", "pipeline": [{ "$match": {} }, { "$merge": "e" }], "maxTimeMS": 1, "$db": "d" },
            &["writes_result"],
        ),
        (doc! { "update": "c", "updates": [{ "q": {}, "u": {}, "multi": true }], "$db": "d" }, &["many"]),
        (doc! { "delete": "c", "deletes": [{ "q": {}, "limit": 1 }], "$db": "d" }, &[]),
        (doc! { "delete": "c", "deletes": [{ "q": {}, "limit": 0 }], "$db": "d" }, &["many"]),
        (
            doc! { "insert": "c", "documents": [{}], "autocommit": false, "txnNumber": 1_i64, "$db": "d" },
            &["transaction"],
        ),
    ];
    for (command, expected) in cases {
        let op = Connection::new().command(command.clone());
        assert_eq!(traits(&op), expected, "{command}");
    }
}

#[test]
fn a_write_that_the_server_knew_is_recognised() {
    let mut connection = Connection::new();
    let mut op = connection.command(doc! { "insert": "c", "documents": [{}], "$db": "d" });
    connection.reply(&mut op, doc! { "n": 1, "retriedStmtIds": [0], "ok": 1 });
    assert_eq!(traits(&op), ["recognised"]);
}
