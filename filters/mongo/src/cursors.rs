//! Which cursors wait for data, so that getMores on them count as long polls.
//!
//! A driver may send a getMore on any of its connections, so this is known to the whole process. The table is of a fixed
//! size and lock-free: a slot holds the id of a cursor, and an id has a few slots in which it may be. Ids are 63 random
//! bits, so that those of different servers do not meet. When all slots of an id are taken the first gives way; getMores
//! on the cursor that was in it then count as ordinary ones (unless they say `maxTimeMS`, which the server takes on such
//! cursors only).

use std::sync::atomic::{AtomicU64, Ordering};

/// Cursors remembered.
const SLOTS: usize = 8192;
/// Slots in which an id may be.
const WAYS: usize = 8;

/// The cursors that wait for data.
#[derive(Debug)]
pub struct AwaitCursors {
    slots: [AtomicU64; SLOTS],
}

impl Default for AwaitCursors {
    fn default() -> Self {
        AwaitCursors::new()
    }
}

impl AwaitCursors {
    /// No cursors.
    pub const fn new() -> AwaitCursors {
        AwaitCursors { slots: [const { AtomicU64::new(0) }; SLOTS] }
    }

    fn ways(&self, id: u64) -> impl Iterator<Item = &AtomicU64> {
        // Fibonacci hashing spreads what a server might not.
        let first = (id.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 51) as usize;
        (0..WAYS).filter_map(move |way| self.slots.get((first + way) % SLOTS))
    }

    /// Remembers `id`. `false` when another had to give way.
    pub fn insert(&self, id: i64) -> bool {
        let id = id.cast_unsigned();
        if id == 0 || self.contains(id.cast_signed()) {
            return true;
        }
        for slot in self.ways(id) {
            if slot.compare_exchange(0, id, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
                return true;
            }
        }
        if let Some(slot) = self.ways(id).next() {
            slot.store(id, Ordering::Relaxed);
        }
        false
    }

    /// Whether `id` is remembered.
    pub fn contains(&self, id: i64) -> bool {
        let id = id.cast_unsigned();
        id != 0 && self.ways(id).any(|slot| slot.load(Ordering::Relaxed) == id)
    }

    /// Forgets `id`.
    pub fn remove(&self, id: i64) {
        let id = id.cast_unsigned();
        if id == 0 {
            return;
        }
        for slot in self.ways(id) {
            slot.compare_exchange(id, 0, Ordering::Relaxed, Ordering::Relaxed).ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_put_in_is_found_until_it_is_taken_out() {
        let cursors = AwaitCursors::new();
        for id in [1, -1, i64::MAX, i64::MIN, 5_044_189_217_498_000_144] {
            assert!(!cursors.contains(id));
            assert!(cursors.insert(id) && cursors.insert(id));
            assert!(cursors.contains(id));
            cursors.remove(id);
            assert!(!cursors.contains(id));
        }
        assert!(cursors.insert(0), "an exhausted cursor is none");
        assert!(!cursors.contains(0));
    }

    #[test]
    fn the_table_never_grows_and_the_latest_is_always_there() {
        let cursors = AwaitCursors::new();
        let ids = (1..=3 * SLOTS as i64).map(|n| n.wrapping_mul(0x5851_F42D_4C95_7F2D));
        let mut gave_way = 0;
        for id in ids.clone() {
            gave_way += u32::from(!cursors.insert(id));
            assert!(cursors.contains(id));
        }
        assert!(gave_way > 0);
        let remembered = ids.filter(|id| cursors.contains(*id)).count();
        assert!((SLOTS / 2..=SLOTS).contains(&remembered), "{remembered}");
    }
}
