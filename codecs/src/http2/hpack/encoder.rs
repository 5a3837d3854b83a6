//! Field sections onto the wire.

use super::tables::{Dynamic, FIRST_DYNAMIC, Found, find_fixed, hash};
use super::{OVERHEAD, huffman};
use bytes::{BufMut, BytesMut};

/// The largest table that we keep for what we send, whatever the peer offers: memory for each connection.
const MOST: usize = 4096;
/// How many places the look-up by hash has.
const PLACES: usize = 128;

/// How a field is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Name and value enter the table: it is likely to come again.
    Indexed,
    /// Only its name is worth a place: the value differs each time.
    NameOnly,
    /// It is a secret: no table on the way may have it, because the size of what is sent would tell a guess from the truth.
    Never,
}

impl Class {
    /// How a field is compressed, by its name and the look of its value.
    #[must_use]
    pub fn of(name: &[u8], value: &[u8]) -> Self {
        match name {
            b"authorization"
            | b"proxy-authorization"
            | b"cookie"
            | b"set-cookie"
            | b"x-api-key"
            | b"x-amz-security-token" => Self::Never,
            b"x-request-id"
            | b"grpc-timeout"
            | b"traceparent"
            | b"tracestate"
            | b"content-length"
            | b"date"
            | b"age"
            | b"etag"
            | b"last-modified"
            | b"if-modified-since"
            | b"if-none-match"
            | b"range"
            | b"content-range"
            | b"location"
            | b"x-amz-date"
            | b"x-amz-content-sha256"
            | b"x-amzn-requestid"
            | b"x-amz-crc32"
            | b"x-b3-traceid"
            | b"x-b3-spanid"
            | b"grpc-message"
            | b"expires" => Self::NameOnly,
            // Methods of gRPC and plain pages come again; what has a query or a number in it is another each time.
            b":path" if value.iter().any(|&b| b == b'?' || b.is_ascii_digit()) => Self::NameOnly,
            _ if value.len() > 256 => Self::NameOnly,
            _ => Self::Indexed,
        }
    }
}

/// Encodes field sections, in step with the peer's decoder.
#[derive(Debug)]
pub struct Encoder {
    table: Dynamic,
    /// Numbers of entries by the hash of name and value, and of the name alone, in one of two places each. A place that was
    /// taken over costs a repeated entry, never a wrong one: what is found is compared.
    places: [u32; PLACES],
    /// The sizes that the peer has to be told before the next section: the smallest on the way, and the last.
    pending: Option<(usize, usize)>,
}

impl Default for Encoder {
    fn default() -> Self {
        Self::new()
    }
}

impl Encoder {
    /// An encoder with the table that every peer begins with.
    #[must_use]
    pub fn new() -> Self {
        Self { table: Dynamic::new(super::DEFAULT_TABLE as usize), places: [0; PLACES], pending: None }
    }

    /// The peer's SETTINGS_HEADER_TABLE_SIZE.
    pub fn resize(&mut self, size: u32) {
        let size = (size as usize).min(MOST);
        if size == self.pending.map_or(self.table.max(), |(_, last)| last) {
            return;
        }
        let least = self.pending.map_or(size, |(least, _)| least.min(size));
        self.pending = Some((least, size));
        self.table.resize(size);
    }

    /// The bytes of memory behind the table.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.table.capacity()
    }

    /// Has to come before the first field of each section.
    pub fn begin(&mut self, out: &mut BytesMut) {
        if let Some((least, last)) = self.pending.take() {
            if least < last {
                put_integer(out, 0x20, 5, least);
            }
            put_integer(out, 0x20, 5, last);
            // The peer drops what does not fit in the least of the sizes, so we do.
            self.table.resize(least);
            self.table.resize(last);
        }
    }

    /// Appends a field; the name is in lower case.
    pub fn field(&mut self, out: &mut BytesMut, name: &[u8], value: &[u8], class: Class) {
        let name_hash = hash(name);
        let fixed = find_fixed(name_hash, name, value);
        if class == Class::Never {
            let index = self.name_index(fixed, name_hash, name);
            put_literal(out, 0x10, 4, index, name, value);
            return;
        }
        if let Some(Found::Whole(index)) = fixed {
            put_integer(out, 0x80, 7, index);
            return;
        }
        let whole_hash = name_hash.rotate_left(7) ^ hash(value);
        if class == Class::Indexed
            && let Some(index) = self.find(whole_hash, |its, of| its == name && of == value)
        {
            put_integer(out, 0x80, 7, index);
            return;
        }
        let index = self.name_index(fixed, name_hash, name);
        let fits = name.len() + value.len() + OVERHEAD <= self.table.max();
        // A name that no table has enters it with whatever value it has now.
        if fits && (class == Class::Indexed || index == 0) {
            put_literal(out, 0x40, 6, index, name, value);
            self.table.add(name, value);
            self.place(whole_hash);
            self.place(name_hash);
        } else {
            put_literal(out, 0, 4, index, name, value);
        }
    }

    /// The index of a field of this name, or 0.
    fn name_index(&self, fixed: Option<Found>, name_hash: u32, name: &[u8]) -> usize {
        match fixed {
            Some(Found::Whole(index) | Found::Name(index)) => index,
            None => self.find(name_hash, |its, _| its == name).unwrap_or(0),
        }
    }

    fn find(&self, hash: u32, is: impl Fn(&[u8], &[u8]) -> bool) -> Option<usize> {
        choices(hash).into_iter().find_map(|choice| {
            // Numbers wrap after four billion entries; what is found is compared all the same.
            let place = (self.table.added() as u32).wrapping_sub(*self.places.get(choice)?) as usize;
            let (name, value) = self.table.get(place)?;
            is(name, value).then_some(place + FIRST_DYNAMIC)
        })
    }

    /// Notes the newest entry in one of its hash's places: the one whose entry is older, or has gone.
    fn place(&mut self, hash: u32) {
        let newest = self.table.added() as u32;
        let age = |choice: &usize| self.places.get(*choice).map_or(0, |&number| newest.wrapping_sub(number));
        if let Some(choice) = choices(hash).into_iter().max_by_key(age)
            && let Some(place) = self.places.get_mut(choice)
        {
            *place = newest;
        }
    }
}

/// Where an entry of this hash may be noted: with two places for each, two names that are sent each time do not push each
/// other out.
const fn choices(hash: u32) -> [usize; 2] {
    [hash as usize % PLACES, (hash >> 16) as usize % PLACES]
}

fn put_literal(out: &mut BytesMut, pattern: u8, prefix: u32, index: usize, name: &[u8], value: &[u8]) {
    put_integer(out, pattern, prefix, index);
    if index == 0 {
        put_string(out, name);
    }
    put_string(out, value);
}

fn put_string(out: &mut BytesMut, bytes: &[u8]) {
    let coded = huffman::encoded_len(bytes);
    if coded < bytes.len() {
        put_integer(out, 0x80, 7, coded);
        out.reserve(coded);
        huffman::encode(bytes, |piece| out.put_slice(piece));
    } else {
        put_integer(out, 0, 7, bytes.len());
        out.put_slice(bytes);
    }
}

#[inline]
fn put_integer(out: &mut BytesMut, pattern: u8, prefix: u32, value: usize) {
    let most = (1usize << prefix) - 1;
    if value < most {
        out.put_u8(pattern | value as u8);
        return;
    }
    out.put_u8(pattern | most as u8);
    let mut rest = value - most;
    while rest >= 0x80 {
        out.put_u8(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.put_u8(rest as u8);
}
