//! The configuration, through the real binary: every fixture with its exact verdict, and every option in some fixture.

use crate::support::{
    parts::{self, root},
    process::output,
    weir::binary,
};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

crate::tests!("config": good_files_are_taken, bad_files_are_refused_with_every_error, every_option_has_a_fixture);

fn fixtures(kind: &str) -> Vec<PathBuf> {
    let folder = root().join("fixtures/config").join(kind);
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("readable").path()).collect();
    files.retain(|path| path.extension().is_some_and(|e| e == "yaml" || e == "json"));
    files.sort();
    assert!(files.len() > 3, "too few fixtures in {}", folder.display());
    files
}

fn check(file: &Path) -> std::process::Output {
    let mut check = binary();
    check.arg("check").arg(file.strip_prefix(root()).expect("within the checkout")).current_dir(root());
    check.env("WEIR_TEST_NAME", "from-the-environment").output().expect("weir runs")
}

fn good_files_are_taken() {
    for file in fixtures("good") {
        let checked = check(&file);
        assert!(checked.status.success(), "{}: {}", file.display(), String::from_utf8_lossy(&checked.stderr));
    }
}

fn bad_files_are_refused_with_every_error() {
    for file in fixtures("bad") {
        let checked = check(&file);
        let said = String::from_utf8_lossy(&checked.stderr).into_owned();
        assert_eq!(checked.status.code(), Some(1), "{} was taken", file.display());
        let expected = file.with_extension("errors");
        if std::env::var_os("WEIR_TEST_BLESS").is_some() {
            std::fs::write(&expected, &said).expect("writable");
        }
        let wanted =
            std::fs::read_to_string(&expected).unwrap_or_else(|e| panic!("{}: {e}", expected.display()));
        assert_eq!(said, wanted, "{}", file.display());
    }
}

/// Every property of the schema must be used by some good fixture, at its own place: an option without a test is a defect.
fn every_option_has_a_fixture() {
    let schema: Value = serde_json::from_str(&output(binary().arg("schema"))).expect("JSON");
    let mut used = BTreeSet::new();
    for file in fixtures("good") {
        let text = std::fs::read_to_string(&file).expect("readable");
        let mut walk = Walk { schema: &schema, used: &mut used };
        walk.value(&schema, &shown(&file, &text));
    }
    let mut wanted = BTreeSet::new();
    wanted.extend(keys(&schema).map(|key| ("file".to_owned(), key)));
    for (name, table) in schema["$defs"].as_object().expect("tables") {
        wanted.extend(keys(table).map(|key| (name.clone(), key)));
    }
    let missing: Vec<_> = wanted.difference(&used).collect();
    assert!(wanted.len() > 100, "the schema has too few properties: {wanted:?}");
    assert!(missing.is_empty(), "options that no good fixture uses: {missing:?}");
}

fn keys(table: &Value) -> impl Iterator<Item = String> {
    table["properties"].as_object().into_iter().flat_map(|keys| keys.keys().cloned())
}

/// What a fixture says, as JSON.
fn shown(file: &Path, text: &str) -> Value {
    if file.extension().is_some_and(|extension| extension == "json") {
        return serde_json::from_str(text).expect("JSON");
    }
    let mut read = parts::python("yaml_to_json.py");
    serde_json::from_str(&output(read.arg(file))).expect("JSON")
}

/// Goes through a fixture and the schema together, and notes which keys of which table are used.
struct Walk<'a> {
    schema: &'a Value,
    used: &'a mut BTreeSet<(String, String)>,
}

impl Walk<'_> {
    fn value(&mut self, schema: &Value, value: &Value) {
        self.table("file", schema, value);
    }

    fn table(&mut self, name: &str, schema: &Value, value: &Value) {
        if let Some(to) = schema["$ref"].as_str() {
            let name = to.rsplit('/').next().expect("a name").replace("%20", " ");
            let root = self.schema;
            return self.table(&name, &root["$defs"][&name], value);
        }
        for either in ["anyOf", "oneOf", "allOf"].iter().filter_map(|word| schema[*word].as_array()).flatten()
        {
            self.table(name, either, value);
        }
        match value {
            Value::Object(map) => {
                for (key, value) in map {
                    let property = &schema["properties"][key];
                    if property.is_object() {
                        self.used.insert((name.to_owned(), key.clone()));
                        self.table(name, property, value);
                    } else {
                        self.table(name, &schema["additionalProperties"], value);
                    }
                }
            }
            Value::Array(items) => items.iter().for_each(|item| self.table(name, &schema["items"], item)),
            _ => {}
        }
    }
}
