//! Every protocol that this binary speaks. The only place that names them: one line each, of the filters or of the dialects.

use weir_config::Section;
use weir_drive::{Filter, Page};

/// The dialects that an HTTP route may have.
#[cfg(feature = "http")]
static DIALECTS: &[&dyn weir_http::DialectFactory] = &[
    #[cfg(feature = "grpc")]
    &weir_grpc::Grpc,
    #[cfg(feature = "dynamodb")]
    &weir_dynamodb::DynamoDb,
];

/// The kinds of HTTP listener.
#[cfg(feature = "http")]
mod sections {
    use super::DIALECTS;
    use weir_http::HttpSection;

    pub static HTTP: HttpSection =
        HttpSection { key: "http", table: &weir_http::config::HTTP, dialect: None, dialects: DIALECTS };
    #[cfg(feature = "grpc")]
    pub static GRPC: HttpSection = weir_grpc::section(DIALECTS);
    #[cfg(feature = "dynamodb")]
    pub static DYNAMODB: HttpSection = weir_dynamodb::section(DIALECTS);
}

/// The filters.
pub static FILTERS: &[&dyn Filter] = &[
    #[cfg(feature = "mongo")]
    &weir_mongo::Mongo,
    #[cfg(feature = "http")]
    &weir_http::Http(&sections::HTTP),
    #[cfg(feature = "grpc")]
    &weir_http::Http(&sections::GRPC),
    #[cfg(feature = "dynamodb")]
    &weir_http::Http(&sections::DYNAMODB),
    &weir_drive::Tcp,
];

/// Their sections of the configuration file.
pub fn sections() -> Vec<&'static dyn Section> {
    FILTERS.iter().map(|filter| filter.section()).collect()
}

/// Their pages of the admin API.
pub fn pages() -> Vec<Page> {
    FILTERS.iter().flat_map(|filter| filter.pages()).copied().collect()
}

#[cfg(all(test, feature = "mongo", feature = "grpc", feature = "dynamodb"))]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
mod tests {
    use super::*;
    use std::collections::HashSet;
    use std::path::Path;
    use weir_measure::names::{Family, Kind};

    #[test]
    fn the_tables_of_the_sections_are_sound() {
        for section in sections() {
            assert_eq!(weir_config::problems(section.table()), Vec::<String>::new(), "{}", section.key());
        }
    }

    /// Every metric of this binary, with the file that declares it.
    fn families() -> Vec<(&'static str, &'static [&'static Family])> {
        let core = ("proxy-core/measure/src/names.rs", weir_measure::names::ALL);
        vec![
            core,
            ("filters/http/src/names.rs", weir_http::names::ALL),
            ("filters/dynamodb/src/names.rs", weir_dynamodb::names::ALL),
            ("filters/grpc/src/names.rs", weir_grpc::names::ALL),
            ("filters/mongo/src/names.rs", weir_mongo::names::ALL),
        ]
    }

    fn is_name(text: &str) -> bool {
        text.starts_with(|c: char| c.is_ascii_lowercase())
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
    }

    #[test]
    fn names_of_metrics_keep_to_the_conventions() {
        let mut bare = HashSet::new();
        for family in families().into_iter().flat_map(|(_, families)| families) {
            let name = family.name;
            assert!(is_name(name), "{name}");
            assert!(name.starts_with("weir_") || name.starts_with("process_"), "{name}");
            assert_eq!(family.kind == Kind::Counter, name.ends_with("_total"), "{name}");
            assert_eq!(family.kind == Kind::Info, name.ends_with("_info"), "{name}");
            for reserved in ["_sum", "_count", "_bucket", "_created"] {
                assert!(!name.ends_with(reserved), "{name}");
            }
            let stripped = name.trim_end_matches("_total").trim_end_matches("_info");
            assert!(bare.insert(stripped), "{name}: another family has that name in OpenMetrics");
            assert!(family.labels.iter().all(|l| is_name(l) && *l != "le" && *l != "quantile"), "{name}");
            assert_eq!(family.labels.iter().collect::<HashSet<_>>().len(), family.labels.len(), "{name}");
            assert!(family.help.ends_with('.') && !family.help.contains('\n'), "{name}");
            assert!(family.max_series != Some(0), "{name}");
        }
    }

    #[test]
    fn metrics_of_one_protocol_are_its_filters() {
        let words = ["http", "dynamodb", "grpc", "mongo"];
        for (file, families) in families() {
            let own = words.into_iter().find(|word| file.contains(&format!("/{word}/")));
            for Family { name, .. } in families {
                let of = words.into_iter().find(|word| name.starts_with(&format!("weir_{word}_")));
                assert_eq!(of, own, "{name} in {file}");
            }
        }
    }

    #[test]
    fn documentation_lists_every_metric_as_it_is() {
        let page = std::fs::read_to_string(root().join("docs/metrics.md")).unwrap();
        let is_row = |line: &&str| line.starts_with("| `weir_") || line.starts_with("| `process_");
        let rows: Vec<&str> = page.lines().filter(is_row).collect();
        let all: Vec<_> = families().into_iter().flat_map(|(_, families)| families).collect();
        for family in &all {
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
        assert_eq!(rows.len(), all.len(), "docs/metrics.md lists a metric that no names.rs has");
    }

    /// A metric that nothing writes would stay at nothing for ever.
    #[test]
    fn every_metric_is_written() {
        let mut unused = Vec::new();
        for (file, families) in families() {
            let names = std::fs::read_to_string(root().join(file)).unwrap();
            let declared = names.lines().filter_map(|line| line.strip_prefix("    ")?.split_once(" = "));
            let is_kind = |rest: &str| KINDS.iter().any(|kind| rest.starts_with(&format!("{kind} \"")));
            let declared = declared.filter(|(_, rest)| is_kind(rest)).map(|(ident, _)| ident.to_owned());
            let before = unused.len();
            unused.extend(declared);
            assert_eq!(unused.len() - before, families.len(), "{file}");
        }
        for folder in ["src", "proxy-core", "filters", "console"] {
            each_source(&root().join(folder), &mut |text| unused.retain(|ident| !says(text, ident)));
        }
        assert!(unused.is_empty(), "nothing writes {unused:?}");
    }

    const KINDS: [&str; 6] = ["Counter", "Gauge", "Histogram", "Spans", "Counts", "Info"];

    fn root() -> &'static Path {
        Path::new(env!("CARGO_MANIFEST_DIR"))
    }

    /// Whether the word stands in the text.
    fn says(text: &str, word: &str) -> bool {
        let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
        text.match_indices(word)
            .any(|(at, _)| !text[..at].ends_with(is_part) && !text[at + word.len()..].starts_with(is_part))
    }

    /// Calls `see` with the text of every source file below `folder` that knows metrics by name, tests and the lists themselves left
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

    /// `WEIR_BLESS=1` writes the reference anew.
    #[test]
    fn the_documented_reference_of_the_protocols_is_current() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/configuration.md");
        let page = std::fs::read_to_string(path).unwrap();
        let reference = weir_config::reference_of(&sections());
        let current = weir_config::replace_block(&page, "protocols", &reference).expect("the marks");
        if std::env::var_os("WEIR_BLESS").is_some() {
            std::fs::write(path, &current).unwrap();
        } else {
            assert!(
                page == current,
                "docs/configuration.md is not current: WEIR_BLESS=1 cargo test -p weir --bin weir"
            );
        }
    }
}
