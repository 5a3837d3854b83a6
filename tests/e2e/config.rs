//! The configuration, through the real binary: every fixture with its exact verdict, and every option in some fixture.

use crate::support::{parts::root, process::output, weir::binary};
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

/// Every property of the schema must appear in some good fixture: an option without a test is a defect.
fn every_option_has_a_fixture() {
    let schema: Value = serde_json::from_str(&output(binary().arg("schema"))).expect("JSON");
    let mut wanted = BTreeSet::new();
    properties(&schema, &mut wanted);
    let mut text = String::new();
    for file in fixtures("good") {
        text += &std::fs::read_to_string(file).expect("readable");
    }
    let missing: Vec<&String> = wanted
        .iter()
        .filter(|name| !text.contains(&format!("{name}:")) && !text.contains(&format!("\"{name}\"")))
        .collect();
    assert!(wanted.len() > 30, "the schema has too few properties: {wanted:?}");
    assert!(missing.is_empty(), "options that no good fixture uses: {missing:?}");
}

fn properties(schema: &Value, found: &mut BTreeSet<String>) {
    match schema {
        Value::Object(map) => {
            for (key, value) in map {
                if let ("properties", Value::Object(properties)) = (key.as_str(), value) {
                    found.extend(properties.keys().cloned());
                }
                properties_of(value, found);
            }
        }
        other => properties_of(other, found),
    }
}

fn properties_of(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(_) => properties(value, found),
        Value::Array(items) => items.iter().for_each(|item| properties_of(item, found)),
        _ => {}
    }
}
