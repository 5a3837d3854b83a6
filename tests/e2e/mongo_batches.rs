//! Rules by all that a command names, and by each batch of what comes in several; rules that only run dry.

use crate::support::{
    parts::{mongod, python},
    process::{Process, output},
    weir::Weir,
};
use serde_json::Value;
use std::process::Stdio;

crate::tests!("mongo_batches":
    what_names_others_passes_and_what_names_the_protected_does_not,
    a_rate_holds_the_next_batch_back_and_a_deadline_is_each_batchs_own,
    a_getmore_that_waits_has_its_own_time_beside_the_rules,
    dry_runs_count_and_refuse_nothing,
    a_client_that_closes_its_side_is_answered,
);

/// Weir under these rules.
fn ruled(rules: &str) -> Weir {
    Weir::start(&format!(
        "listeners:\n  db:\n    bind: \"127.0.0.1:0\"\n    mongo:\n      cluster: db\n      mode: transparent\n      rules: [{rules}]\n\
         clusters: {{ db: {{ endpoints: [\"127.0.0.1:{}\"] }} }}\n",
        mongod()
    ))
}

fn asked(weir: &Weir, database: &str, what: &str, compressors: &str) -> Value {
    let uri = format!("mongodb://127.0.0.1:{}/?compressors={compressors}", weir.port("db"));
    let printed = output(python("mongo_batches.py").args([&uri, database, what]));
    serde_json::from_str(&printed).unwrap_or_else(|_| panic!("{printed}"))
}

fn acted(weir: &Weir, rule: &str, dry_run: &str) -> u64 {
    let labels = [("listener", "db"), ("rule", rule), ("dry_run", dry_run)];
    weir.numbers().sum("weir_mongo_rule_actions_total", &labels)
}

fn what_names_others_passes_and_what_names_the_protected_does_not() {
    for compressors in ["", "zlib"] {
        let database = format!("joins_{compressors}");
        let weir = ruled(&format!(
            "{{ name: secret, match: {{ database: {database}, collection: secret }}, deny: {{}} }}"
        ));
        let done = asked(&weir, &database, "joins", compressors);
        for (name, code) in done.as_object().expect("codes") {
            let expected = if name.starts_with("hidden") { 13 } else { 0 };
            assert_eq!(code, expected, "{name} compressed by {compressors:?}: {done}");
        }
        assert_eq!(done.as_object().map(serde_json::Map::len), Some(15));
    }
}

fn a_rate_holds_the_next_batch_back_and_a_deadline_is_each_batchs_own() {
    let weir = ruled(
        "{ name: calm, match: { collection: many, class: read }, rate: { count: 2, per: 1s, burst: 2 } }, \
         { name: patience, match: { collection: slow, class: read }, deadline: 1s }",
    );
    // A find and its batches: nothing is refused, and what is more than the rate comes later.
    let done = asked(&weir, "batches", "exhaust", "");
    assert_eq!(done["got"], 12);
    assert!(done["seconds"].as_f64().expect("seconds") > 1.4, "six batches at two in a second: {done}");
    assert!(acted(&weir, "calm", "false") >= 3);
    // 300 ms each, 1.5 s together.
    assert_eq!(asked(&weir, "batches", "slow", "")["got"], 5);
    assert_eq!(acted(&weir, "patience", "false"), 0);
}

fn a_getmore_that_waits_has_its_own_time_beside_the_rules() {
    let weir = ruled("{ name: patience, match: { collection: capped }, deadline: 1s }");
    let done = asked(&weir, "tails", "tail", "");
    assert_eq!(done["got"], 1);
    assert!(done["seconds"].as_f64().expect("seconds") > 3.9, "two waits of two seconds: {done}");
    assert_eq!(acted(&weir, "patience", "false"), 0);
}

fn dry_runs_count_and_refuse_nothing() {
    let weir = ruled(
        "{ name: secret, match: { database: dry, collection: secret }, deny: {}, dry_run: true }, \
         { name: still, match: { database: dry }, read_only: {}, dry_run: true }, \
         { name: quick, match: { database: dry }, deadline: 1ms, dry_run: true }",
    );
    let done = asked(&weir, "dry", "joins", "");
    assert!(done.as_object().expect("codes").values().all(|code| code != 13), "{done}");
    assert!(acted(&weir, "secret", "true") >= 5 && acted(&weir, "still", "true") >= 10);
    assert!(acted(&weir, "quick", "true") >= 1, "what was overdue");
    assert_eq!(acted(&weir, "secret", "false") + acted(&weir, "quick", "false"), 0);
    let asked = weir.numbers().sum("weir_refusals_total", &[("listener", "db")]);
    assert_eq!(asked, 0);
}

fn a_client_that_closes_its_side_is_answered() {
    let mut script = python("mongo_half.py");
    let mut script = Process::start("mongo_half.py", script.stdin(Stdio::piped()).stdout(Stdio::piped()));
    let server = script.line();
    let weir = Weir::start(&format!(
        "listeners: {{ db: {{ bind: \"127.0.0.1:0\", mongo: {{ cluster: db, mode: transparent }} }} }}\n\
         clusters: {{ db: {{ endpoints: [\"127.0.0.1:{server}\"] }} }}\n"
    ));
    script.tell(&weir.port("db").to_string());
    let came: Value = serde_json::from_str(&script.line()).expect("JSON");
    assert_eq!(came, serde_json::json!({ "answered": "b", "left": "nothing", "seen": [true, true] }));
    let numbers = weir.numbers_when("both are counted", |numbers| {
        numbers.sum("weir_operations_total", &[("operation", "find")]) == 2
    });
    assert_eq!(numbers.sum("weir_operations_total", &[("operation", "find"), ("result", "ok")]), 1);
    // Whoever leaves has not been failed by the server.
    assert_eq!(numbers.sum("weir_failures_total", &[("side", "network")]), 0);
}
