//! The numbers as text: the Prometheus text format 0.0.4, or OpenMetrics 1.0 where it is asked for. Families in the order of
//! [`names::ALL`], then those that protocols brought, by name; series sorted by labels, so that two scrapes of the same numbers are the same bytes.

use crate::histogram::{BOUNDS, Buckets, COUNTS, Distribution, SPANS};
use crate::names::{self, Family, Kind};
use crate::registry::Value;
use crate::snapshot::{Labels, OperationNumbers, Snapshot};
use std::io::Write as _;

/// Which text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Prometheus text format 0.0.4.
    Text,
    /// OpenMetrics text format 1.0.0.
    OpenMetrics,
}

impl Format {
    /// The format that an `Accept` header asks for: OpenMetrics if it is named and not liked less than plain text.
    pub fn negotiate(accept: &str) -> Format {
        let (mut open, mut text) = (0.0, 0.0f32);
        for range in accept.split(',') {
            let mut parts = range.split(';').map(str::trim);
            let media = parts.next().unwrap_or_default();
            let quality = parts
                .filter_map(|p| p.split_once('='))
                .find(|(key, _)| key.trim().eq_ignore_ascii_case("q"))
                .map_or(1.0, |(_, q)| q.trim().parse::<f32>().unwrap_or(0.0));
            if media.eq_ignore_ascii_case("application/openmetrics-text") {
                open = quality.max(open);
            } else if media.eq_ignore_ascii_case("text/plain") {
                text = quality.max(text);
            }
        }
        if open > 0.0 && open >= text { Format::OpenMetrics } else { Format::Text }
    }

    /// The value of the `Content-Type` header.
    pub fn content_type(self) -> &'static str {
        match self {
            Format::Text => "text/plain; version=0.0.4; charset=utf-8",
            Format::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// A scrape being written.
#[derive(Debug)]
pub struct Scrape {
    snapshot: Snapshot,
    format: Format,
    /// The families that are not in [`names::ALL`].
    brought: Vec<&'static Family>,
    /// The family being written, as an index into [`names::ALL`] and on into `brought`.
    family: usize,
    rows: Rows,
}

/// What is left of the family being written.
#[derive(Debug)]
enum Rows {
    /// Not begun.
    Begin,
    /// From the next row of the snapshot's outcomes.
    Outcomes(usize),
    /// From the next row of the snapshot's operations.
    Operations(usize),
    /// The rest.
    Series(std::collections::btree_map::IntoIter<Labels, Value>),
}

impl Scrape {
    pub(crate) fn new(snapshot: Snapshot, format: Format) -> Scrape {
        let brought = snapshot.samples.families().filter(|family| !names::ALL.contains(family)).collect();
        Scrape { snapshot, format, brought, family: 0, rows: Rows::Begin }
    }

    /// The format.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Appends text to `out` until `out` holds at least `enough` bytes or all is written. False when all is written.
    pub fn write(&mut self, out: &mut Vec<u8>, enough: usize) -> bool {
        while let Some(family) = self.current() {
            if let Rows::Begin = self.rows {
                self.begin(family, out);
            }
            loop {
                if out.len() >= enough {
                    return true;
                }
                if !self.row(family, out) {
                    break;
                }
            }
            self.family += 1;
            self.rows = Rows::Begin;
        }
        // The end is reached once: `family` stands one beyond the last.
        if self.family == names::ALL.len() + self.brought.len() {
            self.family += 1;
            if self.format == Format::OpenMetrics {
                out.extend_from_slice(b"# EOF\n");
            }
        }
        false
    }

    /// The family being written.
    fn current(&self) -> Option<&'static Family> {
        let brought = || self.brought.get(self.family.checked_sub(names::ALL.len())?);
        names::ALL.get(self.family).or_else(brought).copied()
    }

    /// Finds the family's rows, and writes its head if there are any.
    fn begin(&mut self, family: &'static Family, out: &mut Vec<u8>) {
        let (rows, any) = if family == &names::OPERATIONS {
            (Rows::Outcomes(0), !self.snapshot.outcomes.is_empty())
        } else if let Some(number) = operation_number(family) {
            (Rows::Operations(0), self.snapshot.operations.iter().any(|(_, n)| number(n).is_some()))
        } else {
            let series = self.snapshot.series(family);
            let any = !series.is_empty();
            (Rows::Series(series.into_iter()), any)
        };
        self.rows = rows;
        if any {
            head(family, self.format, out);
        }
    }

    /// Writes one row. False when there was none left.
    fn row(&mut self, family: &'static Family, out: &mut Vec<u8>) -> bool {
        match &mut self.rows {
            Rows::Begin => false,
            Rows::Outcomes(at) => {
                let Some((labels, count)) = self.snapshot.outcomes.get(*at) else { return false };
                *at += 1;
                sample(out, family, "", labels, None, Value::Whole(*count));
                true
            }
            Rows::Operations(at) => {
                let Some((labels, numbers)) = self.snapshot.operations.get(*at) else { return false };
                *at += 1;
                match operation_number(family).and_then(|number| number(numbers)) {
                    Some(Number::Count(n)) => sample(out, family, "", labels, None, Value::Whole(n)),
                    Some(Number::Histogram(d)) => histogram(out, family, labels, d),
                    None => {}
                }
                true
            }
            Rows::Series(series) => {
                let Some((labels, value)) = series.next() else { return false };
                match value {
                    Value::Spread(buckets) => spread(out, family, &labels, &buckets),
                    value => sample(out, family, "", &labels, None, value),
                }
                true
            }
        }
    }
}

enum Number<'a> {
    Count(u64),
    Histogram(&'a Distribution),
}

type OfOperation = fn(&OperationNumbers) -> Option<Number<'_>>;

/// Which number of an operation's row the family shows, if it is of operations at all.
fn operation_number(family: &'static Family) -> Option<OfOperation> {
    const FAMILIES: [(&Family, OfOperation); 8] = [
        (&names::OPERATION_DURATION, |n| n.duration.as_deref().map(Number::Histogram)),
        (&names::OPERATION_FIRST_BYTE, |n| n.first_byte.as_deref().map(Number::Histogram)),
        (&names::OPERATION_REQUEST_BYTES, |n| Some(Number::Count(n.request_bytes))),
        (&names::OPERATION_REPLY_BYTES, |n| Some(Number::Count(n.reply_bytes))),
        (&names::OPERATION_ITEMS_SENT, |n| items(n, 0)),
        (&names::OPERATION_ITEMS_RETURNED, |n| items(n, 1)),
        (&names::OPERATION_ITEMS_AFFECTED, |n| items(n, 2)),
        (&names::OPERATION_ITEMS_MODIFIED, |n| items(n, 3)),
    ];
    FAMILIES.iter().find(|(f, _)| *f == family).map(|(_, number)| *number)
}

/// Most operations have no such numbers: a series begins with the first one.
fn items(numbers: &OperationNumbers, at: usize) -> Option<Number<'_>> {
    numbers.items.get(at).filter(|n| **n > 0).map(|n| Number::Count(*n))
}

/// `HELP`, `TYPE`, and in OpenMetrics `UNIT`, under the family's name: OpenMetrics leaves `_total` and `_info` to the samples.
fn head(family: &Family, format: Format, out: &mut Vec<u8>) {
    let full = family.name;
    let (name, word) = match (format, family.kind) {
        (Format::Text, kind) => (full, kind.word()),
        (Format::OpenMetrics, Kind::Counter) => (full.strip_suffix("_total").unwrap_or(full), "counter"),
        (Format::OpenMetrics, Kind::Info) => (full.strip_suffix("_info").unwrap_or(full), "info"),
        (Format::OpenMetrics, kind) => (full, kind.word()),
    };
    put(out, &["# HELP ", name, " "]);
    escape(out, family.help, format == Format::OpenMetrics);
    put(out, &["\n# TYPE ", name, " ", word, "\n"]);
    if format == Format::OpenMetrics
        && let Some(unit) = ["seconds", "bytes"].into_iter().find(|unit| name.ends_with(unit))
    {
        put(out, &["# UNIT ", name, " ", unit, "\n"]);
    }
}

fn histogram(out: &mut Vec<u8>, family: &Family, labels: &Labels, numbers: &Distribution) {
    distribution(out, family, labels, numbers.cumulative(), numbers.sum(), seconds);
}

/// A distribution by the bounds of its family.
fn spread(out: &mut Vec<u8>, family: &Family, labels: &Labels, numbers: &Buckets) {
    match family.kind {
        Kind::Counts => {
            distribution(out, family, labels, numbers.cumulative(&COUNTS), numbers.sum(), whole);
        }
        Kind::Histogram => {
            distribution(out, family, labels, numbers.cumulative(&BOUNDS), numbers.sum(), seconds);
        }
        _ => distribution(out, family, labels, numbers.cumulative(&SPANS), numbers.sum(), seconds),
    }
}

fn distribution(
    out: &mut Vec<u8>,
    family: &Family,
    labels: &Labels,
    cumulative: impl Iterator<Item = (Option<u64>, u64)>,
    sum: u64,
    number: fn(&mut Vec<u8>, u64),
) {
    let mut le = Vec::with_capacity(16);
    let mut count = 0;
    for (bound, cumulative) in cumulative {
        le.clear();
        match bound {
            Some(bound) => number(&mut le, bound),
            None => le.extend_from_slice(b"+Inf"),
        }
        count = cumulative;
        sample(out, family, "_bucket", labels, Some(&le), Value::Whole(cumulative));
    }
    start(out, family, "_sum", labels, None);
    number(out, sum);
    out.push(b'\n');
    sample(out, family, "_count", labels, None, Value::Whole(count));
}

fn sample(
    out: &mut Vec<u8>,
    family: &Family,
    suffix: &str,
    labels: &Labels,
    le: Option<&[u8]>,
    value: Value,
) {
    start(out, family, suffix, labels, le);
    // Writing to a vector does not fail.
    let _ = match value {
        Value::Whole(n) => writeln!(out, "{n}"),
        Value::Real(n) if n.is_infinite() => writeln!(out, "{}Inf", if n > 0.0 { '+' } else { '-' }),
        Value::Real(n) => writeln!(out, "{n}"),
        Value::Spread(buckets) => writeln!(out, "{}", buckets.count()),
    };
}

/// Everything of a line before its value.
fn start(out: &mut Vec<u8>, family: &Family, suffix: &str, labels: &Labels, le: Option<&[u8]>) {
    put(out, &[family.name, suffix]);
    let mut before = "{";
    for (name, value) in family.labels.iter().zip(labels) {
        put(out, &[before, name, "=\""]);
        escape(out, value, true);
        out.push(b'"');
        before = ",";
    }
    if let Some(le) = le {
        put(out, &[before, "le=\""]);
        out.extend_from_slice(le);
        out.push(b'"');
        before = ",";
    }
    if before == "," {
        out.push(b'}');
    }
    out.push(b' ');
}

/// Nanoseconds as seconds, exactly: at least one digit after the point, none that says nothing. Both formats write bounds of
/// buckets alike, so that a series is the same one whichever was scraped.
fn seconds(out: &mut Vec<u8>, nanos: u64) {
    let (whole, mut part, mut width) = (nanos / 1_000_000_000, nanos % 1_000_000_000, 9);
    while width > 1 && part % 10 == 0 {
        part /= 10;
        width -= 1;
    }
    let _ = write!(out, "{whole}.{part:0width$}");
}

/// A whole number, written like the others so that both formats have the same bounds.
fn whole(out: &mut Vec<u8>, n: u64) {
    let _ = write!(out, "{n}.0");
}

fn escape(out: &mut Vec<u8>, text: &str, quotes: bool) {
    for byte in text.bytes() {
        match byte {
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'"' if quotes => out.extend_from_slice(b"\\\""),
            byte => out.push(byte),
        }
    }
}

fn put(out: &mut Vec<u8>, parts: &[&str]) {
    for part in parts {
        out.extend_from_slice(part.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accept_header_chooses_the_format() {
        use Format::{OpenMetrics, Text};
        let prometheus = "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        for (accept, format) in [
            ("", Text),
            ("*/*", Text),
            ("text/plain", Text),
            ("application/openmetrics-text", OpenMetrics),
            ("Application/OpenMetrics-Text; version=1.0.0 ; charset=utf-8", OpenMetrics),
            ("application/openmetrics-text;q=0", Text),
            ("application/openmetrics-text;q=0.2, text/plain;q=0.8", Text),
            ("application/openmetrics-text;q=what", Text),
            (prometheus, OpenMetrics),
        ] {
            assert_eq!(Format::negotiate(accept), format, "{accept}");
        }
    }

    #[test]
    fn seconds_are_exact() {
        for (nanos, text) in [
            (0, "0.0"),
            (1, "0.000000001"),
            (250_000, "0.00025"),
            (1_000_000_000, "1.0"),
            (10_000_000_000, "10.0"),
            (1_500_000_010, "1.50000001"),
            (u64::MAX, "18446744073.709551615"),
        ] {
            let mut out = Vec::new();
            seconds(&mut out, nanos);
            assert_eq!(String::from_utf8(out).unwrap(), text);
        }
    }
}
