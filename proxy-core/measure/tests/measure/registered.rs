//! Every metric is documented, and every metric is somebody's.

use std::path::{Path, PathBuf};
use weir_measure::names::{self, Kind};

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

#[test]
fn documentation_lists_every_metric_as_it_is() {
    let page = std::fs::read_to_string(repository().join("docs/metrics.md")).unwrap();
    let rows: Vec<&str> =
        page.lines().filter(|l| l.starts_with("| `weir_") || l.starts_with("| `process_")).collect();
    for family in names::ALL {
        let kind = match family.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram | Kind::Spans | Kind::Counts => "histogram",
            Kind::Info => "info",
        };
        let series = match family.max_series {
            None => "tables".to_string(),
            Some(_) if family.labels.is_empty() => "1".to_string(),
            Some(most) => most.to_string(),
        };
        let labels = family.labels.join(", ");
        let row = format!("| `{}` | {kind} | {labels} | {series} | {} |", family.name, family.help);
        assert!(rows.contains(&&*row), "docs/metrics.md lacks this row:\n{row}");
    }
    assert_eq!(rows.len(), names::ALL.len(), "docs/metrics.md lists a metric that is not in names.rs");
}

/// A metric that nobody writes would stay at nothing for ever.
#[test]
fn every_metric_is_written_by_somebody() {
    let names = std::fs::read_to_string(repository().join("proxy-core/measure/src/names.rs")).unwrap();
    let mut unused: Vec<&str> = names
        .lines()
        .filter_map(|line| line.strip_prefix("    ")?.split_once(" = "))
        .filter(|(_, rest)| {
            ["Counter", "Gauge", "Histogram", "Spans", "Counts", "Info"]
                .iter()
                .any(|k| rest.starts_with(&format!("{k} \"")))
        })
        .map(|(ident, _)| ident)
        .collect();
    assert_eq!(unused.len(), names::ALL.len());
    for folder in ["src", "proxy-core", "filters", "console"] {
        each_source(&repository().join(folder), &mut |text| {
            unused.retain(|ident| !says(text, ident));
        });
    }
    assert!(unused.is_empty(), "nothing writes {unused:?}");
}

/// Whether the word stands in the text.
fn says(text: &str, word: &str) -> bool {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.match_indices(word)
        .any(|(at, _)| !text[..at].ends_with(is_part) && !text[at + word.len()..].starts_with(is_part))
}

/// Calls `see` with the text of every source file below `folder` that knows metrics by name, tests and the list itself left
/// out.
fn each_source(folder: &Path, see: &mut dyn FnMut(&str)) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy();
        if path.is_dir() && name != "tests" && name != "target" {
            each_source(&path, see);
        } else if name.ends_with(".rs") && name != "names.rs" {
            let text = std::fs::read_to_string(&path).unwrap();
            if text.contains("names") {
                see(&text);
            }
        }
    }
}
