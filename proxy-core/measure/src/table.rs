//! Tables with one writer and any number of readers: rows of atomics in append-only chunks. The writer bumps a counter with a
//! plain load and store, no locked instruction; a reader sees every row that has been added, at any time, and stops nobody.
//! The list of chunks is behind a mutex that is taken when a chunk is added and when a reader copies the list.

use crate::capped::lock;
use hashbrown::HashMap;
use std::hash::Hash;
use std::sync::atomic::{
    AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};
use std::sync::{Arc, Mutex, OnceLock};

/// How many of the latest keys a table finds without its index.
const NEAR: usize = 16;

/// Rows per chunk.
const CHUNK: usize = 32;

type Chunk<R> = [OnceLock<R>; CHUNK];

/// A counter with a single writer.
#[derive(Debug, Default)]
pub(crate) struct Cell(AtomicU64);

impl Cell {
    /// Adds `n`. Only ever called by the one thread that owns the row, so that load and store lose nothing. Who sees this
    /// count also sees all that its writer counted before: on x86-64 that is a plain store, on ARM one that costs no more.
    pub(crate) fn add(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Release);
    }

    /// The count by now.
    pub(crate) fn load(&self) -> u64 {
        self.0.load(Acquire)
    }
}

/// What readers see of a table.
#[derive(Debug)]
pub(crate) struct Published<R>(Mutex<Vec<Arc<Chunk<R>>>>);

impl<R> Default for Published<R> {
    fn default() -> Self {
        Published(Mutex::new(Vec::new()))
    }
}

impl<R> Published<R> {
    /// Calls `see` with every row, in the order in which they were added.
    pub(crate) fn for_each(&self, mut see: impl FnMut(&R)) {
        let chunks = lock(&self.0).clone();
        for chunk in &chunks {
            for row in chunk.iter().map_while(OnceLock::get) {
                see(row);
            }
        }
    }
}

/// The writer's side: an index from key to row.
pub(crate) struct Table<K, R> {
    index: HashMap<K, u32, foldhash::fast::RandomState>,
    /// The latest that were asked for by [`Table::find_near`].
    near: [Option<(K, u32)>; NEAR],
    chunks: Vec<Arc<Chunk<R>>>,
    used: u32,
    published: Arc<Published<R>>,
}

impl<K: Eq + Hash, R> Table<K, R> {
    pub(crate) fn new(published: Arc<Published<R>>) -> Table<K, R> {
        let near = std::array::from_fn(|_| None);
        Table { index: HashMap::default(), near, chunks: Vec::new(), used: 0, published }
    }

    /// The same as [`Table::find`], sooner for those that were asked for of late. `at` tells some of them apart.
    pub(crate) fn find_near(&mut self, key: &K, at: u32) -> Option<u32>
    where
        K: Copy,
    {
        let known = self.near.get(at as usize % NEAR).and_then(Option::as_ref);
        if let Some((_, row)) = known.filter(|(known, _)| known == key) {
            return Some(*row);
        }
        let row = self.find(key)?;
        if let Some(place) = self.near.get_mut(at as usize % NEAR) {
            *place = Some((*key, row));
        }
        Some(row)
    }

    /// The number of the row of `key`.
    pub(crate) fn find(&self, key: &K) -> Option<u32> {
        self.index.get(key).copied()
    }

    /// The row with this number.
    pub(crate) fn row(&self, at: u32) -> Option<&R> {
        let at = at as usize;
        self.chunks.get(at / CHUNK)?.get(at % CHUNK)?.get()
    }

    /// Adds a row for `key`, which has none yet, and gives its number.
    pub(crate) fn add(&mut self, key: K, row: R) -> u32 {
        let at = self.used;
        if at as usize / CHUNK == self.chunks.len() {
            let chunk: Arc<Chunk<R>> = Arc::new(std::array::from_fn(|_| OnceLock::new()));
            lock(&self.published.0).push(Arc::clone(&chunk));
            self.chunks.push(chunk);
        }
        if let Some(slot) = self.chunks.last().and_then(|chunk| chunk.get(at as usize % CHUNK)) {
            let _ = slot.set(row);
        }
        self.index.insert(key, at);
        self.used += 1;
        at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_seen_as_soon_as_they_are_added() {
        let published = Arc::new(Published::default());
        let mut table = Table::<u32, (u32, Cell)>::new(Arc::clone(&published));
        for key in 0..100 {
            assert_eq!(table.find(&key), None);
            let at = table.add(key, (key, Cell::default()));
            assert_eq!((at, table.find(&key)), (key, Some(key)));
            for older in [key, key / 2, key.saturating_sub(NEAR as u32)] {
                assert_eq!(table.find_near(&older, older), Some(older));
                assert_eq!(table.find_near(&older, 7), Some(older), "all in one place");
            }
            assert_eq!(table.find_near(&(key + 1), key), None);
            table.row(at).unwrap().1.add(u64::from(key));
            let (mut rows, mut sum) = (0, 0);
            published.for_each(|(k, cell)| {
                assert_eq!(cell.load(), u64::from(*k));
                rows += 1;
                sum += cell.load();
            });
            assert_eq!((rows, sum), (key + 1, u64::from(key * (key + 1) / 2)));
        }
        assert!(table.row(100).is_none());
    }
}
