//! Numbers that are not about operations: counters and gauges that anybody may hold, and collectors that are asked at each
//! scrape. Handles are shared atomics: for what happens per connection or more rarely.

use crate::capped::lock;
use crate::intern::OTHER;
use crate::names::{self, Family};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

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
}

/// A sample's value: whole numbers are kept whole.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value {
    /// A count.
    Whole(u64),
    /// A measure, such as seconds.
    Real(f64),
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

impl Value {
    fn plus(self, other: Value) -> Value {
        match (self, other) {
            (Value::Whole(a), Value::Whole(b)) => Value::Whole(a.saturating_add(b)),
            (a, b) => Value::Real(a.real() + b.real()),
        }
    }

    fn real(self) -> f64 {
        match self {
            Value::Whole(n) => n as f64,
            Value::Real(n) => n,
        }
    }
}

type Series = BTreeMap<Vec<Arc<str>>, Value>;

/// What one scrape has gathered: per family, values by labels. Equal labels are added up; beyond a family's cap they are added
/// up under `_other`.
#[derive(Debug, Default)]
pub struct Samples {
    families: BTreeMap<&'static str, Series>,
}

impl Samples {
    /// Adds `value` to the series of `family` with these label values, one for each of its labels, in order.
    pub fn add(&mut self, family: &'static Family, labels: &[&str], value: impl Into<Value>) {
        debug_assert_eq!(labels.len(), family.labels.len(), "{}", family.name);
        let series = self.families.entry(family.name).or_default();
        let mut key: Vec<Arc<str>> = labels.iter().map(|l| Arc::from(*l)).collect();
        key.resize(family.labels.len(), Arc::from(""));
        if series.len() >= family.max_series && !series.contains_key(&key) {
            key = vec![Arc::from(OTHER); family.labels.len()];
        }
        let value = value.into();
        series.entry(key).and_modify(|v| *v = v.plus(value)).or_insert(value);
    }

    /// The series of `family`, sorted by labels.
    pub(crate) fn series(&self, family: &Family) -> impl Iterator<Item = (&[Arc<str>], Value)> {
        self.families
            .get(family.name)
            .into_iter()
            .flatten()
            .map(|(labels, value)| (labels.as_slice(), *value))
    }
}

/// The handles that were given out, and the collectors.
#[derive(Default)]
pub(crate) struct Registry {
    series: Mutex<BTreeMap<&'static str, Handles>>,
    collectors: Mutex<Vec<Arc<dyn Collect>>>,
}

struct Handles {
    family: &'static Family,
    by_labels: BTreeMap<Vec<Arc<str>>, Arc<AtomicU64>>,
    overflow: u64,
}

impl Registry {
    /// The number of `family` with these label values: the same one whenever it is asked for.
    fn number(&self, family: &'static Family, labels: &[&str]) -> Arc<AtomicU64> {
        debug_assert_eq!(labels.len(), family.labels.len(), "{}", family.name);
        let mut series = lock(&self.series);
        let handles = series.entry(family.name).or_insert_with(|| Handles {
            family,
            by_labels: BTreeMap::new(),
            overflow: 0,
        });
        let mut key: Vec<Arc<str>> = labels.iter().map(|l| Arc::from(*l)).collect();
        key.resize(family.labels.len(), Arc::from(""));
        if handles.by_labels.len() >= family.max_series && !handles.by_labels.contains_key(&key) {
            handles.overflow += 1;
            key = vec![Arc::from(OTHER); family.labels.len()];
        }
        Arc::clone(handles.by_labels.entry(key).or_default())
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

    /// Everything, by now.
    pub(crate) fn gather(&self, out: &mut Samples) {
        for handles in lock(&self.series).values() {
            for (labels, number) in &handles.by_labels {
                let labels: Vec<&str> = labels.iter().map(|l| &**l).collect();
                let value = match handles.family.kind {
                    names::Kind::Gauge => Gauge(Arc::clone(number)).value(),
                    _ => number.load(Relaxed),
                };
                out.add(handles.family, &labels, value);
            }
            if handles.overflow > 0 {
                out.add(&names::SERIES_OVERFLOW, &[handles.family.name], handles.overflow);
            }
        }
        let collectors = lock(&self.collectors).clone();
        for collector in collectors {
            collector.collect(out);
        }
    }
}
