//! The static table (RFC 7541 appendix A) and the dynamic one (section 2.3.2).

use super::OVERHEAD;
use std::collections::VecDeque;

/// The static table; its indices begin at 1.
#[rustfmt::skip]
const STATIC: [(&[u8], &[u8]); 61] = [
    (b":authority", b""), (b":method", b"GET"), (b":method", b"POST"), (b":path", b"/"), (b":path", b"/index.html"),
    (b":scheme", b"http"), (b":scheme", b"https"), (b":status", b"200"), (b":status", b"204"), (b":status", b"206"),
    (b":status", b"304"), (b":status", b"400"), (b":status", b"404"), (b":status", b"500"), (b"accept-charset", b""),
    (b"accept-encoding", b"gzip, deflate"), (b"accept-language", b""), (b"accept-ranges", b""), (b"accept", b""),
    (b"access-control-allow-origin", b""), (b"age", b""), (b"allow", b""), (b"authorization", b""),
    (b"cache-control", b""), (b"content-disposition", b""), (b"content-encoding", b""), (b"content-language", b""),
    (b"content-length", b""), (b"content-location", b""), (b"content-range", b""), (b"content-type", b""),
    (b"cookie", b""), (b"date", b""), (b"etag", b""), (b"expect", b""), (b"expires", b""), (b"from", b""),
    (b"host", b""), (b"if-match", b""), (b"if-modified-since", b""), (b"if-none-match", b""), (b"if-range", b""),
    (b"if-unmodified-since", b""), (b"last-modified", b""), (b"link", b""), (b"location", b""),
    (b"max-forwards", b""), (b"proxy-authenticate", b""), (b"proxy-authorization", b""), (b"range", b""),
    (b"referer", b""), (b"refresh", b""), (b"retry-after", b""), (b"server", b""), (b"set-cookie", b""),
    (b"strict-transport-security", b""), (b"transfer-encoding", b""), (b"user-agent", b""), (b"vary", b""),
    (b"via", b""), (b"www-authenticate", b""),
];

/// The first index of the dynamic table.
pub const FIRST_DYNAMIC: usize = STATIC.len() + 1;

/// The entry of the static table at this index.
pub fn fixed(index: usize) -> Option<(&'static [u8], &'static [u8])> {
    STATIC.get(index.checked_sub(1)?).copied()
}

/// A hash that is cheap for short names: both tables of the encoder are looked up with it.
pub const fn hash(bytes: &[u8]) -> u32 {
    const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut hash = bytes.len() as u64;
    let mut rest = bytes;
    while let Some((word, tail)) = rest.split_first_chunk::<8>() {
        hash = (hash.rotate_left(23) ^ u64::from_le_bytes(*word)).wrapping_mul(ODD);
        rest = tail;
    }
    let mut last = 0;
    while let Some((&byte, tail)) = rest.split_first() {
        last = last << 8 | byte as u64;
        rest = tail;
    }
    hash = (hash.rotate_left(23) ^ last).wrapping_mul(ODD);
    (hash ^ hash >> 29) as u32 ^ (hash >> 40) as u32
}

const PLACES: usize = 256;

/// The indices of the first static entry of each name, by the name's hash; linear probing.
static PLACE: [u8; PLACES] = places();

#[allow(clippy::indexing_slicing)] // evaluated at compile time, where out of bounds is a compile error
const fn places() -> [u8; PLACES] {
    let mut places = [0u8; PLACES];
    let mut entry = 0;
    while entry < STATIC.len() {
        let again = entry > 0 && same(STATIC[entry].0, STATIC[entry - 1].0);
        if !again {
            let mut at = hash(STATIC[entry].0) as usize % PLACES;
            while places[at] != 0 {
                at = (at + 1) % PLACES;
            }
            places[at] = entry as u8 + 1;
        }
        entry += 1;
    }
    places
}

#[allow(clippy::indexing_slicing)]
const fn same(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    let mut at = 0;
    while at < a.len() {
        if a[at] != b[at] {
            return false;
        }
        at += 1;
    }
    true
}

/// Where a field stands in a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// The whole field.
    Whole(usize),
    /// A field of the same name.
    Name(usize),
}

/// Where the static table has a field, by its name's hash.
pub fn find_fixed(name_hash: u32, name: &[u8], value: &[u8]) -> Option<Found> {
    let mut at = name_hash as usize % PLACES;
    loop {
        let first = usize::from(*PLACE.get(at)?);
        let &(its, _) = STATIC.get(first.checked_sub(1)?)?;
        if its == name {
            let mut index = first;
            while let Some(&(its, of)) = STATIC.get(index - 1).filter(|(its, _)| *its == name) {
                // Entries without a value stand for their names, not for empty values.
                if of == value && !(its.is_empty() || of.is_empty()) {
                    return Some(Found::Whole(index));
                }
                index += 1;
            }
            return Some(Found::Name(first));
        }
        at = (at + 1) % PLACES;
    }
}

/// Where an entry lies: offsets count from the first byte that was ever added, so that moving the bytes changes none.
#[derive(Debug, Clone, Copy)]
struct Entry {
    start: u64,
    name: u32,
    value: u32,
}

impl Entry {
    const fn size(&self) -> usize {
        self.name as usize + self.value as usize + OVERHEAD
    }
}

/// The dynamic table: first in, first out, bounded in size. Its memory grows with what is in it.
#[derive(Debug)]
pub struct Dynamic {
    entries: VecDeque<Entry>,
    /// The entries' names and values, oldest first; what lies before the oldest entry is dead.
    bytes: Vec<u8>,
    /// The offset of the first of `bytes`.
    base: u64,
    size: usize,
    max: usize,
    /// How many entries were ever added.
    added: u64,
}

impl Dynamic {
    /// An empty table of at most this size.
    pub fn new(max: usize) -> Self {
        Self { entries: VecDeque::new(), bytes: Vec::new(), base: 0, size: 0, max, added: 0 }
    }

    /// The size that it must not grow beyond.
    pub const fn max(&self) -> usize {
        self.max
    }

    /// How many entries were ever added: the newest one's number.
    pub const fn added(&self) -> u64 {
        self.added
    }

    /// The bytes of memory behind it.
    pub fn capacity(&self) -> usize {
        self.bytes.capacity() + self.entries.capacity() * size_of::<Entry>()
    }

    /// The entry at this place, 0 the newest.
    pub fn get(&self, place: usize) -> Option<(&[u8], &[u8])> {
        let entry = self.entries.get(self.entries.len().checked_sub(place.checked_add(1)?)?)?;
        let start = usize::try_from(entry.start - self.base).ok()?;
        let (name, rest) = self.bytes.get(start..)?.split_at_checked(entry.name as usize)?;
        Some((name, rest.get(..entry.value as usize)?))
    }

    /// Changes the size, and drops what does not fit.
    pub fn resize(&mut self, max: usize) {
        self.max = max;
        self.evict(0);
    }

    /// Adds an entry, and drops what has no room beside it; one that is larger than the table empties it.
    pub fn add(&mut self, name: &[u8], value: &[u8]) {
        let size = name.len() + value.len() + OVERHEAD;
        self.evict(size);
        if size > self.max {
            return;
        }
        self.make_room(name.len() + value.len());
        let start = self.base + self.bytes.len() as u64;
        self.bytes.extend_from_slice(name);
        self.bytes.extend_from_slice(value);
        let fit = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        self.entries.push_back(Entry { start, name: fit(name.len()), value: fit(value.len()) });
        self.size += size;
        self.added += 1;
    }

    fn evict(&mut self, wanted: usize) {
        while self.size + wanted > self.max {
            let Some(oldest) = self.entries.pop_front() else { break };
            self.size -= oldest.size();
        }
        if self.entries.is_empty() {
            self.base += self.bytes.len() as u64;
            self.bytes.clear();
        }
    }

    /// Moves the living bytes to the front rather than growing, where that frees at least as much as it moves.
    fn make_room(&mut self, wanted: usize) {
        if self.bytes.len() + wanted <= self.bytes.capacity() {
            return;
        }
        let dead = self.entries.front().map_or(0, |oldest| oldest.start - self.base);
        let dead = usize::try_from(dead).unwrap_or(0);
        if dead >= wanted && dead * 2 >= self.bytes.len() {
            self.bytes.drain(..dead);
            self.base += dead as u64;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_static_entry_is_found() {
        for index in 1..FIRST_DYNAMIC {
            let (name, value) = fixed(index).unwrap();
            let whole = find_fixed(hash(name), name, value).unwrap();
            let first = (1..).find(|&i| fixed(i).unwrap().0 == name).unwrap();
            let expected = if value.is_empty() { Found::Name(first) } else { Found::Whole(index) };
            assert_eq!(whole, expected, "{index}");
            assert_eq!(find_fixed(hash(name), name, b"other"), Some(Found::Name(first)));
        }
        assert_eq!(find_fixed(hash(b"x-other"), b"x-other", b""), None);
        assert_eq!((fixed(0), fixed(62)), (None, None));
    }

    #[test]
    fn a_table_keeps_the_newest_that_fit_and_little_memory() {
        let mut table = Dynamic::new(256);
        for i in 0..10_000u32 {
            let value = vec![b'v'; (i % 90) as usize];
            table.add(b"name", &value);
            assert_eq!(table.get(0), Some((&b"name"[..], &value[..])));
            assert!(table.size <= 256 && table.capacity() < 2048, "{}", table.capacity());
        }
        table.add(b"n", &[b'x'; 300]);
        assert_eq!((table.get(0), table.size), (None, 0));
    }
}
