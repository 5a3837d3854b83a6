//! Weir's numbers, read from `/metrics`.

use std::collections::BTreeMap;

/// One sample: its name, its labels, its value.
#[derive(Debug, Clone)]
pub struct Sample {
    /// The metric's name.
    pub name: String,
    labels: BTreeMap<String, String>,
    /// The value.
    pub value: f64,
}

impl Sample {
    /// A label's value; empty when it is not there.
    pub fn label(&self, name: &str) -> &str {
        self.labels.get(name).map_or("", String::as_str)
    }
}

/// All samples of one scrape.
#[derive(Debug, Clone, Default)]
pub struct Numbers(Vec<Sample>);

impl Numbers {
    /// Reads the text format.
    pub fn parse(text: &str) -> Numbers {
        Numbers(text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).map(sample).collect())
    }

    /// The samples with this name whose labels have these values.
    pub fn of<'a>(
        &'a self,
        name: &'a str,
        labels: &'a [(&'a str, &'a str)],
    ) -> impl Iterator<Item = &'a Sample> {
        self.0
            .iter()
            .filter(move |s| s.name == name && labels.iter().all(|(label, value)| s.label(label) == *value))
    }

    /// Their sum; zero when there are none.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> u64 {
        self.of(name, labels).map(|sample| sample.value as u64).sum()
    }

    /// The operations of a listener, summed up by these labels.
    pub fn operations<const N: usize>(&self, listener: &str, by: [&str; N]) -> BTreeMap<[String; N], u64> {
        let mut sums = BTreeMap::new();
        for sample in self.of("weir_operations_total", &[("listener", listener)]) {
            *sums.entry(by.map(|label| sample.label(label).to_owned())).or_insert(0) += sample.value as u64;
        }
        sums
    }
}

fn sample(line: &str) -> Sample {
    let (head, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("not a sample: {line}"));
    let (name, labels) = head.split_once('{').unwrap_or((head, "}"));
    let mut labels = labels.strip_suffix('}').unwrap_or_else(|| panic!("not a sample: {line}"));
    let mut found = BTreeMap::new();
    while let Some((label, rest)) = labels.split_once("=\"") {
        let mut value = String::new();
        let mut characters = rest.char_indices();
        let end = loop {
            match characters.next().unwrap_or_else(|| panic!("a label without end: {line}")) {
                (_, '\\') => match characters.next().map(|(_, c)| c) {
                    Some('n') => value.push('\n'),
                    Some(other) => value.push(other),
                    None => panic!("a label without end: {line}"),
                },
                (at, '"') => break at,
                (_, other) => value.push(other),
            }
        };
        found.insert(label.trim_start_matches(',').to_owned(), value);
        labels = &rest[end + 1..];
    }
    Sample {
        name: name.to_owned(),
        labels: found,
        value: value.parse().unwrap_or_else(|_| panic!("no number: {line}")),
    }
}
