//! What is learnt from recorded and hand-made messages.

use bson::{Bson, doc};
use weir_codecs::mongo::{Class, Command, Compressor, Header, Labels, OpCode, ReplyHead, RequestHead, Short};

use super::{body, head, message, op_msg, recorded, recordings, sequence};

fn text<const N: usize>(short: &Short<N>) -> &str {
    std::str::from_utf8(short.as_bytes()).unwrap()
}

fn said(head: &RequestHead) -> String {
    let more = [
        (head.documents > 0).then(|| format!("documents={}", head.documents)),
        (head.cursor_id != 0).then(|| format!("cursors={}", head.cursors.max(1))),
        head.txn_number.map(|number| format!("txn={number}")),
        head.in_transaction.then(|| "in_transaction".to_owned()),
        head.starts_transaction.then(|| "starts".to_owned()),
        head.max_time_ms.map(|ms| format!("max_time_ms={ms}")),
        head.comment.map(|_| "comment".to_owned()),
        head.change_stream.then(|| "change_stream".to_owned()),
        head.writes_result.then(|| "writes_result".to_owned()),
        head.affects_many.then(|| "many".to_owned()),
        head.has_filter.then(|| "filter".to_owned()),
        head.has_limit.then(|| "limit".to_owned()),
        head.tailable.then(|| "tailable".to_owned()),
        head.await_data.then(|| "await_data".to_owned()),
        head.is_awaitable_hello().then(|| "awaitable".to_owned()),
        head.flags.exhaust_allowed().then(|| "exhaust".to_owned()),
        (!head.expects_reply()).then(|| "no_reply".to_owned()),
        head.compressor.map(|compressor| compressor.name().to_owned()),
        head.client.as_ref().map(|client| format!("app={}", text(&client.application))),
        head.problem.map(|problem| problem.word().to_owned()),
    ];
    let mut said = format!("{} {}.{}", head.command.name(), text(&head.database), text(&head.collection));
    for fact in more.into_iter().flatten() {
        said.push(' ');
        said.push_str(&fact);
    }
    said
}

fn answered(head: &ReplyHead) -> String {
    let more = [
        (head.code != 0).then(|| format!("code={} {}", head.code, text(&head.code_name))),
        (head.labels != Labels::NONE).then(|| head.labels.names().collect::<Vec<_>>().join("+")),
        (head.n != 0).then(|| format!("n={}", head.n)),
        (head.modified != 0).then(|| format!("modified={}", head.modified)),
        (head.upserted != 0).then(|| format!("upserted={}", head.upserted)),
        head.has_cursor.then(|| {
            let open = if head.cursor_id == 0 { "closed" } else { "open" };
            format!("cursor={open} {}", text(&head.cursor_namespace))
        }),
        (head.returned != 0).then(|| format!("returned={}", head.returned)),
        (head.write_errors != 0)
            .then(|| format!("write_errors={}x{}", head.write_errors, head.write_error_code)),
        head.write_concern_error.map(|code| format!("wce={code} {}", text(&head.write_concern_error_name))),
        head.more_to_come().then(|| "more".to_owned()),
        head.announces_members.then(|| "members".to_owned()),
        head.is_writable_primary.then(|| "primary".to_owned()),
        head.compressor.map(|compressor| compressor.name().to_owned()),
        head.problem.map(|problem| problem.word().to_owned()),
    ];
    let mut said = if head.ok == Some(true) { "ok".to_owned() } else { "failed".to_owned() };
    for fact in more.into_iter().flatten() {
        said.push(' ');
        said.push_str(&fact);
    }
    said
}

#[test]
fn recorded_conversations_are_understood() {
    let mut told = String::new();
    for name in recordings() {
        told.push_str(&format!("{name}\n"));
        for message in recorded(&name, "request") {
            told.push_str(&format!("  > {}\n", said(&head(&message))));
        }
        for message in recorded(&name, "reply") {
            told.push_str(&format!("  < {}\n", answered(&head(&message))));
        }
    }
    let path = format!("{}/../fixtures/mongo/facts.txt", env!("CARGO_MANIFEST_DIR"));
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    if told != expected {
        let found = std::env::temp_dir().join("weir-mongo-facts.txt");
        std::fs::write(&found, &told).unwrap();
        panic!("{} differs from fixtures/mongo/facts.txt", found.display());
    }
}

#[test]
fn commands_are_found_under_every_spelling() {
    for (name, command) in [
        ("find", Command::Find),
        ("isMaster", Command::IsMaster),
        ("ismaster", Command::IsMaster),
        ("findAndModify", Command::FindAndModify),
        ("findandmodify", Command::FindAndModify),
        ("mapreduce", Command::MapReduce),
        ("deleteIndexes", Command::DropIndexes),
        ("collstats", Command::CollStats),
        ("FIND", Command::Other),
        ("", Command::Other),
        ("f", Command::Other),
        ("$cmd", Command::Other),
    ] {
        assert_eq!(Command::from_name(name.as_bytes()), command, "{name}");
    }
    assert!(Command::ALL.len() > 150);
    for &command in &Command::ALL[1..] {
        assert_eq!(Command::from_name(command.name().as_bytes()), command);
        assert_eq!(Command::from_id(command.id()), command);
    }
    assert_eq!(Command::from_id(u16::MAX), Command::Other);
    assert_eq!(Command::Other.class(), Class::Write);
}

#[test]
fn namespaces_are_found_where_each_command_keeps_them() {
    for (document, expected) in [
        (doc! { "find": "orders", "$db": "shop" }, "find shop.orders"),
        (doc! { "$db": "shop", "find": "orders" }, "_other shop."),
        (doc! { "aggregate": 1, "pipeline": [{ "$currentOp": {} }], "$db": "admin" }, "aggregate admin."),
        (
            doc! { "getMore": 77i64, "$db": "shop", "collection": "$cmd.aggregate" },
            "getMore shop.$cmd.aggregate cursors=1",
        ),
        (
            doc! { "killCursors": "orders", "cursors": [9i64, 8i64], "$db": "shop" },
            "killCursors shop.orders cursors=2",
        ),
        (
            doc! { "renameCollection": "shop.a.b", "to": "shop.c", "$db": "admin" },
            "renameCollection shop.a.b",
        ),
        (doc! { "dataSize": "shop.orders", "$db": "admin" }, "dataSize shop.orders"),
        (doc! { "enableSharding": "shop", "$db": "admin" }, "enableSharding admin."),
        (doc! { "createUser": "mallory", "pwd": "x", "$db": "shop" }, "createUser shop."),
        (doc! { "dropDatabase": 1, "$db": "shop" }, "dropDatabase shop."),
        (doc! { "notYetInvented": "orders", "$db": "shop" }, "_other shop."),
        (
            doc! { "explain": { "delete": "orders", "deletes": [{ "q": {}, "limit": 0 }] }, "$db": "shop" },
            "explain shop.orders documents=1 many",
        ),
        (
            doc! { "bulkWrite": 1, "ops": [{ "insert": 0 }, { "insert": 1 }],
            "nsInfo": [{ "ns": "shop.a" }, { "ns": "shop.b" }], "$db": "admin" },
            "bulkWrite shop.a documents=2",
        ),
        (doc! { "find": "x".repeat(300), "$db": "shop" }, "find shop."),
    ] {
        assert_eq!(said(&head(&op_msg(0, &[body(&document)]))), expected, "{document}");
    }
}

#[test]
fn what_a_command_does_depends_on_what_it_contains() {
    for (document, expected) in [
        (doc! { "find": "c", "$db": "d" }, Class::Read),
        (doc! { "aggregate": "c", "pipeline": [], "$db": "d" }, Class::Read),
        (
            doc! { "aggregate": "c", "pipeline": [{ "$match": {} }, { "$out": "x" }], "$db": "d" },
            Class::Write,
        ),
        (doc! { "aggregate": "c", "$db": "d", "pipeline": [{ "$merge": { "into": "x" } }] }, Class::Write),
        // Only as the last stage it writes; elsewhere the server refuses it.
        (doc! { "aggregate": "c", "pipeline": [{ "$out": "x" }, { "$match": {} }], "$db": "d" }, Class::Read),
        (doc! { "mapReduce": "c", "out": { "inline": 1 }, "$db": "d" }, Class::Read),
        (doc! { "mapReduce": "c", "out": "x", "$db": "d" }, Class::Write),
        (doc! { "mapReduce": "c", "out": { "merge": "x" }, "$db": "d" }, Class::Write),
        (doc! { "explain": { "find": "c" }, "$db": "d" }, Class::Read),
        (doc! { "explain": { "update": "c", "updates": [] }, "$db": "d" }, Class::Write),
        (doc! { "explain": { "aggregate": "c", "pipeline": [{ "$merge": "x" }] }, "$db": "d" }, Class::Write),
        (doc! { "explain": { "explain": { "find": "c" } }, "$db": "d" }, Class::Read),
        (doc! { "bulkWrite": 1, "$db": "admin" }, Class::Write),
        (doc! { "hello": 1, "$db": "admin" }, Class::Session),
        (doc! { "serverStatus": 1, "$db": "admin" }, Class::Admin),
        (doc! { "unheardOf": 1, "$db": "admin" }, Class::Write),
    ] {
        assert_eq!(head::<RequestHead>(&op_msg(0, &[body(&document)])).class(), expected, "{document}");
    }
}

#[test]
fn documents_are_counted_in_bodies_and_sequences() {
    let docs = vec![doc! { "x": 1 }; 5];
    let insert = doc! { "insert": "c", "$db": "d" };
    let inside = doc! { "insert": "c", "documents": docs.clone(), "$db": "d" };
    let many = [doc! { "q": {}, "u": {}, "multi": true }, doc! { "q": {}, "u": {} }];
    for (sections, documents, all) in [
        (vec![body(&insert), sequence("documents", &docs)], 5, false),
        (vec![sequence("documents", &docs), body(&insert)], 5, false),
        (vec![body(&inside)], 5, false),
        (vec![body(&doc! { "update": "c", "$db": "d" }), sequence("updates", &many)], 2, true),
        (vec![body(&doc! { "update": "c", "updates": [many[1].clone()], "$db": "d" })], 1, false),
        (
            vec![
                body(&doc! { "delete": "c", "$db": "d" }),
                sequence("deletes", &[doc! { "q": {}, "limit": 0 }]),
            ],
            1,
            true,
        ),
        (
            vec![
                body(&doc! { "delete": "c", "$db": "d" }),
                sequence("deletes", &[doc! { "q": {}, "limit": 1.0 }]),
            ],
            1,
            false,
        ),
        (vec![body(&insert), sequence("unheardOf", &docs)], 0, false),
        (vec![body(&insert), sequence("documents", &[])], 0, false),
    ] {
        let head: RequestHead = head(&op_msg(0, &sections));
        assert_eq!((head.documents, head.affects_many, head.problem), (documents, all, None));
        let summed = crc(&op_msg(0, &sections));
        assert_eq!(super::head::<RequestHead>(&summed).documents, documents, "with a checksum");
    }
}

/// The same message with a checksum.
fn crc(message: &[u8]) -> Vec<u8> {
    let mut summed = message.to_vec();
    summed[16] |= 1;
    let length = summed.len() as u32 + 4;
    summed[..4].copy_from_slice(&length.to_le_bytes());
    summed.extend(weir_codecs::mongo::crc32c(&summed).to_le_bytes());
    summed
}

#[test]
fn handshakes_tell_who_is_there() {
    for name in ["handshake", "handshake_op_query"] {
        let first: RequestHead = head(&recorded(name, "request")[0]);
        let client = first.client.unwrap();
        assert_eq!(first.command, Command::IsMaster);
        assert_eq!(text(&client.application), "orders-api");
        assert!(text(&client.driver).starts_with("PyMongo"));
        assert!(text(&client.driver_version).starts_with("4."));
        assert_eq!(first.offered_compressors, 0);
    }
    let first: RequestHead = head(&recorded("zstd", "request")[1]);
    assert_eq!(first.offered_compressors, 1 << Compressor::Zstd.id());
}

#[test]
fn sessions_and_transactions_are_seen() {
    let session = [3; 16];
    let id = Bson::Binary(bson::Binary { subtype: bson::spec::BinarySubtype::Uuid, bytes: session.to_vec() });
    let document = doc! { "insert": "c", "lsid": { "id": id, "uid": 1 }, "txnNumber": 5i64,
    "startTransaction": true, "autocommit": false, "$db": "d", "maxTimeMS": 30.0 };
    let head: RequestHead = head(&op_msg(0, &[body(&document)]));
    assert_eq!(head.session, Some(session));
    assert_eq!(head.txn_number, Some(5));
    assert!(head.in_transaction && head.starts_transaction && !head.is_retryable_write());
    assert_eq!(head.max_time_ms, Some(30));
    let (offset, kind) =
        super::head::<RequestHead>(&op_msg(0, &[body(&doc! { "find": "c", "comment": "x" })]))
            .comment
            .unwrap();
    assert_eq!((offset, kind), (16 + 4 + 1 + 4 + 1 + 5 + 4 + 2 + 1 + 8, 2));
}

#[test]
fn legacy_opcodes_are_classed() {
    let mut ns = b"\0\0\0\0shop.orders\0".to_vec();
    let document = doc! { "a": 1 }.to_vec().unwrap();
    let with = |more: &[&[u8]]| [ns.as_slice(), &more.concat()].concat();
    for (op_code, content, expected) in [
        (2002, with(&[&document, &document]), "insert shop.orders documents=2 no_reply"),
        (2001, with(&[&[0; 4], &document, &document]), "update shop.orders documents=1 no_reply"),
        (2006, with(&[&[0; 4], &document]), "delete shop.orders documents=1 no_reply"),
        (2005, with(&[&[0; 4], &9i64.to_le_bytes()]), "getMore shop.orders cursors=1"),
        (2004, with(&[&[0; 8], &document]), "find shop.orders"),
        (2007, vec![0; 16], "_other . no_reply"),
        (2010, b"shop\0ping\0".to_vec(), "_other ."),
        (4711, vec![0; 3], "_other ."),
        (1000, vec![], "_other . no_reply"),
    ] {
        assert_eq!(said(&head(&message(op_code, &content))), expected, "{op_code}");
    }
    ns = b"\0\0\0\0shop.$cmd\0".to_vec();
    let wrapped = doc! { "$query": { "count": "orders", "query": { "a": 1 } }, "$readPreference": { "mode": "nearest" } };
    let content = [ns.as_slice(), &[0; 8], &wrapped.to_vec().unwrap()].concat();
    assert_eq!(said(&head(&message(2004, &content))), "count shop.orders filter");
}

#[test]
fn replies_are_understood() {
    let error = doc! { "errorLabels": ["RetryableWriteError", "Unheard", "NoWritesPerformed"], "ok": 0i32,
    "code": 91, "codeName": "ShutdownInProgress" };
    let partial = doc! { "n": 3, "writeErrors": [{ "index": 1, "code": 11000 }, { "index": 2, "code": 121 }],
    "writeConcernError": { "code": 64, "codeName": "WriteConcernTimeout" }, "retriedStmtIds": [0, 1], "ok": 1.0 };
    for (document, expected) in [
        (error, "failed code=91 ShutdownInProgress RetryableWriteError+NoWritesPerformed"),
        (partial, "ok n=3 write_errors=2x11000 wce=64 WriteConcernTimeout"),
        (doc! { "ok": true }, "ok"),
        (doc! { "ok": 1i64 }, "ok"),
        (
            doc! { "values": [1, "two", [3], bson::Regex { pattern: "a".try_into().unwrap(), options: "i".try_into().unwrap() }], "ok": 1 },
            "ok returned=4",
        ),
        (doc! { "lastErrorObject": { "n": 1, "updatedExisting": true }, "value": {}, "ok": 1 }, "ok n=1"),
        (
            doc! { "nErrors": 2, "nInserted": 3, "nUpserted": 1, "ok": 1 },
            "ok n=3 upserted=1 write_errors=2x0",
        ),
        (doc! {}, "failed"),
    ] {
        assert_eq!(answered(&head(&op_msg(0, &[body(&document)]))), expected, "{document}");
        let reply = [&[8, 0, 0, 0][..], &[0; 12], &[1, 0, 0, 0], &document.to_vec().unwrap()].concat();
        let head: ReplyHead = head(&message(1, &reply));
        assert_eq!((head.reply_flags, head.op_code), (8, OpCode::REPLY));
        assert_eq!(head.ok, super::head::<ReplyHead>(&op_msg(0, &[body(&document)])).ok);
    }
    let head: ReplyHead = head(&op_msg(2, &[body(&doc! { "ok": 1, "retriedStmtIds": [4] })]));
    assert!(head.more_to_come());
    assert_eq!(head.retried_statements, 1);
    let modified: ReplyHead =
        super::head(&op_msg(0, &[body(&doc! { "value": {}, "retriedStmtId": 0, "ok": 1 })]));
    assert_eq!(modified.retried_statements, 1, "as findAndModify says it");
    assert_eq!(
        head.header,
        Header { length: head.header.length, request_id: 7, response_to: 5, op_code: OpCode::MSG }
    );
}

#[test]
fn flags_that_nobody_knows_are_reported() {
    let bytes = op_msg(0b1000 | 1 << 20, &[body(&doc! { "ping": 1, "$db": "admin" })]);
    let head: RequestHead = head(&bytes);
    assert_eq!(head.flags.unknown_required(), 0b1000);
    assert_eq!(head.command, Command::Ping);
}
