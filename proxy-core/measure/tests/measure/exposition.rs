//! A strict reader of the Prometheus text format 0.0.4, written from its specification
//! (prometheus.io/docs/instrumenting/exposition_formats) and independent of the writer: whatever the specification does not
//! allow, or a careful scraper would trip over, fails the test.

use std::collections::{BTreeMap, HashSet};

/// Labels of a sample.
pub type Labels = BTreeMap<String, String>;

/// A metric family as it was read.
#[derive(Debug, Default)]
pub struct Family {
    pub kind: String,
    pub help: String,
    /// Sample name, labels, value as written.
    pub samples: Vec<(String, Labels, String)>,
}

/// Families by name, everything checked.
#[derive(Debug)]
pub struct Exposition(pub BTreeMap<String, Family>);

impl Exposition {
    pub fn parse(text: &str) -> Exposition {
        assert!(text.is_empty() || text.ends_with('\n'), "the last line ends");
        let mut families: BTreeMap<String, Family> = BTreeMap::new();
        let mut current = String::new();
        for line in text.lines() {
            assert!(!line.is_empty() && !line.ends_with('\r'), "{line:?}");
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, help) = rest.split_once(' ').expect(line);
                let family = Family { help: help.into(), ..Family::default() };
                assert!(families.insert(name.into(), family).is_none(), "HELP of {name} twice");
                current = name.into();
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').expect(line);
                assert_eq!(name, current, "TYPE follows HELP");
                assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
                let family = families.get_mut(name).expect(line);
                assert!(family.kind.is_empty() && family.samples.is_empty(), "{line}");
                family.kind = kind.into();
            } else {
                assert!(!line.starts_with('#'), "{line}");
                let (name, labels, value) = sample(line);
                let family = families.get_mut(&current).expect(line);
                let suffixes: &[&str] =
                    if family.kind == "histogram" { &["_bucket", "_sum", "_count"] } else { &[""] };
                let belongs = suffixes.iter().any(|s| name == format!("{current}{s}"));
                assert!(belongs, "{name} stands under {current}");
                family.samples.push((name, labels, value));
            }
        }
        let parsed = Exposition(families);
        parsed.check();
        parsed
    }

    fn check(&self) {
        for (name, family) in &self.0 {
            assert!(!family.kind.is_empty() && !family.help.is_empty(), "{name}");
            assert!(!family.samples.is_empty(), "{name} has a head and no sample");
            let series: HashSet<_> = family.samples.iter().map(|(n, l, _)| (n, l)).collect();
            assert_eq!(series.len(), family.samples.len(), "{name} has a series twice");
            for (_, labels, value) in &family.samples {
                let number: f64 = value.parse().unwrap_or_else(|_| panic!("{name}: {value}"));
                assert!(family.kind == "gauge" || number >= 0.0, "{name} {labels:?} {value}");
            }
            if family.kind == "histogram" {
                self.histograms(name, family);
            }
        }
    }

    /// Buckets rise in bound and count, end in `+Inf`, which is the count; there is a sum.
    fn histograms(&self, name: &str, family: &Family) {
        /// Buckets, sum, count.
        type Parts = (Vec<(f64, u64)>, Option<f64>, Option<u64>);
        let mut seen: BTreeMap<Labels, Parts> = BTreeMap::new();
        for (sample, labels, value) in &family.samples {
            let mut labels = labels.clone();
            let le = labels.remove("le");
            let entry = seen.entry(labels).or_default();
            match (sample.strip_prefix(name).unwrap(), le) {
                ("_bucket", Some(le)) => entry.0.push((number(&le), value.parse().unwrap())),
                ("_sum", None) => entry.1 = Some(number(value)),
                ("_count", None) => entry.2 = Some(value.parse().unwrap()),
                other => panic!("{name}: {other:?}"),
            }
        }
        for (labels, (buckets, sum, count)) in seen {
            assert!(buckets.windows(2).all(|w| w[0].0 < w[1].0 && w[0].1 <= w[1].1), "{name} {labels:?}");
            let last = buckets.last().unwrap();
            assert_eq!((last.0, Some(last.1)), (f64::INFINITY, count), "{name} {labels:?}");
            assert!(sum.unwrap() >= 0.0, "{name} {labels:?}");
        }
    }

    /// The sum of a sample's values over the series that have these labels.
    pub fn sum(&self, sample: &str, labels: &[(&str, &str)]) -> f64 {
        self.each(sample, labels).map(|(_, value)| value).sum()
    }

    /// The series of a sample that have these labels.
    pub fn each<'a>(
        &'a self,
        sample: &'a str,
        labels: &'a [(&'a str, &'a str)],
    ) -> impl Iterator<Item = (&'a Labels, f64)> {
        self.0
            .values()
            .flat_map(|family| &family.samples)
            .filter(move |(name, has, _)| {
                name == sample && labels.iter().all(|(k, v)| has.get(*k).is_some_and(|h| h == v))
            })
            .map(|(_, labels, value)| (labels, number(value)))
    }

    /// Every sample by name and labels, but for those that go up and down.
    pub fn growing(&self) -> BTreeMap<(String, Labels), f64> {
        self.0
            .values()
            .filter(|family| family.kind != "gauge")
            .flat_map(|family| &family.samples)
            .map(|(name, labels, value)| ((name.clone(), labels.clone()), number(value)))
            .collect()
    }
}

fn number(text: &str) -> f64 {
    match text {
        "+Inf" => f64::INFINITY,
        text => {
            assert!(text.bytes().all(|b| b.is_ascii_digit() || b == b'.'), "{text}");
            text.parse().unwrap()
        }
    }
}

fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

fn sample(line: &str) -> (String, Labels, String) {
    let end = line.find(['{', ' ']).expect(line);
    let (name, mut rest) = line.split_at(end);
    assert!(is_name(name), "{line}");
    let mut labels = Labels::new();
    if let Some(inner) = rest.strip_prefix('{') {
        rest = inner;
        loop {
            let (label, after) = rest.split_once("=\"").expect(line);
            assert!(is_name(label), "{line}");
            let (value, after) = quoted(after);
            assert!(labels.insert(label.into(), value).is_none(), "{label} twice: {line}");
            if let Some(after) = after.strip_prefix(',') {
                rest = after;
            } else {
                rest = after.strip_prefix('}').expect(line);
                break;
            }
        }
    }
    let value = rest.strip_prefix(' ').expect(line);
    assert!(!value.contains(' '), "no time stamps: {line}");
    (name.into(), labels, value.into())
}

/// Up to the closing quote, unescaped.
fn quoted(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (value, &text[at + 1..]),
            '\\' => match chars.next().unwrap().1 {
                'n' => value.push('\n'),
                c @ ('\\' | '"') => value.push(c),
                other => panic!("\\{other} is no escape"),
            },
            c => value.push(c),
        }
    }
    panic!("no closing quote: {text}")
}
