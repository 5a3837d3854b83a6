//! Every case of the tables, whole, byte by byte and at random cuts, decoded and relayed: one reaction, the written one.

use super::cases::{self, Case, show};
use super::reader::{self, How, Reading};
use std::collections::BTreeSet;
use weir_codecs::http1::{Asked, Method, Rule};

/// Cuts from a small generator of our own: the same on every machine and in every run.
pub struct Dice(u64);

impl Dice {
    pub const fn new(seed: u64) -> Self {
        Self(seed ^ 0x9e37_79b9_7f4a_7c15)
    }

    pub fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % n.max(1) as u64) as usize
    }

    pub fn cuts(&mut self, len: usize) -> Vec<usize> {
        let mut cuts: Vec<usize> = (0..1 + self.below(5)).map(|_| self.below(len + 1)).collect();
        cuts.sort_unstable();
        cuts
    }
}

pub fn asked(context: &str) -> Asked {
    match context {
        "" => Asked::plain(Method::Get),
        "HEAD" => Asked::plain(Method::Head),
        "CONNECT" => Asked::plain(Method::Connect),
        "upgrade" => Asked { method: Method::Get, upgrade: true },
        other => panic!("context {other}"),
    }
}

fn check(cases: &[Case], read: impl Fn(&Case, &[usize], How) -> Reading) {
    let mut wrong = String::new();
    for (number, case) in cases.iter().enumerate() {
        let len = case.bytes.len();
        let whole = read(case, &[], How::Decode);
        if whole.to_string() != case.expected {
            wrong +=
                &format!("{}: expected {}, got {whole}\n  {}\n", case.name, case.expected, show(&case.bytes));
            continue;
        }
        let mut all_cuts: Vec<Vec<usize>> = vec![];
        if len <= 4096 {
            all_cuts.extend([(1..len).collect(), (1..len).step_by(3).collect()]);
            all_cuts.extend((1..len).map(|cut| vec![cut]));
        }
        let mut dice = Dice::new(number as u64);
        all_cuts.extend((0..20).map(|_| dice.cuts(len)));
        for how in [How::Decode, How::Relay] {
            for cuts in &all_cuts {
                let cut = read(case, cuts, how);
                // Relaying gives nothing of a call that fails, so only what came whole compares there.
                let same = match how {
                    How::Decode => cut == whole,
                    How::Relay => cut.to_string() == whole.to_string(),
                };
                assert!(same, "{} {how:?} cut at {cuts:?}: {cut:?}\ninstead of {whole:?}", case.name);
            }
        }
        let relayed = read(case, &[], How::Relay);
        assert_eq!(relayed.to_string(), whole.to_string(), "{}", case.name);
        if !matches!(whole.end, reader::End::Refused(..)) {
            assert_eq!(relayed, whole, "{}", case.name);
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

#[test]
fn every_request_case_has_its_reaction() {
    check(&cases::requests(), |case, cuts, how| reader::requests(&case.bytes, cuts, how));
}

#[test]
fn every_response_case_has_its_reaction() {
    check(&cases::responses(), |case, cuts, how| {
        reader::responses(&case.bytes, cuts, how, asked(&case.context))
    });
}

#[test]
fn every_rule_has_a_case() {
    let cases: Vec<Case> = cases::requests().into_iter().chain(cases::responses()).collect();
    let seen: BTreeSet<&str> = cases
        .iter()
        .filter_map(|c| c.expected.split_once(' '))
        .map(|(_, end)| end.split('@').next().unwrap_or(end))
        .collect();
    // Paths are normalised apart from parsing, and their table is beside the code. The reader calls a truncated body
    // `partial`, and holds it to be this rule.
    let elsewhere = [Rule::PathEscape, Rule::PathNul, Rule::PathBackslash, Rule::BodyTruncated];
    let missing: Vec<&str> = Rule::ALL
        .iter()
        .filter(|rule| !elsewhere.contains(rule))
        .map(|rule| rule.name())
        .filter(|name| !seen.contains(name))
        .collect();
    assert!(missing.is_empty(), "no case for {missing:?}");
}

#[test]
fn rules_have_distinct_names_and_statuses_of_errors() {
    let names: BTreeSet<&str> = Rule::ALL.iter().map(|r| r.name()).collect();
    assert_eq!(names.len(), Rule::COUNT);
    for (index, rule) in Rule::ALL.iter().enumerate() {
        assert_eq!(*rule as usize, index);
        assert!((400..600).contains(&rule.status()), "{}", rule.name());
    }
}
