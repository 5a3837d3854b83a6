//! How many there are of each: connections by client address, by application. Exact over all workers.
//!
//! There are entries only for what has any, so the map is bounded by whatever bounds the things that are counted. It is looked at
//! when one comes and when one goes, never between.

use hashbrown::HashMap;
use hashbrown::hash_map::Entry;
use std::hash::{BuildHasher, Hash};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How many locks the map is spread over, so that workers seldom meet at one.
const SHARDS: usize = 16;

/// Hashed with a seed of the process's: keys come from clients, who must not be able to make them collide.
type Seed = foldhash::fast::RandomState;
type Shard<K> = Mutex<HashMap<K, u32, Seed>>;

/// Counts by key.
#[derive(Debug)]
pub struct Tally<K> {
    shards: [Shard<K>; SHARDS],
    seed: Seed,
}

impl<K> Default for Tally<K> {
    fn default() -> Tally<K> {
        Tally { shards: std::array::from_fn(|_| Mutex::default()), seed: Seed::default() }
    }
}

impl<K: Hash + Eq + Clone> Tally<K> {
    /// Counts one more of `key`, unless there are `max` already.
    pub fn enter(self: &Arc<Self>, key: K, max: Option<u32>) -> Option<Place<K>> {
        {
            let mut shard = self.shard(&key)?;
            match shard.entry(key.clone()) {
                Entry::Occupied(mut entry) => {
                    let count = entry.get_mut();
                    if max.is_some_and(|max| *count >= max) {
                        return None;
                    }
                    *count += 1;
                }
                Entry::Vacant(_) if max == Some(0) => return None,
                Entry::Vacant(entry) => drop(entry.insert(1)),
            }
        }
        Some(Place { tally: Arc::clone(self), key })
    }

    /// Whether there are `max` of `key`, so that no more may come now.
    pub fn is_full(&self, key: &K, max: Option<u32>) -> bool {
        let count = self.shard(key).and_then(|shard| shard.get(key).copied()).unwrap_or(0);
        max.is_some_and(|max| count >= max)
    }

    /// How many keys there are any of.
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).len()).sum()
    }

    /// Whether there is nothing at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn shard(&self, key: &K) -> Option<MutexGuard<'_, HashMap<K, u32, Seed>>> {
        // The map's own hash has another seed, so that what falls into one shard does not fall into one bucket.
        let at = self.seed.hash_one(key) as usize % SHARDS;
        self.shards.get(at).map(lock)
    }
}

/// A map is never left half-changed: whoever panics does so outside of the lock.
fn lock<K>(shard: &Shard<K>) -> MutexGuard<'_, HashMap<K, u32, Seed>> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One of `key`, counted until this is dropped, on whatever thread.
#[derive(Debug)]
pub struct Place<K: Hash + Eq + Clone> {
    tally: Arc<Tally<K>>,
    key: K,
}

impl<K: Hash + Eq + Clone> Drop for Place<K> {
    fn drop(&mut self) {
        let Some(mut shard) = self.tally.shard(&self.key) else { return };
        if let Some(count) = shard.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                shard.remove(&self.key);
                // What a storm has left behind.
                if shard.capacity() > 64 && shard.len() < shard.capacity() / 8 {
                    shard.shrink_to_fit();
                }
            }
        }
    }
}
