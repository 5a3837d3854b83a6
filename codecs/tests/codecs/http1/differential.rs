//! We and the others, on the same bytes: the tables, and a few thousand mutations of them.
//!
//! - We never accept what all of them refuse.
//! - Where one of them and we both accept, we agree on what the message is and where its body ends.
//! - Where neither stops, we agree on how many messages there are.

use super::cases::{self, Case, show};
use super::oracles::{self, Oracle, Verdict};
use super::reader::{self, End, How, Reading};
use super::table::{Dice, asked};

/// How many mutations: enough to meet every rule many times, and a second or two for the slowest oracle. More with
/// `WEIR_TEST_FULL`.
fn mutations() -> usize {
    if std::env::var_os("WEIR_TEST_FULL").is_some_and(|v| !v.is_empty()) { 60_000 } else { 12_000 }
}

/// What mutations are made of: bytes and words on which parsers differ.
const WORDS: &[&[u8]] = &[
    b"\r",
    b"\n",
    b"\r\n",
    b"\r\n\r\n",
    b" ",
    b"\t",
    b"\0",
    b"\x0b",
    b"\x0c",
    b"\x7f",
    b"\x80",
    b"\xa0",
    b"\xff",
    b":",
    b";",
    b",",
    b"0",
    b"1",
    b"5",
    b"a",
    b"f",
    b"+",
    b"-",
    b"0x",
    b"_",
    b"\"",
    b"\\",
    b"#",
    b"?",
    b"/",
    b"@",
    b"%",
    b"chunked",
    b"Transfer-Encoding: chunked\r\n",
    b"Content-Length: 5\r\n",
    b"Content-Length: 0\r\n",
    b"Host: b\r\n",
    b"Connection: close\r\n",
    b"Connection: keep-alive\r\n",
    b"Expect: 100-continue\r\n",
    b"HTTP/1.0",
    b"HTTP/1.1",
    b"HTTP/1.2",
    b"0\r\n\r\n",
    b"5\r\nhello\r\n",
    b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n",
    b"X: y\r\n",
    b" X: y\r\n",
    b";a=b",
    b";a=\"b\"",
];

pub fn mutate(cases: &[Case], count: usize, seed: u64) -> Vec<Case> {
    let mut dice = Dice::new(seed);
    // One mistake on a sound message says more than two on a broken one, so the sound ones are drawn more often.
    let sound = |c: &Case| !c.expected.starts_with('0');
    let short: Vec<&Case> = cases.iter().filter(|c| c.bytes.len() < 400).collect();
    let short: Vec<&Case> =
        short.iter().flat_map(|c| std::iter::repeat_n(*c, if sound(c) { 6 } else { 1 })).collect();
    (0..count)
        .map(|number| {
            let case = short[dice.below(short.len())];
            let mut bytes = case.bytes.clone();
            for _ in 0..1 + dice.below(3) {
                let at = dice.below(bytes.len() + 1);
                let to = (at + dice.below(4)).min(bytes.len());
                let word = WORDS[dice.below(WORDS.len())];
                match dice.below(6) {
                    0 => drop(bytes.splice(at..at, word.iter().copied())),
                    1 => drop(bytes.drain(at..to)),
                    2 => drop(bytes.splice(at..to, word.iter().copied())),
                    3 => {
                        let copy = bytes[at..to].to_vec();
                        drop(bytes.splice(at..at, copy));
                    }
                    4 => line(&mut bytes, &mut dice, word),
                    _ => {
                        let other = &short[dice.below(short.len())].bytes;
                        bytes.truncate(at);
                        bytes.extend_from_slice(&other[dice.below(other.len() + 1)..]);
                    }
                }
            }
            let (name, context) = (format!("{} mutated ({number})", case.name), case.context.clone());
            Case { name, context, expected: String::new(), bytes }
        })
        .collect()
}

/// Puts a word at the start of a line, where it is most often a field.
fn line(bytes: &mut Vec<u8>, dice: &mut Dice, word: &[u8]) {
    let starts: Vec<usize> = (1..bytes.len()).filter(|&i| bytes[i - 1] == b'\n').collect();
    if !starts.is_empty() {
        let at = starts[dice.below(starts.len())];
        bytes.splice(at..at, word.iter().copied());
    }
}

fn stopped(end: End) -> bool {
    matches!(end, End::Closed | End::Tunnel | End::Refused(..))
}

/// What is wrong between our reading and the others' of one case.
fn compare(case: &Case, ours: &Reading, others: &[(&str, &Verdict)]) -> Option<String> {
    for (name, verdict) in others {
        for (mine, theirs) in ours.messages.iter().zip(&verdict.messages).filter(|(m, t)| m.whole && t.whole)
        {
            let target_differs = !theirs.target.is_empty()
                && theirs.target.as_bytes() != mine.target
                && mine.target.is_ascii();
            if mine.start != theirs.start || mine.body != theirs.body || target_differs {
                return Some(format!("{name} reads {theirs:?}, we {mine:?}"));
            }
        }
        let more = ours.whole() > verdict.whole() && verdict.stop.is_none();
        let fewer = ours.whole() < verdict.whole() && !stopped(ours.end);
        if more || fewer {
            return Some(format!("{name} counts {}, we {}", verdict.whole(), ours.whole()));
        }
    }
    if others.iter().all(|(_, v)| v.whole() < ours.whole()) {
        let why: Vec<String> =
            others.iter().map(|(n, v)| format!("{n} {} {:?}", v.whole(), v.stop)).collect();
        return Some(format!("only we accept {} of {}: {}", ours.whole(), show(&case.bytes), why.join(", ")));
    }
    None
}

fn agree(cases: &[Case], oracles: &[Oracle], read: impl Fn(&Case) -> Reading) {
    let mut wrong = Vec::new();
    let mut accepted = 0;
    for (number, case) in cases.iter().enumerate() {
        let ours = read(case);
        accepted += ours.whole();
        let others: Vec<(&str, &Verdict)> = oracles.iter().map(|o| (o.name, &o.verdicts[number])).collect();
        if let Some(what) = compare(case, &ours, &others) {
            wrong.push(format!("{}: {ours}: {what}\n  {}", case.name, show(&case.bytes)));
        }
    }
    // A comparison in which nobody accepts anything would always succeed.
    assert!(accepted > cases.len() / 8, "only {accepted} messages of {} were sound", cases.len());
    for oracle in oracles {
        let theirs: usize = oracle.verdicts.iter().map(Verdict::whole).sum();
        assert!(theirs > accepted * 3 / 4, "{} accepted {theirs}, we {accepted}", oracle.name);
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

fn with_mutations(mut cases: Vec<Case>, seed: u64) -> Vec<Case> {
    let mutated = mutate(&cases, mutations(), seed);
    cases.extend(mutated);
    cases
}

#[test]
fn requests_agree_with_hyper_node_and_h11() {
    let cases = with_mutations(cases::requests(), 1);
    let oracles = [oracles::hyper(&cases), oracles::node("request", &cases), oracles::h11("request", &cases)];
    agree(&cases, &oracles, |case| reader::requests(&case.bytes, &[], How::Decode));
}

#[test]
fn responses_agree_with_hyper_node_and_h11() {
    let cases = with_mutations(cases::responses(), 2);
    let oracles =
        [oracles::hyper_client(&cases), oracles::node("response", &cases), oracles::h11("response", &cases)];
    agree(&cases, &oracles, |case| {
        // The oracles read one exchange: what comes after its final response is not theirs.
        let mut reading = reader::responses(&case.bytes, &[], How::Decode, asked(&case.context));
        let last = reading.messages.iter().position(|m| m.whole && !m.start.starts_with('1'));
        if let Some(last) = last
            && (last + 1 < reading.messages.len() || matches!(reading.end, End::Refused(..)))
        {
            reading.messages.truncate(last + 1);
            reading.end = End::Closed;
        }
        reading
    });
}
