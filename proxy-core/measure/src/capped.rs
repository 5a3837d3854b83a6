//! A process-wide map with a cap. Workers ask it only for what they do not know yet; once it is full it can never change
//! again, so it is frozen and read without a lock: a name beyond the cap costs two look-ups, not a lock per operation.

use hashbrown::{Equivalent, HashMap};
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

/// Locks; a panic elsewhere while it was held does not matter, since every critical section here leaves the data whole.
pub fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

type Map<K, V> = HashMap<K, V, foldhash::fast::RandomState>;

#[derive(Debug)]
pub(crate) struct Capped<K, V> {
    open: Mutex<Map<K, V>>,
    frozen: OnceLock<Map<K, V>>,
    cap: usize,
}

impl<K: Eq + Hash, V: Copy> Capped<K, V> {
    pub(crate) fn new(cap: usize) -> Capped<K, V> {
        let frozen = OnceLock::new();
        if cap == 0 {
            let _ = frozen.set(Map::default());
        }
        Capped { open: Mutex::new(Map::default()), frozen, cap }
    }

    /// What is known under `key`, made with `make` when it is new; `None` when it is new and the map is full.
    pub(crate) fn find_or_add<Q>(&self, key: &Q, make: impl FnOnce() -> (K, V)) -> Option<V>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        if let Some(frozen) = self.frozen.get() {
            return frozen.get(key).copied();
        }
        let mut open = lock(&self.open);
        // Frozen while this thread waited for the lock?
        if let Some(frozen) = self.frozen.get() {
            return frozen.get(key).copied();
        }
        if let Some(value) = open.get(key) {
            return Some(*value);
        }
        let (key, value) = make();
        open.insert(key, value);
        if open.len() >= self.cap {
            let _ = self.frozen.set(std::mem::take(&mut *open));
        }
        Some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_map_still_knows_what_it_knew() {
        let map = Capped::<u32, u32>::new(2);
        let ask = |k: u32| map.find_or_add(&k, || (k, k * 10));
        assert_eq!(
            [ask(1), ask(2), ask(3), ask(1), ask(2), ask(3)].map(|v| v.unwrap_or(0)),
            [10, 20, 0, 10, 20, 0]
        );
        assert_eq!(Capped::<u32, u32>::new(0).find_or_add(&1, || (1, 1)), None);
    }
}
