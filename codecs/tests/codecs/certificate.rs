//! Until when certificates are valid.

use proptest::prelude::*;
use weir_codecs::certificate::not_after;

/// Made by OpenSSL, with what it says of their ends: of version 1 and 3, with ends of two and of four digits for the year.
const FIXTURES: [(&str, u64); 4] = [
    ("edge.der", 4_949_021_574),
    ("rsa_2126.der", 4_949_424_759),
    ("utc_time.der", 1_798_416_759),
    ("version1.der", 1_796_688_760),
];

fn fixture(name: &str) -> Vec<u8> {
    let path = format!("{}/../fixtures/certificate/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

#[test]
fn the_end_is_found_in_whole_certificates_only() {
    for (name, end) in FIXTURES {
        let der = fixture(name);
        assert_eq!(not_after(&der), Some(end), "{name}");
        for length in 0..der.len() {
            assert_eq!(not_after(&der[..length]), None, "{name}, {length} bytes of it");
        }
    }
}

proptest! {
    #[test]
    fn nothing_makes_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        not_after(&bytes);
    }

    #[test]
    fn nor_does_a_certificate_with_a_fault(which in 0..FIXTURES.len(), at in any::<prop::sample::Index>(), byte: u8) {
        let mut der = fixture(FIXTURES[which].0);
        let at = at.index(der.len());
        der[at] = byte;
        not_after(&der);
    }
}
