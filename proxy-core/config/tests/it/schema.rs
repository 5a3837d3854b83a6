//! The schema and the reference say what the walk does, since they come from the same tables.

use crate::files::fixtures;
use crate::sections::{SECTIONS, good};
use serde_json::{Value, json};
use std::path::Path;
use weir_config::{FILE, schema};

#[test]
fn the_tables_are_sound() {
    assert_eq!(weir_config::problems(&FILE), Vec::<String>::new());
    for section in SECTIONS {
        assert_eq!(weir_config::problems(section.table()), Vec::<String>::new());
    }
}

/// Whether `value` is valid, as far as these tests need it: all that `schema` uses but patterns and annotations.
fn valid(root: &Value, schema: &Value, value: &Value) -> bool {
    let all = |list: &Value, test: &dyn Fn(&Value) -> bool| {
        list.as_array().is_none_or(|list| list.iter().all(test))
    };
    let count =
        |list: &Value| list.as_array().map(|list| list.iter().filter(|s| valid(root, s, value)).count());
    if let Some(to) = schema["$ref"].as_str() {
        let name = to.strip_prefix("#/$defs/").expect("a local reference").replace("%20", " ");
        let target = &root["$defs"][&name];
        assert!(target.is_object(), "{to} leads nowhere");
        if name == "substituted" && !value.as_str().is_some_and(|text| text.contains('$')) {
            return false;
        }
        return valid(root, target, value);
    }
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let is = |name: &Value| name == kind || (name == "integer" && value.is_u64());
    let typed = match &schema["type"] {
        Value::Null => true,
        Value::Array(names) => names.iter().any(is),
        name => is(name),
    };
    let number = |key: &str| schema[key].as_u64();
    let within = value.as_u64().is_none_or(|n| {
        number("minimum").is_none_or(|min| n >= min) && number("maximum").is_none_or(|max| n <= max)
    });
    let items = value.as_array().is_none_or(|items| {
        number("minItems").is_none_or(|min| items.len() as u64 >= min)
            && (schema["items"].is_null() || items.iter().all(|item| valid(root, &schema["items"], item)))
    });
    let members = value.as_object().is_none_or(|members| {
        all(&schema["required"], &|key| members.contains_key(key.as_str().unwrap()))
            && members.iter().all(|(key, value)| {
                match (&schema["properties"][key], &schema["additionalProperties"]) {
                    (Value::Null, Value::Bool(allowed)) => *allowed,
                    (Value::Null, Value::Null) => true,
                    (Value::Null, more) => valid(root, more, value),
                    (property, _) => valid(root, property, value),
                }
            })
    });
    typed
        && within
        && items
        && members
        && (schema["const"].is_null() || schema["const"] == *value)
        && count(&schema["anyOf"]).is_none_or(|n| n > 0)
        && count(&schema["oneOf"]).is_none_or(|n| n == 1)
        && count(&schema["allOf"]).is_none_or(|n| n == schema["allOf"].as_array().unwrap().len())
        && (schema["not"].is_null() || !valid(root, &schema["not"], value))
}

#[test]
fn good_files_are_valid_by_the_schema() {
    let schema = schema(SECTIONS);
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    for (path, text) in fixtures("good") {
        let value: Value = serde_json::from_str(&good(&text).to_json()).unwrap();
        assert!(valid(&schema, &schema, &value), "{}", path.display());
    }
}

#[test]
fn what_the_walk_refuses_the_schema_refuses() {
    let schema = schema(SECTIONS);
    let base = json!({ "listeners": { "l": { "bind": "127.0.0.1:1", "pipe": { "cluster": "c" } } } });
    assert!(valid(&schema, &schema, &base));
    for (place, wrong) in [
        ("/workers", json!(0)),
        ("/workers", json!("two")),
        ("/log", json!({ "level": "loud" })),
        ("/log", json!({ "levels": "info" })),
        ("/listeners", json!([])),
        ("/listeners/l", json!({ "pipe": { "cluster": "c" } })),
        ("/listeners/l", json!({ "bind": "127.0.0.1:1" })),
        (
            "/listeners/l",
            json!({ "bind": "127.0.0.1:1", "pipe": { "cluster": "c" }, "web": { "routes": [] } }),
        ),
        ("/listeners/l/pipe", json!({})),
        ("/clusters", json!({ "c": {} })),
        ("/clusters", json!({ "c": { "endpoints": [] } })),
        ("/clusters", json!({ "c": { "endpoints": ["h:1"], "dns": "h:1" } })),
        ("/clusters", json!({ "c": { "dns": "h:1", "balance": "fair" } })),
        ("/clusters", json!({ "c": { "dns": "h:1", "circuit_breaker": { "max_requests": true } } })),
    ] {
        let mut value = base.clone();
        match value.pointer_mut(place) {
            Some(there) => *there = wrong,
            None => value[place.trim_start_matches('/')] = wrong,
        }
        assert!(!valid(&schema, &schema, &value), "{value}");
        assert!(crate::sections::parse(&value.to_string()).is_err(), "{value}");
    }
}

/// `WEIR_BLESS=1` writes the reference anew.
#[test]
fn the_documented_reference_is_current() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/configuration.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let current =
        weir_config::replace_block(&page, "reference", &weir_config::reference()).expect("the marks");
    if std::env::var_os("WEIR_BLESS").is_some() {
        std::fs::write(&path, &current).unwrap();
    } else {
        assert!(
            page == current,
            "docs/configuration.md is not current: WEIR_BLESS=1 cargo test -p weir-config"
        );
    }
}

#[test]
fn the_reference_names_every_key_of_a_section_once() {
    let text = weir_config::reference_of(SECTIONS);
    for key in [
        "| `cluster` | name of a cluster | required |",
        "| `buffer` | size, 0 to 1MiB | `64KiB` |",
        "- `late`: ",
    ] {
        assert!(text.contains(key), "{key}\n{text}");
    }
    assert_eq!(text.matches("### web route\n").count(), 1);
}
