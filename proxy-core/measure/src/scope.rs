//! The names of one listener that came from the wire, and the rows that are made of them. A stranger can invent names, so they
//! have to earn their place: docs/decisions/names-earn-their-place.md says how.
//!
//! Everything here is behind one lock of the listener's, which a worker takes for a name or a row that it does not know yet.
//! What it knows it finds without: a name carries what workers write to it, and that it has gone.

use crate::capped::lock;
use crate::{Place, Samples, names};
use hashbrown::{HashMap, HashSet};
use std::collections::{BTreeSet, VecDeque};
use std::hash::Hash;
use std::ops::Bound::{Excluded, Unbounded};
use std::sync::atomic::{
    AtomicBool, AtomicU8, AtomicU64, AtomicUsize,
    Ordering::{Acquire, Relaxed, Release},
};
use std::sync::{Arc, Mutex};
use weir_decide::exchange::NameId;

/// Names of a listener and kind that no server has answered well yet.
pub const PROBATION: usize = 64;
/// Rows of a listener and table that have such a name.
const PROBATION_ROWS: usize = 8 * PROBATION;
/// The least share of a listener in each cap, if the cap itself is not less.
const LEAST: usize = 64;
/// After so many operations on one worker a name is busy: it gives way only to others that are.
pub(crate) const BUSY: u32 = 4;
/// Names on probation that have just given way, in case a server answers them well after all.
const LATE: usize = 256;

type Map<K, V> = HashMap<K, V, foldhash::fast::RandomState>;
type Set<K> = HashSet<K, foldhash::fast::RandomState>;

/// Kinds of names, in the order of `intern::KINDS`.
pub(crate) const KINDS: usize = 5;
/// Tables of rows, in the order of `tables::TABLES`.
pub(crate) const TABLES: usize = 5;

/// What all listeners share of a cap: how much there may be, and how much there is.
#[derive(Debug)]
pub(crate) struct Cap {
    most: usize,
    used: AtomicUsize,
    /// 0: never met. 1: met, and nobody has been told. 2: told.
    met: AtomicU8,
}

impl Cap {
    pub(crate) fn new(most: usize) -> Cap {
        Cap { most, used: AtomicUsize::new(0), met: AtomicU8::new(0) }
    }

    /// Whether a listener that has `used` may have one more. What nobody uses may be borrowed; what is borrowed is given back
    /// when somebody below its share asks.
    fn has_room(&self, used: usize, listeners: usize) -> bool {
        used < self.share(listeners) || self.used.load(Relaxed) < self.most
    }

    /// What a listener has for sure.
    fn share(&self, listeners: usize) -> usize {
        (self.most / listeners.max(1)).max(LEAST.min(self.most))
    }

    fn meet(&self) {
        let _ = self.met.compare_exchange(0, 1, Relaxed, Relaxed);
    }

    /// Whether it has been met; true once.
    pub(crate) fn first_met(&self) -> bool {
        self.met.compare_exchange(1, 2, Relaxed, Relaxed).is_ok()
    }
}

/// What all listeners share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) names: [Cap; KINDS],
    pub(crate) rows: [Cap; TABLES],
    /// Listeners that there are.
    pub(crate) listeners: AtomicUsize,
    /// Names that have gone, of all listeners.
    pub(crate) gone: AtomicU64,
}

/// A name that came from the wire.
#[derive(Debug)]
pub(crate) struct Name {
    pub(crate) id: NameId,
    pub(crate) kind: usize,
    pub(crate) raw: Box<[u8]>,
    pub(crate) text: Arc<str>,
    /// When it was last heard of, by the listener's clock of new names.
    seen: AtomicU64,
    gone: AtomicBool,
}

impl Name {
    /// It has given way: nothing may be counted under it any more.
    pub(crate) fn has_gone(&self) -> bool {
        self.gone.load(Acquire)
    }

    pub(crate) fn see(&self, clock: u64) {
        self.seen.store(clock, Relaxed);
    }
}

/// The names in a row that may go.
pub(crate) type RowNames = Box<[Arc<Name>]>;

/// A row, whatever its table: what tells it apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Series {
    pub(crate) table: usize,
    pub(crate) place: Place,
    pub(crate) names: [NameId; 4],
    pub(crate) result: &'static str,
}

/// Whether there is a row.
pub(crate) enum Admitted {
    /// Made of these names.
    Row(RowNames),
    /// One of its names has gone.
    Gone,
    /// There is no room, and nothing of the listener's that could give way.
    Full,
}

/// The names of one listener.
#[derive(Debug)]
pub(crate) struct Scope {
    pub(crate) number: u16,
    pub(crate) listener: Arc<str>,
    shared: Arc<Shared>,
    /// Moves with each new name: what has been silent for longest was heard of at the earliest time. It stands while nothing new
    /// comes, so that hearing of a name writes nothing.
    clock: AtomicU64,
    /// Names that have gone.
    gone: AtomicU64,
    room: Mutex<Room>,
}

#[derive(Debug, Default)]
struct Room {
    kinds: [Kind; KINDS],
    names: Map<NameId, Held>,
    rows: Set<Series>,
    /// Rows by table: of names that have earned their place, and of others.
    counts: [[usize; 2]; TABLES],
    /// The rows that a name is in, and some that it was in.
    of_name: Map<NameId, Vec<Series>>,
}

#[derive(Debug)]
struct Held {
    name: Arc<Name>,
    standing: Standing,
    /// Where it is in the order of its standing.
    at: u64,
}

/// Where a name stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    Probation,
    Calm,
    Busy,
}

/// Names by when they were last heard of, or earlier: the true time is looked up when one comes to the front.
type Order = BTreeSet<(u64, NameId)>;

#[derive(Debug, Default)]
struct Kind {
    known: Map<Box<[u8]>, NameId>,
    orders: [Order; 3],
    late: VecDeque<Arc<Name>>,
    /// Names that have gone.
    gone: u64,
}

impl Scope {
    pub(crate) fn new(number: u16, listener: Arc<str>, shared: Arc<Shared>) -> Scope {
        let (clock, gone) = (AtomicU64::new(1), AtomicU64::new(0));
        Scope { number, listener, shared, clock, gone, room: Mutex::default() }
    }

    pub(crate) fn clock(&self) -> u64 {
        self.clock.load(Relaxed)
    }

    /// How many names have gone.
    pub(crate) fn gone(&self) -> u64 {
        self.gone.load(Acquire)
    }

    /// The name `raw`, on probation if it is new.
    pub(crate) fn find_or_add(
        &self,
        kind: usize,
        raw: &[u8],
        make: impl FnOnce() -> (NameId, Arc<str>),
    ) -> Option<Arc<Name>> {
        let room = &mut *lock(&self.room);
        let of_kind = room.kinds.get(kind)?;
        if let Some(held) = of_kind.known.get(raw).and_then(|id| room.names.get(id)) {
            return Some(Arc::clone(&held.name));
        }
        while room.order(kind, Standing::Probation).is_some_and(|order| order.len() >= PROBATION) {
            let oldest = room.oldest(kind, Standing::Probation, &[], false)?;
            self.remove(room, oldest);
        }
        let clock = self.clock.fetch_add(1, Relaxed) + 1;
        let (id, text) = make();
        let (seen, gone) = (AtomicU64::new(clock), AtomicBool::new(false));
        let name = Arc::new(Name { id, kind, raw: raw.into(), text, seen, gone });
        room.put(Held { name: Arc::clone(&name), standing: Standing::Probation, at: clock });
        Some(name)
    }

    /// A server has answered these well, or who says them has authenticated: they take their place.
    pub(crate) fn prove(&self, names: &[Arc<Name>]) {
        let room = &mut *lock(&self.room);
        names.iter().for_each(|name| self.prove_one(room, name.id));
    }

    fn prove_one(&self, room: &mut Room, id: NameId) {
        let Some(held) = room.names.get(&id).filter(|held| held.standing == Standing::Probation) else {
            return;
        };
        let kind = held.name.kind;
        let Some(cap) = self.shared.names.get(kind) else { return };
        loop {
            let used = room.established(kind);
            if cap.has_room(used, self.shared.listeners.load(Relaxed)) {
                break;
            }
            cap.meet();
            let Some(oldest) = room.longest_silent(kind, &[id], false) else { return };
            self.remove(room, oldest);
        }
        cap.used.fetch_add(1, Relaxed);
        let before = room.classes_of(id);
        room.stand(id, Standing::Calm);
        for series in before {
            let class = room.class(&series);
            if class == 0
                && let Some([ours, theirs]) = room.counts.get_mut(series.table)
            {
                (*ours, *theirs) = (*ours + 1, theirs.saturating_sub(1));
                if let Some(cap) = self.shared.rows.get(series.table) {
                    cap.used.fetch_add(1, Relaxed);
                }
            }
        }
        for table in 0..TABLES {
            self.make_room(room, table, 0, &[id], 0);
        }
    }

    /// These have been heard of often: they give way only to others that have.
    pub(crate) fn busy(&self, names: &[Arc<Name>]) {
        let room = &mut *lock(&self.room);
        for name in names {
            if room.names.get(&name.id).is_none_or(|held| held.standing != Standing::Calm) {
                continue;
            }
            room.stand(name.id, Standing::Busy);
            // Three of four at most.
            let busy = room.order(name.kind, Standing::Busy).map_or(0, Order::len);
            let share = self
                .shared
                .names
                .get(name.kind)
                .map_or(0, |cap| cap.share(self.shared.listeners.load(Relaxed)));
            if busy * 4 > room.established(name.kind).max(share) * 3
                && let Some(oldest) = room.oldest(name.kind, Standing::Busy, &[], false)
            {
                room.stand(oldest, Standing::Calm);
            }
        }
    }

    /// A name on probation that has given way, and that a server has answered well after all.
    pub(crate) fn revive(&self, id: NameId, make: impl FnOnce() -> NameId) -> Option<Arc<Name>> {
        let room = &mut *lock(&self.room);
        let late = room.kinds.iter_mut().find_map(|kind| {
            let at = kind.late.iter().position(|name| name.id == id)?;
            kind.late.remove(at)
        })?;
        let known = room.kinds.get(late.kind)?.known.get(&late.raw).copied();
        let id = known.unwrap_or_else(|| {
            let clock = self.clock.fetch_add(1, Relaxed) + 1;
            let (seen, gone) = (AtomicU64::new(clock), AtomicBool::new(false));
            let (raw, text) = (late.raw.clone(), Arc::clone(&late.text));
            let name = Arc::new(Name { id: make(), kind: late.kind, raw, text, seen, gone });
            let id = name.id;
            room.put(Held { name, standing: Standing::Probation, at: clock });
            id
        });
        self.prove_one(room, id);
        room.names.get(&id).map(|held| Arc::clone(&held.name))
    }

    /// Whether there is, or may be, this row.
    pub(crate) fn admit(&self, series: &Series) -> Admitted {
        let room = &mut *lock(&self.room);
        let mut names = Vec::new();
        for id in series.names.iter().filter(|id| id.scope() != 0) {
            match room.names.get(id) {
                Some(held) => names.push(Arc::clone(&held.name)),
                // Those of another listener's do not go with it.
                None if id.scope() == self.number => return Admitted::Gone,
                None => {}
            }
        }
        if !room.rows.contains(series) {
            let class = room.class(series);
            if !self.make_room(room, series.table, class, &series.names, 1) {
                return Admitted::Full;
            }
            room.rows.insert(*series);
            if let Some(count) = room.counts.get_mut(series.table).and_then(|counts| counts.get_mut(class)) {
                *count += 1;
            }
            if let Some(cap) = self.shared.rows.get(series.table).filter(|_| class == 0) {
                cap.used.fetch_add(1, Relaxed);
            }
            for name in &names {
                room.note(name.id, *series);
            }
        }
        Admitted::Row(names.into())
    }

    /// Has names give way until there is room for `more` rows of this class, but for those in `keep`.
    fn make_room(&self, room: &mut Room, table: usize, class: usize, keep: &[NameId], more: usize) -> bool {
        let Some(cap) = self.shared.rows.get(table) else { return false };
        loop {
            let count = room.counts.get(table).and_then(|counts| counts.get(class)).copied().unwrap_or(0);
            let fits = match class {
                0 if more == 0 => {
                    count == 0
                        || cap.has_room(count - 1, self.shared.listeners.load(Relaxed))
                        || cap.used.load(Relaxed) <= cap.most
                }
                0 => cap.has_room(count, self.shared.listeners.load(Relaxed)),
                _ => count + more <= PROBATION_ROWS,
            };
            if fits {
                return true;
            }
            if class == 0 {
                cap.meet();
            }
            let kinds: &[usize] = match table {
                0 | 1 => &[1, 0, 2],
                2 => &[3],
                3 => &[4],
                _ => &[1, 3],
            };
            let found = kinds.iter().filter_map(|kind| match class {
                0 => room.longest_silent(*kind, keep, true),
                _ => room.oldest(*kind, Standing::Probation, keep, true),
            });
            let found: Vec<_> = found.collect();
            let silent = |id: &NameId| room.names.get(id).map_or(0, |held| held.name.seen.load(Relaxed));
            let Some(oldest) = found.into_iter().min_by_key(silent) else { return false };
            self.remove(room, oldest);
        }
    }

    /// A name gives way, and all rows that it is in with it.
    fn remove(&self, room: &mut Room, id: NameId) {
        let Some(held) = room.names.remove(&id) else { return };
        let Held { name, standing, at } = held;
        if let Some(kind) = room.kinds.get_mut(name.kind) {
            kind.known.remove(&name.raw);
            kind.gone += 1;
            if let Some(order) = kind.orders.get_mut(standing as usize) {
                order.remove(&(at, id));
            }
            if standing == Standing::Probation {
                kind.late.truncate(LATE - 1);
                kind.late.push_front(Arc::clone(&name));
            } else if let Some(cap) = self.shared.names.get(name.kind) {
                cap.used.fetch_sub(1, Relaxed);
            }
        }
        for series in room.of_name.remove(&id).into_iter().flatten() {
            if !room.rows.remove(&series) {
                continue;
            }
            // It was of the other class if any of its names is on probation, this one included.
            let class = if standing == Standing::Probation { 1 } else { room.class(&series) };
            if let Some(count) = room.counts.get_mut(series.table).and_then(|counts| counts.get_mut(class)) {
                *count = count.saturating_sub(1);
            }
            if let Some(cap) = self.shared.rows.get(series.table).filter(|_| class == 0) {
                cap.used.fetch_sub(1, Relaxed);
            }
        }
        name.gone.store(true, Release);
        self.gone.fetch_add(1, Release);
        self.shared.gone.fetch_add(1, Release);
    }

    /// How many names there are, and how many have gone.
    pub(crate) fn write(&self, out: &mut Samples) {
        let room = lock(&self.room);
        for (at, (kind, (_, word))) in room.kinds.iter().zip(crate::intern::KINDS).enumerate() {
            let standing = [
                ("probation", kind.orders.first().map_or(0, Order::len)),
                ("established", room.established(at)),
            ];
            for (standing, count) in standing.into_iter().filter(|(_, count)| *count > 0) {
                out.add(&names::NAMES, &[&self.listener, word, standing], count as u64);
            }
            if kind.gone > 0 {
                out.add(&names::NAMES_GONE, &[&self.listener, word], kind.gone);
            }
        }
    }

    /// The text of a name that has not gone.
    pub(crate) fn text(&self, id: NameId) -> Option<Arc<str>> {
        lock(&self.room).names.get(&id).map(|held| Arc::clone(&held.name.text))
    }

    /// Adds the texts of all names there are.
    pub(crate) fn copy_texts(&self, into: &mut Map<NameId, Arc<str>>) {
        let room = lock(&self.room);
        into.extend(room.names.values().map(|held| (held.name.id, Arc::clone(&held.name.text))));
    }
}

impl Room {
    fn order(&self, kind: usize, standing: Standing) -> Option<&Order> {
        self.kinds.get(kind)?.orders.get(standing as usize)
    }

    fn order_mut(&mut self, kind: usize, standing: Standing) -> Option<&mut Order> {
        self.kinds.get_mut(kind)?.orders.get_mut(standing as usize)
    }

    /// How many names have earned their place.
    fn established(&self, kind: usize) -> usize {
        [Standing::Calm, Standing::Busy].iter().filter_map(|one| self.order(kind, *one)).map(Order::len).sum()
    }

    fn put(&mut self, held: Held) {
        let (id, kind, at) = (held.name.id, held.name.kind, held.at);
        if let Some(order) = self.order_mut(kind, held.standing) {
            order.insert((at, id));
        }
        if let Some(kind) = self.kinds.get_mut(kind) {
            kind.known.insert(held.name.raw.clone(), id);
        }
        self.names.insert(id, held);
    }

    /// Gives a name another standing.
    fn stand(&mut self, id: NameId, standing: Standing) {
        let Some(held) = self.names.get_mut(&id) else { return };
        let (kind, at, before) = (held.name.kind, held.at, held.standing);
        held.standing = standing;
        if let Some(order) = self.order_mut(kind, before) {
            order.remove(&(at, id));
        }
        if let Some(order) = self.order_mut(kind, standing) {
            order.insert((at, id));
        }
    }

    /// The one that has been silent for longest of those that have earned their place; of busy ones only where there are no
    /// others.
    fn longest_silent(&mut self, kind: usize, keep: &[NameId], in_rows: bool) -> Option<NameId> {
        let calm = self.oldest(kind, Standing::Calm, keep, in_rows);
        calm.or_else(|| self.oldest(kind, Standing::Busy, keep, in_rows))
    }

    /// The one of this standing that has been silent for longest. `in_rows`: of those that are in any row.
    fn oldest(&mut self, kind: usize, standing: Standing, keep: &[NameId], in_rows: bool) -> Option<NameId> {
        let Room { kinds, names, of_name, .. } = self;
        let order = kinds.get_mut(kind)?.orders.get_mut(standing as usize)?;
        let mut after = (0, NameId::NONE);
        loop {
            let next = *order.range((Excluded(after), Unbounded)).next()?;
            let (at, id) = next;
            let held = names.get_mut(&id)?;
            let seen = held.name.seen.load(Relaxed);
            if seen != at {
                order.remove(&next);
                order.insert((seen, id));
                held.at = seen;
            } else if keep.contains(&id) || (in_rows && of_name.get(&id).is_none_or(Vec::is_empty)) {
                after = next;
            } else {
                return Some(id);
            }
        }
    }

    /// 1 where one of the names in the row is on probation, 0 otherwise.
    fn class(&self, series: &Series) -> usize {
        let on_probation = |id: &NameId| {
            id.scope() != 0 && self.names.get(id).is_some_and(|held| held.standing == Standing::Probation)
        };
        usize::from(series.names.iter().any(on_probation))
    }

    /// The rows that this name is in.
    fn classes_of(&self, id: NameId) -> Vec<Series> {
        let all = self.of_name.get(&id).into_iter().flatten();
        all.filter(|series| self.rows.contains(*series)).copied().collect()
    }

    fn note(&mut self, id: NameId, series: Series) {
        let Room { of_name, rows, .. } = self;
        let list = of_name.entry(id).or_default();
        if list.len() >= 64 && list.len() == list.capacity() {
            list.retain(|series| rows.contains(series));
        }
        list.push(series);
    }
}
