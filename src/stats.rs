//! `weir stats`: what a running Weir does, as a table or as JSON.

use crate::ask::{self, Admin};
use crate::given_way;
use crate::say;
use crate::table::{Column, duration, size};
use crate::top::screen;
use crate::top::sheet::Sheet;
use anyhow::{Context as _, Result};
use serde_json::Value;
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
pub fn stats(admin: &Admin, json: bool) -> Result<ExitCode> {
    if json {
        say::json(&format!("{}\n", ask::get(admin, "/operations")?.trim_end()))?;
    } else {
        // Where it goes on to a program it is whole.
        let stdout = std::io::stdout();
        let width = std::io::IsTerminal::is_terminal(&stdout).then(|| screen::window().1);
        say::out(&table(admin)?.text("", width))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The table of operations, the busiest first within each protocol and listener.
pub fn table(admin: &Admin) -> Result<Sheet> {
    let answer: Value = serde_json::from_str(&ask::get(admin, "/operations")?)?;
    let mut operations: Vec<&Value> = answer
        .get("operations")
        .and_then(Value::as_array)
        .context("the answer holds no operations")?
        .iter()
        .collect();
    operations.sort_by_key(|row| {
        let word = |key: &str| text(row, key).to_owned();
        (
            word("protocol"),
            word("listener"),
            std::cmp::Reverse(whole(row, "count")),
            word("operation"),
            word("resource"),
        )
    });
    let rows: Vec<Vec<String>> = operations.into_iter().map(row).collect();
    let below = given_way::note(&ask::get(admin, "/metrics")?);
    let (columns, nothing) = (COLUMNS.to_vec(), "Nothing has happened yet.");
    Ok(Sheet { columns, rows, whole: &[], nothing, below })
}

fn text<'a>(of: &'a Value, key: &str) -> &'a str {
    of.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn whole(of: &Value, key: &str) -> u64 {
    of.get(key).and_then(Value::as_u64).unwrap_or_default()
}

fn row(operation: &Value) -> Vec<String> {
    let word = |key: &str| text(operation, key).to_owned();
    let number = |key: &str| whole(operation, key);
    let at = |share: &str| {
        let found = operation.get("duration").and_then(|d| d.get(share)).and_then(Value::as_f64);
        found.map_or_else(|| "-".to_owned(), duration)
    };
    vec![
        word("protocol"),
        word("listener"),
        word("operation"),
        word("resource"),
        number("count").to_string(),
        number("count").saturating_sub(number("ok")).to_string(),
        at("p50"),
        at("p99"),
        size(number("request_bytes")),
        size(number("reply_bytes")),
        reasons(operation),
    ]
}

/// The ways in which it was not ok, the most frequent first: `404 x12, upstream_lost x1`.
fn reasons(operation: &Value) -> String {
    let mut outcomes: Vec<(u64, &str)> = Vec::new();
    let all = operation.get("outcomes").and_then(Value::as_array).into_iter().flatten();
    for outcome in all.filter(|outcome| text(outcome, "result") != "ok") {
        let code = text(outcome, "code");
        outcomes
            .push((whole(outcome, "count"), if code.is_empty() { text(outcome, "result") } else { code }));
    }
    outcomes.sort_by_key(|(count, reason)| (std::cmp::Reverse(*count), *reason));
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
        assert_eq!(
            cells[4..].join("|"),
            "12|3|300us|12.0ms|2.0KiB|10B|MaxTimeMSExpired x2, upstream_lost x1"
        );
    }
}
