//! What is read from text, and what is said of text that is not.

use super::*;

const DURATION: Kind = Kind::Duration { min: 1, max: 3_600_000 };
const SIZE: Kind = Kind::Size { min: 0, max: 1 << 30 };
const INTEGER: Kind = Kind::Integer { min: 1, max: 100 };

fn hint(kind: &Kind, text: &str) -> Option<String> {
    read(kind, text, true).expect_err(text).hint
}

#[test]
fn durations() {
    for (text, ms) in
        [("1ms", 1), ("250ms", 250), ("2s", 2_000), ("1m", 60_000), ("60m", 3_600_000), ("1h", 3_600_000)]
    {
        let expected = Parsed::Duration(Duration::from_millis(ms));
        assert_eq!(read(&DURATION, text, true), Ok(expected.clone()), "{text}");
        assert_eq!(read(&DURATION, text, false), Ok(expected), "{text}, quoted");
    }
    for (text, instead) in [
        ("30", Some("30s")),
        ("1 s", Some("1s")),
        ("5sec", Some("5s")),
        ("1S", Some("1s")),
        ("2 minutes", Some("2m")),
        ("0s", None),
        ("2h", None),
        ("1d", None),
        ("", None),
        ("s", None),
        ("-1s", None),
        ("1.5s", None),
        ("1m30s", None),
        ("99999999999999999999s", None),
        ("18446744073709551615h", None),
        ("1us", None),
        ("١s", None),
    ] {
        assert_eq!(hint(&DURATION, text), instead.map(|to| format!("did you mean `{to}`?")), "{text}");
    }
}

#[test]
fn sizes() {
    for (text, bytes) in
        [("0", 0), ("17", 17), ("17B", 17), ("64KiB", 65_536), ("1MiB", 1 << 20), ("1GiB", 1 << 30)]
    {
        assert_eq!(read(&SIZE, text, true), Ok(Parsed::Number(bytes)), "{text}");
    }
    for (text, instead) in [
        ("64k", Some("64KiB")),
        ("64 KB", Some("64KiB")),
        ("1mb", Some("1MiB")),
        ("1 gib", Some("1GiB")),
        ("2GiB", None),
        ("1TiB", None),
        ("", None),
        ("KiB", None),
        ("-1", None),
        ("1.5MiB", None),
    ] {
        assert_eq!(hint(&SIZE, text), instead.map(|to| format!("did you mean `{to}`?")), "{text}");
    }
}

#[test]
fn what_is_shown_is_read_the_same() {
    for ms in [0, 1, 999, 1_000, 1_500, 60_000, 90_000, 3_600_000, 86_400_000] {
        let read = read(&Kind::Duration { min: 0, max: u64::MAX }, &show_ms(ms), true);
        assert_eq!(read, Ok(Parsed::Duration(Duration::from_millis(ms))));
    }
    for bytes in [0, 1, 1023, 1024, 1025, 1 << 20, 3 << 20, 1 << 30] {
        assert_eq!(read(&SIZE, &show_size(bytes), true), Ok(Parsed::Number(bytes)));
    }
}

#[test]
fn integers_and_booleans() {
    assert_eq!(read(&INTEGER, "100", true), Ok(Parsed::Number(100)));
    for text in ["0", "101", "-1", "+1", "01", "1.0", "1e1", "0x1", "", " 1", "many", "99999999999999999999"]
    {
        assert!(read(&INTEGER, text, true).is_err(), "{text}");
    }
    assert_eq!(hint(&INTEGER, "1_0").unwrap(), "did you mean `10`?");
    assert!(read(&INTEGER, "5", false).unwrap_err().hint.unwrap().contains("quoted"));
    assert_eq!(read(&Kind::Bool, "true", true), Ok(Parsed::Bool(true)));
    assert_eq!(read(&Kind::Bool, "false", true), Ok(Parsed::Bool(false)));
    for text in ["yes", "On", "y", "TRUE", "True"] {
        assert!(hint(&Kind::Bool, text).unwrap().ends_with("did you mean `true`?"), "{text}");
    }
    for text in ["no", "OFF", "n", "False"] {
        assert!(hint(&Kind::Bool, text).unwrap().ends_with("did you mean `false`?"), "{text}");
    }
    for text in ["", "1", "0", "maybe"] {
        assert_eq!(hint(&Kind::Bool, text), None, "{text}");
    }
}

#[test]
fn names_and_methods() {
    for text in ["a", "A-b.c_9", "_x", "9", &"a".repeat(128)] {
        assert!(is_name(text), "{text}");
    }
    for text in ["", ".", "-a", ".a", "a b", "a/b", "é", "a\n", &"a".repeat(129)] {
        assert!(!is_name(text), "{text}");
    }
    assert!(read(&Kind::Method, "M-SEARCH", true).is_ok());
    for text in ["", "G T", "G\r\n", "(", &"A".repeat(65)] {
        assert!(read(&Kind::Method, text, true).is_err(), "{text}");
    }
}

#[test]
fn near_words() {
    let words = ["endpoints", "dns", "balance", "outlier_ejection"];
    for (found, near) in [
        ("endpoint", Some("endpoints")),
        ("Endpoints", Some("endpoints")),
        ("endpionts", Some("endpoints")),
        ("outlier-ejection", Some("outlier_ejection")),
        ("outlierEjection", Some("outlier_ejection")),
        ("dsn", Some("dns")),
        ("tls", None),
        ("health_check", None),
        ("", None),
    ] {
        assert_eq!(nearest(found, words.into_iter()), near, "{found}");
    }
    assert_eq!(nearest(&"x".repeat(100_000), words.into_iter()), None);
}
