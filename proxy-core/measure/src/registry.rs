//! Numbers that are not about operations: counters and gauges that anybody may hold, and collectors that are asked at each
//! scrape. Handles are shared atomics: for what happens per connection or more rarely.

use crate::capped::lock;
use crate::histogram::Buckets;
use crate::intern::OTHER;
use crate::names::{self, Family};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use weir_decide::exchange::Now;

/// A counter that any thread may bump. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Counter(Arc<AtomicU64>);

impl Counter {
    /// One more.
    pub fn inc(&self) {
        self.add(1);
    }

    /// `n` more.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Relaxed);
    }

    /// The count by now.
    pub fn value(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// A number that goes up and down. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Gauge(Arc<AtomicU64>);

impl Gauge {
    /// Up by `n`.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Relaxed);
    }

    /// Down by `n`; may be called before the `add` it belongs to is seen elsewhere.
    pub fn sub(&self, n: u64) {
        self.0.fetch_sub(n, Relaxed);
    }

    /// Exactly `n`.
    pub fn set(&self, n: u64) {
        self.0.store(n, Relaxed);
    }

    /// The number by now; never below zero.
    pub fn value(&self) -> u64 {
        let value = self.0.load(Relaxed);
        if value > u64::MAX / 2 { 0 } else { value }
    }

    /// Up by one until the guard goes.
    pub fn hold(&self) -> Held {
        self.add(1);
        Held(self.clone())
    }
}

/// One, in a [`Gauge`], for as long as this lives.
#[derive(Debug)]
pub struct Held(Gauge);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.sub(1);
    }
}

/// Somebody who writes numbers when a scrape asks for them.
pub trait Collect: Send + Sync {
    /// Writes samples. Called on the scraping thread; must not wait for traffic.
    fn collect(&self, out: &mut Samples);

    /// It is this late: told once a second, for what ends by itself while nothing happens.
    fn tick(&self, now: Now) {
        let _ = now;
    }
}

/// A sample's value: whole numbers are kept whole.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A count.
    Whole(u64),
    /// A measure, such as seconds.
    Real(f64),
    /// A distribution, by the bounds of its family.
    Spread(Box<Buckets>),
}

impl From<u64> for Value {
    fn from(n: u64) -> Value {
        Value::Whole(n)
    }
}

impl From<f64> for Value {
    fn from(n: f64) -> Value {
        Value::Real(n)
    }
}

impl From<Buckets> for Value {
    fn from(buckets: Buckets) -> Value {
        Value::Spread(Box::new(buckets))
    }
}

impl Value {
    /// Adds another of the same family's.
    fn add(&mut self, other: Value) {
        match (&mut *self, &other) {
            (Value::Whole(mine), Value::Whole(theirs)) => *mine = mine.saturating_add(*theirs),
            (Value::Spread(mine), Value::Spread(theirs)) => mine.add(theirs),
            (mine, theirs) => *mine = Value::Real(mine.real() + theirs.real()),
        }
    }

    fn real(&self) -> f64 {
        match self {
            Value::Whole(n) => *n as f64,
            Value::Real(n) => *n,
            Value::Spread(buckets) => buckets.sum() as f64,
        }
    }
}

/// The values of a family by labels, sorted.
pub type Series = BTreeMap<Box<[Arc<str>]>, Value>;

/// What one scrape has gathered: per family, values by labels. Equal labels are added up; beyond a family's cap they are added
/// up under `_other`.
#[derive(Debug, Default)]
pub struct Samples {
    families: BTreeMap<&'static str, (&'static Family, Series)>,
    folded: BTreeMap<&'static str, u64>,
}

impl Samples {
    /// Adds `value` to the series of `family` with these label values, one for each of its labels, in order.
    pub fn add(&mut self, family: &'static Family, labels: &[&str], value: impl Into<Value>) {
        self.put(family, key(family, labels), value.into());
    }

    pub(crate) fn put(&mut self, family: &'static Family, mut key: Box<[Arc<str>]>, value: Value) {
        let (_, series) = self.families.entry(family.name).or_insert_with(|| (family, Series::new()));
        if let Some(max) = family.max_series
            && series.len() >= max
            && !series.contains_key(&key)
        {
            let other = others(family);
            if key != other {
                *self.folded.entry(family.name).or_default() += 1;
                key = other;
            }
        }
        match series.entry(key) {
            Entry::Occupied(mut known) => known.get_mut().add(value),
            Entry::Vacant(new) => {
                new.insert(value);
            }
        }
    }

    /// `n` times something of `family` had no room elsewhere.
    pub fn beyond(&mut self, family: &'static Family, n: u64) {
        if n > 0 {
            *self.folded.entry(family.name).or_default() += n;
        }
    }

    /// Takes the series of `family`.
    pub fn take(&mut self, family: &Family) -> Series {
        self.families.remove(family.name).map(|(_, series)| series).unwrap_or_default()
    }

    /// The families that have samples, by name.
    pub(crate) fn families(&self) -> impl Iterator<Item = &'static Family> {
        self.families.values().map(|(family, _)| *family)
    }
}

/// The labels as a key: as many as the family has, whatever was given.
fn key(family: &'static Family, labels: &[&str]) -> Box<[Arc<str>]> {
    debug_assert_eq!(labels.len(), family.labels.len(), "{}", family.name);
    let given = labels.iter().copied().chain(std::iter::repeat(""));
    given.take(family.labels.len()).map(Arc::from).collect()
}

fn others(family: &'static Family) -> Box<[Arc<str>]> {
    family.labels.iter().map(|_| Arc::from(OTHER)).collect()
}

/// The handles that were given out, and the collectors.
#[derive(Default)]
pub(crate) struct Registry {
    families: Mutex<BTreeMap<&'static str, Handles>>,
    collectors: Mutex<Vec<Arc<dyn Collect>>>,
    /// Series beyond the cap of their family.
    overflow: Mutex<BTreeMap<&'static str, u64>>,
}

struct Handles {
    family: &'static Family,
    series: BTreeMap<Box<[Arc<str>]>, Arc<AtomicU64>>,
}

impl Registry {
    /// The number of `family` with these label values: the same one whenever it is asked for.
    fn number(&self, family: &'static Family, labels: &[&str]) -> Arc<AtomicU64> {
        let mut key = key(family, labels);
        let mut families = lock(&self.families);
        let handles =
            families.entry(family.name).or_insert_with(|| Handles { family, series: BTreeMap::new() });
        if let Some(max) = family.max_series
            && handles.series.len() >= max
            && !handles.series.contains_key(&key)
        {
            *lock(&self.overflow).entry(family.name).or_default() += 1;
            key = others(family);
        }
        Arc::clone(handles.series.entry(key).or_default())
    }

    pub(crate) fn counter(&self, family: &'static Family, labels: &[&str]) -> Counter {
        debug_assert_eq!(family.kind, names::Kind::Counter, "{}", family.name);
        Counter(self.number(family, labels))
    }

    pub(crate) fn gauge(&self, family: &'static Family, labels: &[&str]) -> Gauge {
        debug_assert_eq!(family.kind, names::Kind::Gauge, "{}", family.name);
        Gauge(self.number(family, labels))
    }

    pub(crate) fn add_collector(&self, collector: Arc<dyn Collect>) {
        lock(&self.collectors).push(collector);
    }

    /// Tells every collector how late it is.
    pub(crate) fn tick(&self, now: Now) {
        lock(&self.collectors).iter().for_each(|collector| collector.tick(now));
    }

    /// Everything, by now. Holds the lock for as long as copying the handles takes.
    pub(crate) fn gather(&self, out: &mut Samples) {
        let handles: Vec<_> = lock(&self.families)
            .values()
            .flat_map(|h| h.series.iter().map(|(key, number)| (h.family, key.clone(), Arc::clone(number))))
            .collect();
        for (family, key, number) in handles {
            let value = match family.kind {
                names::Kind::Gauge => Gauge(number).value(),
                _ => number.load(Relaxed),
            };
            out.put(family, key, Value::Whole(value));
        }
        let collectors = lock(&self.collectors).clone();
        for collector in collectors {
            collector.collect(out);
        }
        let mut overflow = lock(&self.overflow);
        for (name, folded) in std::mem::take(&mut out.folded) {
            *overflow.entry(name).or_default() += folded;
        }
        for (name, count) in overflow.iter() {
            out.add(&names::SERIES_OVERFLOW, &[name], *count);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::Kind;

    static THINGS: Family = Family {
        name: "weir_things_total",
        help: "Things.",
        kind: Kind::Counter,
        labels: &["a", "b"],
        max_series: Some(2),
    };

    fn gathered(registry: &Registry, family: &Family) -> Vec<(Vec<String>, Value)> {
        let mut samples = Samples::default();
        registry.gather(&mut samples);
        let series = samples.take(family);
        series.iter().map(|(k, v)| (k.iter().map(ToString::to_string).collect(), v.clone())).collect()
    }

    #[test]
    fn series_beyond_the_cap_are_added_up_and_that_is_counted() {
        struct More;
        impl Collect for More {
            fn collect(&self, out: &mut Samples) {
                out.add(&THINGS, &["1", "1"], 100u64);
                out.add(&THINGS, &["9", "9"], 7u64);
            }
        }
        let registry = Registry::default();
        for n in 1..=4u64 {
            let n = n.to_string();
            registry.counter(&THINGS, &[&n, &n]).inc();
            registry.counter(&THINGS, &[&n, &n]).inc();
        }
        let s = |a: &str| vec![a.to_string(), a.to_string()];
        let whole = Value::Whole;
        assert_eq!(
            gathered(&registry, &THINGS),
            [(s("1"), whole(2)), (s("2"), whole(2)), (s("_other"), whole(4))]
        );
        assert_eq!(
            gathered(&registry, &names::SERIES_OVERFLOW),
            [(vec!["weir_things_total".to_string()], whole(4))]
        );
        registry.add_collector(Arc::new(More));
        assert_eq!(
            gathered(&registry, &THINGS),
            [(s("1"), whole(102)), (s("2"), whole(2)), (s("_other"), whole(11))]
        );
        assert_eq!(
            gathered(&registry, &names::SERIES_OVERFLOW),
            [(vec!["weir_things_total".to_string()], whole(6))]
        );
    }

    #[test]
    fn gauges_never_show_less_than_nothing() {
        let gauge = Gauge::default();
        gauge.sub(1);
        assert_eq!(gauge.value(), 0);
        gauge.add(1);
        {
            let _held = gauge.hold();
            assert_eq!(gauge.value(), 1);
        }
        assert_eq!(gauge.value(), 0);
        gauge.set(5);
        assert_eq!(gauge.value(), 5);
    }
}
