//! The pages of `weir top` that are no tables of operations: what the admin API lists, laid out for people.

use super::sheet::Sheet;
use crate::ask::{self, Admin};
use crate::table::{Column, duration, size, span};
use anyhow::{Context as _, Result};
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// What is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Page {
    /// A table of operations.
    Operations,
    /// The slow operations and the failures of late.
    Slow,
    /// The servers behind MongoDB listeners.
    Members,
    /// The connections from clients.
    Connections,
}

impl Page {
    /// What it is called in the title; nothing for the tables of operations, which have names of their own.
    pub fn title(self) -> Option<&'static str> {
        match self {
            Page::Operations => None,
            Page::Slow => Some("slow operations"),
            Page::Members => Some("members"),
            Page::Connections => Some("connections"),
        }
    }
}

/// What was counted when a page was last shown, for rates.
#[derive(Debug, Default)]
pub struct Before {
    counts: BTreeMap<[String; 2], f64>,
    at: Option<Instant>,
}

/// The page by now; of operations there is none.
pub fn fetch(page: Page, admin: &Admin, before: &mut Before) -> Result<Option<Sheet>> {
    let get = |path| -> Result<Value> { Ok(serde_json::from_str(&ask::get(admin, path)?)?) };
    Ok(Some(match page {
        Page::Operations => return Ok(None),
        Page::Slow => slow(&get("/slow")?, wall())?,
        Page::Members => members(&get("/members")?, before, super::now())?,
        Page::Connections => connections(&get(&format!("/connections?limit={ROWS}"))?)?,
    }))
}

/// Seconds since 1970.
#[allow(clippy::disallowed_methods, reason = "a program of its own, with nobody to pass the time in")]
fn wall() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

/// Connections that are asked for: more than any window has lines, and a filter may leave few.
const ROWS: usize = 1000;

fn word(one: &Value, key: &str) -> String {
    one[key].as_str().unwrap_or_default().to_owned()
}

/// A dash where there is nothing.
fn time(seconds: &Value) -> String {
    seconds.as_f64().map_or_else(|| "-".to_owned(), duration)
}

fn sheet(columns: &[Column], rows: Vec<Vec<String>>, nothing: &'static str, below: String) -> Sheet {
    let whole = &["MEMBER", "AT WEIR", "CLIENT", "ENDPOINT"];
    Sheet { columns: columns.to_vec(), rows, whole, nothing, below }
}

/// The slow operations, the latest first.
fn slow(answer: &Value, now: f64) -> Result<Sheet> {
    let operations = answer["operations"].as_array().context("the answer holds no operations")?;
    let row = |one: &Value| {
        let why = match &one["fault"] {
            Value::Null if word(one, "code").is_empty() => word(one, "result"),
            Value::Null => word(one, "code"),
            fault => format!("{} ({})", word(fault, "reason"), word(fault, "side")),
        };
        let shape = one["shape"].get("text").and_then(Value::as_str).unwrap_or_default().to_owned();
        let took = time(&one["duration"]);
        let ago = span((now - one["at"].as_f64().unwrap_or(now)).max(0.0) as u64);
        let mut cells = vec![ago];
        cells.extend(["listener", "operation", "resource", "application"].map(|key| word(one, key)));
        cells.extend([took, why, shape]);
        cells
    };
    let columns = [
        ("AGO", true),
        ("LISTENER", false),
        ("OPERATION", false),
        ("RESOURCE", false),
        ("APPLICATION", false),
        ("TIME", true),
        ("HOW", false),
        ("SHAPE", false),
    ];
    let rows = operations.iter().map(row).collect();
    Ok(sheet(&columns, rows, "Nothing was slow, and nothing has failed.", String::new()))
}

/// The members of each set, and how many elections there were.
fn members(answer: &Value, before: &mut Before, now: Instant) -> Result<Sheet> {
    let sets = answer["sets"].as_array().context("the answer holds no sets")?;
    let seconds = before.at.map(|at| now.duration_since(at).as_secs_f64());
    let (mut rows, mut counts, mut elections) = (Vec::new(), BTreeMap::new(), String::new());
    for set in sets {
        let listener = word(set, "listener");
        for one in set["members"].as_array().into_iter().flatten() {
            let key = [listener.clone(), word(one, "member")];
            let count = one["operations"].as_f64().unwrap_or_default();
            let rate = seconds
                .zip(before.counts.get(&key))
                .map(|(seconds, n)| (count - n).max(0.0) / seconds.max(1e-3));
            rows.push(vec![
                listener.clone(),
                word(one, "member"),
                word(one, "role"),
                span(one["role_for"].as_u64().unwrap_or_default()),
                one["advertised"].as_str().unwrap_or("-").to_owned(),
                time(&one["round_trip"]),
                one["connections"].to_string(),
                rate.map_or_else(|| "-".to_owned(), |rate| format!("{rate:.1}")),
                one["elected"].to_string(),
            ]);
            counts.insert(key, count);
        }
        if let Some(name) = set["set"].as_str() {
            let n = set["elections"].as_u64().unwrap_or_default();
            let s = if n == 1 { "" } else { "s" };
            elections += &format!("{listener}: replica set {name}, {n} election{s} seen\n");
        }
    }
    *before = Before { counts, at: Some(now) };
    let columns = [
        ("LISTENER", false),
        ("MEMBER", false),
        ("ROLE", false),
        ("FOR", true),
        ("AT WEIR", false),
        ("ROUND TRIP", true),
        ("CONNS", true),
        ("OPS/S", true),
        ("ELECTED", true),
    ];
    Ok(sheet(&columns, rows, "Nobody has said who the servers are.", elections))
}

/// The connections, the longest idle first, and how many there are.
fn connections(answer: &Value) -> Result<Sheet> {
    let all = answer["connections"].as_array().context("the answer holds no connections")?;
    let or_dash = |one: &Value, key: &str| one[key].as_str().unwrap_or("-").to_owned();
    let age =
        |seconds: &Value| seconds.as_f64().map_or_else(|| "-".to_owned(), |seconds| span(seconds as u64));
    let row = |one: &Value| {
        let driver = [word(one, "driver"), word(one, "driver_version"), word(one, "framework")].join(" ");
        let number = |key: &str| one[key].as_u64();
        let bytes = |key| number(key).map_or_else(|| "-".to_owned(), size);
        let secrets = [one["tls"].as_bool().filter(|tls| *tls).map(|_| "tls"), one["mechanism"].as_str()];
        let secrets: Vec<_> = secrets.into_iter().flatten().collect();
        vec![
            word(one, "listener"),
            word(one, "peer"),
            or_dash(one, "application"),
            if driver.trim().is_empty() { "-".to_owned() } else { driver.trim().to_owned() },
            if secrets.is_empty() { "-".to_owned() } else { secrets.join(" ") },
            or_dash(one, "compression"),
            or_dash(one, "endpoint"),
            age(&one["open_for"]),
            age(&one["idle_for"]),
            time(&one["under_way_for"]),
            number("operations").map_or_else(|| "-".to_owned(), |n| n.to_string()),
            bytes("request_bytes"),
            bytes("reply_bytes"),
        ]
    };
    let columns = [
        ("LISTENER", false),
        ("CLIENT", false),
        ("APPLICATION", false),
        ("DRIVER", false),
        ("SECURITY", false),
        ("PACKED", false),
        ("ENDPOINT", false),
        ("AGE", true),
        ("IDLE", true),
        ("UNDER WAY", true),
        ("OPS", true),
        ("IN", true),
        ("OUT", true),
    ];
    let open = answer["open"].as_u64().unwrap_or_default();
    let some = all.len() as u64 != open;
    let below = if some { format!("{} of {open} connections\n", all.len()) } else { String::new() };
    Ok(sheet(&columns, all.iter().map(row).collect(), "There is no connection.", below))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::time::Duration;

    #[test]
    fn slow_operations_say_why_they_are_there() {
        let answer = json!({ "operations": [
            { "at": 1000.5, "listener": "db", "operation": "find", "resource": "a.b", "application": "web", "duration": 1.5, "result": "ok", "code": "",
              "fault": null, "shape": { "hash": "0", "text": "{find: ?}" } },
            { "at": 900.0, "listener": "db", "operation": "insert", "resource": "a.c", "application": "", "duration": 0.001, "result": "upstream_lost",
              "code": "", "fault": { "side": "network", "phase": "waiting", "reason": "reset" }, "shape": null },
        ] });
        let slow = |filter: &str| super::slow(&answer, 1003.0).unwrap().text(filter, None);
        let text = slow("");
        assert!(
            text.contains(" 2s  db")
                && text.contains("1m43s")
                && text.contains("1.5s  ok")
                && text.contains("{find: ?}")
                && text.contains("reset (network)"),
            "{text}"
        );
        assert_eq!(slow("a.c").lines().count(), 2);
        assert!(slow("zzz").starts_with("Nothing"));
    }

    #[test]
    fn members_have_rates_from_the_second_look_on() {
        let answer = |operations: u64| {
            json!({ "sets": [{ "listener": "db", "cluster": "c", "set": "rs0", "elections": 1, "members": [
                { "member": "a:1", "role": "primary", "role_for": 7, "advertised": "weir:2", "round_trip": 0.0005,
                  "elected": 1, "connections": 3, "operations": operations },
                { "member": "b:1", "role": "unreachable", "role_for": 0, "advertised": null, "round_trip": null,
                  "elected": 0, "connections": 0, "operations": 0 },
            ] }] })
        };
        let (mut before, now) = (Before::default(), super::super::now());
        let first = members(&answer(100), &mut before, now).unwrap().text("", None);
        assert!(first.ends_with("\ndb: replica set rs0, 1 election seen\n"), "{first}");
        let second =
            members(&answer(300), &mut before, now + Duration::from_secs(2)).unwrap().text("primary", None);
        let line: Vec<_> = second.lines().nth(1).unwrap().split_whitespace().collect();
        assert_eq!(line, ["db", "a:1", "primary", "7s", "weir:2", "500us", "3", "100.0", "1"], "{second}");
        assert_eq!(
            members(&json!({ "sets": [] }), &mut before, now).unwrap().text("", None),
            "Nobody has said who the servers are.\n"
        );
    }

    #[test]
    fn connections_show_what_is_known() {
        let answer = json!({ "open": 7, "shown": 2, "connections": [
            { "listener": "db", "protocol": "mongo", "peer": "10.0.0.1:5", "tls": true, "application": "web",
              "driver": "PyMongo", "driver_version": "4.15", "compression": "zstd", "mechanism": "SCRAM-SHA-256",
              "endpoint": "a:1", "open_for": 200, "idle_for": null, "under_way_for": 0.25, "operations": 12,
              "request_bytes": 2048, "reply_bytes": 10 },
            { "listener": "web", "protocol": "http", "peer": "10.0.0.2:5", "tls": false, "application": null,
              "driver": null, "driver_version": null, "compression": null, "mechanism": null, "endpoint": null,
              "open_for": 1, "idle_for": null, "under_way_for": null, "operations": null, "request_bytes": null,
              "reply_bytes": null },
        ] });
        let text = connections(&answer).unwrap().text("", None);
        let lines: Vec<Vec<_>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        let known = "db 10.0.0.1:5 web PyMongo 4.15 tls SCRAM-SHA-256 zstd a:1 3m20s - 250.0ms 12 2.0KiB 10B";
        assert_eq!(lines[1], known.split(' ').collect::<Vec<_>>(), "{text}");
        assert_eq!(lines[2], "web 10.0.0.2:5 - - - - - 1s - - - - -".split(' ').collect::<Vec<_>>());
        assert!(text.ends_with("\n2 of 7 connections\n"), "{text}");
    }
}
