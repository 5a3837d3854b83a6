//! The reference of all keys, as Markdown, made of the field tables. Tests hold docs/configuration.md to it.

use crate::Section;
use crate::scalar::{show_ms, show_size};
use crate::table::{Kind, Presence, Rule, Table};
use crate::tables::{CLUSTER, FILE, LISTENER};
use std::fmt::Write;

/// The reference of the core's tables.
pub fn reference() -> String {
    tables(&[&FILE, &LISTENER, &CLUSTER], Vec::new())
}

/// The reference of the sections that filters bring.
pub fn reference_of(sections: &[&dyn Section]) -> String {
    let first: Vec<&'static Table> = sections.iter().map(|section| section.table()).collect();
    tables(&first, vec![&FILE, &LISTENER, &CLUSTER])
}

/// Puts `text` between `<!-- NAME: begin -->` and `<!-- NAME: end -->`. `None` when the marks are not there.
pub fn replace_block(page: &str, name: &str, text: &str) -> Option<String> {
    let begin = format!("<!-- {name}: begin -->\n");
    let end = format!("<!-- {name}: end -->");
    let (before, rest) = page.split_once(&begin)?;
    let (_, after) = rest.split_once(&end)?;
    Some(format!("{before}{begin}\n{}\n\n{end}{after}", text.trim()))
}

/// The tables `first` and all that they lead to, each once, in the order in which one meets them; not those of `known`.
fn tables(first: &[&'static Table], mut known: Vec<&'static Table>) -> String {
    let mut out = String::new();
    for table in first {
        section(table, first, &mut known, &mut out);
    }
    out
}

fn is(table: &'static Table, among: &[&'static Table]) -> bool {
    among.iter().any(|other| std::ptr::eq(*other, table))
}

fn section(
    table: &'static Table,
    first: &[&'static Table],
    known: &mut Vec<&'static Table>,
    out: &mut String,
) {
    if is(table, known) {
        return;
    }
    known.push(table);
    // Writing to a string cannot fail.
    let _ = write!(out, "### {}\n\n{}\n\n", table.name, table.doc);
    if !table.fields.is_empty() {
        out.push_str("| key | value | default | meaning |\n|---|---|---|---|\n");
    }
    for field in table.fields {
        let default = match field.presence {
            Presence::Required => "required".into(),
            Presence::Optional => String::new(),
            Presence::Default(text) => format!("`{text}`"),
        };
        let doc = field.doc.replace('|', "\\|");
        let _ = writeln!(out, "| `{}` | {} | {default} | {doc} |", field.name, value(&field.kind));
    }
    out.push('\n');
    for rule in table.rules {
        let list = |keys: &[&str]| keys.iter().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(", ");
        let _ = match rule {
            Rule::ExactlyOne(keys) => write!(out, "Exactly one of {}.\n\n", list(keys)),
            Rule::AtLeastOne(keys) => write!(out, "At least one of {}.\n\n", list(keys)),
            Rule::AtMostOne(keys) => write!(out, "At most one of {}.\n\n", list(keys)),
            Rule::Together(keys) => write!(out, "Either all or none of {}.\n\n", list(keys)),
        };
    }
    for field in table.fields {
        let kind = match field.kind {
            Kind::OneOrMany(item) => *item,
            kind => kind,
        };
        if let Kind::OneOf(choices) = kind {
            let _ = write!(out, "`{}`:\n\n", field.name);
            for choice in choices {
                let _ = writeln!(out, "- `{}`: {}", choice.word, choice.doc.trim());
            }
            out.push('\n');
        }
    }
    for field in table.fields {
        below(&field.kind, first, known, out);
    }
}

fn below(kind: &Kind, first: &[&'static Table], known: &mut Vec<&'static Table>, out: &mut String) {
    match *kind {
        // Those that come first have their own turn.
        Kind::Table(table) if !is(table, first) => section(table, first, known, out),
        Kind::List { item, .. } | Kind::OneOrMany(item) | Kind::Map { value: item, .. } => {
            below(item, first, known, out);
        }
        Kind::Either(a, b) => {
            below(a, first, known, out);
            below(b, first, known, out);
        }
        _ => {}
    }
}

/// What a value is, in a few words.
fn value(kind: &Kind) -> String {
    match *kind {
        Kind::Text { .. } => "text".into(),
        Kind::Bool => "`true` or `false`".into(),
        Kind::Integer { min, max } => format!("{min} to {max}"),
        Kind::Duration { min, max } => format!("duration, {} to {}", show_ms(min), show_ms(max)),
        Kind::Size { min, max } => format!("size, {} to {}", show_size(min), show_size(max)),
        Kind::Bind => "IP address and port".into(),
        Kind::Listen => "IP address and port, or `unix:/path`".into(),
        Kind::Endpoint => "`host:port`, or `unix:/path`".into(),
        Kind::Network => "IP address or network".into(),
        Kind::HostPort => "`host:port`".into(),
        Kind::Host => "host".into(),
        Kind::Path => "path".into(),
        Kind::Cluster => "name of a cluster".into(),
        Kind::Status => "HTTP status".into(),
        Kind::Method => "HTTP method".into(),
        Kind::OneOf(choices) => {
            choices.iter().map(|choice| format!("`{}`", choice.word)).collect::<Vec<_>>().join(", ")
        }
        Kind::Table(table) => format!("[{}](#{})", table.name, table.name.replace(' ', "-")),
        Kind::List { item, .. } => format!("list of: {}", value(item)),
        Kind::OneOrMany(item) => format!("one or a list of: {}", value(item)),
        Kind::Map { key, value: of } => format!("mapping from {key} to {}", value(of)),
        Kind::Either(first, second) => format!("{}, or {}", value(first), value(second)),
    }
}
