//! Tables with one writer and any number of readers: rows of atomics in chunks. The writer bumps a counter with a plain load and
//! store, no locked instruction; a reader sees every row that has been added, at any time, and stops nobody. A row may be taken
//! out again, when a name in it has given way to another; the writer does so while nobody reads ([`crate::tables::Shard::moves`]).

use crate::capped::lock;
use crate::scope::{BUSY, RowNames};
use hashbrown::HashMap;
use std::hash::Hash;
use std::sync::atomic::{
    AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};
use std::sync::{Arc, Mutex};

/// How many of the latest keys a table finds without its index.
const NEAR: usize = 16;

/// Rows per chunk.
const CHUNK: usize = 32;

/// Each row behind a lock of its own, which its writer takes to put it there and to take it out.
type Chunk<R> = [Mutex<Option<Arc<R>>>; CHUNK];

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
    /// Calls `see` with every row.
    pub(crate) fn for_each(&self, mut see: impl FnMut(&R)) {
        let chunks = lock(&self.0).clone();
        for slot in chunks.iter().flat_map(|chunk| chunk.iter()) {
            if let Some(row) = &*lock(slot) {
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
    rows: Vec<Held<K, R>>,
    /// Rows that were taken out.
    free: Vec<u32>,
    chunks: Vec<Arc<Chunk<R>>>,
    published: Arc<Published<R>>,
}

/// What only the writer knows of a row.
struct Held<K, R> {
    key: K,
    /// `None`: taken out.
    row: Option<Arc<R>>,
    /// The names in it that may give way.
    names: RowNames,
    /// When they were last said to have been heard of.
    seen: u64,
    /// How often it was used, up to [`BUSY`].
    uses: u32,
    /// Its names have earned their place.
    proven: bool,
}

/// What is to be said of a row's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum News {
    /// Nothing new.
    None,
    /// They have earned their place.
    Proven,
    /// They have been used often.
    Busy,
}

impl<K: Eq + Hash + Copy, R> Table<K, R> {
    pub(crate) fn new(published: Arc<Published<R>>) -> Table<K, R> {
        let near = std::array::from_fn(|_| None);
        Table {
            index: HashMap::default(),
            near,
            rows: Vec::new(),
            free: Vec::new(),
            chunks: Vec::new(),
            published,
        }
    }

    /// The same as [`Table::find`], sooner for those that were asked for of late. `at` tells some of them apart.
    pub(crate) fn find_near(&mut self, key: &K, at: u64) -> Option<u32> {
        let slot = at as usize % NEAR;
        let known = self.near.get(slot).and_then(Option::as_ref);
        if let Some((_, row)) = known.filter(|(known, _)| known == key) {
            return Some(*row);
        }
        let row = self.find(key)?;
        if let Some(place) = self.near.get_mut(slot) {
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
        self.rows.get(at as usize)?.row.as_deref()
    }

    /// The key of the row with this number.
    pub(crate) fn key(&self, at: u32) -> Option<&K> {
        self.rows.get(at as usize).filter(|held| held.row.is_some()).map(|held| &held.key)
    }

    /// The row with this number has been used, and its names are heard of at `clock`. `proven`: they have earned their place.
    pub(crate) fn used(&mut self, at: u32, clock: u64, proven: bool) -> News {
        let Some(held) = self.rows.get_mut(at as usize) else { return News::None };
        if held.names.is_empty() {
            return News::None;
        }
        if held.seen != clock {
            held.seen = clock;
            held.names.iter().for_each(|name| name.see(clock));
        }
        if proven && !held.proven {
            held.proven = true;
            return News::Proven;
        }
        if held.uses < BUSY && held.proven {
            held.uses += 1;
            if held.uses == BUSY {
                return News::Busy;
            }
        }
        News::None
    }

    /// The names of the row with this number that may give way.
    pub(crate) fn names(&self, at: u32) -> &[Arc<crate::scope::Name>] {
        self.rows.get(at as usize).map_or(&[], |held| &held.names)
    }

    /// Adds a row for `key`, which has none yet, and gives its number.
    pub(crate) fn add(&mut self, key: K, row: R, names: RowNames) -> u32 {
        let row = Arc::new(row);
        let at = self.free.pop().unwrap_or(self.rows.len() as u32);
        if at as usize / CHUNK == self.chunks.len() {
            let chunk: Arc<Chunk<R>> = Arc::new(std::array::from_fn(|_| Mutex::new(None)));
            lock(&self.published.0).push(Arc::clone(&chunk));
            self.chunks.push(chunk);
        }
        self.show(at, Some(Arc::clone(&row)));
        let held = Held { key, row: Some(row), names, seen: 0, uses: 0, proven: false };
        match self.rows.get_mut(at as usize) {
            Some(slot) => *slot = held,
            None => self.rows.push(held),
        }
        self.index.insert(key, at);
        at
    }

    fn show(&self, at: u32, row: Option<Arc<R>>) {
        let chunk = self.chunks.get(at as usize / CHUNK);
        if let Some(slot) = chunk.and_then(|chunk| chunk.get(at as usize % CHUNK)) {
            *lock(slot) = row;
        }
    }

    /// Takes out the rows that have a name which has gone, and shows each to `taken`.
    pub(crate) fn sweep(&mut self, mut taken: impl FnMut(&R)) {
        for at in 0..self.rows.len() as u32 {
            let Some(held) = self.rows.get_mut(at as usize) else { continue };
            if !held.names.iter().any(|name| name.has_gone()) {
                continue;
            }
            let Some(row) = held.row.take() else { continue };
            held.names = RowNames::default();
            taken(&row);
            let key = held.key;
            self.index.remove(&key);
            self.show(at, None);
            self.free.push(at);
        }
        self.near = std::array::from_fn(|_| None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_seen_as_soon_as_they_are_added() {
        let published = Arc::new(Published::default());
        let mut table = Table::<u64, (u64, Cell)>::new(Arc::clone(&published));
        for key in 0..100u64 {
            assert_eq!(table.find(&key), None);
            let at = table.add(key, (key, Cell::default()), RowNames::default());
            assert_eq!((u64::from(at), table.find(&key)), (key, Some(at)));
            for older in [key, key / 2, key.saturating_sub(NEAR as u64)] {
                assert_eq!(table.find_near(&older, older), Some(older as u32));
                assert_eq!(table.find_near(&older, 7), Some(older as u32), "all in one place");
            }
            assert_eq!(table.find_near(&(key + 1), key), None);
            table.row(at).unwrap().1.add(key);
            let (mut rows, mut sum) = (0, 0);
            published.for_each(|(k, cell)| {
                assert_eq!(cell.load(), *k);
                rows += 1;
                sum += cell.load();
            });
            assert_eq!((rows, sum), (key + 1, key * (key + 1) / 2));
        }
        assert!(table.row(100).is_none());
    }
}
