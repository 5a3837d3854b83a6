//! One worker's side of the numbers: it interns names, records operations, and knows what is under way. Nothing here is shared
//! but the rows, which only this worker writes; nothing is locked and nothing is allocated for what has been seen before.

use crate::Measure;
use crate::Place;
use crate::connections::{OpenConnection, Opened, Seats};
use crate::histogram::{Histogram, Timed};
use crate::intern::{Cache, slot};
use crate::table::Table;
use crate::tables::{
    ApplicationKey, ApplicationRow, BatchRow, CallSiteCells, CallSiteKey, Counted, FaultKey, OperationKey,
    OperationRow, OutcomeKey, PlaceRow, Shard, UsageKey, UsageRow,
};
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::{Arc, OnceLock};
use weir_decide::exchange::{Fault, Items, NameId, NameKind, Names, Traits};

/// An operation that has ended.
#[derive(Debug, Clone, Copy)]
pub struct Record {
    /// Where it was served.
    pub place: Place,
    /// What was done.
    pub operation: NameId,
    /// To what.
    pub resource: NameId,
    /// By whom; [`NameId::NONE`] is not counted by application.
    pub application: NameId,
    /// From where in its code; [`NameId::NONE`] is not counted by call site.
    pub call_site: NameId,
    /// `ok` or a word of the protocol's closed list.
    pub result: &'static str,
    /// The protocol's own code, or [`NameId::NONE`].
    pub code: NameId,
    /// Nanoseconds from the first byte of the request in to the last byte of the reply out; `None` for a long poll, which is
    /// kept out of the latencies.
    pub duration: Option<u64>,
    /// Nanoseconds from the first byte of the request in to the first byte of the reply; `None` where there was none, and for a
    /// long poll.
    pub first_byte: Option<u64>,
    /// Bytes of the request.
    pub request_bytes: u64,
    /// Bytes of all replies to it.
    pub reply_bytes: u64,
    /// Tries after the first.
    pub retries: u32,
    /// What went wrong, where it was not simply the server's answer: counted in `weir_failures_total`, or in
    /// `weir_refusals_total` when `refused`.
    pub fault: Option<Fault>,
    /// Weir refused it by its own decision.
    pub refused: bool,
    /// How many things it was about.
    pub items: Items,
    /// What else it was.
    pub traits: Traits,
}

impl Record {
    /// An operation that ended well, took no measurable time and moved no byte: set what is different.
    pub fn new(place: Place, operation: NameId, resource: NameId) -> Record {
        Record {
            place,
            operation,
            resource,
            application: NameId::NONE,
            call_site: NameId::NONE,
            result: "ok",
            code: NameId::NONE,
            duration: None,
            first_byte: None,
            request_bytes: 0,
            reply_bytes: 0,
            retries: 0,
            fault: None,
            refused: false,
            items: Items::NONE,
            traits: Traits::NONE,
        }
    }
}

/// A worker's numbers. Made on the worker with [`Measure::local`]; never leaves it.
pub struct Local {
    measure: Arc<Measure>,
    shard: Arc<Shard>,
    names: RefCell<Cache>,
    tables: RefCell<Tables>,
    seats: Rc<Seats>,
}

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

struct Tables {
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
    faults: Table<FaultKey, Counted<FaultKey>>,
    places: Table<Place, PlaceRow>,
}

impl Local {
    pub(crate) fn new(measure: Arc<Measure>, shard: Arc<Shard>) -> Local {
        let tables = Tables {
            operations: Table::new(Arc::clone(&shard.operations)),
            recent: Vec::new(),
            batches: Table::new(Arc::clone(&shard.batches)),
            outcomes: Table::new(Arc::clone(&shard.outcomes)),
            applications: Table::new(Arc::clone(&shard.applications)),
            usages: Table::new(Arc::clone(&shard.usages)),
            call_sites: Table::new(Arc::clone(&shard.call_sites)),
            faults: Table::new(Arc::clone(&shard.faults)),
            places: Table::new(Arc::clone(&shard.places)),
        };
        let seats = Seats::new(&shard.connections);
        Local { measure, shard, names: RefCell::default(), tables: RefCell::new(tables), seats }
    }

    /// A connection from a client is open, until what this returns is dropped.
    pub fn open(&self, connection: OpenConnection) -> Opened {
        self.seats.enter(connection)
    }

    /// The process's numbers.
    pub fn measure(&self) -> &Arc<Measure> {
        &self.measure
    }

    /// The id of the name made of `parts`, put together without a separator; [`NameId::NONE`] when that is empty,
    /// [`NameId::OTHER`] beyond the cap of its kind.
    pub fn intern(&self, kind: NameKind, parts: &[&[u8]]) -> NameId {
        let found = self.names.borrow_mut().intern(&self.measure.interner, kind, parts);
        found.unwrap_or_else(|| {
            if let Some(unnamed) = self.shard.unnamed.get(slot(kind)) {
                unnamed.add(1);
            }
            NameId::OTHER
        })
    }

    /// What protocols intern with: `&mut local.names()` is a `&mut dyn Names`.
    pub fn names(&self) -> Naming<'_> {
        Naming(self)
    }

    /// An operation has begun at `place`: it is in flight until the guard goes.
    pub fn started(self: &Rc<Self>, place: Place) -> InFlight {
        let row = self.tables.borrow_mut().place(place);
        if let Some(row) = self.tables.borrow().places.row(row) {
            row.begun.add(1);
        }
        InFlight { local: Rc::clone(self), row, parked: false }
    }

    /// Counts an operation that has ended: once for each operation, whatever became of it.
    pub fn record(&self, record: &Record) {
        let tables = &mut *self.tables.borrow_mut();
        let at = tables.operation(&self.measure, &self.shard, record);
        tables.outcome(&self.measure, &self.shard, at, record);
        let duration = record.duration.map(Timed::new);
        if let Some(row) = tables.operations.row(at) {
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
            tables.batch(at, record.items);
        }
        if record.application != NameId::NONE {
            tables.application(&self.measure, &self.shard, at, record, duration);
        }
        if record.call_site != NameId::NONE {
            tables.call_site(&self.measure, &self.shard, at, record);
        }
        if record.retries > 0 {
            let row = tables.place(record.place);
            if let Some(row) = tables.places.row(row) {
                row.retries.add(u64::from(record.retries));
            }
        }
        if let Some(fault) = record.fault {
            tables.fault(FaultKey { place: record.place, refused: record.refused, fault });
        }
    }
}

impl Tables {
    /// The row of the record's operation. Beyond the cap its resource is `_other`, then its operation too; the last of these
    /// is always there to be had, since places are capped.
    fn operation(&mut self, measure: &Measure, shard: &Shard, record: &Record) -> u32 {
        let Record { place, operation, resource, .. } = *record;
        let key = OperationKey { place, operation, resource };
        if let Some(at) = self.admitted(measure, key) {
            return at;
        }
        let [operations, ..] = &shard.beyond;
        operations.add(1);
        let key = OperationKey { resource: NameId::OTHER, ..key };
        if let Some(at) = self.admitted(measure, key) {
            return at;
        }
        let key = OperationKey { operation: NameId::OTHER, ..key };
        match self.operations.find(&key) {
            Some(at) => at,
            None => self.add_operation(key),
        }
    }

    /// The row of `key`, unless it is beyond the cap.
    fn admitted(&mut self, measure: &Measure, key: OperationKey) -> Option<u32> {
        let known = self.operations.find_near(&key, key.operation.0 ^ key.resource.0);
        known.or_else(|| measure.admit_row(&key).then(|| self.add_operation(key)))
    }

    fn add_operation(&mut self, key: OperationKey) -> u32 {
        let row = OperationRow {
            key,
            request_bytes: Default::default(),
            reply_bytes: Default::default(),
            duration: OnceLock::new(),
            first_byte: OnceLock::new(),
            more: OnceLock::new(),
        };
        self.recent.push(Recent {
            result: "",
            code: NameId::NONE,
            outcome: u32::MAX,
            application: NameId::NONE,
            application_result: "",
            application_row: u32::MAX,
            batches: u32::MAX,
        });
        self.operations.add(key, row)
    }

    fn batch(&mut self, at: u32, items: Items) {
        let Some(recent) = self.recent.get_mut(at as usize) else { return };
        if recent.batches == u32::MAX {
            let Some(row) = self.operations.row(at) else { return };
            let key = OperationKey { resource: NameId::NONE, ..row.key };
            let known = self.batches.find(&key);
            recent.batches = known.unwrap_or_else(|| self.batches.add(key, BatchRow::new(key)));
        }
        if let Some(row) = self.batches.row(recent.batches) {
            row.add(items);
        }
    }

    fn outcome(&mut self, measure: &Measure, shard: &Shard, at: u32, record: &Record) {
        let Some(recent) = self.recent.get_mut(at as usize) else { return };
        if !(std::ptr::eq(recent.result, record.result) && recent.code == record.code) {
            let Some(operation) = self.operations.row(at).map(|row| row.key) else { return };
            let mut key = OutcomeKey { operation, result: record.result, code: record.code };
            let mut found = self.outcomes.find(&key);
            if found.is_none() && !measure.admit_outcome(&key) {
                let [_, outcomes, ..] = &shard.beyond;
                outcomes.add(1);
                key.code = NameId::OTHER;
                found = self.outcomes.find(&key);
            }
            let outcome = found.unwrap_or_else(|| self.outcomes.add(key, Counted::new(key)));
            if key.code == record.code {
                (recent.result, recent.code, recent.outcome) = (record.result, record.code, outcome);
            } else {
                bump(&self.outcomes, outcome);
                return;
            }
        }
        bump(&self.outcomes, recent.outcome);
    }

    fn application(
        &mut self,
        measure: &Measure,
        shard: &Shard,
        at: u32,
        record: &Record,
        duration: Option<Timed>,
    ) {
        let row = self.application_row(measure, shard, at, record);
        let Some(row) = row.and_then(|row| self.applications.row(row)) else { return };
        row.count.add(1);
        let Some(usage) = self.usages.row(row.usage) else { return };
        usage.request_bytes.add(record.request_bytes);
        usage.reply_bytes.add(record.reply_bytes);
        if let Some(duration) = duration {
            usage.duration.get_or_init(Box::<Histogram>::default).add(duration);
        }
    }

    fn application_row(&mut self, measure: &Measure, shard: &Shard, at: u32, record: &Record) -> Option<u32> {
        let Record { place, application, result, .. } = *record;
        let recent = self.recent.get_mut(at as usize)?;
        if recent.application == application && std::ptr::eq(recent.application_result, result) {
            return Some(recent.application_row);
        }
        let operation = self.operations.row(at)?.key.operation;
        let mut key = ApplicationKey { place, application, operation, result };
        let mut found = self.applications.find(&key);
        if found.is_none() && !measure.admit_application(&key) {
            let [_, _, applications, _] = &shard.beyond;
            applications.add(1);
            (key.application, key.operation) = (NameId::OTHER, NameId::OTHER);
            found = self.applications.find(&key);
        }
        let row = found.unwrap_or_else(|| {
            let whose = UsageKey { place, application: key.application };
            let known = self.usages.find(&whose);
            let usage = known.unwrap_or_else(|| self.usages.add(whose, UsageRow::new(whose)));
            self.applications.add(key, ApplicationRow::new(key, usage))
        });
        if key.application == application {
            recent.application = application;
            recent.application_result = result;
            recent.application_row = row;
        }
        Some(row)
    }

    fn call_site(&mut self, measure: &Measure, shard: &Shard, at: u32, record: &Record) {
        let Some(operation) = self.operations.row(at).map(|row| row.key.operation) else { return };
        let Record { place, call_site, result, .. } = *record;
        let mut key = CallSiteKey { place, call_site, operation, result };
        let mut found = self.call_sites.find(&key);
        if found.is_none() && !measure.admit_call_site(&key) {
            let [_, _, _, call_sites] = &shard.beyond;
            call_sites.add(1);
            (key.call_site, key.operation) = (NameId::OTHER, NameId::OTHER);
            found = self.call_sites.find(&key);
        }
        let row = found.unwrap_or_else(|| self.call_sites.add(key, CallSiteCells::new(key)));
        if let Some(row) = self.call_sites.row(row) {
            row.nanos.add(record.duration.unwrap_or(0));
            row.count.add(1);
        }
    }

    fn fault(&mut self, key: FaultKey) {
        let row = self.faults.find(&key).unwrap_or_else(|| self.faults.add(key, Counted::new(key)));
        bump(&self.faults, row);
    }

    fn place(&mut self, place: Place) -> u32 {
        match self.places.find_near(&place, place.0) {
            Some(row) => row,
            None => self.places.add(place, PlaceRow::new(place)),
        }
    }
}

fn bump<K: Eq + std::hash::Hash>(table: &Table<K, Counted<K>>, at: u32) {
    if let Some(row) = table.row(at) {
        row.count.add(1);
    }
}

impl std::fmt::Debug for Local {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Local").finish_non_exhaustive()
    }
}

/// Interns for a protocol. See [`Local::names`].
#[derive(Debug)]
pub struct Naming<'a>(&'a Local);

impl Names for Naming<'_> {
    fn intern(&mut self, kind: NameKind, parts: &[&[u8]]) -> NameId {
        self.0.intern(kind, parts)
    }
}

/// An operation under way: counted in `weir_operations_in_flight`, or in `weir_operations_parked` once it is known to be a
/// long poll, until this is dropped.
#[derive(Debug)]
pub struct InFlight {
    local: Rc<Local>,
    row: u32,
    parked: bool,
}

impl InFlight {
    /// It turns out to be a long poll.
    pub fn park(&mut self) {
        if !self.parked {
            self.parked = true;
            if let Some(row) = self.local.tables.borrow().places.row(self.row) {
                row.parked.add(1);
                row.ended.add(1);
            }
        }
    }

    /// It was a long poll and answers at once from now on (an exhaust stream that ended).
    pub fn unpark(&mut self) {
        if self.parked {
            self.parked = false;
            if let Some(row) = self.local.tables.borrow().places.row(self.row) {
                row.begun.add(1);
                row.unparked.add(1);
            }
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if let Some(row) = self.local.tables.borrow().places.row(self.row) {
            let ended = if self.parked { &row.unparked } else { &row.ended };
            ended.add(1);
        }
    }
}
