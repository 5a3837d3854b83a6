//! Rules on scripted requests.

use super::*;
use crate::decode::Requests;
use crate::{Mongo, MongoSettings, Protocol};
use bson::{Binary, Document, doc, spec::BinarySubtype};
use bytes::BytesMut;
use std::rc::Rc;
use std::sync::Arc;
use weir_decide::exchange::{Now, Replies};
use weir_decide::protocol::{Decode as _, Protocol as _};
use weir_measure::Limits;

mod dry_run;
mod touches;
mod waits;

struct Unnamed;

impl Names for Unnamed {
    fn intern(&mut self, _: NameKind, _: &[&[u8]]) -> NameId {
        NameId(7)
    }
}

/// What came of a request.
#[derive(Debug, PartialEq)]
enum Came {
    /// It goes on, decided after so many bytes.
    Through(usize),
    /// It was answered with this code and text.
    Refused(i32, String),
    /// It goes nowhere, and nobody is told.
    Swallowed,
    Closed,
}

struct Client {
    protocol: Protocol,
    control: Rc<Control>,
    session: Session,
    requests: Requests,
    measure: Arc<Measure>,
    now: u64,
    held: Vec<MongoOp>,
    /// What may be held of a request.
    room: usize,
}

fn settings(rules: &str) -> Arc<[RuleSettings]> {
    let text = format!(
        "listeners: {{ l: {{ bind: '127.0.0.1:1', mongo: {{ cluster: c, rules: [{rules}] }} }} }}\n\
         clusters: {{ c: {{ endpoints: ['127.0.0.1:2'] }} }}"
    );
    let config = weir_config::parse(&text, "weir.yaml", &[&Mongo]).unwrap();
    let settings = config.listeners[0].settings.downcast_ref::<MongoSettings>().unwrap();
    Arc::clone(&settings.rules)
}

impl Client {
    /// A client under rules; `scope` keeps the limits of tests apart.
    fn under(scope: &str, rules: &str) -> Client {
        let measure = Measure::new(Limits::default());
        let control = Rc::<Control>::default();
        control.replace(scope, &settings(rules), &measure);
        let protocol = Protocol::new(&Arc::from("l"), &measure, Arc::default()).under(&control);
        let (session, requests, _) = protocol.session();
        Client {
            protocol,
            control,
            session,
            requests,
            measure,
            now: 1 << 40,
            held: Vec::new(),
            room: usize::MAX,
        }
    }

    fn send_cut(&mut self, message: &[u8], step: usize) -> (Came, Ruling) {
        let (mut buffer, mut head, mut size, mut limit) = (BytesMut::new(), None, 0, usize::MAX);
        let mut came: Option<(Came, Ruling)> = None;
        for part in message.chunks(step) {
            buffer.extend_from_slice(part);
            loop {
                let piece = match self.requests.decode(&mut buffer) {
                    Ok(Some(piece)) => piece,
                    Ok(None) => break,
                    // What has gone on has gone on.
                    Err(_) => return came.unwrap_or((Came::Closed, Ruling::default())),
                };
                size += piece.bytes.len();
                let asked = piece.head.is_some() || piece.last || size > limit || size == piece.bytes.len();
                head = piece.head.or(head);
                if came.is_some() || !asked {
                    continue;
                }
                let end = piece.last || size > limit;
                let mut op = MongoOp::default();
                let step =
                    self.protocol.request(&mut self.session, &mut Unnamed, &mut op, head.as_ref(), end);
                assert!(matches!(step, Step::Forward));
                let at = At { now: Now(self.now), random: 1, bytes: &message[..size], end };
                let mut ruling =
                    self.protocol.govern(&mut self.session, &mut Unnamed, &mut op, head.as_ref(), at);
                let decided = match ruling.instead.take() {
                    None | Some(Step::Rewrite { .. }) => {
                        self.held.push(op);
                        Came::Through(size)
                    }
                    Some(Step::More { limit: more }) => {
                        assert!(!end, "there is no more");
                        limit = more.min(self.room);
                        continue;
                    }
                    Some(Step::Respond(bytes, outcome)) if bytes.is_empty() => {
                        assert_eq!(op.as_ref().replies, Replies::None);
                        assert_eq!(outcome.class, Class::Refused);
                        Came::Swallowed
                    }
                    Some(Step::Respond(bytes, outcome)) => {
                        assert_eq!(outcome.class, Class::Refused);
                        // Behind the preface of an `OP_REPLY` or an `OP_MSG`.
                        let at = if bytes[12..16] == 1i32.to_le_bytes() { 36 } else { 21 };
                        let told = Document::from_reader(&bytes[at..]).unwrap();
                        Came::Refused(
                            told.get_i32("code").unwrap(),
                            told.get_str("errmsg").unwrap().to_owned(),
                        )
                    }
                    Some(Step::Close(_)) => Came::Closed,
                    Some(other) => panic!("{other:?}"),
                };
                came = Some((decided, ruling));
            }
        }
        came.expect("a decision")
    }

    fn send(&mut self, message: &[u8]) -> Came {
        self.send_cut(message, message.len()).0
    }

    fn command(&mut self, document: Document) -> Came {
        self.send(&op_msg(0, &document))
    }

    /// The rule that refused the command, empty when none did.
    fn refused_by(&mut self, document: &Document) -> String {
        match self.command(document.clone()) {
            Came::Refused(13, text) => text.rsplit(' ').next().unwrap().to_owned(),
            Came::Through(_) => String::new(),
            came => panic!("{document}: {came:?}"),
        }
    }

    fn acted(&self, rule: &str, action: &str) -> u64 {
        self.measure.counter(&names::MONGO_RULE_ACTIONS, &["l", rule, action, "false"]).value()
    }
}

fn message(op_code: i32, body: &[u8]) -> Vec<u8> {
    let words = [16 + body.len() as i32, 9, 0, op_code];
    words.iter().flat_map(|word| word.to_le_bytes()).chain(body.iter().copied()).collect()
}

fn op_msg(flags: u32, document: &Document) -> Vec<u8> {
    let mut body = flags.to_le_bytes().to_vec();
    body.push(0);
    body.extend(document.to_vec().unwrap());
    message(2013, &body)
}

fn zlib(message_: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    let mut packed = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(&message_[16..]).unwrap();
    compressed(message_, 2, &packed.finish().unwrap())
}

fn compressed(message_: &[u8], id: u8, packed: &[u8]) -> Vec<u8> {
    let mut body = 2013i32.to_le_bytes().to_vec();
    body.extend((message_.len() as i32 - 16).to_le_bytes());
    body.push(id);
    body.extend_from_slice(packed);
    message(2012, &body)
}

const BY_CLASS: &str = "{ name: read, match: { class: read }, deny: {} }, { name: write, match: { class: write }, deny: {} },
    { name: admin, match: { class: admin }, deny: {} }, { name: session, match: { class: session }, deny: {} }";

#[test]
fn every_command_has_a_class() {
    let mut client = Client::under("classes", BY_CLASS);
    let mut seen = 0;
    for &command in Command::ALL {
        let name = if command == Command::Other { "noSuchCommand" } else { command.name() };
        let found = client.refused_by(&doc! { name: "c", "$db": "d" });
        let expected = match command.class() {
            // What is inside decides; nothing is, so that it counts as unknown.
            _ if command == Command::Explain => "write",
            // Without `out` its result goes to the client.
            _ if command == Command::MapReduce => "read",
            weir_codecs::mongo::Class::Read => "read",
            weir_codecs::mongo::Class::Write => "write",
            weir_codecs::mongo::Class::Admin => "admin",
            weir_codecs::mongo::Class::Session => "session",
        };
        assert_eq!(found, expected, "{name}");
        seen += 1;
    }
    assert!(seen > 150);
    for (document, expected) in [
        (doc! { "aggregate": "c", "pipeline": [{ "$match": {} }], "$db": "d" }, "read"),
        (doc! { "aggregate": "c", "pipeline": [{ "$match": {} }, { "$out": "x" }], "$db": "d" }, "write"),
        (doc! { "aggregate": "c", "pipeline": [{ "$merge": "x" }], "$db": "d" }, "write"),
        (doc! { "mapReduce": "c", "out": { "inline": 1 }, "$db": "d" }, "read"),
        (doc! { "mapReduce": "c", "out": "x", "$db": "d" }, "write"),
        (doc! { "bulkWrite": 1, "ops": [], "nsInfo": [{ "ns": "d.c" }], "$db": "admin" }, "write"),
        (doc! { "findAndModify": "c", "$db": "d" }, "write"),
        (doc! { "findandmodify": "c", "$db": "d" }, "write"),
        (doc! { "explain": { "update": "c", "updates": [] }, "$db": "d" }, "write"),
        (doc! { "explain": { "aggregate": "c", "pipeline": [{ "$out": "x" }] }, "$db": "d" }, "write"),
        (doc! { "explain": { "find": "c" }, "$db": "d" }, "read"),
        (doc! { "FIND": "c", "$db": "d" }, "write"),
    ] {
        assert_eq!(client.refused_by(&document), expected, "{document}");
    }
}

#[test]
fn read_only_lets_the_server_be_looked_at() {
    let mut client = Client::under("read_only", "{ name: still, read_only: { message: come back later } }");
    for (command, passes) in [
        (doc! { "find": "c", "$db": "d" }, true),
        (doc! { "serverStatus": 1, "$db": "admin" }, true),
        (doc! { "replSetGetStatus": 1, "$db": "admin" }, true),
        (doc! { "insert": "c", "$db": "d" }, false),
        (doc! { "createUser": "u", "$db": "admin" }, false),
        (doc! { "shutdown": 1, "$db": "admin" }, false),
        (doc! { "setParameter": 1, "$db": "admin" }, false),
        (doc! { "killAllSessions": [], "$db": "admin" }, false),
        (doc! { "killAllSessionsByPattern": [], "$db": "admin" }, false),
        (doc! { "killSessions": [], "$db": "admin" }, true),
        (doc! { "commitTransaction": 1, "$db": "admin" }, true),
    ] {
        match client.command(command.clone()) {
            Came::Through(_) => assert!(passes, "{command}"),
            came => {
                assert_eq!(
                    came,
                    Came::Refused(13, "weir: read-only by the rule still: come back later".into())
                );
                assert!(!passes, "{command}");
            }
        }
    }
    assert_eq!(
        client
            .measure
            .counter(&names::MONGO_RULE_ACTIONS, &["read_only", "still", "read_only", "false"])
            .value(),
        6
    );
}

#[test]
fn the_first_hello_says_who_the_application_is() {
    let mut client = Client::under("app", "{ name: admins, match: { application: ['!admin*'] }, deny: {} }");
    let find = doc! { "find": "c", "$db": "d" };
    let hello = |name: &str| {
        doc! { "hello": 1, "client": { "application": { "name": name }, "driver": {} }, "$db": "admin" }
    };
    assert_eq!(client.refused_by(&find), "admins", "who says nothing is no admin");
    assert_eq!(client.refused_by(&hello("admin-shell")), "");
    assert_eq!(client.refused_by(&find), "");
    let mut client = Client::under("app", "{ name: admins, match: { application: ['!admin*'] }, deny: {} }");
    assert_eq!(client.refused_by(&hello("web")), "");
    assert_eq!(client.refused_by(&hello("admin-shell")), "");
    assert_eq!(client.refused_by(&find), "admins");
    // A first one that names nobody is one too: the server takes no word of a later one.
    let mut client = Client::under("app", "{ name: admins, match: { application: ['!admin*'] }, deny: {} }");
    assert_eq!(client.refused_by(&doc! { "hello": 1, "$db": "admin" }), "");
    assert_eq!(client.refused_by(&hello("admin-shell")), "");
    assert_eq!(client.refused_by(&find), "admins");
}

const SECRETS: &str = "{ name: secrets, match: { database: secret }, deny: {} }";

#[test]
fn how_a_message_is_cut_changes_nothing() {
    for (message, expected) in [
        (
            op_msg(0, &doc! { "find": "c", "$db": "secret" }),
            Came::Refused(13, "weir: denied by the rule secrets".into()),
        ),
        (op_msg(2, &doc! { "insert": "c", "$db": "secret" }), Came::Swallowed),
        (
            zlib(&op_msg(0, &doc! { "find": "c", "$db": "secret" })),
            Came::Refused(13, "weir: denied by the rule secrets".into()),
        ),
        (zlib(&op_msg(2, &doc! { "find": "c", "$db": "secret" })), Came::Swallowed),
    ] {
        for step in 1..message.len() {
            let mut client = Client::under("cut", SECRETS);
            assert_eq!(client.send_cut(&message, step).0, expected, "{step}");
        }
    }
}

#[test]
fn compression_hides_nothing() {
    let secret = op_msg(0, &doc! { "find": "c", "$db": "secret" });
    let snappy = snap::raw::Encoder::new().compress_vec(&secret[16..]).unwrap();
    let zstd = zstd::bulk::compress(&secret[16..], 1).unwrap();
    let mut client = Client::under("compressed", SECRETS);
    for (id, packed) in [(0, secret[16..].to_vec()), (1, snappy), (3, zstd)] {
        let came = client.send(&compressed(&secret, id, &packed));
        assert_eq!(came, Came::Refused(13, "weir: denied by the rule secrets".into()), "{id}");
    }
    for (id, packed) in [(2, &b"no zlib"[..]), (3, b"no zstd"), (9, b"no compressor")] {
        let mut client = Client::under("compressed", SECRETS);
        assert_eq!(client.send(&compressed(&secret, id, packed)), Came::Closed, "{id}");
    }
    // More than there is memory for: a window of 64 MiB.
    let mut client = Client::under("compressed", SECRETS);
    let huge = [0x28, 0xB5, 0x2F, 0xFD, 0x00, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    assert_eq!(client.send(&compressed(&secret, 3, &huge)), Came::Closed);
}

#[test]
fn what_cannot_be_understood_or_classed_goes_nowhere() {
    let two_bodies = message(2013, b"\0\0\0\0\0\x05\0\0\0\0\0\x05\0\0\0\0");
    let truncated = message(2013, b"\0\0\0\0\0\xff\0\0\0\x02find\0");
    let command = message(2010, b"db\0ping\0\x05\0\0\0\0\x05\0\0\0\0");
    for message in [two_bodies, truncated, command, message(7777, b"who knows"), message(1000, b"hello\0")] {
        let mut client = Client::under("unreadable", SECRETS);
        let came = client.send(&message);
        assert!(matches!(came, Came::Closed | Came::Swallowed), "{came:?}");
    }
    let mut client = Client::under("unreadable", SECRETS);
    let empty = client.command(Document::new());
    assert_eq!(empty, Came::Refused(13, "weir: nobody can tell what it does".into()));
    // The legacy opcodes that say what they do are held to rules like the others.
    let insert =
        |namespace: &str| message(2002, &[&[0; 4], namespace.as_bytes(), b"\0\x05\0\0\0\0"].concat());
    assert_eq!(client.send(&insert("secret.c")), Came::Swallowed);
    assert!(matches!(client.send(&insert("open.c")), Came::Through(_)));
    let kill_cursors = message(2007, &[[0; 4], [1, 0, 0, 0], [5; 4], [0; 4]].concat());
    assert!(matches!(client.send(&kill_cursors), Came::Through(_)));
}

#[test]
fn limits_hold_while_operations_are_under_way() {
    let mut client = Client::under(
        "limits",
        "{ name: few, match: { collection: c }, concurrency: 2 }, { name: rate, match: { collection: r }, rate: { count: 2, per: 1s } }",
    );
    let find = doc! { "find": "c", "$db": "d" };
    for _ in 0..2 {
        assert!(matches!(client.command(find.clone()), Came::Through(_)));
    }
    assert_eq!(
        client.command(find.clone()),
        Came::Refused(462, "weir: too many at once for the rule few".into())
    );
    // Its place is free once it is answered, before the client can have read that.
    let mut op = client.held.remove(0);
    let (_, _, mut replies) = client.protocol.session();
    let mut reply = BytesMut::from(&*op_msg(0, &doc! { "ok": 1 }));
    let tail = replies.decode(&mut reply).unwrap().unwrap().head.unwrap();
    client.protocol.judge(&mut client.session, &mut Unnamed, &mut op, &tail);
    assert!(matches!(client.command(find), Came::Through(_)));
    // What waits for news takes none.
    let waits = doc! { "getMore": 5i64, "collection": "c", "maxTimeMS": 1000, "$db": "d" };
    for _ in 0..5 {
        assert!(matches!(client.command(waits.clone()), Came::Through(_)));
    }
    let find = doc! { "find": "r", "$db": "d" };
    for (wait, passes) in
        [(0, true), (0, true), (0, false), (499_000_000, false), (1_000_000, true), (0, false)]
    {
        client.now += wait;
        let came = client.command(find.clone());
        assert_eq!(matches!(came, Came::Through(_)), passes, "{came:?}");
    }
}

#[test]
fn rules_may_change_at_any_time() {
    let mut client = Client::under("l", SECRETS);
    let find = doc! { "find": "c", "$db": "secret" };
    assert_eq!(client.refused_by(&find), "secrets");
    assert!(!client.protocol.degrades(&client.session));
    client.control.replace("l", &[], &client.measure);
    assert_eq!(client.refused_by(&find), "");
    assert!(client.protocol.degrades(&client.session));
    client.control.replace("l", &settings("{ name: all, deny: {} }"), &client.measure);
    assert_eq!(client.refused_by(&find), "all");
    assert_eq!((client.acted("secrets", "deny"), client.acted("all", "deny")), (1, 1));
}

#[test]
fn faults_and_deadlines_are_as_the_rule_says() {
    let mut client = Client::under(
        "l",
        "{ name: chaos, match: { collection: c }, fault: { delay: 20ms, code: 112, labels: [TransientTransactionError] } },
         { name: odd, match: { collection: o }, fault: { code: 4711 } },
         { name: slow, match: { class: read }, deadline: 2s }, { name: slower, deadline: 3s }",
    );
    let (came, ruling) = client.send_cut(&op_msg(0, &doc! { "find": "c", "$db": "d" }), 10_000);
    assert_eq!(came, Came::Refused(112, "weir: on purpose, by the rule chaos".into()));
    assert_eq!(ruling.delay, Some(std::time::Duration::from_millis(20)));
    assert_eq!(client.acted("chaos", "fault"), 1);
    assert_eq!(
        client.command(doc! { "find": "o", "$db": "d" }),
        Came::Refused(4711, "weir: on purpose, by the rule odd".into())
    );
    for (command, millis) in [
        (doc! { "find": "x", "$db": "d" }, Some(2000)),
        // The server is told, and given time to say so.
        (doc! { "insert": "x", "$db": "d" }, Some(3100)),
        (doc! { "insert": "x", "maxTimeMS": 3000, "$db": "d" }, Some(3000)),
        (doc! { "insert": "x", "maxTimeMS": 3001, "$db": "d" }, Some(3100)),
        (doc! { "hello": 1, "$db": "admin" }, None),
        // It waits for data, as long as it says.
        (doc! { "getMore": 5i64, "collection": "x", "maxTimeMS": 1000, "$db": "d" }, Some(3000)),
    ] {
        let (came, ruling) = client.send_cut(&op_msg(0, &command), 10_000);
        assert!(matches!(came, Came::Through(_)), "{came:?}");
        assert_eq!(ruling.time_limit, millis.map(std::time::Duration::from_millis), "{command}");
    }
    // An operation that is overdue is told so, and counts for the rule that said how long it may take.
    let mut out = BytesMut::new();
    let fault = Fault::new(Side::Proxy, Phase::Waiting, Reason::Timeout);
    let mut op = client.held.remove(0);
    let outcome = client.protocol.refuse(&mut client.session, &mut Unnamed, &mut op, &fault, &mut out);
    assert_eq!((outcome.result, outcome.class), ("timeout", Class::Cancelled));
    let told = Document::from_reader(&out[21..]).unwrap();
    assert_eq!(told.get_i32("code").unwrap(), 50);
    let text = "weir: too long for the rule slow: timeout while waiting (proxy)";
    assert_eq!(told.get_str("errmsg").unwrap(), text);
    assert_eq!((client.acted("slow", "deadline"), client.acted("slower", "deadline")), (1, 0));
}

#[test]
fn a_connection_that_authenticated_does_not_survive_its_server_connection() {
    for (document, survives) in [
        (doc! { "hello": 1, "$db": "admin" }, true),
        (doc! { "find": "c", "$db": "d" }, true),
        (doc! { "hello": 1, "speculativeAuthenticate": { "saslStart": 1 }, "$db": "admin" }, false),
        (doc! { "saslStart": 1, "$db": "admin" }, false),
        (doc! { "authenticate": 1, "$db": "$external" }, false),
    ] {
        let mut client = Client::under("auth", SECRETS);
        client.command(document.clone());
        assert_eq!(client.protocol.survives(&client.session), survives, "{document}");
    }
}

#[test]
fn a_shape_is_known_whatever_its_values_and_however_it_comes() {
    let by_age = |age: i32| doc! { "find": "c", "filter": { "age": { "$gt": age } }, "$db": "d" };
    let shape = Shape::of(&op_msg(0, &by_age(1))).unwrap().hash;
    let rule = format!("{{ name: by-age, match: {{ shape: '{shape:016x}' }}, deny: {{}} }}");
    let mut client = Client::under("shapes", &rule);
    assert_eq!(client.refused_by(&by_age(2)), "by-age");
    assert_eq!(client.refused_by(&doc! { "find": "c", "filter": { "name": "a" }, "$db": "d" }), "");
    assert_eq!(client.refused_by(&doc! { "hello": 1, "$db": "admin" }), "");
    let explain = |command: Document| doc! { "explain": command, "verbosity": "executionStats", "$db": "d" };
    assert_eq!(client.refused_by(&explain(by_age(2))), "by-age");
    assert_eq!(client.refused_by(&explain(doc! { "find": "c" })), "");
    let many =
        doc! { "find": "c", "filter": { "age": { "$in": (0..1000).collect::<Vec<i32>>() } }, "$db": "d" };
    assert_eq!(client.refused_by(&many), "");
    let denied = Came::Refused(13, "weir: denied by the rule by-age".into());
    for message in [op_msg(0, &by_age(3)), zlib(&op_msg(0, &by_age(3)))] {
        for step in [1, 7, 1000] {
            assert_eq!(client.send_cut(&message, step).0, denied);
        }
    }
    let other = zlib(&op_msg(0, &doc! { "find": "c", "filter": {}, "$db": "d" }));
    assert!(matches!(client.send(&other), Came::Through(_)));
    // However large it is.
    let large = |name: &str| {
        doc! { "find": "c", "filter": { name: { "$gt": "x".repeat(LOOKED_INTO + 10_000) } }, "$db": "d" }
    };
    assert_eq!(client.send_cut(&op_msg(0, &large("age")), 4096).0, denied);
    assert!(matches!(client.send_cut(&op_msg(0, &large("name")), 4096).0, Came::Through(_)));
    // Compressed and too much to be decompressed once more: it may be of that shape.
    assert_eq!(client.send_cut(&zlib(&op_msg(0, &large("name"))), 4096).0, denied);
    let limit =
        format!("{{ name: few, match: {{ shape: ['{shape:016x}'] }}, rate: {{ count: 1, per: 1h }} }}");
    let mut client = Client::under("shapes", &limit);
    // What is only limited goes by what is known.
    assert!(matches!(client.send_cut(&zlib(&op_msg(0, &large("age"))), 4096).0, Came::Through(_)));
    assert!(matches!(client.command(by_age(5)), Came::Through(_)));
    assert!(matches!(client.command(by_age(6)), Came::Refused(462, _)));
}
