//! What a reload has to do.

use crate::sections::{SECTIONS, good};
use std::io;
use std::path::Path;
use weir_config::{Config, Diff, Environment};

const BASE: &str = "
workers: 1
listeners:
  a: { bind: '127.0.0.1:1', pipe: { cluster: x } }
  b: { bind: '127.0.0.1:2', pipe: { cluster: y } }
clusters:
  x: { endpoints: ['h:1', 'h:2'] }
  y: { endpoints: ['h:3'] }
";

fn names(names: &[std::sync::Arc<str>]) -> Vec<&str> {
    names.iter().map(|name| &**name).collect()
}

fn diff(new: &str) -> Diff {
    Config::diff(&good(BASE), &good(new))
}

#[test]
fn the_same_said_differently_is_the_same() {
    let same = r#"{"clusters": {"y": {"endpoints": ["h:3"]}, "x": {"endpoints": ["h:1", "h:2"]}}, "workers": 1,
        "listeners": {"b": {"pipe": {"cluster": "y"}, "bind": "127.0.0.1:2"},
                      "a": {"bind": "127.0.0.1:1", "pipe": {"cluster": "x"}}}}"#;
    assert!(diff(same).is_empty());
    assert!(diff(BASE).is_empty());
}

#[test]
fn each_change_has_its_place() {
    let new =
        BASE.replace("workers: 1", "workers: 2\ndrain_timeout: 1s\ndrain_delay: 1s\nadmin: 127.0.0.1:9\nlog: { level: warn, format: json }");
    let changed = diff(&new);
    assert_eq!(changed.needs_restart, ["workers", "admin", "log.format"]);
    assert_eq!(changed.at_once, ["drain_timeout", "drain_delay", "log.level"]);
    assert!(changed.listeners.is_empty() && changed.clusters.is_empty());
    assert_eq!(diff(&format!("{BASE}limits: {{ rows: 100 }}")).needs_restart, ["limits"]);

    let listeners = diff(&BASE.replace("  b: {", "  c: {").replace("127.0.0.1:1", "127.0.0.1:7")).listeners;
    assert_eq!(names(&listeners.added), ["c"]);
    assert_eq!(names(&listeners.removed), ["b"]);
    assert_eq!(names(&listeners.changed), ["a"]);

    let clusters = diff(&BASE.replace("['h:1', 'h:2']", "['h:2', 'h:1']")).clusters;
    assert_eq!(names(&clusters.changed), ["x"]);
}

struct Says(&'static str);

impl Environment for Says {
    fn variable(&self, _: &str) -> Option<String> {
        Some(self.0.into())
    }

    fn file(&self, _: &Path) -> io::Result<String> {
        Ok(self.0.into())
    }
}

#[test]
fn a_changed_secret_is_a_change_that_does_not_show() {
    let text = BASE.replace("'h:3'", "'${HOST}:3'").replace("cluster: x", "cluster: '${file:c}'");
    let text = text.replace("127.0.0.1:2", "127.0.0.1:${file:p}");
    let read =
        |says| weir_config::parse_with(&text.replace("${file:p}", "2"), "f", SECTIONS, &Says(says)).unwrap();
    let (old, new) = (read("x"), read("y"));
    let diff = Config::diff(&old, &new);
    assert_eq!(names(&diff.clusters.changed), ["y"]);
    assert_eq!(names(&diff.listeners.changed), ["a"]);
    assert_eq!(old.to_json(), new.to_json());
    assert!(Config::diff(&old, &read("x")).is_empty());
}
