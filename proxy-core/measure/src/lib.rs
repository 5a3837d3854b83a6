//! Weir's numbers: tables, interner, histograms, writers.
//!
//! How an operation passes through: a protocol turns the names it reads into ids ([`Local::intern`]); the shell says that the
//! operation has begun ([`Local::started`]) and, at its end, what became of it ([`Local::record`]), which bumps a few
//! single-writer counters of rows that this worker already knows. A scrape ([`Measure::prometheus`],
//! [`Measure::operations`]) reads the rows of all workers without stopping them, adds up those of equal labels and writes
//! text in chunks. What is not about operations is a [`Counter`], a [`Gauge`] or a [`Collect`]or.
//!
//! Every set of label values has a cap ([`Limits`], [`names::Family::max_series`]). A name that came from the wire is on probation
//! until it is believed; where there is no room the one that was silent for longest gives way, its series end, and what they had
//! counted goes to `weir_operations_retired_total`. What is always there and has no room is counted as `_other`, and that it happened
//! is counted too. No counter of a series that is shown ever falls while the process lives.

pub mod applications;
pub mod call_sites;
mod capped;
mod clusters;
pub mod connections;
pub mod histogram;
mod intern;
mod local;
pub mod names;
mod pattern;
mod process;
pub mod prometheus;
mod registry;
mod rows;
pub mod rules;
mod scope;
pub mod slow;
mod snapshot;
mod table;
mod tables;

pub use capped::lock;
pub use clusters::{cluster_samples, endpoint_samples};
pub use intern::{MAX_NAME, OTHER};
pub use local::{InFlight, Local, Naming, Record};
pub use process::Process;
pub use prometheus::{Format, Scrape};
pub use registry::{Collect, Counter, Gauge, Held, Samples, Series, Value};
pub use scope::PROBATION;
pub use snapshot::{CallSiteRow, OperationRow, OutcomeRow};

use capped::Capped;
use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::{Arc, Mutex, Weak};
use tables::{OperationKey, Shard};
use weir_decide::exchange::{NameId, NameKind};

/// The caps of the numbers, for the whole process. Each listener has a share of them, and may borrow what nobody uses; beyond it the
/// name that was silent for longest gives way, with its rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Names of operations.
    pub operations: usize,
    /// Names of resources.
    pub resources: usize,
    /// Protocols' own codes.
    pub codes: usize,
    /// Names of applications.
    pub applications: usize,
    /// Pairs of listener and cluster.
    pub places: usize,
    /// Operations on resources at places, each with sizes and two histograms: about 650 bytes for each worker that has seen it.
    /// Where no name can give way the resource is `_other`.
    pub rows: usize,
    /// Rows by result and code. Where no name can give way the code is `_other`.
    pub outcomes: usize,
    /// Operations of applications by result. Where no name can give way application and operation are `_other`. Each application at
    /// a place has sizes and a histogram besides: about 350 bytes for each worker that has seen it.
    pub application_rows: usize,
    /// Names of call sites.
    pub call_sites: usize,
    /// Operations of call sites by result. Where no name can give way call site and operation are `_other`.
    pub call_site_rows: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            operations: 1024,
            resources: 4096,
            codes: 1024,
            applications: 256,
            places: 1024,
            rows: 8192,
            outcomes: 32_768,
            application_rows: 4096,
            call_sites: 500,
            call_site_rows: 4096,
        }
    }
}

impl Limits {
    pub(crate) fn names(&self, kind: NameKind) -> usize {
        match kind {
            NameKind::Operation => self.operations,
            NameKind::Resource => self.resources,
            NameKind::Code => self.codes,
            NameKind::Application => self.applications,
            NameKind::CallSite => self.call_sites,
        }
    }
}

/// Where operations are served: a listener, the cluster they go to, and the protocol. Copied freely; an index into the
/// process's places.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place(u32);

/// The labels of a [`Place`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct PlaceLabels {
    pub(crate) listener: Arc<str>,
    pub(crate) cluster: Arc<str>,
    pub(crate) protocol: &'static str,
}

/// The labels by place, and the places by labels: thousands of clusters ask for theirs when a configuration is applied.
struct Places {
    list: Vec<PlaceLabels>,
    known: HashMap<PlaceLabels, Place>,
}

impl std::fmt::Debug for Measure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Measure").finish_non_exhaustive()
    }
}

/// The process's numbers, shared by all threads.
pub struct Measure {
    pub(crate) interner: intern::Interner,
    /// What a scrape knows of the interner's texts by id; brought up to date by each.
    texts: Mutex<Vec<Arc<str>>>,
    registry: registry::Registry,
    shards: Mutex<Vec<Arc<Shard>>>,
    places: Mutex<Places>,
    max_places: usize,
    /// Places that were given `_other`.
    pub(crate) places_beyond: Counter,
    /// A quarter of the rows: operations on `_other`.
    other_rows: Capped<OperationKey, ()>,
    slow: slow::SlowOperations,
    /// What protocols keep for the process, by type.
    brought: Mutex<HashMap<TypeId, Arc<dyn Any + Send + Sync>>>,
}

impl Measure {
    /// Nothing counted yet.
    pub fn new(limits: Limits) -> Arc<Measure> {
        let other = PlaceLabels { listener: OTHER.into(), cluster: OTHER.into(), protocol: OTHER };
        Arc::new(Measure {
            interner: intern::Interner::new(&limits),
            texts: Mutex::default(),
            registry: registry::Registry::default(),
            shards: Mutex::new(Vec::new()),
            places: Mutex::new(Places { list: vec![other], known: HashMap::new() }),
            max_places: limits.places,
            places_beyond: Counter::default(),
            other_rows: Capped::new(limits.rows / 4),
            slow: slow::SlowOperations::default(),
            brought: Mutex::default(),
        })
    }

    /// A worker's side, to be made once per worker and kept: what it has counted stays, so each one costs memory for good.
    pub fn local(self: &Arc<Self>) -> Rc<Local> {
        let shard = Arc::new(Shard::default());
        lock(&self.shards).push(Arc::clone(&shard));
        Rc::new(Local::new(Arc::clone(self), shard))
    }

    /// The place with these labels: the same one whenever it is asked for. Takes a lock; keep the result. Beyond
    /// [`Limits::places`] all labels are `_other`.
    pub fn place(&self, listener: &str, cluster: &str, protocol: &'static str) -> Place {
        let labels = PlaceLabels { listener: listener.into(), cluster: cluster.into(), protocol };
        let mut places = lock(&self.places);
        if let Some(known) = places.known.get(&labels) {
            return *known;
        }
        if places.list.len() > self.max_places {
            self.places_beyond.inc();
            return Place(0);
        }
        let place = Place(u32::try_from(places.list.len()).unwrap_or(0));
        places.list.push(labels.clone());
        places.known.insert(labels, place);
        place
    }

    /// The counter of `family` with these label values, one for each of its labels: the same one whenever it is asked for.
    /// Takes a lock and allocates; keep the result.
    pub fn counter(&self, family: &'static names::Family, labels: &[&str]) -> Counter {
        self.registry.counter(family, labels)
    }

    /// The gauge of `family` with these label values; see [`Measure::counter`].
    pub fn gauge(&self, family: &'static names::Family, labels: &[&str]) -> Gauge {
        self.registry.gauge(family, labels)
    }

    /// What the series of `family` with these label values counts by now, wherever it is counted; 0 where there is none. Takes all
    /// numbers of the moment: for what is rare.
    pub fn value(&self, family: &'static names::Family, labels: &[&str]) -> u64 {
        let series = snapshot::Snapshot::take(self).series(family);
        let is_it = |key: &[Arc<str>]| key.iter().map(|label| &**label).eq(labels.iter().copied());
        let found = series.iter().find(|(key, _)| is_it(key));
        found.map_or(0, |(_, value)| match value {
            Value::Whole(n) => *n,
            Value::Real(n) => *n as u64,
            Value::Spread(buckets) => buckets.count(),
        })
    }

    /// The slow operations and the failures of late.
    pub fn slow(&self) -> &slow::SlowOperations {
        &self.slow
    }

    /// What a protocol keeps for the whole process and writes at each scrape: one of each type, made by `make` when it is first asked
    /// for. Takes a lock; keep the result.
    pub fn brought<T: Collect + 'static>(self: &Arc<Self>, make: impl FnOnce(Weak<Measure>) -> T) -> Arc<T> {
        let mut brought = lock(&self.brought);
        let known = brought.get(&TypeId::of::<T>()).cloned();
        known.and_then(|known| known.downcast().ok()).unwrap_or_else(|| {
            let new = Arc::new(make(Arc::downgrade(self)));
            brought.insert(TypeId::of::<T>(), Arc::clone(&new) as _);
            self.registry.add_collector(Arc::clone(&new) as _);
            new
        })
    }

    /// Tells every collector how late it is: to be said once a second.
    pub fn tick(&self, now: weir_decide::exchange::Now) {
        self.registry.tick(now);
    }

    /// The text of a name, as it is shown. Takes a lock and copies what other threads have named since it was last called: for
    /// what is rare.
    pub fn name(&self, id: NameId) -> Arc<str> {
        if id.scope() != 0 {
            let scopes = self.interner.scopes();
            let scope = scopes.iter().find(|scope| scope.number == id.scope());
            return scope.and_then(|scope| scope.text(id)).unwrap_or_else(|| OTHER.into());
        }
        let mut known = lock(&self.texts);
        if known.get(id.0 as usize).is_none() {
            self.interner.copy_texts(&mut known);
        }
        known.get(id.0 as usize).cloned().unwrap_or_else(|| OTHER.into())
    }

    /// Asks `collector` at every scrape from now on.
    pub fn collect(&self, collector: Arc<dyn Collect>) {
        self.registry.add_collector(collector);
    }

    /// The numbers of this moment, to be written as text in chunks. Takes memory for all of them at once, about 600 bytes a
    /// row; the text, which is many times larger, is made chunk by chunk.
    pub fn scrape(&self, format: Format) -> Scrape {
        Scrape::new(snapshot::Snapshot::take(self), format)
    }

    /// The numbers of this moment as one text in the Prometheus text format.
    pub fn prometheus(&self, out: &mut Vec<u8>) {
        let mut scrape = self.scrape(Format::Text);
        while scrape.write(out, usize::MAX) {}
    }

    /// What has happened to every operation on every resource, sorted by labels.
    pub fn operations(&self) -> Vec<OperationRow> {
        snapshot::Snapshot::take(self).into_operations()
    }

    /// How often each application's operations have ended, by how: listener, cluster, protocol, application, operation, result.
    pub fn applications(&self) -> Vec<([Arc<str>; 6], u64)> {
        snapshot::Snapshot::take(self).into_applications()
    }

    /// How often each call site's operations have ended, by how, and how long they took. Sorted by labels.
    pub fn call_sites(&self) -> Vec<CallSiteRow> {
        snapshot::Snapshot::take(self).into_call_sites()
    }

    /// The connections from clients that are open at this moment, in no order.
    pub fn connections(&self) -> Vec<Arc<connections::OpenConnection>> {
        let mut all = Vec::new();
        let shards = lock(&self.shards).clone();
        shards.iter().for_each(|shard| shard.connections.collect(&mut all));
        all
    }

    /// The names of the listener whose operations are served at `place`. Takes locks; keep the result.
    pub(crate) fn scope_of(&self, place: Place) -> Arc<scope::Scope> {
        let listener =
            lock(&self.places).list.get(place.0 as usize).map(|labels| Arc::clone(&labels.listener));
        self.interner.scope(&listener.unwrap_or_else(|| OTHER.into()))
    }

    /// The tables that have met their caps for the first time since this was last asked: names of a kind, or rows of a table. Each
    /// is told once.
    pub fn first_overflows(&self) -> Vec<Overflow> {
        let shared = &self.interner.shared;
        let names = shared.names.iter().zip(intern::KINDS);
        let names = names.filter(|(cap, _)| cap.first_met()).map(|(_, (_, kind))| Overflow::Names(kind));
        let rows = shared.rows.iter().zip(tables::TABLES);
        let rows = rows.filter(|(cap, _)| cap.first_met()).map(|(_, table)| Overflow::Rows(table));
        names.chain(rows).collect()
    }

    pub(crate) fn admit_other(&self, key: &OperationKey) -> bool {
        self.other_rows.find_or_add(key, || (*key, ())).is_some()
    }
}

/// A table that has met its cap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overflow {
    /// Names of this kind.
    Names(&'static str),
    /// Rows of this table.
    Rows(&'static str),
}

impl Overflow {
    /// The key under `limits` in the configuration that says how much there may be.
    pub fn limit(self) -> &'static str {
        match self {
            Overflow::Names("operation") => "operations",
            Overflow::Names("resource") => "resources",
            Overflow::Names("code") => "codes",
            Overflow::Names("application") => "applications",
            Overflow::Names(_) => "call_sites",
            Overflow::Rows("operations") => "rows",
            Overflow::Rows("outcomes") => "outcomes",
            Overflow::Rows("applications") => "application_rows",
            Overflow::Rows(_) => "call_site_rows",
        }
    }
}
