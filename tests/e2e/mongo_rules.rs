//! Rules on MongoDB operations, with real drivers in front of a real server: what the application sees, how often its driver
//! tries, whether it clears its pool; that the server never saw what was refused, and stopped what took too long.

use crate::support::{
    numbers::Numbers,
    parts::{ReplicaSet, calm_set, json, node, part, python},
    process::{Process, output},
    weir::Weir,
};
use serde_json::Value;
use std::process::{Command, Stdio};

crate::tests!("mongo_rules":
    pymongo_keeps_to_rules,
    pymongo_4_6_keeps_to_rules,
    node_keeps_to_rules,
    compression_hides_nothing_from_rules,
    writes_that_are_overdue_are_not_made,
    a_reload_holds_on_standing_connections,
    what_cannot_be_read_ends_its_connection,
);

fn front(port: u16, rules: &str) -> String {
    format!(
        "listeners:\n  db:\n    bind: \"127.0.0.1:0\"\n    mongo:\n      cluster: db\n      mode: transparent\n      rules:\n{rules}\n\
         clusters: {{ db: {{ endpoints: [\"127.0.0.1:{port}\"] }} }}\n"
    )
}

fn uri(port: u16) -> String {
    format!("mongodb://127.0.0.1:{port}/?directConnection=true")
}

/// A Weir with one rule of each kind about `database`, and the primary's port, past Weir.
fn ruled(set: &ReplicaSet, database: &str) -> (Weir, u16) {
    let port = set.primary();
    let rules = format!(
        "
        - {{ name: no-drops, match: {{ command: [dropDatabase, drop], application: [\"!admin*\"] }}, deny: {{ message: ask }} }}
        - {{ name: frozen, match: {{ database: {database}_frozen }}, read_only: {{}} }}
        - {{ name: secrets, match: {{ database: {database}, collection: secrets }}, deny: {{}} }}
        - {{ name: limited, match: {{ collection: limited }}, rate: {{ count: 1, per: 1h, burst: 2 }} }}
        - {{ name: single, match: {{ collection: single }}, concurrency: 1 }}
        - {{ name: patience, match: {{ collection: slow }}, deadline: 300ms }}
        - {{ name: chaos, match: {{ collection: chaos }}, fault: {{ code: 6, labels: RetryableWriteError }} }}
        - {{ name: lag, match: {{ collection: lag }}, fault: {{ delay: 300ms }} }}"
    );
    (Weir::start(&front(port, &rules)), port)
}

/// What must have come of each attempt: the error's code and how often the driver tried. No refusal clears a pool.
fn verify(printed: &Value, expected: &[(&[&str], i64, u64)]) {
    let results = printed["results"].as_object().expect("results");
    let mut seen = 0;
    for (names, code, tries) in expected {
        for name in *names {
            let result = &results[*name];
            let found = (result["code"].as_i64(), result["tries"].as_u64(), result["cleared"].as_u64());
            assert_eq!(found, (Some(*code), Some(*tries), Some(0)), "{} {name}: {result}", printed["driver"]);
            let labels: Vec<&str> =
                result["labels"].as_array().expect("labels").iter().filter_map(Value::as_str).collect();
            let wanted: &[&str] = match code {
                462 => &["RetryableError", "SystemOverloadedError"],
                6 => &["RetryableWriteError"],
                _ => &[],
            };
            assert!(wanted.iter().all(|label| labels.contains(label)), "{name}: {result}");
            seen += 1;
        }
    }
    assert_eq!(seen, results.len(), "an attempt that nobody looked at");
}

fn acted(numbers: &Numbers, rule: &str, action: &str) -> u64 {
    numbers.sum("weir_mongo_rule_actions_total", &[("listener", "db"), ("rule", rule), ("action", action)])
}

/// Runs the Python client; `overloaded` is how often its driver tries what is refused as too much.
fn pymongo(client: &mut Command, database: &str, compressor: Option<&str>, overloaded: u64) {
    let set = calm_set();
    let (weir, port) = ruled(&set, database);
    let printed = json(client.arg(uri(weir.port("db"))).arg(uri(port)).arg(database).args(compressor));
    verify(
        &printed,
        &[
            (
                &[
                    "warm",
                    "plain_aggregate",
                    "frozen_find",
                    "frozen_silent",
                    "after_silent",
                    "not_frozen_insert",
                    "limited_0",
                    "limited_1",
                    "single_again",
                    "after_slow",
                    "lag",
                    "large_find",
                    "large_aggregate",
                    "large_modify",
                    "large_update",
                    "large_insert",
                ],
                0,
                1,
            ),
            (
                &[
                    "drop",
                    "secret_find",
                    "secret_lookup",
                    "secret_union",
                    "secret_rename",
                    "secret_view",
                    "frozen_insert",
                    "frozen_many",
                    "frozen_update",
                    "frozen_modify",
                    "frozen_out",
                    "frozen_merge_from_elsewhere",
                    "frozen_explain_write",
                    "frozen_unknown",
                    "large_secret",
                ],
                13,
                1,
            ),
            (&["limited_2", "single"], 462, overloaded),
            (&["slow"], 50, 1),
            (&["chaos_read", "chaos_write"], 6, 2),
        ],
    );
    assert_eq!(printed["stock"], 1, "nothing came past the rule, not even what is not answered");
    for name in ["slow", "lag"] {
        let seconds = printed["results"][name]["seconds"].as_f64().expect("a time");
        assert!((0.3..20.0).contains(&seconds), "{name} took {seconds} s");
    }
    let why = printed["results"]["slow"]["why"].as_str().expect("words");
    assert!(why.contains("too long for the rule patience"), "{why}");
    let numbers = weir.numbers();
    for (rule, action, count) in [
        ("no-drops", "deny", 1),
        ("limited", "rate", overloaded),
        ("single", "concurrency", overloaded),
        ("patience", "deadline", 1),
        ("chaos", "fault", 4),
        ("lag", "fault", 1),
    ] {
        assert_eq!(acted(&numbers, rule, action), count, "{rule}");
    }
    // Each of the refusals was somebody's; one was not told to anybody.
    let denied = acted(&numbers, "secrets", "deny") + acted(&numbers, "frozen", "read_only") + 1;
    assert_eq!(denied, 15 + 1);
    assert_eq!(numbers.sum("weir_refusals_total", &[("reason", "denied")]), denied);
    assert_eq!(numbers.sum("weir_refusals_total", &[("reason", "limited")]), 2 * overloaded);
    assert_eq!(numbers.sum("weir_refusals_total", &[("reason", "injected")]), 4);
    assert_eq!(
        numbers.sum("weir_operations_total", &[("result", "timeout"), ("code", "MaxTimeMSExpired")]),
        1
    );
}

fn pymongo_keeps_to_rules() {
    pymongo(&mut python("mongo_rules.py"), "rules_py", None, 3);
}

fn pymongo_4_6_keeps_to_rules() {
    pymongo(python("mongo_rules.py").env("PYTHONPATH", part("pymongo46")), "rules_py46", None, 1);
}

fn compression_hides_nothing_from_rules() {
    for compressor in ["snappy", "zlib", "zstd"] {
        pymongo(&mut python("mongo_rules.py"), &format!("rules_{compressor}"), Some(compressor), 3);
    }
}

fn node_keeps_to_rules() {
    let set = calm_set();
    for compressor in [None, Some("zlib")] {
        let database = format!("rules_node_{}", compressor.unwrap_or("plain"));
        let (weir, port) = ruled(&set, &database);
        let mut client = node("mongo_rules.js");
        let printed = json(client.arg(uri(weir.port("db"))).arg(uri(port)).arg(&database).args(compressor));
        verify(
            &printed,
            &[
                (
                    &[
                        "warm",
                        "frozen_find",
                        "frozen_silent",
                        "after_silent",
                        "not_frozen_many",
                        "limited_0",
                        "limited_1",
                        "after_slow",
                        "large_find",
                        "large_update",
                        "large_modify",
                        "large_insert",
                    ],
                    0,
                    1,
                ),
                (
                    &["drop", "secret_find", "secret_union", "frozen_insert", "frozen_many", "large_secret"],
                    13,
                    1,
                ),
                (&["limited_2"], 462, 3),
                (&["slow"], 50, 1),
                (&["chaos_read", "chaos_write"], 6, 2),
            ],
        );
        let numbers = weir.numbers();
        assert_eq!(acted(&numbers, "frozen", "read_only"), 3);
        assert_eq!(acted(&numbers, "patience", "deadline"), 1);
    }
}

/// A server goes on with a write though the connection that it came by is closed: it is told how long it may take.
fn writes_that_are_overdue_are_not_made() {
    let set = calm_set();
    let port = set.primary();
    let weir =
        Weir::start(&front(port, "        - { name: patience, match: { database: late }, deadline: 500ms }"));
    let server = format!("mongodb://127.0.0.1:{port}/");
    let told = output(python("mongo_rules.py").args(["--late", &uri(weir.port("db")), &server]));
    let told: serde_json::Map<String, Value> = serde_json::from_str(&told).expect("JSON");
    assert_eq!(told.len(), 6);
    for (name, became) in &told {
        assert_eq!(became[0], 50, "{name}: {told:?}");
        // 40 of them would take 4 seconds.
        assert!(became[1].as_u64() > Some(20), "{name}: {told:?}");
    }
    let numbers = weir.numbers_when("they are counted", |n| acted(n, "patience", "deadline") == 6);
    let code = [("code", "MaxTimeMSExpired")];
    assert_eq!(numbers.sum("weir_operations_total", &code), 6);
    // The server said so itself: no connection had to be closed.
    assert_eq!(numbers.sum("weir_failures_total", &[]), 0);
}

fn a_reload_holds_on_standing_connections() {
    let set = calm_set();
    let port = set.primary();
    let weir = Weir::start(&front(port, "        - { name: other, match: { database: nothing }, deny: {} }"));
    let mut client = Process::start(
        "mongo_rules.py",
        python("mongo_rules.py")
            .arg("--ask")
            .arg(uri(weir.port("db")))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped()),
    );
    let mut ask = || {
        client.tell("ask");
        let line = client.line();
        let (connection, code) = line.split_once(' ').expect("two words");
        (connection.to_owned(), code.to_owned())
    };
    let (connection, code) = ask();
    assert_eq!(code, "0");
    let rate = "        - { name: once, match: { database: ask }, rate: { count: 1, per: 1h } }";
    let deny = "        - { name: closed, match: { database: ask }, deny: {} }";
    let more = "        - { name: another, match: { database: nothing }, deny: {} }";
    for (rules, wanted) in [
        (deny.to_owned(), "13"),
        (more.to_owned(), "0"),
        (rate.to_owned(), "0"),
        // What a limit counted stays, as long as the rule is called the same.
        (format!("{more}\n{rate}"), "462"),
        (more.to_owned(), "0"),
        (rate.to_owned(), "0"),
    ] {
        assert_eq!(weir.reload(&front(port, &rules))["message"], "reloaded");
        assert_eq!(ask(), (connection.clone(), wanted.to_owned()), "{rules}");
    }
}

/// With a rule in force what is no message, or one that nobody can class, goes nowhere.
fn what_cannot_be_read_ends_its_connection() {
    use std::io::{Read as _, Write as _};
    let set = calm_set();
    let weir = Weir::start(&front(
        set.primary(),
        "        - { name: other, match: { database: nothing }, deny: {} }",
    ));
    let message = |op_code: i32, body: &[u8]| {
        let length = 16 + i32::try_from(body.len()).expect("short");
        let mut message: Vec<u8> =
            [length, 1, 0, op_code].iter().flat_map(|word| word.to_le_bytes()).collect();
        message.extend_from_slice(body);
        message
    };
    let corrupt = {
        // OP_COMPRESSED: an OP_MSG of 100 bytes, by zlib, which it is not.
        let mut body = Vec::new();
        body.extend_from_slice(&2013i32.to_le_bytes());
        body.extend_from_slice(&100i32.to_le_bytes());
        body.extend_from_slice(b"\x02this is not zlib at all");
        message(2012, &body)
    };
    for (what, bytes) in [
        ("HTTP", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec()),
        ("an opcode of 2016", message(2010, b"db\0ping\0\x05\0\0\0\0\x05\0\0\0\0")),
        ("two bodies", message(2013, b"\0\0\0\0\0\x05\0\0\0\0\0\x05\0\0\0\0")),
        ("corrupt bytes", corrupt),
    ] {
        let mut stream = std::net::TcpStream::connect(("127.0.0.1", weir.port("db"))).expect("it listens");
        stream.write_all(&bytes).expect("it reads");
        let mut said = Vec::new();
        stream.read_to_end(&mut said).expect("it closes in order");
        assert_eq!(said, b"", "{what}");
    }
    let numbers = weir.numbers_when("all are counted", |numbers| {
        numbers.sum("weir_failures_total", &[("side", "client"), ("reason", "malformed")]) >= 1
    });
    assert_eq!(numbers.sum("weir_connections_degraded_total", &[]), 0);
    assert_eq!(numbers.sum("weir_cluster_connections_total", &[]), 0, "nothing went to the server");
}
