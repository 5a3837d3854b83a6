//! The tables of operations: what a row holds, by what it is found, and what one worker publishes.

use crate::Place;
use crate::connections::Slots;
use crate::histogram::{COUNTS, Coarse, Histogram};
use crate::intern::KINDS;
use crate::names::Family;
use crate::table::{Cell, Published};
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, OnceLock};
use weir_decide::exchange::{Fault, Items, NameId, Trait, Traits};

/// What an operation is counted under.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OperationKey {
    pub(crate) place: Place,
    pub(crate) operation: NameId,
    pub(crate) resource: NameId,
}

impl Hash for OperationKey {
    /// In one step rather than three: this is on the path of every operation.
    fn hash<H: Hasher>(&self, state: &mut H) {
        // What is lost of the serial numbers is beyond their first trillion.
        let operation = u128::from(self.operation.0 ^ (u64::from(self.place.0) << 40));
        state.write_u128(operation << 64 | u128::from(self.resource.0));
    }
}

/// Sizes and durations of one operation on one resource. Histograms are made when the first duration comes: an operation that
/// is only ever parked, or whose replies have no bytes, needs none.
#[derive(Debug)]
pub(crate) struct OperationRow {
    pub(crate) key: OperationKey,
    pub(crate) request_bytes: Cell,
    pub(crate) reply_bytes: Cell,
    pub(crate) duration: OnceLock<Box<Histogram>>,
    pub(crate) first_byte: OnceLock<Box<Histogram>>,
    pub(crate) more: OnceLock<Box<MoreCells>>,
}

/// What not every protocol tells: made when the first number comes.
#[derive(Debug, Default)]
pub(crate) struct MoreCells {
    /// In the order of [`items`].
    pub(crate) items: [Cell; ITEMS],
    pub(crate) traits: [Cell; Trait::ALL.len()],
}

/// How many numbers there are in [`Items`].
pub(crate) const ITEMS: usize = 4;

/// The numbers, in the order of their families.
pub(crate) fn items(items: Items) -> [u64; ITEMS] {
    let Items { sent, returned, affected, modified, .. } = items;
    [sent, returned, affected, modified]
}

impl OperationRow {
    pub(crate) fn add_more(&self, these: Items, traits: Traits) {
        if items(these) == [0; ITEMS] && traits.is_none() {
            return;
        }
        let more = self.more.get_or_init(Box::<MoreCells>::default);
        for (cell, n) in more.items.iter().zip(items(these)) {
            if n > 0 {
                cell.add(n);
            }
        }
        for (cell, one) in more.traits.iter().zip(Trait::ALL) {
            if traits.has(*one) {
                cell.add(1);
            }
        }
    }
}

/// Sizes of the batches of one operation, whatever the resource.
#[derive(Debug)]
pub(crate) struct BatchRow {
    /// Its resource is none.
    pub(crate) key: OperationKey,
    pub(crate) sent: Coarse,
    pub(crate) returned: Coarse,
}

impl BatchRow {
    pub(crate) fn new(key: OperationKey) -> BatchRow {
        BatchRow { key, sent: Coarse::default(), returned: Coarse::default() }
    }

    pub(crate) fn add(&self, items: Items) {
        if items.sent > 0 {
            self.sent.add(&COUNTS, items.sent);
        }
        if items.has_batch {
            self.returned.add(&COUNTS, items.returned);
        }
    }
}

/// How an operation may end. Results are `&'static str`: a closed list per protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct OutcomeKey {
    pub(crate) operation: OperationKey,
    pub(crate) result: &'static str,
    pub(crate) code: NameId,
}

/// Operations by application.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct ApplicationKey {
    pub(crate) place: Place,
    pub(crate) application: NameId,
    pub(crate) operation: NameId,
    pub(crate) result: &'static str,
}

/// How often, and the row of [`UsageRow`]s that the same operations are added to: who has found this row need not look for that.
#[derive(Debug)]
pub(crate) struct ApplicationRow {
    pub(crate) key: ApplicationKey,
    pub(crate) count: Cell,
    pub(crate) usage: u32,
}

impl ApplicationRow {
    pub(crate) fn new(key: ApplicationKey, usage: u32) -> ApplicationRow {
        ApplicationRow { key, count: Cell::default(), usage }
    }
}

/// An application, whatever it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct UsageKey {
    pub(crate) place: Place,
    pub(crate) application: NameId,
}

/// Sizes and durations of all operations of one application. There are no more of these than rows by application, whose cap is
/// theirs too.
#[derive(Debug)]
pub(crate) struct UsageRow {
    pub(crate) key: UsageKey,
    pub(crate) request_bytes: Cell,
    pub(crate) reply_bytes: Cell,
    /// Made when the first duration comes.
    pub(crate) duration: OnceLock<Box<Histogram>>,
}

impl UsageRow {
    pub(crate) fn new(key: UsageKey) -> UsageRow {
        UsageRow {
            key,
            request_bytes: Cell::default(),
            reply_bytes: Cell::default(),
            duration: OnceLock::new(),
        }
    }
}

/// Operations by call site.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct CallSiteKey {
    pub(crate) place: Place,
    pub(crate) call_site: NameId,
    pub(crate) operation: NameId,
    pub(crate) result: &'static str,
}

/// How often, and how long in all.
#[derive(Debug)]
pub(crate) struct CallSiteCells {
    pub(crate) key: CallSiteKey,
    pub(crate) count: Cell,
    pub(crate) nanos: Cell,
}

impl CallSiteCells {
    pub(crate) fn new(key: CallSiteKey) -> CallSiteCells {
        CallSiteCells { key, count: Cell::default(), nanos: Cell::default() }
    }
}

/// Faults of operations at one place; those by which Weir refused them apart from the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct FaultKey {
    pub(crate) place: Place,
    pub(crate) refused: bool,
    pub(crate) fault: Fault,
}

/// A series of a family that is not of operations: its labels after the listener, of which there are as many as the family has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct TallyKey {
    pub(crate) family: &'static Family,
    pub(crate) place: Place,
    pub(crate) names: [NameId; 4],
}

/// What a row was counted in before one of its names gave way. `table` is an index into [`TABLES`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct RetiredKey {
    pub(crate) table: usize,
    pub(crate) place: Place,
    pub(crate) result: &'static str,
}

/// A count and what is counted.
#[derive(Debug)]
pub(crate) struct Counted<K> {
    pub(crate) key: K,
    pub(crate) count: Cell,
}

impl<K> Counted<K> {
    pub(crate) fn new(key: K) -> Counted<K> {
        Counted { key, count: Cell::default() }
    }
}

/// What is under way at one place, as pairs of ever-growing counts: a reader that takes `ended` before `begun` never sees less
/// than nothing.
#[derive(Debug)]
pub(crate) struct PlaceRow {
    pub(crate) place: Place,
    pub(crate) begun: Cell,
    pub(crate) ended: Cell,
    pub(crate) parked: Cell,
    pub(crate) unparked: Cell,
    pub(crate) retries: Cell,
}

impl PlaceRow {
    pub(crate) fn new(place: Place) -> PlaceRow {
        PlaceRow {
            place,
            begun: Cell::default(),
            ended: Cell::default(),
            parked: Cell::default(),
            unparked: Cell::default(),
            retries: Cell::default(),
        }
    }
}

/// Everything that one worker lets scrapers see.
#[derive(Debug, Default)]
pub(crate) struct Shard {
    pub(crate) operations: Arc<Published<OperationRow>>,
    pub(crate) batches: Arc<Published<BatchRow>>,
    pub(crate) outcomes: Arc<Published<Counted<OutcomeKey>>>,
    pub(crate) applications: Arc<Published<ApplicationRow>>,
    pub(crate) usages: Arc<Published<UsageRow>>,
    pub(crate) call_sites: Arc<Published<CallSiteCells>>,
    pub(crate) faults: Arc<Published<Counted<FaultKey>>>,
    pub(crate) places: Arc<Published<PlaceRow>>,
    pub(crate) connections: Arc<Slots>,
    pub(crate) tallies: Arc<Published<Counted<TallyKey>>>,
    /// Operations in rows that were taken out.
    pub(crate) retired: Arc<Published<Counted<RetiredKey>>>,
    /// Held by who reads the rows and by who takes some out, so that nothing is counted twice or not at all. The writer only ever
    /// tries, and takes them out later where somebody reads.
    pub(crate) moves: Mutex<()>,
    /// Names beyond the cap, by kind in the order of `intern::KINDS`.
    pub(crate) unnamed: [Cell; KINDS.len()],
    /// Operations beyond the cap of each of [`TABLES`].
    pub(crate) beyond: [Cell; TABLES.len()],
}

/// The label values of [`Shard::beyond`].
pub(crate) const TABLES: [&str; 5] = ["operations", "outcomes", "applications", "call_sites", "tallies"];
