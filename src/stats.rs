//! `weir stats`: what a running Weir does, as a table or as JSON.

use crate::ask;
use crate::table::{Column, duration, lay_out, size};
use anyhow::{Context as _, Result};
use serde_json::Value;
use std::net::SocketAddr;
use std::process::ExitCode;

const COLUMNS: &[Column] = &[
    ("PROTOCOL", false),
    ("LISTENER", false),
    ("OPERATION", false),
    ("RESOURCE", false),
    ("COUNT", true),
    ("NOT OK", true),
    ("P50", true),
    ("P99", true),
    ("IN", true),
    ("OUT", true),
    ("WHY NOT OK", false),
];

/// Prints the operations of the Weir whose admin API is there.
#[allow(clippy::print_stdout, reason = "this is what the command is for")]
pub fn stats(admin: SocketAddr, json: bool) -> Result<ExitCode> {
    if json {
        println!("{}", ask::get(admin, "/operations")?.trim_end());
    } else {
        print!("{}", table(admin)?);
    }
    Ok(ExitCode::SUCCESS)
}

/// The table of operations, the busiest first within each protocol and listener.
pub fn table(admin: SocketAddr) -> Result<String> {
    let answer: Value = serde_json::from_str(&ask::get(admin, "/operations")?)?;
    let mut operations: Vec<&Value> =
        answer["operations"].as_array().context("the answer holds no operations")?.iter().collect();
    if operations.is_empty() {
        return Ok("Nothing has happened yet.\n".to_owned());
    }
    operations.sort_by_key(|row| {
        let word = |key: &str| row[key].as_str().unwrap_or_default().to_owned();
        (word("protocol"), word("listener"), std::cmp::Reverse(row["count"].as_u64()), word("operation"), word("resource"))
    });
    let rows: Vec<Vec<String>> = operations.into_iter().map(row).collect();
    Ok(lay_out(COLUMNS, &rows))
}

fn row(operation: &Value) -> Vec<String> {
    let word = |key: &str| operation[key].as_str().unwrap_or_default().to_owned();
    let number = |key: &str| operation[key].as_u64().unwrap_or_default();
    let at = |share: &str| operation["duration"][share].as_f64().map_or_else(|| "-".to_owned(), duration);
    vec![
        word("protocol"),
        word("listener"),
        word("operation"),
        word("resource"),
        number("count").to_string(),
        (number("count") - number("ok")).to_string(),
        at("p50"),
        at("p99"),
        size(number("request_bytes")),
        size(number("reply_bytes")),
        reasons(operation),
    ]
}

/// The ways in which it was not ok, the most frequent first: `404 x12, upstream_lost`.
fn reasons(operation: &Value) -> String {
    let mut outcomes: Vec<(u64, String)> = Vec::new();
    for outcome in operation["outcomes"].as_array().into_iter().flatten().filter(|o| o["result"] != "ok") {
        let word = |key: &str| outcome[key].as_str().unwrap_or_default();
        let reason = if word("code").is_empty() { word("result") } else { word("code") };
        outcomes.push((outcome["count"].as_u64().unwrap_or_default(), reason.to_owned()));
    }
    outcomes.sort_by_key(|(count, reason)| (std::cmp::Reverse(*count), reason.clone()));
    let shown = outcomes.iter().take(3).map(|(count, reason)| format!("{reason} x{count}"));
    shown.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_row_says_what_happened_and_why() {
        let operation = json!({
            "protocol": "mongo", "listener": "db", "operation": "find", "resource": "shop.orders", "count": 12, "ok": 9,
            "request_bytes": 2048, "reply_bytes": 10,
            "duration": { "p50": 0.000_3, "p99": 0.012 },
            "outcomes": [
                { "result": "ok", "code": "", "count": 9 },
                { "result": "upstream_lost", "code": "", "count": 1 },
                { "result": "error", "code": "MaxTimeMSExpired", "count": 2 },
            ],
        });
        let cells = row(&operation);
        assert_eq!(cells.len(), COLUMNS.len());
        assert_eq!(cells[4..].join("|"), "12|3|300us|12.0ms|2.0KiB|10B|MaxTimeMSExpired x2, upstream_lost x1");
    }
}
