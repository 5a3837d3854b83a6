//! Whose connections there are, and how they authenticate.

use crate::harness::Connection;
use bson::{Document, doc};

fn told(connection: &Connection, family: &str) -> Vec<String> {
    let mut text = Vec::new();
    connection.measure.prometheus(&mut text);
    let text = String::from_utf8(text).unwrap();
    let lines =
        text.lines().filter_map(|line| line.strip_prefix(family)?.strip_prefix("{listener=\"orders-db\","));
    lines.map(|line| line.replace(['}', '"'], "")).collect()
}

fn run(connection: &mut Connection, mut command: Document, reply: Document) {
    command.insert("$db", "admin");
    let mut op = connection.command(command);
    connection.reply(&mut op, reply);
}

#[test]
fn the_first_hello_says_whose_connection_it_is() {
    let mut connection = Connection::new();
    let client = |name: &str| doc! { "application": { "name": name }, "driver": { "name": "PyMongo", "version": "4.17" } };
    run(&mut connection, doc! { "hello": 1, "client": client("web") }, doc! { "ok": 1 });
    run(&mut connection, doc! { "hello": 1, "client": client("other") }, doc! { "ok": 1 });
    let expected = ["application=web,driver=PyMongo,version=4.17,framework= 1"];
    assert_eq!(told(&connection, "weir_mongo_connections_total"), expected);
    assert_eq!(told(&connection, "weir_mongo_connections_open"), expected);
}

#[test]
fn authentications_end_once_however_many_steps_they_take() {
    let ok = |done: bool| doc! { "conversationId": 1, "done": done, "ok": 1 };
    let failed = doc! { "ok": 0, "code": 18, "codeName": "AuthenticationFailed" };
    let start = |mechanism: &str| doc! { "saslStart": 1, "mechanism": mechanism, "payload": "x" };
    let go_on = doc! { "saslContinue": 1, "conversationId": 1, "payload": "x" };
    let speculative = doc! { "hello": 1, "speculativeAuthenticate": { "saslStart": 1, "mechanism": "SCRAM-SHA-256", "payload": "x" } };
    let mut connection = Connection::new();
    run(&mut connection, start("SCRAM-SHA-1"), ok(false));
    run(&mut connection, go_on.clone(), ok(false));
    run(&mut connection, go_on.clone(), ok(true));
    run(&mut connection, start("SCRAM-SHA-1"), ok(false));
    run(&mut connection, go_on.clone(), failed.clone());
    run(&mut connection, start("PLAIN"), failed);
    run(&mut connection, start("PLAIN"), ok(true));
    run(&mut connection, start("nobody's"), ok(true));
    run(&mut connection, doc! { "authenticate": 1, "mechanism": "MONGODB-X509" }, doc! { "ok": 1 });
    // With the hello, and on without another start.
    run(&mut connection, speculative.clone(), doc! { "speculativeAuthenticate": ok(false), "ok": 1 });
    run(&mut connection, go_on, ok(true));
    // The server left it out: nothing has come of it.
    run(&mut connection, speculative, doc! { "ok": 1 });
    let expected = [
        "mechanism=MONGODB-X509,result=ok 1",
        "mechanism=PLAIN,result=failed 1",
        "mechanism=PLAIN,result=ok 1",
        "mechanism=SCRAM-SHA-1,result=failed 1",
        "mechanism=SCRAM-SHA-1,result=ok 1",
        "mechanism=SCRAM-SHA-256,result=ok 1",
        "mechanism=other,result=ok 1",
    ];
    assert_eq!(told(&connection, "weir_mongo_authentications_total"), expected);
}
