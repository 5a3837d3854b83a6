//! The Prometheus project's own Python parsers read what is written, and read the same numbers.

use crate::exposition::Exposition;
use crate::text::few;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::sync::Arc;
use weir_decide::exchange::NameKind;
use weir_measure::{Format, Process, Record};

const SCRIPT: &str = r#"
import json, sys
text = sys.stdin.read()
if sys.argv[1] == "openmetrics":
    from prometheus_client.openmetrics.parser import text_string_to_metric_families
else:
    from prometheus_client.parser import text_string_to_metric_families
out = []
for family in text_string_to_metric_families(text):
    assert family.documentation and family.type in ("counter", "gauge", "histogram", "info"), family
    for s in family.samples:
        out.append([s.name, s.labels, s.value])
json.dump(out, sys.stdout)
"#;

fn python(text: &[u8], format: &str) -> Vec<(String, serde_json::Value, f64)> {
    // `cargo xtask test` sets this; without it the reader in this test stands alone.
    let Some(venv) = std::env::var_os("WEIR_TEST_VENV") else {
        eprintln!("WEIR_TEST_VENV is not set (cargo xtask test does): not compared with prometheus-client");
        return Vec::new();
    };
    let python = std::path::Path::new(&venv).join("bin/python");
    let mut child = Command::new(&python)
        .args(["-c", SCRIPT, format])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|e| panic!("{}: {e}; `cargo xtask setup` installs it", python.display()));
    child.stdin.take().unwrap().write_all(text).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(
        output.status.success(),
        "prometheus-client (pip install prometheus-client) refuses the {format}"
    );
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn prometheus_reads_the_same_numbers() {
    let measure = few();
    measure.collect(Arc::new(Process::new("1.2.3")));
    let local = measure.local();
    let place = measure.place("li\\st\"en\ner", "ü", "http");
    let odd: &[u8] = b"\x00\xff\"\\ {},=\n";
    let record = Record {
        application: local.intern(NameKind::Application, &[odd]),
        duration: Some(u64::from(u32::MAX)),
        ..Record::new(
            place,
            local.intern(NameKind::Operation, &[odd]),
            local.intern(NameKind::Resource, &[odd]),
        )
    };
    local.record(&record);
    let _flight = local.started(place);
    for (format, word) in [(Format::Text, "text"), (Format::OpenMetrics, "openmetrics")] {
        let mut out = Vec::new();
        while measure.scrape(format).write(&mut out, usize::MAX) {}
        let text = String::from_utf8(out).unwrap();
        let read = python(text.as_bytes(), word);
        if read.is_empty() {
            continue;
        }
        assert!(read.len() > 80, "{}", read.len());
        if format == Format::Text {
            let mut ours = 0;
            let parsed = Exposition::parse(&text);
            for (name, labels, value) in parsed.0.values().flat_map(|f| &f.samples) {
                let labels = serde_json::to_value(labels).unwrap();
                let theirs = read.iter().find(|(n, l, _)| n == name && *l == labels);
                assert_eq!(theirs.map(|t| t.2), Some(value.parse().unwrap()), "{name} {labels}");
                ours += 1;
            }
            assert_eq!(ours, read.len());
        }
    }
}
