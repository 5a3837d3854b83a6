//! Under which names MongoDB's operations are shown: the place in an application's code that a comment names, and one name for
//! collections that are many and mean one.

use crate::support::{
    numbers::Numbers,
    parts::{mongod, python},
    process::{Process, output},
    weir::{Weir, binary},
};
use serde_json::Value;
use std::collections::BTreeSet;
use std::process::Stdio;

crate::tests!("mongo_names":
    comments_name_call_sites,
    call_sites_have_a_cap,
    a_reload_holds_on_standing_connections,
    collections_are_shown_as_their_patterns,
);

fn front(settings: &str) -> Weir {
    Weir::start(&format!(
        "listeners: {{ db: {{ bind: \"127.0.0.1:0\", mongo: {{ cluster: db, {settings} }} }} }}\n\
         clusters: {{ db: {{ endpoints: [\"127.0.0.1:{}\"] }} }}\n",
        mongod()
    ))
}

fn uri(weir: &Weir, options: &str) -> String {
    format!("mongodb://127.0.0.1:{}/?directConnection=true{options}", weir.port("db"))
}

/// `call_site operation ok/count`, as the admin API says.
fn call_sites(weir: &Weir) -> Vec<String> {
    let (status, text) = weir.get("/call_sites");
    assert_eq!(status, 200);
    assert!(!text.contains("secret"), "nothing else of a comment is kept: {text}");
    let all: Value = serde_json::from_str(&text).expect("JSON");
    let row = |one: &Value| {
        assert!(one["seconds"].as_f64() > Some(0.0), "{one}");
        let word = |key: &str| one[key].as_str().expect("a word").to_owned();
        format!("{} {} {}/{}", word("call_site"), word("operation"), one["ok"], one["count"])
    };
    all["call_sites"].as_array().expect("a list").iter().map(row).collect()
}

fn comments_name_call_sites() {
    for options in ["", "&compressors=snappy", "&compressors=zlib", "&compressors=zstd"] {
        let weir = front("call_sites: { key: callingFunction, pattern: [\"(*):*\", \"(*)\"] }");
        output(python("mongo_calls.py").args([&uri(&weir, options), "sites"]));
        let expected = [
            "invented aggregate 1/1",
            "orders.break find 0/1",
            "orders.fill insert 1/1",
            "orders.load find 1/1",
            "orders.load getMore 1/1",
            "orders.load insert 3/3",
            "orders.raw insert 1/1",
        ];
        assert_eq!(call_sites(&weir), expected, "{options}");
        let numbers = weir.numbers();
        let failed = [("call_site", "orders.break"), ("result", "error")];
        assert_eq!(numbers.sum("weir_call_site_operations_total", &failed), 1, "{options}");
        let times = [("call_site", "orders.load"), ("operation", "insert")];
        assert!(numbers.of("weir_call_site_seconds_total", &times).all(|sample| sample.value > 0.0));
        assert_eq!(numbers.of("weir_call_site_seconds_total", &times).count(), 1, "{options}");
    }
    let weir = front("call_sites: { pattern: \"at (*) for *\" }");
    output(python("mongo_calls.py").args([&uri(&weir, ""), "sites"]));
    assert_eq!(call_sites(&weir), ["orders.old find 1/1"], "of an older driver");
    let weir = front("mode: transparent");
    output(python("mongo_calls.py").args([&uri(&weir, ""), "sites"]));
    assert!(call_sites(&weir).is_empty(), "nobody has asked for it");
}

fn call_sites_have_a_cap() {
    let port = mongod();
    let weir = Weir::start(&format!(
        "limits: {{ call_sites: 16, call_site_rows: 16 }}\n\
         listeners: {{ db: {{ bind: \"127.0.0.1:0\", mongo: {{ cluster: db, call_sites: {{ pattern: \"(*)\" }} }} }} }}\n\
         clusters: {{ db: {{ endpoints: [\"127.0.0.1:{port}\"] }} }}\n"
    ));
    output(python("mongo_calls.py").args([&uri(&weir, ""), "many"]));
    let numbers = weir.numbers();
    let shown = numbers.sum("weir_call_site_operations_total", &[]);
    let retired = numbers.sum("weir_call_site_operations_retired_total", &[]);
    assert_eq!(shown + retired, 80, "{shown} and {retired}");
    assert_eq!(numbers.sum("weir_call_site_operations_total", &[("call_site", "_other")]), 0);
    assert!(numbers.of("weir_call_site_operations_total", &[]).count() <= 16);
    assert!(numbers.sum("weir_names_gone_total", &[("kind", "call_site")]) >= 24);
}

/// How operations are shown may change while connections stand.
fn a_reload_holds_on_standing_connections() {
    let port = mongod();
    let config = |settings: &str| {
        format!(
            "listeners: {{ db: {{ bind: \"127.0.0.1:0\", mongo: {{ cluster: db, mode: transparent{settings} }} }} }}\n\
             clusters: {{ db: {{ endpoints: [\"127.0.0.1:{port}\"] }} }}\n"
        )
    };
    let never = ", slow: { threshold: 1h }";
    let weir = Weir::start(&config(never));
    let mut client = python("mongo_calls.py");
    let client = client.args([&uri(&weir, "&maxPoolSize=1"), "standing"]);
    let mut client = Process::start("a client", client.stdin(Stdio::piped()).stdout(Stdio::piped()));
    let mut done = |times: u64| {
        client.tell("once more");
        assert_eq!(client.line(), "done");
        weir.numbers_when("it is counted", |n| {
            n.sum("weir_operations_total", &[("operation", "find"), ("result", "ok")]) == times
        })
    };
    let sums = |numbers: &Numbers| {
        ["weir_slow_operations_total", "weir_call_site_operations_total"].map(|name| numbers.sum(name, &[]))
    };
    assert_eq!(sums(&done(1)), [0, 0]);
    let settings = ", slow: { threshold: 10ms }, call_sites: { key: callingFunction }, \
                    rename: [{ database: \"calls_*\", as: shown }]";
    assert_eq!(weir.reload(&config(settings))["message"], "reloaded");
    let numbers = done(2);
    assert_eq!(sums(&numbers), [1, 1]);
    let shown = [("operation", "find"), ("resource", "shown.people")];
    assert_eq!(numbers.sum("weir_operations_total", &shown), 1);
    assert_eq!(weir.reload(&config(never))["message"], "reloaded");
    assert_eq!(sums(&done(3)), [1, 1]);
}

fn collections_are_shown_as_their_patterns() {
    let weir = front(
        "slow: { threshold: 50ms }, rename: [{ collection: \"tenant_*_orders\" }, { database: \"customer_?\", as: customers }], \
         rules: [{ name: drops, match: { collection: \"tenant_0_orders\", command: drop }, deny: {} }]",
    );
    let mut client = python("mongo_calls.py");
    let client = client.args([&uri(&weir, ""), "tenants"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut client = Process::start("a client", client);
    assert_eq!(client.line(), "denied 1", "rules go by the names as they are");
    // The client hears its last reply before that is counted.
    let numbers = weir.numbers_when("its last operation is counted", |n| {
        n.sum("weir_operations_total", &[("resource", "calls.people"), ("operation", "find")]) == 1
    });
    let resources: BTreeSet<&str> =
        numbers.of("weir_operations_total", &[]).map(|sample| sample.label("resource")).collect();
    for (shown, expected) in [
        ("calls.tenant_*_orders", true),
        ("customers.carts", true),
        ("calls.people", true),
        ("calls.tenant_0_orders", false),
        ("customer_0.carts", false),
    ] {
        assert_eq!(resources.contains(shown), expected, "{resources:?}");
    }
    let inserts = [("operation", "insert"), ("resource", "calls.tenant_*_orders")];
    assert_eq!(numbers.sum("weir_operations_total", &inserts), 3);
    let (_, cursors) = weir.get("/cursors");
    assert_eq!(cursors.matches("\"calls.tenant_*_orders\"").count(), 3, "{cursors}");
    let (_, slow) = weir.get("/slow");
    assert!(slow.contains("\"calls.tenant_*_orders\"") && !slow.contains("tenant_1"), "{slow}");
    let admin = weir.admin().to_string();
    client.tell("more");
    let top =
        output(binary().args(["top", "--once", "--by", "collection", "--interval", "2", "--admin", &admin]));
    assert!(top.contains("calls.tenant_*_orders") && !top.contains("tenant_1"), "{top}");
    // By application there are times and bytes as well.
    let by = ["top", "--once", "--by", "application", "--sort", "p99", "--interval", "2", "--admin"];
    let top = output(binary().args(by).arg(&admin));
    let lines: Vec<Vec<&str>> = top.lines().map(|line| line.split_whitespace().collect()).collect();
    let headings =
        ["PROTOCOL", "LISTENER", "APPLICATION", "PER", "S", "ERR/S", "P50", "P99", "IN/S", "OUT/S"];
    assert_eq!(lines[0], headings, "{top}");
    let [.., p50, p99, sent, received] = lines[1][..] else { panic!("{top}") };
    assert_eq!(lines[1][..3], ["mongo", "db", "weir-e2e-calls"], "{top}");
    assert!([p50, p99].iter().all(|time| time.ends_with('s')), "{top}");
    assert!([sent, received].iter().all(|size| size.ends_with('B') && *size != "0B"), "{top}");
    let (ours, bucket) = (("application", "weir-e2e-calls"), "weir_application_duration_seconds_bucket");
    let buckets = weir.numbers();
    let whole = buckets.sum(bucket, &[ours, ("le", "+Inf")]);
    assert!(whole > 0 && buckets.sum(bucket, &[ours, ("le", "10.0")]) == whole, "{whole}");
}
