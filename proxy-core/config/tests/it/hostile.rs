//! Input that nobody means well with: never a panic, every error within the file, and no work beyond the size of the file.

use crate::files::fixtures;
use crate::sections::{SECTIONS, parse, wrong};
use proptest::prelude::*;
use std::fmt::Write;
use std::path::PathBuf;
use std::sync::LazyLock;
use weir_config::{Errors, MAX_BYTES, MAX_DEPTH};

/// Every error lies within the file, and there is one.
fn within(text: &str, errors: &Errors) {
    assert!(!errors.list().is_empty());
    assert!(errors.list().len() <= Errors::MOST);
    let unix = text.replace("\r\n", "\n").replace('\r', "\n");
    let lines: Vec<&str> = unix.split('\n').collect();
    for error in errors.list() {
        let line = lines.get(error.at.line as usize - 1);
        let Some(line) = line else { panic!("{error}: there are {} lines", lines.len()) };
        let columns = line.chars().count() + 1;
        assert!(
            (1..=columns).contains(&(error.at.column as usize)),
            "{error}: {columns} columns in {text:?}"
        );
        assert!(!error.message.is_empty() && !error.message.contains('\n'), "{error}");
    }
}

fn survives(text: &str) {
    match parse(text) {
        Err(errors) => within(text, &errors),
        Ok(config) => {
            let again =
                parse(&config.to_yaml()).unwrap_or_else(|errors| panic!("{errors}\n{}", config.to_yaml()));
            assert_eq!(config.to_json(), again.to_json());
        }
    }
}

/// Pieces that make up files, and mistakes in them.
fn piece() -> impl Strategy<Value = String> {
    let words = [
        "listeners",
        "clusters",
        "l",
        "bind",
        "pipe",
        "web",
        "routes",
        "cluster",
        "endpoints",
        ": ",
        ":",
        "\n",
        "\n  ",
        "\n    ",
        "- ",
        "{",
        "}",
        "[",
        "]",
        ", ",
        "'",
        "\"",
        "#",
        "&a ",
        "*a",
        "!!str ",
        "---\n",
        "...\n",
        "|\n",
        ">-\n",
        "? ",
        "%YAML 1.2\n",
        "127.0.0.1:80",
        "'h:1'",
        "${PORT}",
        "${",
        "$$",
        "${file:secret.txt}",
        "${NONE}",
        "\t",
        "\r",
        "\r\n",
        "é",
        "\u{feff}",
        "\u{2028}",
        "\u{0}",
        "1s",
        "true",
        "on",
        "~",
        "\\",
        "<<",
    ];
    prop_oneof![4 => prop::sample::select(words.to_vec()).prop_map(String::from), 1 => any::<char>().prop_map(String::from)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text(text in any::<String>()) {
        survives(&text);
    }

    #[test]
    fn anything_like_a_file(pieces in prop::collection::vec(piece(), 0..60)) {
        survives(&pieces.concat());
    }

    #[test]
    fn a_good_file_with_a_piece_put_in(which in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(),
        cut in 0_usize..4, piece in piece()) {
        static FILES: LazyLock<Vec<(PathBuf, String)>> = LazyLock::new(|| fixtures("good"));
        let text = &which.get(&FILES).1;
        let chars: Vec<char> = text.chars().collect();
        let at = at.index(chars.len());
        let mut broken: String = chars[..at].iter().collect();
        broken.push_str(&piece);
        broken.extend(chars.iter().skip(at + cut));
        survives(&broken);
    }

    #[test]
    fn a_value_that_means_nothing(text in "[^\u{0}-\u{1f}\u{7f}-\u{9f}$'\u{feff}\u{2028}\u{2029}\u{fffe}\u{ffff}]{0,20}") {
        // Whatever a value is, it is taken or refused where it stands.
        for key in ["workers", "admin", "drain_timeout", "log", "listeners"] {
            let file = format!("{key}: '{text}'\nlisteners: {{}}\n");
            if let Err(errors) = parse(&file) {
                within(&file, &errors);
                prop_assert!(errors.list()[0].path == key, "{errors}");
            }
        }
    }
}

#[test]
fn nothing_grows_beyond_its_cap() {
    let deep = format!("listeners: {}{}", "[".repeat(MAX_DEPTH + 8), "]".repeat(MAX_DEPTH + 8));
    assert_eq!(wrong(&deep), [format!("1:{}: nested more than {MAX_DEPTH} deep", 12 + MAX_DEPTH)]);
    let very_deep = "[".repeat(100_000);
    assert_eq!(wrong(&very_deep).len(), 1);

    let large = format!("# {}\nlisteners: {{}}", "x".repeat(MAX_BYTES));
    assert_eq!(wrong(&large), ["1:1: the file is larger than 16 MiB"]);

    let many = format!("listeners: [{}]", "a,".repeat(1_100_000));
    assert!(wrong(&many)[0].ends_with("more than 1048576 values"), "{:?}", wrong(&many));

    // A billion laughs.
    let laughs = "a: &a [x, x]\nb: &b [*a, *a]\nlisteners: [*b, *b]\n";
    assert!(wrong(laughs).iter().any(|line| line.contains("aliases (`*name`) are not supported")));

    let aliases = format!("listeners: &a {{}}\nclusters: [{}]", "*a,".repeat(200_000));
    let errors = parse(&aliases).unwrap_err();
    within(&aliases, &errors);
    assert_eq!(errors.omitted(), 200_002 - Errors::MOST);

    let full = "'${file:large.txt}'";
    let full = format!("listeners: {{}}\nclusters:\n  c: {{ endpoints: [{}] }}", vec![full; 300].join(", "));
    assert!(wrong(&full).iter().any(|line| line.ends_with("`${..}` puts in too much text")));
}

#[test]
fn thousands_of_mistakes_are_counted_not_listed() {
    let mut text = "listeners: {}\nclusters:\n".to_string();
    for n in 0..5000 {
        writeln!(text, "  c{n}: {{ endpoint: ['h:1'] }}").unwrap();
    }
    let errors = parse(&text).unwrap_err();
    within(&text, &errors);
    assert_eq!((errors.list().len(), errors.omitted()), (Errors::MOST, 5000 - Errors::MOST));
    assert!(errors.to_string().ends_with("\nand 4900 more"));
}

#[test]
fn a_section_that_is_not_there_is_an_unknown_key() {
    let text = "listeners: { l: { bind: '127.0.0.1:1', web: { routes: [{ status: 200 }] } } }";
    assert!(weir_config::parse(text, "f", SECTIONS).is_ok());
    let errors = weir_config::parse(text, "f", &[]).unwrap_err().to_string();
    assert!(errors.contains("listeners.l.web: unknown key"), "{errors}");
}
