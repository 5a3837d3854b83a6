//! Which operations are kept as slow, and what is kept of them.

use crate::harness::{Connection, op_msg};
use bson::{Document, doc};
use weir_decide::exchange::{Fault, Now, Phase, Reason, Side};

/// Runs the command for so many milliseconds; the shapes kept, the latest first.
fn run(connection: &mut Connection, command: Document, millis: u64, fault: Option<Fault>) -> Vec<String> {
    let message = op_msg(77, 0, 0, &command);
    let mut op = connection.send(&message);
    connection.begun(&mut op, &message);
    let mut outcome = match fault {
        Some(fault) => connection.fail(&mut op, fault).0,
        None => connection.reply(&mut op, doc! { "ok": 1, "cursor": { "id": 0_i64, "firstBatch": [{}] } }),
    };
    outcome.fault = fault;
    connection.ended(&mut op, &outcome, Now(1_000), Now(1_000 + millis * 1_000_000));
    let kept = connection.measure.slow().latest();
    kept.iter().map(|one| one.shape.as_ref().map_or(String::new(), |shape| shape.text.clone())).collect()
}

#[test]
fn slow_operations_are_kept_without_their_values() {
    let find = doc! { "find": "orders", "filter": { "name": "secret" }, "$db": "shop" };
    let mut connection = Connection::new();
    assert!(run(&mut connection, find.clone(), 99, None).is_empty());
    assert_eq!(run(&mut connection, find.clone(), 100, None), ["{find: ?, filter: {name: ?}}"]);
    let kept = connection.measure.slow().latest();
    let one = &kept[0];
    assert_eq!((one.duration, one.items.returned, one.request_bytes), (100_000_000, 1, 120));
    assert_eq!((one.sending, one.waiting, one.replying), (Some(1), Some(9), Some(99_999_990)));
    assert!(!format!("{one:?}").contains("secret"));
}

#[test]
fn failures_are_kept_whatever_their_time() {
    let mut connection = Connection::new();
    let find = doc! { "find": "orders", "$db": "shop" };
    let lost = Fault::new(Side::Network, Phase::Waiting, Reason::Reset);
    assert_eq!(run(&mut connection, find, 0, Some(lost)), ["{find: ?}"]);
    let kept = connection.measure.slow().latest();
    assert_eq!((kept[0].result, kept[0].fault), ("upstream_lost", Some(lost)));
    // A connection that ends takes its long poll along: that is well.
    let poll = doc! { "hello": 1, "topologyVersion": {}, "maxAwaitTimeMS": 10_000, "$db": "admin" };
    let gone = Fault::new(Side::Client, Phase::Waiting, Reason::Closed);
    let mut op = connection.command(poll);
    assert_eq!(connection.fail(&mut op, gone).0.result, "ok");
}

#[test]
fn secrets_are_never_kept() {
    let mut connection = Connection::new();
    for command in [
        doc! { "saslStart": 1, "payload": "secret", "$db": "admin" },
        doc! { "createUser": "ada", "pwd": "secret", "$db": "admin" },
    ] {
        assert!(run(&mut connection, command, 9_000, None).is_empty());
    }
    // A hello may carry the first step of an authentication: it is kept, without a shape.
    let hello = doc! { "hello": 1, "speculativeAuthenticate": { "payload": "secret" }, "$db": "admin" };
    assert_eq!(run(&mut connection, hello, 9_000, None), [""]);
}

#[test]
fn a_drivers_plain_hello_is_nobodys_operation() {
    let mut connection = Connection::new();
    let lost = Fault::new(Side::Network, Phase::Connecting, Reason::ConnectFailed);
    let client = doc! { "driver": { "name": "PyMongo" } };
    for hello in
        [doc! { "hello": 1, "$db": "admin" }, doc! { "isMaster": 1, "client": client, "$db": "admin" }]
    {
        assert!(run(&mut connection, hello.clone(), 9_000, None).is_empty());
        assert!(run(&mut connection, hello, 0, Some(lost)).is_empty());
    }
}

#[test]
fn only_the_latest_request_of_a_connection_has_a_shape() {
    let mut connection = Connection::new();
    let [first, second] = ["a", "b"].map(|name| {
        let message = op_msg(5, 0, 0, &doc! { "find": "c", "filter": { name: 1 }, "$db": "d" });
        let mut op = connection.send(&message);
        connection.begun(&mut op, &message);
        op
    });
    for mut op in [first, second] {
        let outcome = connection.reply(&mut op, doc! { "ok": 1 });
        connection.ended(&mut op, &outcome, Now(0), Now(1_000_000_000));
    }
    let kept = connection.measure.slow().latest();
    let shapes: Vec<_> = kept.iter().map(|one| one.shape.as_ref().map(|shape| shape.text.as_str())).collect();
    assert_eq!(shapes, [Some("{find: ?, filter: {b: ?}}"), None]);
}

#[test]
fn compressed_requests_have_the_same_shape() {
    let mut connection = Connection::new();
    let clear = op_msg(77, 0, 0, &doc! { "find": "orders", "filter": { "name": "secret" }, "$db": "shop" });
    let packed = snap::raw::Encoder::new().compress_vec(&clear[16..]).unwrap();
    let mut message = Vec::new();
    for word in [25 + packed.len() as i32, 77, 0, 2012, 2013, clear.len() as i32 - 16] {
        message.extend(word.to_le_bytes());
    }
    message.push(1);
    message.extend(packed);
    for message in [clear, message] {
        let mut op = connection.send(&message);
        connection.begun(&mut op, &message);
        let outcome = connection.reply(&mut op, doc! { "ok": 1 });
        connection.ended(&mut op, &outcome, Now(0), Now(1_000_000_000));
    }
    let kept = connection.measure.slow().latest();
    assert_eq!(kept.len(), 2);
    assert_eq!(kept[0].shape.as_ref().map(|s| s.text.as_str()), Some("{find: ?, filter: {name: ?}}"));
    assert_eq!(kept[0].shape, kept[1].shape);
}
