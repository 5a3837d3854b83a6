//! The cursors that have ended, by what they were on: a table of a fixed size, without locks, made when the first one ends. What
//! comes when it is full counts under `_other`, so that the sum is always that of all cursors.

use std::sync::OnceLock;
use std::sync::atomic::{
    AtomicU64,
    Ordering::{AcqRel, Acquire, Relaxed},
};
use weir_decide::exchange::NameId;

/// Collections of which a listener's ended cursors are counted.
pub const COLLECTIONS: usize = 256;

/// How many ways there are to end.
const ENDS: usize = 5;

/// Cursors on one collection.
#[derive(Debug, Default)]
struct One {
    /// Its name, one more than that; 0: nobody's yet. Never changed again.
    whose: AtomicU64,
    ended: [AtomicU64; ENDS],
    batches: AtomicU64,
}

impl One {
    fn count(&self, how: usize, batches: u32) {
        if let Some(ended) = self.ended.get(how) {
            ended.fetch_add(1, Relaxed);
        }
        self.batches.fetch_add(batches.into(), Relaxed);
    }

    /// Whether it is this one's by now.
    fn is_of(&self, whose: u64) -> bool {
        match self.whose.load(Acquire) {
            0 => match self.whose.compare_exchange(0, whose, AcqRel, Acquire) {
                Ok(_) => true,
                Err(other) => other == whose,
            },
            other => other == whose,
        }
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Collections {
    slots: OnceLock<Box<[One]>>,
    other: One,
    /// Times that there was no room.
    beyond: AtomicU64,
}

/// What is known of one collection: how its cursors have ended, and how many batches they had.
pub(crate) type Ended = (NameId, [u64; ENDS], u64);

impl Collections {
    /// A cursor has ended.
    pub(crate) fn ended(&self, NameId(resource): NameId, how: usize, batches: u32) {
        let slots = self.slots.get_or_init(|| (0..COLLECTIONS).map(|_| One::default()).collect());
        let whose = resource.saturating_add(1);
        let first = whose.wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(24) as usize;
        let mut ways = (0..COLLECTIONS).filter_map(|way| slots.get(first.wrapping_add(way) % COLLECTIONS));
        match ways.find(|one| one.is_of(whose)) {
            Some(one) => one.count(how, batches),
            None => {
                self.beyond.fetch_add(1, Relaxed);
                self.other.count(how, batches);
            }
        }
    }

    /// Times that there was no room.
    pub(crate) fn beyond(&self) -> u64 {
        self.beyond.load(Relaxed)
    }

    /// All that is known.
    pub(crate) fn all(&self) -> impl Iterator<Item = Ended> {
        let slots = self.slots.get().into_iter().flatten().filter_map(|one| {
            let name = one.whose.load(Acquire).checked_sub(1)?;
            Some((NameId(name), one))
        });
        slots.chain([(NameId::OTHER, &self.other)]).map(|(name, one)| {
            (name, one.ended.each_ref().map(|ended| ended.load(Relaxed)), one.batches.load(Relaxed))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_lost_beyond_the_cap() {
        let collections = Collections::default();
        assert_eq!(collections.all().count(), 1, "nothing is made before it is needed");
        let all = COLLECTIONS as u64 + 44;
        for round in 0..3 {
            for name in 0..all {
                collections.ended(NameId(name + 2), round, 2);
            }
        }
        let (mut ends, mut batches) = ([0; ENDS], 0);
        for (_, ended, its) in collections.all() {
            ends.iter_mut().zip(ended).for_each(|(sum, one)| *sum += one);
            batches += its;
        }
        assert_eq!(ends, [all, all, all, 0, 0]);
        assert_eq!((batches, collections.beyond()), (all * 6, 44 * 3));
        let other = collections.all().find(|(name, ..)| *name == NameId::OTHER).unwrap();
        assert_eq!(other.1, [44, 44, 44, 0, 0]);
        let known: Vec<_> = collections.all().filter(|(name, ..)| *name == NameId(2)).collect();
        assert_eq!(known, [(NameId(2), [1, 1, 1, 0, 0], 6)]);
    }

    #[test]
    fn many_threads_lose_nothing() {
        let collections = Collections::default();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..1000).for_each(|n| collections.ended(NameId(n % 300), 0, 1)));
            }
        });
        let names: std::collections::BTreeSet<_> = collections.all().map(|(name, ..)| name.0).collect();
        assert_eq!(collections.all().map(|(_, [ended, ..], _)| ended).sum::<u64>(), 4000);
        assert!(collections.all().count() <= names.len() + 1, "each has one place, `_other` may have two");
    }
}
