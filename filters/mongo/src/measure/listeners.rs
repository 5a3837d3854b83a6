//! What is kept for each listener and shared by all workers: its ledger and its topology. The process's numbers ask all of them at
//! each scrape.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, Weak};

use weir_decide::exchange::{NameId, Now};
use weir_measure::{Collect, Measure, OTHER, Samples, lock, names};

use super::ledger::Ledger;
use super::topology::Topology;

/// One for each listener.
#[derive(Debug)]
pub struct Listeners<T> {
    all: Mutex<BTreeMap<Arc<str>, Arc<T>>>,
    /// Has the texts of names.
    measure: Weak<Measure>,
}

impl<T: Default> Listeners<T>
where
    Listeners<T>: Collect + 'static,
{
    /// Those of the process.
    pub fn of(measure: &Arc<Measure>) -> Arc<Listeners<T>> {
        measure.brought(|measure| Listeners { all: Mutex::default(), measure })
    }

    /// That of `listener`: the same one whenever it is asked for. Takes a lock; keep the result.
    pub fn one(&self, listener: &Arc<str>) -> Arc<T> {
        Arc::clone(lock(&self.all).entry(Arc::clone(listener)).or_default())
    }

    /// All of them, with their listeners' names.
    pub fn all(&self) -> Vec<(Arc<str>, Arc<T>)> {
        lock(&self.all).iter().map(|(listener, one)| (Arc::clone(listener), Arc::clone(one))).collect()
    }
}

impl Collect for Listeners<Ledger> {
    fn collect(&self, out: &mut Samples) {
        let name = |id: NameId| self.measure.upgrade().map_or_else(|| OTHER.into(), |known| known.name(id));
        let all = self.all();
        all.iter().for_each(|(listener, ledger)| ledger.write(listener, &name, out));
        let beyond = all.iter().map(|(_, ledger)| ledger.collections_beyond()).sum::<u64>();
        out.add(&names::CAPS_MET, &["cursor_collections"], beyond);
    }

    fn tick(&self, now: Now) {
        lock(&self.all).values().for_each(|ledger| ledger.tick(now));
    }
}

impl Collect for Listeners<Topology> {
    fn collect(&self, out: &mut Samples) {
        self.all().iter().for_each(|(listener, topology)| topology.write(listener, out));
    }
}
