//! One worker's side of the numbers: it interns names, records operations, and knows what is under way. Nothing here is shared
//! but the rows, which only this worker writes; nothing is locked and nothing is allocated for what has been seen before.

use crate::Measure;
use crate::Place;
use crate::connections::{OpenConnection, Opened, Seats};
use crate::intern::{Cache, ScopeCache, slot};
use crate::names::Family;
use crate::rows::{At, Tables, Writing};
use crate::scope::Scope;
use crate::tables::{FaultKey, Shard, TallyKey};
use std::cell::{RefCell, RefMut};
use std::rc::Rc;
use std::sync::Arc;
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
    /// Its names are more than what a stranger says: they take their place among those of the listener.
    pub believed: bool,
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
            believed: true,
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
    scopes: RefCell<Scopes>,
    tables: RefCell<Tables>,
    seats: Rc<Seats>,
}

/// The names of listeners as this worker knows them.
#[derive(Default)]
struct Scopes {
    /// By place an index into the list, one more than that; 0: not asked for yet.
    by_place: Vec<u32>,
    list: Vec<(Arc<Scope>, ScopeCache)>,
}

impl Scopes {
    fn of(&mut self, measure: &Measure, place: Place) -> Option<&mut (Arc<Scope>, ScopeCache)> {
        let known = self.by_place.get(place.0 as usize).copied().unwrap_or(0);
        let at = match known.checked_sub(1) {
            Some(at) => at as usize,
            None => self.learn(measure, place),
        };
        self.list.get_mut(at)
    }

    #[cold]
    fn learn(&mut self, measure: &Measure, place: Place) -> usize {
        let scope = measure.scope_of(place);
        let known = self.list.iter().position(|(known, _)| known.number == scope.number);
        let at = known.unwrap_or_else(|| {
            self.list.push((scope, ScopeCache::default()));
            self.list.len() - 1
        });
        if self.by_place.len() <= place.0 as usize {
            self.by_place.resize(place.0 as usize + 1, 0);
        }
        if let Some(slot) = self.by_place.get_mut(place.0 as usize) {
            *slot = at as u32 + 1;
        }
        at
    }
}

impl Local {
    pub(crate) fn new(measure: Arc<Measure>, shard: Arc<Shard>) -> Local {
        let tables = RefCell::new(Tables::new(&shard));
        let seats = Seats::new(&shard.connections);
        Local { measure, shard, names: RefCell::default(), scopes: RefCell::default(), tables, seats }
    }

    /// A connection from a client is open, until what this returns is dropped.
    pub fn open(&self, connection: OpenConnection) -> Opened {
        self.seats.enter(connection)
    }

    /// The process's numbers.
    pub fn measure(&self) -> &Arc<Measure> {
        &self.measure
    }

    /// The id of the name made of `parts`, put together without a separator: one of a closed set or of the configuration, which is
    /// always there. [`NameId::NONE`] when that is empty.
    pub fn intern(&self, kind: NameKind, parts: &[&[u8]]) -> NameId {
        let found = self.names.borrow_mut().fixed(&self.measure.interner, kind, parts);
        found.unwrap_or_else(|| self.unnamed(kind))
    }

    /// The same of a name that came from the wire where operations are served at `place`: it may give way to others.
    pub fn intern_at(&self, place: Place, kind: NameKind, parts: &[&[u8]]) -> NameId {
        let scopes = &mut *self.scopes.borrow_mut();
        let found = scopes.of(&self.measure, place).and_then(|(scope, names)| {
            self.names.borrow_mut().intern(&self.measure.interner, (scope, names), kind, parts)
        });
        found.unwrap_or_else(|| self.unnamed(kind))
    }

    #[cold]
    fn unnamed(&self, kind: NameKind) -> NameId {
        if let Some(unnamed) = self.shard.unnamed.get(slot(kind)) {
            unnamed.add(1);
        }
        NameId::OTHER
    }

    /// What protocols intern with where operations are served at `place`: `&mut local.names(place)` is a `&mut dyn Names`.
    pub fn names(&self, place: Place) -> Naming<'_> {
        Naming(self, place)
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
        let scopes = &mut *self.scopes.borrow_mut();
        let Some((scope, _)) = scopes.of(&self.measure, record.place) else { return };
        let tables = self.tables.borrow_mut();
        let writing = Writing::new(&self.measure, &self.shard, scope, record);
        match writing.find(tables) {
            (At::Row(at), tables) => Local::write(&writing, record, tables, Some(at)),
            (At::Gone, tables) => match writing.revived() {
                Some(revived) => {
                    let writing = writing.of(&revived);
                    let (at, tables) = writing.find(tables);
                    Local::write(&writing, &revived, tables, at.row());
                }
                None => Local::write(&writing, record, tables, None),
            },
        }
    }

    /// Adds `n` to the series of `family` for the listener of `place` with these names as its other labels, as many as it has, four at
    /// most. `believed`: names from the wire among them take their place by it. A series of which a name has given way to others
    /// has ended, and is not counted.
    pub fn tally(&self, family: &'static Family, place: Place, labels: &[NameId], n: u64, believed: bool) {
        let scopes = &mut *self.scopes.borrow_mut();
        let Some((scope, _)) = scopes.of(&self.measure, place) else { return };
        let record = Record { believed, ..Record::new(place, NameId::NONE, NameId::NONE) };
        let writing = Writing::new(&self.measure, &self.shard, scope, &record);
        let mut names = [NameId::NONE; 4];
        names.iter_mut().zip(labels).for_each(|(name, label)| *name = *label);
        self.tables.borrow_mut().tally(&writing, TallyKey { family, place, names }, n);
    }

    fn write(writing: &Writing<'_>, record: &Record, mut tables: RefMut<'_, Tables>, at: Option<u32>) {
        tables.write(writing, at);
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

impl std::fmt::Debug for Local {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Local").finish_non_exhaustive()
    }
}

/// Interns for a protocol. See [`Local::names`].
#[derive(Debug)]
pub struct Naming<'a>(&'a Local, Place);

impl Names for Naming<'_> {
    fn intern(&mut self, kind: NameKind, parts: &[&[u8]]) -> NameId {
        self.0.intern_at(self.1, kind, parts)
    }

    fn fixed(&mut self, kind: NameKind, text: &[u8]) -> NameId {
        self.0.intern(kind, &[text])
    }

    fn gone(&self) -> u64 {
        let scopes = &mut *self.0.scopes.borrow_mut();
        scopes.of(&self.0.measure, self.1).map_or(0, |(scope, _)| scope.gone())
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
