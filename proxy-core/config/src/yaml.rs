//! A configuration as a YAML file: what `--print-config` prints, for people to begin their own with.

use crate::model::Config;
use serde_json::Value;

impl Config {
    /// The whole configuration as YAML, with `${..}` as it was written. Read again it says the same; comments and order are
    /// not those of the file it came from.
    pub fn to_yaml(&self) -> String {
        let mut out = String::new();
        // Canonical JSON is ours, and always parses.
        if let Ok(Value::Object(top)) = serde_json::from_str::<Value>(&self.text) {
            for (key, value) in &top {
                entry(&mut out, key, value, 0);
            }
        }
        let mut named = |title: &str, parts: &mut dyn Iterator<Item = (&str, &str)>| {
            let mut any = false;
            for (name, text) in parts {
                if !any {
                    out.push_str(&format!("\n{title}:\n"));
                }
                any = true;
                entry(&mut out, name, &serde_json::from_str(text).unwrap_or(Value::Null), 1);
            }
            if !any {
                out.push_str(&format!("\n{title}: {{}}\n"));
            }
        };
        named("listeners", &mut self.listeners.iter().map(|listener| (&*listener.name, &*listener.text)));
        named("clusters", &mut self.clusters.iter().map(|cluster| (&*cluster.name, &*cluster.text)));
        out.trim_start().to_string()
    }
}

fn indent(out: &mut String, depth: usize) {
    out.extend(std::iter::repeat_n("  ", depth));
}

fn entry(out: &mut String, key: &str, value: &Value, depth: usize) {
    indent(out, depth);
    text(out, key);
    out.push(':');
    after(out, value, depth);
}

/// What comes after a key or a dash: a scalar on the same line, or more lines.
fn after(out: &mut String, value: &Value, depth: usize) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            out.push('\n');
            for (key, value) in map {
                entry(out, key, value, depth + 1);
            }
        }
        Value::Array(items) if !items.is_empty() && items.iter().all(is_scalar) => {
            out.push_str(" [");
            for (n, item) in items.iter().enumerate() {
                if n > 0 {
                    out.push_str(", ");
                }
                scalar(out, item);
            }
            out.push_str("]\n");
        }
        Value::Array(items) if !items.is_empty() => {
            out.push('\n');
            for item in items {
                indent(out, depth + 1);
                out.push('-');
                match item {
                    // The first key stands beside the dash.
                    Value::Object(map) if !map.is_empty() => {
                        let mut block = String::new();
                        for (key, value) in map {
                            entry(&mut block, key, value, depth + 2);
                        }
                        out.push(' ');
                        out.push_str(block.trim_start());
                    }
                    other => after(out, other, depth + 1),
                }
            }
        }
        other => {
            out.push(' ');
            scalar(out, other);
            out.push('\n');
        }
    }
}

fn is_scalar(value: &Value) -> bool {
    !matches!(value, Value::Array(_) | Value::Object(_))
}

fn scalar(out: &mut String, value: &Value) {
    match value {
        Value::String(string) => text(out, string),
        // The rest of JSON is YAML as it is; lists and mappings come here only when empty.
        other => out.push_str(&other.to_string()),
    }
}

/// Plain where that is safe in every version of YAML and in every place, quoted elsewhere.
fn text(out: &mut String, text: &str) {
    let safe = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/')
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.' | b'/'))
        && !matches!(
            text.to_ascii_lowercase().as_str(),
            "true" | "false" | "null" | "yes" | "no" | "on" | "off" | "y" | "n"
        );
    let duration = text.starts_with(|c: char| c.is_ascii_digit())
        && text.ends_with(['s', 'm', 'h'])
        && text.bytes().all(|b| b.is_ascii_alphanumeric())
        && text.trim_start_matches(|c: char| c.is_ascii_digit()).len() <= 2;
    if safe || duration {
        out.push_str(text);
    } else {
        crate::canonical::quote(out, text);
    }
}
