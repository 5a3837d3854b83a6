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
            Kind::Histogram => "histogram",
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
