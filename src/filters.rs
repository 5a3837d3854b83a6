//! Every protocol that this binary speaks. The only place that names them: one line each, of the filters or of the dialects.

use weir_config::Section;
use weir_drive::Filter;

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

#[cfg(all(test, feature = "mongo", feature = "grpc", feature = "dynamodb"))]
mod tests {
    use super::*;

    #[test]
    fn the_tables_of_the_sections_are_sound() {
        for section in sections() {
            assert_eq!(weir_config::problems(section.table()), Vec::<String>::new(), "{}", section.key());
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
