//! How operations went, by their replies.

use bson::{Document, doc};

use crate::harness::{Connection, op_msg, recorded};

fn find() -> Document {
    doc! { "find": "orders", "$db": "shop" }
}

#[test]
fn replies_are_judged() {
    for (reply, expected) in [
        (doc! { "ok": 1.0 }, "ok  Success"),
        (doc! { "ok": true }, "ok  Success"),
        (doc! { "n": 1, "ok": 1 }, "ok  Success"),
        (doc! { "ok": 0.0, "code": 26, "codeName": "NamespaceNotFound" }, "error NamespaceNotFound Rejected"),
        (doc! { "ok": 0.0, "code": 26 }, "error NamespaceNotFound Rejected"),
        (doc! { "ok": 0.0, "code": 31_415 }, "error 31415 Rejected"),
        (doc! { "ok": 0.0 }, "error  Rejected"),
        (doc! {}, "error  Rejected"),
        (
            doc! { "ok": 0.0, "code": 10107, "codeName": "NotWritablePrimary" },
            "error NotWritablePrimary Failed",
        ),
        (doc! { "ok": 0.0, "code": 91 }, "error ShutdownInProgress Failed"),
        (doc! { "ok": 1, "writeErrors": [{ "code": 11000 }] }, "write_error DuplicateKey Success"),
        (doc! { "ok": 1, "writeErrors": [{ "code": 777 }, { "code": 11000 }] }, "write_error 777 Success"),
        (
            doc! { "ok": 1, "writeConcernError": { "code": 64, "codeName": "WriteConcernTimeout" } },
            "write_concern_error WriteConcernTimeout Success",
        ),
        (
            doc! { "ok": 1, "writeConcernError": { "code": 100 } },
            "write_concern_error UnsatisfiableWriteConcern Success",
        ),
        (
            doc! { "ok": 1, "writeErrors": [{ "code": 121 }], "writeConcernError": { "code": 64 } },
            "write_error DocumentValidationFailure Success",
        ),
        // A state change among the write errors says nothing about the server.
        (doc! { "ok": 1, "writeErrors": [{ "code": 91 }] }, "write_error ShutdownInProgress Success"),
    ] {
        let mut connection = Connection::new();
        let mut op = connection.command(find());
        let outcome = connection.reply(&mut op, reply.clone());
        assert_eq!(connection.told(&outcome), expected, "{reply}");
        assert_eq!(outcome.fault, None);
    }
}

#[test]
fn recorded_conversations_are_judged() {
    for (name, expected) in [
        ("find", vec!["find shop.orders idempotent: ok "]),
        ("insert_dup", vec!["insert shop.orders: write_error DuplicateKey"]),
        ("write_concern_error", vec!["insert shop.orders: write_concern_error UnsatisfiableWriteConcern"]),
        ("command_error", vec!["_other shop: error CommandNotFound"]),
        ("bad_query", vec!["find shop.orders idempotent: error BadValue"]),
        ("transaction", vec!["insert shop.orders: ok ", "commitTransaction admin: ok "]),
        ("rename", vec!["renameCollection shop.sums: ok "]),
        (
            "find_getmore",
            vec!["find shop.orders idempotent: ok ", "getMore shop.orders: ok ", "getMore shop.orders: ok "],
        ),
    ] {
        let mut connection = Connection::new();
        let conversation = recorded(name, "request").into_iter().zip(recorded(name, "reply"));
        let told: Vec<String> = conversation
            .map(|(request, reply)| {
                let mut op = connection.send(&request);
                let (outcome, more) = connection.answer(&mut op, &reply);
                assert!(!more);
                format!(
                    "{}: {} {}",
                    connection.said(&op),
                    outcome.result,
                    connection.names.name(outcome.code)
                )
            })
            .collect();
        assert_eq!(told, expected, "{name}");
    }
}

#[test]
fn a_legacy_find_returns_documents_not_verdicts() {
    let ns = b"\0\0\0\0shop.orders\0".to_vec();
    let query = [ns, vec![0; 8], doc! {}.to_vec().unwrap()].concat();
    let message = |op_code: i32, response_to: i32, body: &[u8]| {
        let words = [body.len() as i32 + 16, 7, response_to, op_code];
        [words.map(i32::to_le_bytes).concat(), body.to_vec()].concat()
    };
    let reply = |flags: i32, document: Document| {
        let head = [flags.to_le_bytes().to_vec(), vec![0; 12], 1i32.to_le_bytes().to_vec()].concat();
        message(1, 7, &[head, document.to_vec().unwrap()].concat())
    };
    for (flags, document, expected) in [
        (8, doc! { "ok": 0, "code": 26 }, "ok  Success"),
        (8 | 2, doc! { "$err": "unsupported", "code": 5_739_101 }, "error 5739101 Rejected"),
    ] {
        let mut connection = Connection::new();
        let mut op = connection.send(&message(2004, 0, &query));
        assert_eq!(connection.said(&op), "find shop.orders idempotent");
        let (outcome, _) = connection.answer(&mut op, &reply(flags, document));
        assert_eq!(connection.told(&outcome), expected);
    }
}

#[test]
fn an_exhausted_stream_ends_with_its_last_reply() {
    let mut connection = Connection::new();
    let requests = recorded("exhaust", "request");
    let replies = recorded("exhaust", "reply");
    let mut find = connection.send(&requests[0]);
    assert!(!connection.answer(&mut find, &replies[0]).1);
    let mut more = connection.send(&requests[1]);
    let follow: Vec<bool> = replies[1..].iter().map(|reply| connection.answer(&mut more, reply).1).collect();
    assert_eq!(follow, [true, true, true, false]);
}

#[test]
fn a_reply_says_which_request_it_answers() {
    let mut connection = Connection::new();
    let mut first = connection.command(find());
    let mut second = connection.command(doc! { "ping": 1, "$db": "admin" });
    assert_ne!(first.as_ref().tag, second.as_ref().tag);
    for op in [&mut second, &mut first] {
        let reply = op_msg(1, op.as_ref().tag as i32, 0, &doc! { "ok": 1 });
        assert_eq!(connection.answer(op, &reply).0.result, "ok");
    }
}
