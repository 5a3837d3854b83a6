//! The JSON Schema (draft 2020-12) of the file, for editors: made of the field tables. It says what can be said of one key at
//! a time; that references exist, and the like, only the walk knows.

use crate::Section;
use crate::scalar::{show_ms, show_size};
use crate::table::{Field, Kind, Presence, Rule, Table};
use crate::tables::{FILE, LISTENER};
use serde_json::{Map, Value, json};

/// What marks a scalar that is only known when `${..}` has been put in.
const SUBSTITUTED: &str = "substituted";

/// The JSON Schema of a file whose listeners may have these sections.
pub fn schema(sections: &[&dyn Section]) -> Value {
    let mut defs = Map::new();
    let substituted = json!({
        "type": "string",
        "pattern": r"\$(\{.*\}|\$)",
        "description": "Text in which `${VARIABLE}` and `${file:PATH}` are replaced.",
    });
    defs.insert(SUBSTITUTED.into(), substituted);
    let mut root = table(&FILE, &mut defs, &[]);
    // The listener is the one table that sections add to.
    let listener = table(&LISTENER, &mut defs, sections);
    defs.insert(LISTENER.name.into(), listener);
    if let Some(root) = root.as_object_mut() {
        root.insert("$schema".into(), "https://json-schema.org/draft/2020-12/schema".into());
        root.insert("title".into(), "Weir configuration".into());
        root.insert("$defs".into(), Value::Object(defs));
    }
    root
}

/// A reference to a table, which is put among the definitions if it is not there yet.
fn reference(to: &'static Table, defs: &mut Map<String, Value>) -> Value {
    if !defs.contains_key(to.name) {
        // First the place, so that a table may lead back to itself.
        defs.insert(to.name.into(), Value::Null);
        let schema = table(to, defs, &[]);
        defs.insert(to.name.into(), schema);
    }
    json!({ "$ref": format!("#/$defs/{}", to.name.replace(' ', "%20")) })
}

fn table(table: &'static Table, defs: &mut Map<String, Value>, sections: &[&dyn Section]) -> Value {
    let mut properties = Map::new();
    for field in table.fields {
        properties.insert(field.name.into(), property(field, defs));
    }
    for section in sections {
        properties.insert(section.key().into(), reference(section.table(), defs));
    }
    let required: Vec<&str> =
        table.fields.iter().filter(|f| f.presence == Presence::Required).map(|f| f.name).collect();
    let mut out = json!({
        "type": "object",
        "description": table.doc,
        "properties": properties,
        "additionalProperties": false,
    });
    let mut rules: Vec<Value> = table.rules.iter().map(rule).collect();
    if !sections.is_empty() {
        let keys: Vec<&str> = sections.iter().map(|section| section.key()).collect();
        rules.push(exactly_one(&keys));
    }
    if let Some(out) = out.as_object_mut() {
        if !required.is_empty() {
            out.insert("required".into(), json!(required));
        }
        if !rules.is_empty() {
            out.insert("allOf".into(), Value::Array(rules));
        }
    }
    out
}

fn exactly_one(keys: &[&str]) -> Value {
    json!({ "oneOf": keys.iter().map(|key| json!({ "required": [key] })).collect::<Vec<_>>() })
}

fn rule(rule: &Rule) -> Value {
    match rule {
        Rule::ExactlyOne(keys) => exactly_one(keys),
        Rule::AtLeastOne(keys) => {
            json!({ "anyOf": keys.iter().map(|key| json!({ "required": [key] })).collect::<Vec<_>>() })
        }
        Rule::AtMostOne(keys) => {
            let pairs: Vec<Value> = keys
                .iter()
                .enumerate()
                .flat_map(|(n, a)| keys.iter().skip(n + 1).map(move |b| json!({ "required": [a, b] })))
                .collect();
            json!({ "not": { "anyOf": pairs } })
        }
        Rule::Together(keys) => {
            let each: Map<String, Value> = keys.iter().map(|key| ((*key).to_string(), json!(keys))).collect();
            json!({ "dependentRequired": each })
        }
    }
}

fn property(field: &Field, defs: &mut Map<String, Value>) -> Value {
    let mut out = kind(&field.kind, defs);
    if let Some(out) = out.as_object_mut() {
        out.insert("description".into(), field.doc.into());
        if let Presence::Default(text) = field.presence {
            let numeric = matches!(field.kind, Kind::Integer { .. } | Kind::Status);
            let default = match (numeric, text.parse::<u64>(), text) {
                (true, Ok(number), _) => json!(number),
                (false, _, "true" | "false") => json!(text == "true"),
                _ => json!(text),
            };
            out.insert("default".into(), default);
        }
    }
    out
}

/// A scalar that may also be text in which something is replaced.
fn or_substituted(schema: Value) -> Value {
    json!({ "anyOf": [schema, { "$ref": format!("#/$defs/{SUBSTITUTED}") }] })
}

fn pattern(pattern: &str) -> Value {
    or_substituted(json!({ "type": "string", "pattern": pattern }))
}

fn kind(of: &Kind, defs: &mut Map<String, Value>) -> Value {
    match *of {
        Kind::Text { max } => json!({ "type": ["string", "number", "boolean"], "maxLength": max }),
        Kind::Path | Kind::Cluster => json!({ "type": ["string", "number", "boolean"], "minLength": 1 }),
        Kind::Bool => or_substituted(json!({ "type": "boolean" })),
        Kind::Integer { min, max } => {
            or_substituted(json!({ "type": "integer", "minimum": min, "maximum": max }))
        }
        Kind::Status => or_substituted(json!({ "type": "integer", "minimum": 200, "maximum": 599 })),
        Kind::Duration { min, max } => {
            let mut out = pattern("^[0-9]+(ms|s|m|h)$");
            examples(&mut out, [show_ms(min.max(1)), show_ms(max)]);
            out
        }
        Kind::Size { min, max } => {
            let mut out = or_substituted(json!({
                "anyOf": [
                    { "type": "string", "pattern": "^[0-9]+(B|KiB|MiB|GiB)?$" },
                    { "type": "integer", "minimum": min, "maximum": max },
                ],
            }));
            examples(&mut out, [show_size(min), show_size(max)]);
            out
        }
        Kind::Bind => pattern(r"^(\[[0-9A-Fa-f:.%]+\]|[0-9.]+):[0-9]{1,5}$"),
        Kind::Listen => pattern(r"^((\[[0-9A-Fa-f:.%]+\]|[0-9.]+):[0-9]{1,5}|unix:/.*[^/])$"),
        Kind::Endpoint => pattern(r"^((\[[0-9A-Fa-f:.]+\]|[0-9A-Za-z_.-]+):[0-9]{1,5}|unix:/.*[^/])$"),
        Kind::Network => pattern(r"^[0-9A-Fa-f:.]+(/[0-9]{1,3})?$"),
        Kind::HostPort => pattern(r"^(\[[0-9A-Fa-f:.]+\]|[0-9A-Za-z_.-]+):[0-9]{1,5}$"),
        Kind::Host => pattern(r"^[0-9A-Za-z_.:-]+$"),
        Kind::Method => pattern(r"^[0-9A-Za-z!#$%&'*+.^_`|~-]{1,64}$"),
        Kind::OneOf(choices) => {
            let words: Vec<Value> = choices
                .iter()
                .map(|choice| json!({ "const": choice.word, "description": choice.doc.trim() }))
                .collect();
            or_substituted(json!({ "oneOf": words }))
        }
        Kind::Table(to) => reference(to, defs),
        Kind::List { item, min, max } => {
            json!({ "type": "array", "items": kind(item, defs), "minItems": min, "maxItems": max })
        }
        Kind::OneOrMany(item) => {
            let item = kind(item, defs);
            json!({ "anyOf": [item, { "type": "array", "items": item, "minItems": 1 }] })
        }
        Kind::Map { value, .. } => json!({ "type": "object", "additionalProperties": kind(value, defs) }),
        Kind::Either(first, second) => json!({ "anyOf": [kind(first, defs), kind(second, defs)] }),
    }
}

fn examples(schema: &mut Value, examples: [String; 2]) {
    if let Some(schema) = schema.as_object_mut() {
        schema.insert("examples".into(), json!(examples));
    }
}
