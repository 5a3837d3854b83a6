//! The canonical form of a piece of the file: JSON with sorted keys, in which `${..}` stands as it was written. Two pieces
//! with the same form and the same print say the same.

use crate::model::Config;
use crate::node::{Node, Scalar, Value};
use std::fmt::Write;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

/// The canonical form of a node, and a print of what was substituted in it (0 when nothing was).
pub(crate) fn of(node: &Node) -> (String, u64) {
    let mut writer = Writer { out: String::with_capacity(128), secrets: None };
    writer.node(node);
    (writer.out, writer.secrets.map_or(0, |hasher| hasher.finish()))
}

/// The same for the entries of a mapping, those of `except` left out.
pub(crate) fn of_entries(node: &Node, except: &[&str]) -> String {
    let mut writer = Writer { out: String::new(), secrets: None };
    writer.entries(node, except);
    writer.out
}

struct Writer {
    out: String,
    secrets: Option<DefaultHasher>,
}

impl Writer {
    fn node(&mut self, node: &Node) {
        match &node.value {
            Value::Scalar(scalar) => self.scalar(scalar),
            Value::List(items) => {
                self.out.push('[');
                for (n, item) in items.iter().enumerate() {
                    if n > 0 {
                        self.out.push(',');
                    }
                    self.node(item);
                }
                self.out.push(']');
            }
            Value::Map(_) => self.entries(node, &[]),
            Value::Broken => self.out.push_str("null"),
        }
    }

    fn entries(&mut self, node: &Node, except: &[&str]) {
        let mut entries: Vec<_> = node
            .entries()
            .unwrap_or_default()
            .iter()
            .filter(|entry| !except.contains(&entry.key()))
            .collect();
        entries.sort_by(|a, b| a.key.cmp(&b.key));
        self.out.push('{');
        for (n, entry) in entries.into_iter().enumerate() {
            if n > 0 {
                self.out.push(',');
            }
            quote(&mut self.out, &entry.key);
            self.out.push(':');
            self.node(&entry.value);
        }
        self.out.push('}');
    }

    fn scalar(&mut self, scalar: &Scalar) {
        if let Some(written) = &scalar.written {
            scalar.text.hash(self.secrets.get_or_insert_default());
            return quote(&mut self.out, written);
        }
        let text = &*scalar.text;
        if scalar.is_null() {
            self.out.push_str("null");
        } else if scalar.plain && (matches!(text, "true" | "false") || is_number(text)) {
            self.out.push_str(text);
        } else {
            quote(&mut self.out, text);
        }
    }
}

/// A whole number that JSON and every reader of it take as it is.
fn is_number(text: &str) -> bool {
    (1..=15).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_digit())
        && (text.len() == 1 || !text.starts_with('0'))
}

/// Appends a JSON string (RFC 8259 section 7).
pub(crate) fn quote(out: &mut String, text: &str) {
    out.push('"');
    if text.bytes().all(|b| matches!(b, b' '..=b'~') && b != b'"' && b != b'\\') {
        out.push_str(text);
        return out.push('"');
    }
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            // YAML wants these escaped too.
            c if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}') => {
                // All of these lie in the basic plane.
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

impl Config {
    /// The whole configuration as canonical JSON, with `${..}` as it was written: what the admin API shows.
    pub fn to_json(&self) -> String {
        self.json_head()
            + &self.listeners.iter().enumerate().map(|(n, l)| member(n, &l.name, &l.text)).collect::<String>()
            + BETWEEN
            + &self.clusters.iter().enumerate().map(|(n, c)| member(n, &c.name, &c.text)).collect::<String>()
            + "}}"
    }

    /// The same in pieces, each made when it is come to: a file may name thousands of clusters.
    pub fn json_pieces(config: &Arc<Config>) -> impl Iterator<Item = String> + Send + 'static {
        let (listeners, clusters) = (Arc::clone(config), Arc::clone(config));
        let of_listeners = (0..config.listeners.len()).filter_map(move |n| {
            listeners.listeners.get(n).map(|listener| member(n, &listener.name, &listener.text))
        });
        let of_clusters = (0..config.clusters.len()).filter_map(move |n| {
            clusters.clusters.get(n).map(|cluster| member(n, &cluster.name, &cluster.text))
        });
        std::iter::once(config.json_head())
            .chain(of_listeners)
            .chain(std::iter::once(BETWEEN.to_owned()))
            .chain(of_clusters)
            .chain(std::iter::once("}}".to_owned()))
    }

    fn json_head(&self) -> String {
        let mut out = self.text.strip_suffix('}').unwrap_or("{").to_string();
        if !out.ends_with('{') {
            out.push(',');
        }
        out.push_str("\"listeners\":{");
        out
    }
}

const BETWEEN: &str = "},\"clusters\":{";

fn member(n: usize, name: &str, text: &str) -> String {
    let mut out = String::with_capacity(name.len() + text.len() + 4);
    if n > 0 {
        out.push(',');
    }
    quote(&mut out, name);
    out.push(':');
    out.push_str(text);
    out
}
