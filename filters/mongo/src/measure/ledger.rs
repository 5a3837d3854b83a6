//! What stays open between operations: cursors, transactions, and which writes have been seen.
//!
//! A client may go on with them on any of its connections, so there is one ledger for each listener, shared by all workers: tables
//! of a fixed size, without locks. A slot holds one entry, and an entry has a few slots in which it may be; when all of them are
//! taken the one that was idle longest gives way and counts as `forgotten`. Entries that nobody has touched for long count as
//! `abandoned`; that is looked for at each scrape. Races cost at most a count that is one off, never a wrong entry's end.

use super::collections::Collections;
use crate::names;
use std::collections::BTreeMap;
use std::sync::atomic::{
    AtomicU32, AtomicU64,
    Ordering::{AcqRel, Relaxed},
};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use weir_decide::exchange::{NameId, Now};
use weir_measure::Samples;
use weir_measure::histogram::{COUNTS, SPANS, Shared};
use weir_measure::names::Family;

/// Cursors, and transactions, remembered by listener.
pub const SLOTS: usize = 4096;
/// Slots in which an entry may be.
const WAYS: usize = 8;
/// Sessions whose latest write is remembered, by listener.
pub const SESSIONS: usize = 16_384;
/// A cursor that is idle for so long is abandoned, unless something else is said: it is how long servers keep one.
pub const CURSOR_ABANDONED: Duration = Duration::from_secs(600);
/// A transaction that is idle for so long is abandoned, unless something else is said: servers end those that live for 60 seconds.
pub const TRANSACTION_ABANDONED: Duration = Duration::from_secs(120);

macro_rules! ends {
    ($(#[$doc:meta])* $name:ident { $($(#[$line:meta])* $variant:ident = $label:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name { $($(#[$line])* $variant,)* }
        impl $name {
            const LABELS: &'static [&'static str] = &[$($label,)*];
        }
    };
}

ends! {
    /// How a cursor has ended.
    CursorEnd {
        /// Its last batch was read.
        Exhausted = "exhausted",
        /// The client killed it, or ended the transaction in which it was opened.
        Killed = "killed",
        /// The server answered that it is not there, or that it failed.
        Failed = "failed",
        /// Nobody has asked for more for long.
        Abandoned = "abandoned",
        /// There was no room to remember it.
        Forgotten = "forgotten",
    }
}

ends! {
    /// How a transaction has ended.
    TransactionEnd {
        /// Committed.
        Committed = "committed",
        /// The client ended it, or began another one in the same session.
        Aborted = "aborted",
        /// The server answered the commit with an error.
        CommitFailed = "commit_failed",
        /// Nobody has gone on with it for long.
        Abandoned = "abandoned",
        /// There was no room to remember it.
        Forgotten = "forgotten",
    }
}

#[derive(Debug, Default)]
struct Slot {
    /// 0: free.
    key: AtomicU64,
    /// When it began, in nanoseconds of the ledger.
    since: AtomicU64,
    /// When it was last touched, in seconds of the ledger.
    last: AtomicU32,
    /// Batches or statements.
    steps: AtomicU32,
    /// The resource of a cursor, the number of a transaction.
    what: AtomicU64,
    /// The application of a cursor.
    who: AtomicU64,
    /// Of a cursor the session in whose transaction it was opened, of a transaction whether cursors were opened in it; or 0.
    within: AtomicU64,
}

/// What has ended in one way.
#[derive(Debug, Default)]
struct Ended {
    count: AtomicU64,
    steps: Shared,
    times: Shared,
}

/// Entries of one kind, made when the first one comes.
#[derive(Debug, Default)]
struct Open {
    slots: OnceLock<Box<[Slot]>>,
    begun: AtomicU64,
    ended: [Ended; 5],
    /// Of cursors, by what they are on.
    collections: Option<Collections>,
}

/// Forgotten and abandoned are the last two of both kinds.
const ABANDONED: usize = 3;
const FORGOTTEN: usize = 4;

impl Open {
    fn ways(&self, key: u64) -> impl Iterator<Item = &Slot> {
        // Fibonacci hashing spreads what a server might not.
        let first = (key.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) as usize;
        let slots = self.slots.get().map_or(&[][..], |slots| slots);
        (0..WAYS).filter_map(move |way| slots.get((first + way) % SLOTS))
    }

    fn find(&self, key: u64) -> Option<&Slot> {
        self.ways(key).find(|slot| slot.key.load(Relaxed) == key)
    }

    fn begin(&self, key: u64, since: u64, now: u64, [what, who]: [u64; 2]) {
        self.slots.get_or_init(|| (0..SLOTS).map(|_| Slot::default()).collect());
        self.begun.fetch_add(1, Relaxed);
        let free = self.ways(key).find(|slot| slot.key.compare_exchange(0, key, AcqRel, Relaxed).is_ok());
        let slot = free.or_else(|| {
            let idle = self.ways(key).min_by_key(|slot| slot.last.load(Relaxed))?;
            self.end(idle, idle.key.load(Relaxed), FORGOTTEN, now);
            idle.key.compare_exchange(0, key, AcqRel, Relaxed).is_ok().then_some(idle)
        });
        match slot {
            Some(slot) => {
                slot.since.store(since, Relaxed);
                slot.last.store(seconds(now), Relaxed);
                slot.steps.store(1, Relaxed);
                slot.what.store(what, Relaxed);
                slot.who.store(who, Relaxed);
                slot.within.store(0, Relaxed);
            }
            // Somebody else was faster.
            None => {
                self.ended.get(FORGOTTEN).map(|ended| ended.count.fetch_add(1, Relaxed));
                self.collection(what, FORGOTTEN, 1);
            }
        }
    }

    fn collection(&self, what: u64, how: usize, batches: u32) {
        if let Some(collections) = &self.collections {
            collections.ended(NameId(what), how, batches);
        }
    }

    fn step(&self, slot: &Slot, now: u64) {
        slot.steps.fetch_add(1, Relaxed);
        slot.last.store(seconds(now), Relaxed);
    }

    fn end(&self, slot: &Slot, key: u64, how: usize, now: u64) {
        let (steps, since) = (slot.steps.load(Relaxed), slot.since.load(Relaxed));
        let what = slot.what.load(Relaxed);
        if key == 0 || slot.key.compare_exchange(key, 0, AcqRel, Relaxed).is_err() {
            return;
        }
        if let Some(ended) = self.ended.get(how) {
            ended.count.fetch_add(1, Relaxed);
            ended.steps.add(&COUNTS, steps.into());
            ended.times.add(&SPANS, now.saturating_sub(since));
        }
        self.collection(what, how, steps);
    }

    /// Ends what has been idle for long; gives how many are open.
    fn sweep(&self, now: u64, patience: &AtomicU32) -> u64 {
        let (mut open, patience) = (0, patience.load(Relaxed));
        for slot in self.slots.get().into_iter().flatten() {
            let key = slot.key.load(Relaxed);
            if key == 0 {
                continue;
            }
            if seconds(now).saturating_sub(slot.last.load(Relaxed)) > patience {
                self.end(slot, key, ABANDONED, now);
            } else {
                open += 1;
            }
        }
        open
    }
}

fn seconds(nanos: u64) -> u32 {
    u32::try_from(nanos / 1_000_000_000).unwrap_or(u32::MAX)
}

/// A cursor that is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenCursor {
    /// Its number.
    pub id: i64,
    /// What it reads.
    pub resource: NameId,
    /// For whom.
    pub application: NameId,
    /// Batches so far.
    pub batches: u32,
    /// How long it has been open.
    pub age: Duration,
    /// How long since somebody asked for more, in whole seconds.
    pub idle: Duration,
}

/// See the module.
#[derive(Debug)]
pub struct Ledger {
    /// Idle for longer than so many seconds, cursors and transactions are abandoned.
    cursor_patience: AtomicU32,
    transaction_patience: AtomicU32,
    /// The latest second in which anything came.
    latest: AtomicU64,
    cursors: Open,
    transactions: Open,
    /// By session the latest write: half a fingerprint of the session, half the number of the write.
    writes: OnceLock<Box<[AtomicU64]>>,
}

impl Default for Ledger {
    fn default() -> Ledger {
        let seconds =
            |patience: Duration| AtomicU32::new(u32::try_from(patience.as_secs()).unwrap_or(u32::MAX));
        Ledger {
            cursor_patience: seconds(CURSOR_ABANDONED),
            transaction_patience: seconds(TRANSACTION_ABANDONED),
            latest: AtomicU64::default(),
            cursors: Open { collections: Some(Collections::default()), ..Open::default() },
            transactions: Open::default(),
            writes: OnceLock::default(),
        }
    }
}

impl Ledger {
    /// What is idle for longer than that is abandoned, in whole seconds.
    pub fn patience(&self, cursors: Duration, transactions: Duration) {
        for (patience, with) in [(&self.cursor_patience, cursors), (&self.transaction_patience, transactions)]
        {
            patience.store(u32::try_from(with.as_secs()).unwrap_or(u32::MAX), Relaxed);
        }
    }

    /// It is now so late: to be said with every operation, whether or not it has to do with anything open.
    pub fn tick(&self, now: Now) {
        if now.0 >= self.latest.load(Relaxed).saturating_add(1_000_000_000) {
            self.latest.store(now.0, Relaxed);
        }
    }

    /// A batch came from the cursor `id`, which stays open: the first, or another one.
    pub fn batch(&self, id: i64, resource: NameId, application: NameId, Now(now): Now) {
        let id = id.cast_unsigned();
        match self.cursors.find(id) {
            Some(slot) => self.cursors.step(slot, now),
            None if id != 0 => {
                self.cursors.begin(id, now, now, [resource.0, application.0]);
            }
            None => {}
        }
    }

    /// The cursor `id` has ended; `last`: with another batch.
    pub fn close(&self, id: i64, how: CursorEnd, last: bool, now: Now) {
        let id = id.cast_unsigned();
        if id != 0
            && let Some(slot) = self.cursors.find(id)
        {
            slot.steps.fetch_add(last.into(), Relaxed);
            self.cursors.end(slot, id, how as usize, now.0);
        }
    }

    /// Whether the cursor `id` is open, as far as is remembered.
    pub fn has_cursor(&self, id: i64) -> bool {
        id != 0 && self.cursors.find(id.cast_unsigned()).is_some()
    }

    /// The cursor `id` was opened in the transaction of this session, and ends with it.
    pub fn belongs(&self, id: i64, session: u64) {
        let session = session.max(1);
        if let Some(cursor) = self.cursors.find(id.cast_unsigned()).filter(|_| id != 0)
            && let Some(transaction) = self.transactions.find(session)
        {
            cursor.within.store(session, Relaxed);
            transaction.within.store(session, Relaxed);
        }
    }

    /// Whether the transaction of this session (a hash of it) with this number is open, as far as is remembered.
    pub fn has_transaction(&self, session: u64, number: i64) -> bool {
        self.transaction(session.max(1), number).is_some()
    }

    fn transaction(&self, session: u64, number: i64) -> Option<&Slot> {
        let slot = self.transactions.find(session)?;
        (slot.what.load(Relaxed) == number.cast_unsigned()).then_some(slot)
    }

    /// A statement of that transaction has ended; it was its `first`, which began then.
    pub fn statement(&self, session: u64, number: i64, first: Option<Now>, now: Now) {
        let session = session.max(1);
        match (self.transaction(session, number), first) {
            (Some(slot), _) => self.transactions.step(slot, now.0),
            (None, Some(since)) => {
                // A session has one at a time: the server ends the one before.
                if let Some(before) = self.transactions.find(session) {
                    self.end(before, session, TransactionEnd::Aborted, now);
                }
                self.transactions.begin(session, since.0, now.0, [number.cast_unsigned(), 0]);
            }
            (None, None) => {}
        }
    }

    /// That transaction has ended.
    pub fn finish(&self, session: u64, number: i64, how: TransactionEnd, now: Now) {
        let session = session.max(1);
        if let Some(slot) = self.transaction(session, number) {
            self.end(slot, session, how, now);
        }
    }

    /// Ends the transaction of this session, and the cursors that were opened in it.
    fn end(&self, slot: &Slot, session: u64, how: TransactionEnd, now: Now) {
        let has_cursors = slot.within.load(Relaxed) != 0;
        self.transactions.end(slot, session, how as usize, now.0);
        if !has_cursors {
            return;
        }
        let cursors = self.cursors.slots.get().into_iter().flatten();
        for cursor in cursors.filter(|cursor| cursor.within.load(Relaxed) == session) {
            self.cursors.end(cursor, cursor.key.load(Relaxed), CursorEnd::Killed as usize, now.0);
        }
    }

    /// A write with this number comes in this session (a hash of it): has the same one come before it?
    pub fn is_resent(&self, session: u64, number: i64) -> bool {
        let writes = self.writes.get_or_init(|| (0..SESSIONS).map(|_| AtomicU64::new(0)).collect());
        let mixed = session.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        // Never zero, so that an empty slot is nobody's.
        let print = (mixed & 0xFFFF_FFFF) | 1;
        let entry = print << 32 | (number.cast_unsigned() & 0xFFFF_FFFF);
        let first = (mixed >> 40) as usize;
        let mut ways = (0..WAYS).filter_map(|way| writes.get((first + way) % SESSIONS));
        let mut taken = None;
        let found = ways.find(|slot| {
            let held = slot.load(Relaxed);
            taken = taken.or((held == 0).then_some(*slot));
            held >> 32 == print
        });
        match found.or(taken).or_else(|| writes.get(first % SESSIONS)) {
            Some(slot) if slot.load(Relaxed) == entry => true,
            Some(slot) => {
                slot.store(entry, Relaxed);
                false
            }
            None => false,
        }
    }

    /// The cursors that are open.
    pub fn open_cursors(&self) -> Vec<OpenCursor> {
        let now = self.latest.load(Relaxed);
        let slots = self.cursors.slots.get().into_iter().flatten();
        let open = slots.filter(|slot| slot.key.load(Relaxed) != 0);
        open.map(|slot| {
            let what = slot.what.load(Relaxed);
            let age = Duration::from_nanos(now.saturating_sub(slot.since.load(Relaxed)));
            let idle = seconds(now).saturating_sub(slot.last.load(Relaxed));
            OpenCursor {
                id: slot.key.load(Relaxed).cast_signed(),
                resource: NameId(what),
                application: NameId(slot.who.load(Relaxed)),
                batches: slot.steps.load(Relaxed),
                age,
                // It may have been touched late in its last second.
                idle: Duration::from_secs(u64::from(idle).min(age.as_secs())),
            }
        })
        .collect()
    }

    /// Times that a cursor ended on a collection for which there was no room.
    pub(crate) fn collections_beyond(&self) -> u64 {
        self.cursors.collections.as_ref().map_or(0, Collections::beyond)
    }

    /// Cursors by what they are on.
    fn write_collections(&self, listener: &str, name: &dyn Fn(NameId) -> Arc<str>, out: &mut Samples) {
        let mut open = BTreeMap::<NameId, u64>::new();
        for cursor in self.open_cursors() {
            *open.entry(cursor.resource).or_default() += 1;
        }
        for (resource, ended, batches) in self.cursors.collections.iter().flat_map(Collections::all) {
            if ended.iter().sum::<u64>() == 0 {
                continue;
            }
            // What had some says that it has none any more.
            open.entry(resource).or_default();
            let resource = name(resource);
            for (label, count) in CursorEnd::LABELS.iter().zip(ended).filter(|(_, count)| *count > 0) {
                out.add(&names::MONGO_COLLECTION_CURSORS, &[listener, &resource, label], count);
            }
            out.add(&names::MONGO_COLLECTION_CURSOR_BATCHES, &[listener, &resource], batches);
        }
        for (resource, count) in open {
            out.add(&names::MONGO_COLLECTION_CURSORS_OPEN, &[listener, &name(resource)], count);
        }
    }

    /// Writes the numbers, where there are any.
    pub(crate) fn write(&self, listener: &str, name: &dyn Fn(NameId) -> Arc<str>, out: &mut Samples) {
        let now = self.latest.load(Relaxed);
        if self.cursors.begun.load(Relaxed) > 0 {
            let open = self.cursors.sweep(now, &self.cursor_patience);
            out.add(&names::MONGO_CURSORS_OPEN, &[listener], open);
            let families =
                [&names::MONGO_CURSORS, &names::MONGO_CURSOR_BATCHES, &names::MONGO_CURSOR_DURATION];
            write_ended(&self.cursors.ended, CursorEnd::LABELS, families, listener, out);
            self.write_collections(listener, name, out);
        }
        let begun = self.transactions.begun.load(Relaxed);
        if begun > 0 {
            let open = self.transactions.sweep(now, &self.transaction_patience);
            out.add(&names::MONGO_TRANSACTIONS_OPEN, &[listener], open);
            out.add(&names::MONGO_TRANSACTIONS_STARTED, &[listener], begun);
            let families = [
                &names::MONGO_TRANSACTIONS,
                &names::MONGO_TRANSACTION_STATEMENTS,
                &names::MONGO_TRANSACTION_DURATION,
            ];
            write_ended(&self.transactions.ended, TransactionEnd::LABELS, families, listener, out);
        }
    }
}

fn write_ended(
    ended: &[Ended; 5],
    labels: &[&'static str],
    [counts, steps, times]: [&'static Family; 3],
    listener: &str,
    out: &mut Samples,
) {
    for (label, ended) in labels.iter().zip(ended) {
        out.add(counts, &[listener, label], ended.count.load(Relaxed));
        // Before its first one a distribution is sixteen lines of nothing.
        for (family, numbers) in [(steps, ended.steps.load()), (times, ended.times.load())] {
            if numbers.count() > 0 {
                out.add(family, &[listener, label], numbers);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(ledger: &Ledger, family: &'static Family) -> Vec<(String, f64)> {
        let mut samples = Samples::default();
        ledger.write("db", &|id| id.0.to_string().into(), &mut samples);
        let value = |value| match value {
            weir_measure::Value::Whole(n) => n as f64,
            weir_measure::Value::Real(n) => n,
            weir_measure::Value::Spread(buckets) => buckets.sum() as f64,
        };
        let series = samples.take(family).into_iter();
        let series = series.map(|(labels, v)| (labels.last().unwrap().to_string(), value(v)));
        series.filter(|(_, n)| *n > 0.0).collect()
    }

    #[test]
    fn cursors_are_followed_from_batch_to_batch() {
        let ledger = Ledger::default();
        let (what, who) = (NameId(5), NameId(6));
        for id in [7, -8, 9] {
            ledger.batch(id, what, who, Now(5));
        }
        ledger.batch(7, what, who, Now(6));
        ledger.batch(0, what, who, Now(7));
        let open = ledger.open_cursors();
        assert_eq!(open.len(), 3);
        let seven = open.iter().find(|cursor| cursor.id == 7).unwrap();
        assert_eq!((seven.batches, seven.resource, seven.application), (2, what, who));
        assert_eq!([7, -8, 9, 0, 1].map(|id| ledger.has_cursor(id)), [true, true, true, false, false]);
        ledger.close(7, CursorEnd::Exhausted, true, Now(9));
        ledger.close(7, CursorEnd::Exhausted, true, Now(9));
        ledger.close(-8, CursorEnd::Killed, false, Now(9));
        ledger.close(1234, CursorEnd::Killed, false, Now(9));
        assert_eq!([7, -8, 9].map(|id| ledger.has_cursor(id)), [false, false, true]);
        assert_eq!(told(&ledger, &names::MONGO_CURSORS_OPEN), [("db".into(), 1.0)]);
        assert_eq!(told(&ledger, &names::MONGO_CURSORS), [("exhausted".into(), 1.0), ("killed".into(), 1.0)]);
        let ends = told(&ledger, &names::MONGO_COLLECTION_CURSORS);
        assert_eq!(ends, [("exhausted".into(), 1.0), ("killed".into(), 1.0)]);
        assert_eq!(told(&ledger, &names::MONGO_COLLECTION_CURSORS_OPEN), [("5".into(), 1.0)]);
        assert_eq!(told(&ledger, &names::MONGO_COLLECTION_CURSOR_BATCHES), [("5".into(), 4.0)]);
        assert_eq!(
            told(&ledger, &names::MONGO_CURSOR_BATCHES),
            [("exhausted".into(), 3.0), ("killed".into(), 1.0)]
        );
    }

    #[test]
    fn what_is_left_lying_is_abandoned() {
        let ledger = Ledger::default();
        ledger.batch(7, NameId::NONE, NameId::NONE, Now(1));
        ledger.statement(3, 1, Some(Now(1)), Now(1));
        ledger.tick(Now(1).after(CURSOR_ABANDONED));
        assert!(told(&ledger, &names::MONGO_CURSORS).is_empty());
        ledger.tick(Now(1).after(CURSOR_ABANDONED + Duration::from_secs(2)));
        assert_eq!(told(&ledger, &names::MONGO_CURSORS), [("abandoned".into(), 1.0)]);
        assert_eq!(told(&ledger, &names::MONGO_TRANSACTIONS), [("abandoned".into(), 1.0)]);
        assert!(ledger.open_cursors().is_empty());
        ledger.patience(Duration::from_secs(5), Duration::from_secs(7));
        let begun = Now(1).after(2 * CURSOR_ABANDONED);
        let after = |seconds| begun.after(Duration::from_secs(seconds));
        ledger.batch(8, NameId::NONE, NameId::NONE, begun);
        ledger.statement(4, 1, Some(begun), begun);
        ledger.tick(after(7));
        assert_eq!(told(&ledger, &names::MONGO_CURSORS), [("abandoned".into(), 2.0)]);
        assert_eq!(told(&ledger, &names::MONGO_TRANSACTIONS), [("abandoned".into(), 1.0)]);
        ledger.tick(after(9));
        assert_eq!(told(&ledger, &names::MONGO_TRANSACTIONS), [("abandoned".into(), 2.0)]);
    }

    #[test]
    fn the_tables_never_grow_and_every_cursor_is_accounted_for() {
        let ledger = Ledger::default();
        let many = 3 * SLOTS as i64;
        for n in 1..=many {
            ledger.batch(n.wrapping_mul(0x5851_F42D_4C95_7F2D), NameId::NONE, NameId::NONE, Now(1));
        }
        let [forgotten] = &told(&ledger, &names::MONGO_CURSORS)[..] else { panic!("one end") };
        let open = ledger.open_cursors().len();
        assert!(open <= SLOTS && open > SLOTS / 2, "{open}");
        assert_eq!((forgotten.0.as_str(), forgotten.1), ("forgotten", (many as usize - open) as f64));
    }

    #[test]
    fn transactions_have_statements_and_time() {
        let ledger = Ledger::default();
        ledger.statement(3, 1, Some(Now(2)), Now(5));
        ledger.statement(3, 1, None, Now(6));
        // It began before this process.
        ledger.statement(99, 1, None, Now(6));
        ledger.finish(99, 1, TransactionEnd::Committed, Now(9));
        ledger.finish(3, 1, TransactionEnd::Committed, Now(9));
        ledger.finish(3, 1, TransactionEnd::Committed, Now(9));
        ledger.statement(4, 1, Some(Now(3)), Now(4));
        // What the session began before has not ended the one under way.
        ledger.finish(4, 0, TransactionEnd::Committed, Now(9));
        ledger.finish(4, 1, TransactionEnd::Aborted, Now(9));
        ledger.statement(5, 1, Some(Now(3)), Now(4));
        assert_eq!([3, 4, 5, 99].map(|key| ledger.has_transaction(key, 1)), [false, false, true, false]);
        assert_eq!(told(&ledger, &names::MONGO_TRANSACTIONS_STARTED), [("db".into(), 3.0)]);
        assert_eq!(told(&ledger, &names::MONGO_TRANSACTIONS_OPEN), [("db".into(), 1.0)]);
        assert_eq!(
            told(&ledger, &names::MONGO_TRANSACTIONS),
            [("aborted".into(), 1.0), ("committed".into(), 1.0)]
        );
        assert_eq!(
            told(&ledger, &names::MONGO_TRANSACTION_STATEMENTS),
            [("aborted".into(), 1.0), ("committed".into(), 2.0)]
        );
    }

    #[test]
    fn a_session_has_one_transaction_at_a_time_and_cursors_end_with_it() {
        let ledger = Ledger::default();
        ledger.batch(1, NameId::NONE, NameId::NONE, Now(1));
        for (number, cursors) in [(1, &[7, 8][..]), (2, &[9])] {
            ledger.statement(3, number, Some(Now(1)), Now(2));
            for id in cursors {
                ledger.batch(*id, NameId::NONE, NameId::NONE, Now(3));
                ledger.belongs(*id, 3);
            }
            assert_eq!([1, 2].map(|n| ledger.has_transaction(3, n)), [number == 1, number == 2]);
        }
        assert_eq!(told(&ledger, &names::MONGO_TRANSACTIONS), [("aborted".into(), 1.0)]);
        assert_eq!([1, 7, 8, 9].map(|id| ledger.has_cursor(id)), [true, false, false, true]);
        ledger.finish(3, 2, TransactionEnd::Committed, Now(5));
        assert_eq!([1, 9].map(|id| ledger.has_cursor(id)), [true, false]);
        assert_eq!(told(&ledger, &names::MONGO_CURSORS), [("killed".into(), 3.0)]);
        assert!(told(&ledger, &names::MONGO_TRANSACTIONS_OPEN).is_empty());
        // Where it was another cursor may be now.
        ledger.batch(9, NameId::NONE, NameId::NONE, Now(1));
        ledger.statement(3, 3, Some(Now(1)), Now(2));
        ledger.batch(8, NameId::NONE, NameId::NONE, Now(1));
        ledger.belongs(8, 3);
        ledger.finish(3, 3, TransactionEnd::Committed, Now(5));
        assert_eq!([8, 9].map(|id| ledger.has_cursor(id)), [false, true]);
    }

    #[test]
    fn no_cursor_is_idle_for_longer_than_it_is_open() {
        let ledger = Ledger::default();
        ledger.batch(7, NameId::NONE, NameId::NONE, Now(1_900_000_000));
        for (now, idle) in [(2_000_000_000, 0), (3_000_000_000, 1), (9_100_000_000, 7)] {
            ledger.tick(Now(now));
            let [cursor] = &ledger.open_cursors()[..] else { panic!("one") };
            assert_eq!(cursor.idle.as_secs(), idle, "{now}");
            assert!(cursor.idle <= cursor.age, "{cursor:?}");
        }
    }

    #[test]
    fn the_same_write_of_the_same_session_is_resent() {
        let ledger = Ledger::default();
        assert!(!ledger.is_resent(11, 1) && !ledger.is_resent(12, 1));
        assert!(ledger.is_resent(11, 1) && ledger.is_resent(11, 1));
        assert!(!ledger.is_resent(11, 2) && ledger.is_resent(12, 1) && ledger.is_resent(11, 2));
        // However many sessions there are: those of late are known.
        let mixed = |n: u64| n.wrapping_mul(0x2545_F491_4F6C_DD1D);
        for n in 1..100_000 {
            assert!(!ledger.is_resent(mixed(n), 1), "{n}");
            assert!(ledger.is_resent(mixed(n), 1), "{n}");
        }
    }
}
