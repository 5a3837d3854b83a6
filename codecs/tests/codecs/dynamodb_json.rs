//! The JSON tokeniser and the request scanner against serde_json: what one accepts the other accepts, and the tables
//! that a walk over the whole document finds are the tables that the scanner finds in passing.

use super::dynamodb::{cut, read_request, target};
use proptest::prelude::*;
use serde_json::Value;
use std::collections::BTreeSet;
use weir_codecs::dynamodb::json::{Container, MAX_DEPTH, Malformed, Role, Scalar, Tokeniser, Visitor};
use weir_codecs::dynamodb::{RequestScanner, TableRef};

/// Writes down all that the tokeniser says, as one text.
#[derive(Default)]
struct Recorder {
    text: Vec<u8>,
}

impl Visitor for Recorder {
    fn open(&mut self, container: Container) {
        self.text.push(if container == Container::Object { b'{' } else { b'[' });
    }
    fn close(&mut self) {
        self.text.push(b')');
    }
    fn string(&mut self, role: Role) -> bool {
        self.text.push(if role == Role::Key { b'k' } else { b's' });
        true
    }
    fn number(&mut self) -> bool {
        self.text.push(b'n');
        true
    }
    fn text(&mut self, part: &[u8]) {
        self.text.extend_from_slice(part);
    }
    fn string_end(&mut self, _: Role) {
        self.text.push(b';');
    }
    fn scalar(&mut self, scalar: Scalar) {
        self.text.extend_from_slice(match scalar {
            Scalar::Number => b";",
            Scalar::True => b"t",
            Scalar::False => b"f",
            Scalar::Null => b"0",
        });
    }
}

/// The same text, from a document that serde_json has read.
fn record(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Null => out.push(b'0'),
        Value::Bool(true) => out.push(b't'),
        Value::Bool(false) => out.push(b'f'),
        Value::Number(number) => out.extend_from_slice(format!("n{number};").as_bytes()),
        Value::String(text) => out.extend_from_slice(format!("s{text};").as_bytes()),
        Value::Array(values) => {
            out.push(b'[');
            values.iter().for_each(|value| record(value, out));
            out.push(b')');
        }
        Value::Object(members) => {
            out.push(b'{');
            for (key, value) in members {
                out.extend_from_slice(format!("k{key};").as_bytes());
                record(value, out);
            }
            out.push(b')');
        }
    }
}

fn tokenise<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> (Result<bool, Malformed>, Vec<u8>) {
    let (mut tokens, mut recorder) = (Tokeniser::new(), Recorder::default());
    for part in parts {
        if let Err(error) = tokens.feed(part, &mut recorder) {
            assert_eq!(tokens.feed(b" ", &mut recorder), Err(error), "errors stay");
            return (Err(error), recorder.text);
        }
    }
    (tokens.finish(&mut recorder), recorder.text)
}

fn documents() -> impl Strategy<Value = Value> {
    let text = prop_oneof!["\\PC{0,12}", "[\\x00-\\x7f]{0,12}", Just("TableName".to_owned())];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::from),
        any::<u32>().prop_map(Value::from),
        text.prop_map(Value::String),
    ];
    leaf.prop_recursive(6, 60, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map("\\PC{0,8}", inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// Writes a document with white space and escapes strewn in by `noise`.
fn write_noisy(value: &Value, noise: &mut impl FnMut() -> u8, out: &mut Vec<u8>) {
    const BLANKS: [&[u8]; 8] = [b"", b"", b"", b" ", b"\t", b"\r\n", b"\n  ", b""];
    let blank = |noise: &mut dyn FnMut() -> u8, out: &mut Vec<u8>| {
        out.extend_from_slice(BLANKS[usize::from(noise() % 8)]);
    };
    blank(noise, out);
    match value {
        Value::String(text) => write_text(text, noise, out),
        Value::Array(values) => {
            out.push(b'[');
            for (position, value) in values.iter().enumerate() {
                if position > 0 {
                    out.push(b',');
                }
                write_noisy(value, noise, out);
            }
            blank(noise, out);
            out.push(b']');
        }
        Value::Object(members) => {
            out.push(b'{');
            for (position, (key, value)) in members.iter().enumerate() {
                if position > 0 {
                    out.push(b',');
                }
                blank(noise, out);
                write_text(key, noise, out);
                blank(noise, out);
                out.push(b':');
                write_noisy(value, noise, out);
            }
            blank(noise, out);
            out.push(b'}');
        }
        other => out.extend_from_slice(other.to_string().as_bytes()),
    }
    blank(noise, out);
}

fn write_text(text: &str, noise: &mut impl FnMut() -> u8, out: &mut Vec<u8>) {
    out.push(b'"');
    for character in text.chars() {
        let escape = noise().is_multiple_of(4) || character < ' ' || matches!(character, '"' | '\\');
        if !escape {
            out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
            continue;
        }
        let short = match character {
            '"' | '\\' | '/' => Some(character),
            '\n' => Some('n'),
            '\t' => Some('t'),
            _ => None,
        };
        match short {
            Some(short) if noise().is_multiple_of(2) => {
                out.extend_from_slice(format!("\\{short}").as_bytes())
            }
            _ => {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    let upper = noise().is_multiple_of(2);
                    let digits = if upper { format!("\\u{unit:04X}") } else { format!("\\u{unit:04x}") };
                    out.extend_from_slice(digits.as_bytes());
                }
            }
        }
    }
    out.push(b'"');
}

fn noise(seed: u64) -> impl FnMut() -> u8 {
    let mut state = seed | 1;
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 24) as u8
    }
}

#[test]
fn malformed() {
    use Malformed::{BadNumber, BadString, Truncated, Unexpected};
    let cases: &[(&[u8], Malformed)] = &[
        (b"{", Truncated(1)),
        (b"[1", Truncated(2)),
        (b"\"ab", Truncated(3)),
        (b"tru", Truncated(3)),
        (b"trux", Unexpected(3)),
        (b"nul]", Unexpected(3)),
        (b"{} x", Unexpected(3)),
        (b"{}{}", Unexpected(2)),
        (b"[1,]", Unexpected(3)),
        (b"[,1]", Unexpected(1)),
        (b"{,}", Unexpected(1)),
        (b"{\"a\":1,}", Unexpected(7)),
        (b"{\"a\" 1}", Unexpected(5)),
        (b"{\"a\":}", Unexpected(5)),
        (b"{a:1}", Unexpected(1)),
        (b"[1}", Unexpected(2)),
        (b"{\"a\":1]", Unexpected(6)),
        (b"]", Unexpected(0)),
        (b"\xef\xbb\xbf{}", Unexpected(0)),
        (b"'a'", Unexpected(0)),
        (b"// x\n1", Unexpected(0)),
        (b"01", Unexpected(1)),
        (b"-", BadNumber(1)),
        (b"-a", BadNumber(1)),
        (b"[1.]", BadNumber(3)),
        (b"1e", BadNumber(2)),
        (b"1e+", BadNumber(3)),
        (b"+1", Unexpected(0)),
        (b".5", Unexpected(0)),
        (b"NaN", Unexpected(0)),
        (b"1_0", Unexpected(1)),
        (b"\"a\nb\"", BadString(2)),
        (b"\"\x00\"", BadString(1)),
        (b"\"\\x\"", BadString(2)),
        (b"\"\\u12g4\"", BadString(5)),
        (br#""\ud800\x""#, BadString(8)),
        (br#""\ud800\ud8g0""#, BadString(11)),
        (br#""\ud800"#, Truncated(7)),
        (b"\"\\ud800\n\"", BadString(7)),
        (b"\"\xff\"", BadString(1)),
        (b"\"\xc0\x80\"", BadString(1)),
        (b"\"\xed\xa0\x80\"", BadString(2)),
        (b"\"\xf4\x90\x80\x80\"", BadString(2)),
        (b"\"\xe2\x82\"", BadString(3)),
        (b"\"\xe2\\n\"", BadString(2)),
    ];
    for (input, expected) in cases {
        let shown = String::from_utf8_lossy(input);
        assert_eq!(tokenise([*input]).0, Err(*expected), "{shown}");
        assert_eq!(tokenise(input.chunks(1)).0, Err(*expected), "{shown}, byte by byte");
        assert!(serde_json::from_slice::<Value>(input).is_err(), "{shown}: serde_json");
    }
    for blank in [&b""[..], b"  \r\n\t"] {
        assert_eq!(tokenise([blank]).0, Ok(false));
    }
}

/// What Java and JavaScript read without a word.
#[test]
fn lone_surrogates_stand_for_themselves() {
    for (input, text) in [
        (r#""\ud800""#, "\u{fffd}"),
        (r#""a\udbffx""#, "a\u{fffd}x"),
        (r#""\udc00\ud800""#, "\u{fffd}\u{fffd}"),
        (r#""\ud800\n""#, "\u{fffd}\n"),
        (r#""\ud800\ud800\udc00""#, "\u{fffd}\u{10000}"),
        (r#""\ud800\u0041""#, "\u{fffd}A"),
        (r#""\ud800é""#, "\u{fffd}é"),
    ] {
        let expected = (Ok(true), format!("s{text};").into_bytes());
        assert_eq!(tokenise([input.as_bytes()]), expected, "{input}");
        assert_eq!(tokenise(input.as_bytes().chunks(1)), expected, "{input}, byte by byte");
    }
}

#[test]
fn depth() {
    let depth = usize::from(MAX_DEPTH);
    for open in ["[", "{\"a\":"] {
        let (close, value) = if open == "[" { ("]", "") } else { ("}", "1") };
        let fits = format!("{}{value}{}", open.repeat(depth), close.repeat(depth));
        assert_eq!(tokenise([fits.as_bytes()]).0, Ok(true));
        let deep = open.repeat(depth + 1);
        let at = (depth * open.len()) as u64;
        assert_eq!(tokenise([deep.as_bytes()]).0, Err(Malformed::TooDeep(at)));
    }
}

/// The tables that a walk over the whole document finds.
fn expected_tables(operation: &str, document: &Value) -> BTreeSet<String> {
    let mut texts: Vec<&str> = Vec::new();
    match operation {
        "BatchGetItem" => {
            let members = document.get("RequestItems").and_then(Value::as_object);
            texts.extend(members.into_iter().flat_map(|members| members.keys().map(String::as_str)));
        }
        "TransactWriteItems" => {
            let items = document.get("TransactItems").and_then(Value::as_array).into_iter().flatten();
            for item in items {
                for action in ["Get", "ConditionCheck", "Put", "Delete", "Update"] {
                    texts.extend(
                        item.get(action).and_then(|action| action.get("TableName")).and_then(Value::as_str),
                    );
                }
            }
        }
        _ => texts.extend(document.get("TableName").and_then(Value::as_str)),
    }
    texts
        .iter()
        .filter_map(|text| TableRef::parse(text.as_bytes()))
        .map(|found| found.table.to_owned())
        .collect()
}

/// Documents in which the keys that matter come at all depths, in and out of place.
fn calls() -> impl Strategy<Value = Value> {
    let name = prop_oneof![
        "[a-zA-Z0-9_.-]{1,6}",
        Just("arn:aws:dynamodb:x:1:table/Music/index/ByYear".to_owned()),
        "\\PC{0,6}",
    ];
    let key = prop_oneof![
        4 => prop::sample::select(vec![
            "TableName", "RequestItems", "TransactItems", "Put", "Get", "Update", "Keys", "IndexName", "Statement",
        ]).prop_map(str::to_owned),
        1 => name.clone(),
    ];
    let leaf = prop_oneof![4 => name.prop_map(Value::String), 1 => Just(Value::Null), 1 => any::<i32>().prop_map(Value::from)];
    let inner = leaf.prop_recursive(6, 80, 5, move |inner| {
        prop_oneof![
            1 => prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            3 => prop::collection::btree_map(key.clone(), inner, 0..5)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    });
    let items = prop::collection::vec(
        prop::collection::btree_map(
            prop::sample::select(vec!["Put", "Get", "Delete", "x"]),
            inner.clone(),
            0..3,
        ),
        0..5,
    );
    (inner, items).prop_map(|(mut document, items)| {
        if let Value::Object(members) = &mut document
            && !items.is_empty()
        {
            members.insert("TransactItems".to_owned(), serde_json::to_value(items).unwrap());
        }
        document
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn says_what_serde_json_says(
        document in documents(),
        seed in any::<u64>(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
    ) {
        let mut wire = Vec::new();
        write_noisy(&document, &mut noise(seed), &mut wire);
        let mut expected = Vec::new();
        record(&serde_json::from_slice(&wire).unwrap(), &mut expected);
        prop_assert_eq!(tokenise([&wire[..]]), (Ok(true), expected.clone()));
        prop_assert_eq!(tokenise(wire.chunks(1)), (Ok(true), expected.clone()));
        prop_assert_eq!(tokenise(cut(&wire, &cuts)), (Ok(true), expected));
    }

    #[test]
    fn accepts_what_serde_json_accepts(
        document in documents(),
        seed in any::<u64>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0u8..3), 1..4),
    ) {
        let mut wire = Vec::new();
        write_noisy(&document, &mut noise(seed), &mut wire);
        for (place, byte, how) in changes {
            let place = place.index(wire.len());
            let syntax = b"{}[]\",:\\0123456789eE+-.utfn \xc3\xed\xf0\x80\x00";
            let byte = syntax[usize::from(byte) % syntax.len()];
            match how {
                0 => wire[place] = byte,
                1 => wire.insert(place, byte),
                _ => { if wire.len() > 1 { wire.remove(place); } }
            }
        }
        let ours = tokenise([&wire[..]]).0;
        prop_assert_eq!(tokenise(wire.chunks(1)).0, ours);
        match serde_json::from_slice::<Value>(&wire) {
            Ok(_) => prop_assert_eq!(ours, Ok(true)),
            // A number that is well-formed but too large for serde_json.
            Err(error) if error.to_string().contains("out of range") => {}
            // A surrogate that is alone: in the grammar, and nothing that a `String` could hold.
            Err(error) if error.to_string().contains("hex escape") => {}
            Err(_) => prop_assert!(!matches!(ours, Ok(true)), "{}", String::from_utf8_lossy(&wire)),
        }
    }

    #[test]
    fn any_bytes_are_taken(wire in prop::collection::vec(any::<u8>(), 0..100)) {
        prop_assert_eq!(tokenise([&wire[..]]).0, tokenise(wire.chunks(1)).0);
    }

    #[test]
    fn finds_the_tables_that_a_walk_finds(
        document in calls(),
        seed in any::<u64>(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
    ) {
        let mut wire = Vec::new();
        write_noisy(&document, &mut noise(seed), &mut wire);
        let mut scanner = RequestScanner::new();
        for operation in ["GetItem", "BatchGetItem", "TransactWriteItems"] {
            let whole = read_request(&mut scanner, target(operation), [&wire[..]]);
            let found: BTreeSet<_> = scanner.request().tables.iter().map(|found| found.table.to_owned()).collect();
            prop_assert_eq!(found, expected_tables(operation, &document), "{}", operation);
            prop_assert_eq!(read_request(&mut scanner, target(operation), cut(&wire, &cuts)), whole.clone());
            prop_assert_eq!(read_request(&mut scanner, target(operation), wire.chunks(1)), whole);
        }
    }
}
