//! The tables of fixtures/http1: a case is a line `name [context]: expectation`, then its bytes as quoted strings, one per
//! line, with Rust's escapes and an optional `*count` behind the quote.

use std::fmt::Write as _;

#[derive(Debug)]
pub struct Case {
    pub name: String,
    /// What is in brackets after the name, if anything.
    pub context: String,
    /// `count end`, as [`super::reader::Reading`] displays it.
    pub expected: String,
    pub bytes: Vec<u8>,
}

pub fn requests() -> Vec<Case> {
    parse(include_str!("../../../../fixtures/http1/requests.txt"))
}

pub fn responses() -> Vec<Case> {
    parse(include_str!("../../../../fixtures/http1/responses.txt"))
}

fn parse(text: &str) -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim_end();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(quoted) = line.trim_start().strip_prefix('"') {
            let (text, count) =
                quoted.rsplit_once('"').unwrap_or_else(|| panic!("line {number}: no end quote"));
            let count = count.strip_prefix('*').map_or(1, |n| n.parse().unwrap());
            let bytes = unescape(text.as_bytes()).repeat(count);
            cases.last_mut().expect("bytes before a name").bytes.extend(bytes);
        } else {
            let (name, expected) = line.split_once(": ").unwrap_or_else(|| panic!("line {number}: {line}"));
            let (name, context) = name.split_once(" [").unwrap_or((name, "]"));
            assert!(cases.iter().all(|c| c.name != name), "{name} twice");
            cases.push(Case {
                name: name.to_owned(),
                context: context.trim_end_matches(']').to_owned(),
                expected: expected.to_owned(),
                bytes: Vec::new(),
            });
        }
    }
    cases
}

fn unescape(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = text;
    while let [byte, tail @ ..] = rest {
        rest = tail;
        if *byte != b'\\' {
            out.push(*byte);
            continue;
        }
        let (escape, tail) = rest.split_first().expect("a lone backslash");
        rest = tail;
        out.push(match escape {
            b'r' => b'\r',
            b'n' => b'\n',
            b't' => b'\t',
            b'0' => 0,
            b'x' => {
                let digits = std::str::from_utf8(&rest[..2]).unwrap();
                rest = &rest[2..];
                u8::from_str_radix(digits, 16).unwrap()
            }
            b'"' | b'\\' => *escape,
            other => panic!("escape {}", char::from(*other)),
        });
    }
    out
}

/// Bytes for a message of a failed test.
pub fn show(bytes: &[u8]) -> String {
    let mut out = String::new();
    for chunk in bytes.iter().take(2000) {
        write!(out, "{}", chunk.escape_ascii()).unwrap();
    }
    out
}
