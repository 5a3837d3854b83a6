//! The rows of one worker: where an operation that has ended is added. A known row is found by its key and bumped; a new one asks
//! its listener ([`crate::scope`]) whether it may be there, and what has to give way for it.

use crate::histogram::{Histogram, Timed};
use crate::scope::{Admitted, Name, RowNames, Scope, Series};
use crate::table::{News, Table};
use crate::tables::{
    ApplicationKey, ApplicationRow, BatchRow, CallSiteCells, CallSiteKey, Counted, FaultKey, OperationKey,
    OperationRow, OutcomeKey, PlaceRow, RetiredKey, Shard, TallyKey, UsageKey, UsageRow,
};
use crate::{Measure, Place, Record};
use std::cell::RefMut;
use std::hash::Hash;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, OnceLock, TryLockError};
use weir_decide::exchange::{Items, NameId};

/// Indices into [`crate::tables::TABLES`].
const OPERATIONS: usize = 0;
const OUTCOMES: usize = 1;
const APPLICATIONS: usize = 2;
const CALL_SITES: usize = 3;
const TALLIES: usize = 4;

/// After so many names have gone, rows are looked through for those that had them.
const SWEEP_AFTER: u64 = 256;

/// What the last operation of a row was: the next one usually ends the same way, for the same application.
#[derive(Clone, Copy)]
struct Recent {
    result: &'static str,
    code: NameId,
    outcome: u32,
    application: NameId,
    application_result: &'static str,
    application_row: u32,
    batches: u32,
}

const NOTHING: Recent = Recent {
    result: "",
    code: NameId::NONE,
    outcome: u32::MAX,
    application: NameId::NONE,
    application_result: "",
    application_row: u32::MAX,
    batches: u32::MAX,
};

pub(crate) struct Tables {
    operations: Table<OperationKey, OperationRow>,
    /// By row of `operations`.
    recent: Vec<Recent>,
    /// No more of these than there are pairs of a place and an operation among `operations`.
    batches: Table<OperationKey, BatchRow>,
    outcomes: Table<OutcomeKey, Counted<OutcomeKey>>,
    applications: Table<ApplicationKey, ApplicationRow>,
    /// No more of these than there are pairs of a place and an application among `applications`.
    usages: Table<UsageKey, UsageRow>,
    call_sites: Table<CallSiteKey, CallSiteCells>,
    tallies: Table<TallyKey, Counted<TallyKey>>,
    faults: Table<FaultKey, Counted<FaultKey>>,
    pub(crate) places: Table<Place, PlaceRow>,
    /// No more of these than there are triples of a table, a place and a result.
    retired: Table<RetiredKey, Counted<RetiredKey>>,
    /// How many names had gone when rows were last looked through.
    swept: u64,
}

/// Where an operation's row is.
#[derive(Debug, Clone, Copy)]
pub(crate) enum At {
    Row(u32),
    /// One of its names has gone.
    Gone,
}

impl At {
    pub(crate) fn row(self) -> Option<u32> {
        match self {
            At::Row(at) => Some(at),
            At::Gone => None,
        }
    }
}

/// An operation that is being written.
#[derive(Clone, Copy)]
pub(crate) struct Writing<'a> {
    measure: &'a Measure,
    shard: &'a Shard,
    scope: &'a Scope,
    clock: u64,
    record: &'a Record,
}

impl<'a> Writing<'a> {
    pub(crate) fn new(
        measure: &'a Measure,
        shard: &'a Shard,
        scope: &'a Scope,
        record: &'a Record,
    ) -> Writing<'a> {
        Writing { measure, shard, scope, clock: scope.clock(), record }
    }

    /// The same with another record.
    pub(crate) fn of(self, record: &'a Record) -> Writing<'a> {
        Writing { record, ..self }
    }

    /// The row of the record's operation.
    pub(crate) fn find<'t>(&self, mut tables: RefMut<'t, Tables>) -> (At, RefMut<'t, Tables>) {
        let at = tables.operation(self);
        (at, tables)
    }

    /// The same record, where names that have gone and that are to be believed have their place after all.
    #[cold]
    pub(crate) fn revived(&self) -> Option<Record> {
        let mut record = *self.record;
        if !record.believed {
            return None;
        }
        let mut any = false;
        let Record { operation, resource, application, call_site, code, .. } = &mut record;
        for id in [operation, resource, application, call_site, code] {
            if let Some(name) = self.scope.revive(*id, || self.measure.interner.next(self.scope)) {
                (*id, any) = (name.id, true);
            }
        }
        any.then_some(record)
    }

    fn beyond(&self, table: usize) {
        if let Some(beyond) = self.shard.beyond.get(table) {
            beyond.add(1);
        }
    }

    /// Uses a row of a table.
    fn uses<K: Eq + Hash + Copy, R>(&self, table: &mut Table<K, R>, at: u32) {
        match table.used(at, self.clock, self.record.believed) {
            News::None => {}
            News::Proven => self.scope.prove(table.names(at)),
            News::Busy => self.scope.busy(table.names(at)),
        }
    }

    /// Whether a row of these may be there.
    #[cold]
    fn admit(&self, table: usize, names: [NameId; 4], result: &'static str) -> Admitted {
        self.scope.admit(&Series { table, place: self.record.place, names, result })
    }
}

impl Tables {
    pub(crate) fn new(shard: &Shard) -> Tables {
        Tables {
            operations: Table::new(Arc::clone(&shard.operations)),
            recent: Vec::new(),
            batches: Table::new(Arc::clone(&shard.batches)),
            outcomes: Table::new(Arc::clone(&shard.outcomes)),
            applications: Table::new(Arc::clone(&shard.applications)),
            usages: Table::new(Arc::clone(&shard.usages)),
            call_sites: Table::new(Arc::clone(&shard.call_sites)),
            tallies: Table::new(Arc::clone(&shard.tallies)),
            faults: Table::new(Arc::clone(&shard.faults)),
            places: Table::new(Arc::clone(&shard.places)),
            retired: Table::new(Arc::clone(&shard.retired)),
            swept: 0,
        }
    }

    /// The row of the record's operation. Where nothing can give way its resource is `_other`, then its operation too; the last
    /// of these is always there to be had, since places are capped.
    fn operation(&mut self, writing: &Writing<'_>) -> At {
        let Record { place, operation, resource, .. } = *writing.record;
        let key = OperationKey { place, operation, resource };
        if let Some(at) = self.operations.find_near(&key, operation.0 ^ resource.0) {
            match self.operations.used(at, writing.clock, writing.record.believed) {
                News::None => {}
                News::Proven if self.operations.names(at).iter().any(|name| name.has_gone()) => {
                    return At::Gone;
                }
                News::Proven => writing.scope.prove(self.operations.names(at)),
                News::Busy => writing.scope.busy(self.operations.names(at)),
            }
            return At::Row(at);
        }
        self.new_operation(writing, key)
    }

    #[cold]
    fn new_operation(&mut self, writing: &Writing<'_>, key: OperationKey) -> At {
        self.sweep(writing);
        match writing.admit(OPERATIONS, [key.operation, key.resource, NameId::NONE, NameId::NONE], "") {
            Admitted::Row(names) => {
                let at = self.add_operation(key, names);
                writing.uses(&mut self.operations, at);
                return At::Row(at);
            }
            Admitted::Gone => return At::Gone,
            Admitted::Full => writing.beyond(OPERATIONS),
        }
        let key = OperationKey { resource: NameId::OTHER, ..key };
        if let Some(at) = self.operations.find(&key) {
            return At::Row(at);
        }
        if writing.measure.admit_other(&key) {
            let names =
                writing.admit(OPERATIONS, [NameId::NONE, key.operation, NameId::NONE, NameId::NONE], "");
            return match names {
                Admitted::Gone => At::Gone,
                Admitted::Row(names) => At::Row(self.add_operation(key, names)),
                Admitted::Full => At::Row(self.add_operation(key, RowNames::default())),
            };
        }
        let key = OperationKey { operation: NameId::OTHER, ..key };
        At::Row(self.operations.find(&key).unwrap_or_else(|| self.add_operation(key, RowNames::default())))
    }

    fn add_operation(&mut self, key: OperationKey, names: RowNames) -> u32 {
        let row = OperationRow {
            key,
            request_bytes: Default::default(),
            reply_bytes: Default::default(),
            duration: OnceLock::new(),
            first_byte: OnceLock::new(),
            more: OnceLock::new(),
        };
        let at = self.operations.add(key, row, names);
        match self.recent.get_mut(at as usize) {
            Some(recent) => *recent = NOTHING,
            None => self.recent.push(NOTHING),
        }
        at
    }

    /// Adds the record to its row, and to the others that it belongs to. `None`: it has no row any more, and may have others.
    pub(crate) fn write(&mut self, writing: &Writing<'_>, at: Option<u32>) {
        let record = writing.record;
        let duration = record.duration.map(Timed::new);
        match at {
            Some(at) => {
                self.outcome(writing, at);
                if let Some(row) = self.operations.row(at) {
                    row.request_bytes.add(record.request_bytes);
                    row.reply_bytes.add(record.reply_bytes);
                    row.add_more(record.items, record.traits);
                    let first_byte = record.first_byte.map(Timed::new);
                    for (histogram, time) in [(&row.duration, duration), (&row.first_byte, first_byte)] {
                        if let Some(time) = time {
                            histogram.get_or_init(Box::<Histogram>::default).add(time);
                        }
                    }
                }
                if record.items.sent > 0 || record.items.has_batch {
                    self.batch(at, record.items);
                }
            }
            None => self.retire(OUTCOMES, record.place, record.result, 1),
        }
        if record.application != NameId::NONE {
            self.application(writing, at, duration);
        }
        if record.call_site != NameId::NONE {
            self.call_site(writing, at);
        }
    }

    fn batch(&mut self, at: u32, items: Items) {
        let (Some(recent), Some(of)) = (self.recent.get_mut(at as usize), self.operations.key(at)) else {
            return;
        };
        let key = OperationKey { resource: NameId::NONE, ..*of };
        if self.batches.key(recent.batches) != Some(&key) {
            let names = only(self.operations.names(at), key.operation);
            let known = self.batches.find(&key);
            recent.batches = known.unwrap_or_else(|| self.batches.add(key, BatchRow::new(key), names));
        }
        if let Some(row) = self.batches.row(recent.batches) {
            row.add(items);
        }
    }

    fn outcome(&mut self, writing: &Writing<'_>, at: u32) {
        let record = writing.record;
        let (Some(recent), Some(operation)) = (self.recent.get_mut(at as usize), self.operations.key(at))
        else {
            return;
        };
        let is_same = std::ptr::eq(recent.result, record.result) && recent.code == record.code;
        // A row that was taken out may be another's by now.
        let is_there = |key: &OutcomeKey| {
            key.operation == *operation && key.code == record.code && std::ptr::eq(key.result, record.result)
        };
        if is_same && self.outcomes.key(recent.outcome).is_some_and(is_there) {
            bump(&self.outcomes, recent.outcome);
            writing.uses(&mut self.outcomes, recent.outcome);
            return;
        }
        let mut key = OutcomeKey { operation: *operation, result: record.result, code: record.code };
        let mut found = self.outcomes.find(&key);
        if found.is_none() {
            let names = [operation.operation, operation.resource, record.code, NameId::NONE];
            match writing.admit(OUTCOMES, names, record.result) {
                Admitted::Row(names) => found = Some(self.outcomes.add(key, Counted::new(key), names)),
                Admitted::Gone => return self.retire(OUTCOMES, record.place, record.result, 1),
                Admitted::Full => {
                    writing.beyond(OUTCOMES);
                    key.code = NameId::OTHER;
                    found = self.outcomes.find(&key);
                }
            }
        }
        let outcome = found
            .unwrap_or_else(|| self.outcomes.add(key, Counted::new(key), self.operations.names(at).into()));
        if key.code == record.code {
            (recent.result, recent.code, recent.outcome) = (record.result, record.code, outcome);
        }
        bump(&self.outcomes, outcome);
        writing.uses(&mut self.outcomes, outcome);
    }

    fn application(&mut self, writing: &Writing<'_>, at: Option<u32>, duration: Option<Timed>) {
        let record = writing.record;
        let Some(at) = self.application_row(writing, at) else {
            return self.retire(APPLICATIONS, record.place, record.result, 1);
        };
        writing.uses(&mut self.applications, at);
        let Some(row) = self.applications.row(at) else { return };
        row.count.add(1);
        let Some(usage) = self.usages.row(row.usage) else { return };
        usage.request_bytes.add(record.request_bytes);
        usage.reply_bytes.add(record.reply_bytes);
        if let Some(duration) = duration {
            usage.duration.get_or_init(Box::<Histogram>::default).add(duration);
        }
    }

    /// `None`: one of its names has gone.
    fn application_row(&mut self, writing: &Writing<'_>, at: Option<u32>) -> Option<u32> {
        let Record { place, application, result, operation, .. } = *writing.record;
        let operation = at.and_then(|at| self.operations.key(at)).map_or(operation, |key| key.operation);
        let mut key = ApplicationKey { place, application, operation, result };
        let recent = at.and_then(|at| self.recent.get_mut(at as usize));
        if let Some(recent) = &recent
            && recent.application == application
            && std::ptr::eq(recent.application_result, result)
            && self.applications.key(recent.application_row) == Some(&key)
        {
            return Some(recent.application_row);
        }
        let mut found = self.applications.find(&key);
        let mut names = RowNames::default();
        if found.is_none() {
            match writing.admit(APPLICATIONS, [application, operation, NameId::NONE, NameId::NONE], result) {
                Admitted::Row(these) => names = these,
                Admitted::Gone => return None,
                Admitted::Full => {
                    writing.beyond(APPLICATIONS);
                    (key.application, key.operation) = (NameId::OTHER, NameId::OTHER);
                    found = self.applications.find(&key);
                }
            }
        }
        let row = found.unwrap_or_else(|| {
            let whose = UsageKey { place, application: key.application };
            let known = self.usages.find(&whose);
            let usage = known.unwrap_or_else(|| {
                self.usages.add(whose, UsageRow::new(whose), only(&names, key.application))
            });
            self.applications.add(key, ApplicationRow::new(key, usage), names)
        });
        if let Some(recent) = recent.filter(|_| key.application == application) {
            recent.application = application;
            recent.application_result = result;
            recent.application_row = row;
        }
        Some(row)
    }

    fn call_site(&mut self, writing: &Writing<'_>, at: Option<u32>) {
        let Record { place, call_site, result, operation, duration, .. } = *writing.record;
        let operation = at.and_then(|at| self.operations.key(at)).map_or(operation, |key| key.operation);
        let mut key = CallSiteKey { place, call_site, operation, result };
        let mut found = self.call_sites.find(&key);
        let mut names = RowNames::default();
        if found.is_none() {
            match writing.admit(CALL_SITES, [call_site, operation, NameId::NONE, NameId::NONE], result) {
                Admitted::Row(these) => names = these,
                Admitted::Gone => return self.retire(CALL_SITES, place, result, 1),
                Admitted::Full => {
                    writing.beyond(CALL_SITES);
                    (key.call_site, key.operation) = (NameId::OTHER, NameId::OTHER);
                    found = self.call_sites.find(&key);
                }
            }
        }
        let row = found.unwrap_or_else(|| self.call_sites.add(key, CallSiteCells::new(key), names));
        writing.uses(&mut self.call_sites, row);
        if let Some(row) = self.call_sites.row(row) {
            row.nanos.add(duration.unwrap_or(0));
            row.count.add(1);
        }
    }

    /// Adds `n` to a series that is not of operations. Where one of its names has gone it has ended.
    pub(crate) fn tally(&mut self, writing: &Writing<'_>, mut key: TallyKey, n: u64) {
        let mut found = self.tallies.find(&key);
        if found.is_none() {
            self.sweep(writing);
            let names = match writing.admit(TALLIES, key.names, key.family.name) {
                Admitted::Row(names) => names,
                Admitted::Gone => return,
                Admitted::Full => {
                    writing.beyond(TALLIES);
                    key.names = [NameId::OTHER; 4];
                    RowNames::default()
                }
            };
            found = self.tallies.find(&key).or_else(|| Some(self.tallies.add(key, Counted::new(key), names)));
        }
        let Some(at) = found else { return };
        writing.uses(&mut self.tallies, at);
        if let Some(row) = self.tallies.row(at) {
            row.count.add(n);
        }
    }

    pub(crate) fn fault(&mut self, key: FaultKey) {
        let row = self.faults.find(&key);
        let row = row.unwrap_or_else(|| self.faults.add(key, Counted::new(key), RowNames::default()));
        bump(&self.faults, row);
    }

    pub(crate) fn place(&mut self, place: Place) -> u32 {
        match self.places.find_near(&place, place.0.into()) {
            Some(row) => row,
            None => self.places.add(place, PlaceRow::new(place), RowNames::default()),
        }
    }

    /// Counts what has no row any more.
    #[cold]
    fn retire(&mut self, table: usize, place: Place, result: &'static str, count: u64) {
        let key = RetiredKey { table, place, result };
        let known = self.retired.find(&key);
        let row = known.unwrap_or_else(|| self.retired.add(key, Counted::new(key), RowNames::default()));
        if let Some(row) = self.retired.row(row) {
            row.count.add(count);
        }
    }

    /// Takes out rows whose names have gone, if there may be many. Where somebody reads it is done the next time.
    fn sweep(&mut self, writing: &Writing<'_>) {
        let gone = writing.measure.interner.shared.gone.load(Relaxed);
        if gone.wrapping_sub(self.swept) < SWEEP_AFTER {
            return;
        }
        let _moves = match writing.shard.moves.try_lock() {
            Ok(moves) => moves,
            Err(TryLockError::Poisoned(moves)) => moves.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        self.swept = gone;
        let mut retired = Vec::new();
        self.outcomes.sweep(|row| {
            retired.push((OUTCOMES, row.key.operation.place, row.key.result, row.count.load()));
        });
        self.applications.sweep(|row| {
            retired.push((APPLICATIONS, row.key.place, row.key.result, row.count.load()));
        });
        self.call_sites.sweep(|row| {
            retired.push((CALL_SITES, row.key.place, row.key.result, row.count.load()));
        });
        self.operations.sweep(|_| {});
        self.tallies.sweep(|_| {});
        self.batches.sweep(|_| {});
        self.usages.sweep(|_| {});
        for (table, place, result, count) in retired {
            self.retire(table, place, result, count);
        }
    }
}

/// Of these names the one with this id, if it is among them.
fn only(names: &[Arc<Name>], id: NameId) -> RowNames {
    names.iter().filter(|name| name.id == id).cloned().collect()
}

fn bump<K: Eq + Hash + Copy>(table: &Table<K, Counted<K>>, at: u32) {
    if let Some(row) = table.row(at) {
        row.count.add(1);
    }
}
