//! Field sections from the wire into a caller's buffer.

use super::super::{Code, Fields, Violation};
use super::tables::{Dynamic, FIRST_DYNAMIC, fixed};
use super::{OVERHEAD, huffman};

/// What is left in a carry of more than this is given back.
const KEEP: usize = 4096;

/// What came of a field section.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// What the section counts by SETTINGS_MAX_HEADER_LIST_SIZE (RFC 9113 section 6.5.2).
    pub size: usize,
    /// Whether that was more than the limit. The buffer holds the fields before the one that went beyond it; the rest
    /// was decoded and dropped, so that the table stays in step.
    pub over: bool,
}

/// Decodes field sections, in pieces as they come. It keeps nothing of a section but the table's entries and a
/// representation that is not whole yet.
#[derive(Debug)]
pub struct Decoder {
    table: Dynamic,
    /// The largest table that we have told the peer.
    allowed: usize,
    /// The peer has to begin its next section with a table of at most this size.
    due: Option<usize>,
    /// The beginning of a representation whose rest has not come.
    carry: Vec<u8>,
    /// Whether a field has been seen in this section, after which the table's size cannot change.
    begun: bool,
    size: usize,
    over: bool,
}

/// One step through a section.
enum Step {
    /// A representation ended here.
    To(usize),
    /// The rest of a representation has not come.
    Short,
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new()
    }
}

impl Decoder {
    /// A decoder with the table that every peer begins with.
    #[must_use]
    pub fn new() -> Self {
        let allowed = super::DEFAULT_TABLE as usize;
        let table = Dynamic::new(allowed);
        Self { table, allowed, due: None, carry: Vec::new(), begun: false, size: 0, over: false }
    }

    /// The peer has acknowledged a SETTINGS_HEADER_TABLE_SIZE of this size.
    pub fn allow(&mut self, allowed: u32) {
        self.allowed = allowed as usize;
        if self.table.max() > self.allowed {
            self.due = Some(self.allowed);
        }
    }

    /// The bytes of memory behind the table and what is not whole.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.table.capacity() + self.carry.capacity()
    }

    /// What the section under way has come to so far, to hold it to a bound of the caller's.
    #[must_use]
    pub const fn seen(&self) -> usize {
        self.size.saturating_add(self.carry.len())
    }

    /// Decodes a piece of a section behind what is in `out`, which takes fields up to a sum of `limit`. The last piece
    /// gives what came of the section.
    ///
    /// # Errors
    /// When the section cannot be decoded, which ends the connection: the table is no longer in step.
    pub fn feed(
        &mut self,
        piece: &[u8],
        last: bool,
        limit: usize,
        out: &mut Fields,
    ) -> Result<Option<Outcome>, Violation> {
        if self.carry.is_empty() {
            let done = self.run(piece, limit, out)?;
            self.carry.extend_from_slice(piece.get(done..).unwrap_or_default());
        } else {
            let mut carry = std::mem::take(&mut self.carry);
            carry.extend_from_slice(piece);
            let done = self.run(&carry, limit, out)?;
            carry.drain(..done);
            if carry.is_empty() {
                carry.shrink_to(KEEP);
            }
            self.carry = carry;
        }
        if !last {
            return Ok(None);
        }
        if !self.carry.is_empty() {
            return Err(broken("RFC 7541 6", "a field section ends within a representation"));
        }
        let outcome = Outcome { size: self.size, over: self.over };
        (self.begun, self.size, self.over) = (false, 0, false);
        Ok(Some(outcome))
    }

    fn run(&mut self, bytes: &[u8], limit: usize, out: &mut Fields) -> Result<usize, Violation> {
        let mut at = 0;
        while at < bytes.len() {
            match self.step(bytes, at, limit, out)? {
                Step::To(next) => at = next,
                Step::Short => break,
            }
        }
        Ok(at)
    }

    /// The representation at `at`.
    fn step(&mut self, bytes: &[u8], at: usize, limit: usize, out: &mut Fields) -> Result<Step, Violation> {
        let Some(&first) = bytes.get(at) else { return Ok(Step::Short) };
        if first & 0xe0 == 0x20 {
            let Some((size, next)) = integer(bytes, at, 5)? else { return Ok(Step::Short) };
            self.update(size)?;
            return Ok(Step::To(next));
        }
        if self.due.is_some() {
            return Err(broken("RFC 7541 4.2", "a smaller table was acknowledged, and not taken up"));
        }
        if first & 0x80 != 0 {
            let Some((index, next)) = integer(bytes, at, 7)? else { return Ok(Step::Short) };
            let start = out.bytes_mut().len();
            let (name, value) = self.entry(index)?;
            if self.over {
                // One octet may stand for kilobytes: they are counted, and not copied to be dropped.
                self.size = self.size.saturating_add(name.len() + value.len() + OVERHEAD);
                return Ok(Step::To(next));
            }
            out.bytes_mut().extend_from_slice(name);
            let middle = out.bytes_mut().len();
            out.bytes_mut().extend_from_slice(value);
            self.field(start, middle, false, limit, out);
            return Ok(Step::To(next));
        }
        let (prefix, add, secret) = match first >> 4 {
            4.. => (6, true, false),
            1 => (4, false, true),
            _ => (4, false, false),
        };
        let Some((index, next)) = integer(bytes, at, prefix)? else { return Ok(Step::Short) };
        // Both strings have to be there before anything is done: what is not whole begins anew when more has come.
        let (name, next) = if index == 0 {
            let Some((name, next)) = string(bytes, next)? else { return Ok(Step::Short) };
            (Some(name), next)
        } else {
            (None, next)
        };
        let Some((value, next)) = string(bytes, next)? else { return Ok(Step::Short) };
        let start = out.bytes_mut().len();
        match name {
            Some(name) => name.append(out.bytes_mut())?,
            None => out.bytes_mut().extend_from_slice(self.entry(index)?.0),
        }
        let middle = out.bytes_mut().len();
        value.append(out.bytes_mut())?;
        if add {
            let written = out.bytes_mut().get(start..).unwrap_or_default();
            if let Some((name, value)) = written.split_at_checked(middle - start) {
                self.table.add(name, value);
            }
        }
        self.field(start, middle, secret, limit, out);
        Ok(Step::To(next))
    }

    /// Counts the field that was written from `start` on, and keeps it if it is within the limit.
    fn field(&mut self, start: usize, middle: usize, secret: bool, limit: usize, out: &mut Fields) {
        self.begun = true;
        self.size = self.size.saturating_add(out.bytes_mut().len() - start + OVERHEAD);
        self.over |= self.size > limit;
        if self.over {
            out.bytes_mut().truncate(start);
        } else {
            out.close(start, middle, secret);
        }
    }

    fn update(&mut self, size: usize) -> Result<(), Violation> {
        if self.begun {
            return Err(broken("RFC 7541 4.2", "the table's size changes within a field section"));
        }
        if size > self.allowed {
            return Err(broken("RFC 7541 6.3", "the table's size is beyond SETTINGS_HEADER_TABLE_SIZE"));
        }
        if self.due.is_some_and(|due| size <= due) {
            self.due = None;
        }
        self.table.resize(size);
        Ok(())
    }

    fn entry(&self, index: usize) -> Result<(&[u8], &[u8]), Violation> {
        let entry = match index.checked_sub(FIRST_DYNAMIC) {
            Some(place) => self.table.get(place),
            None => fixed(index),
        };
        entry.ok_or(broken("RFC 7541 2.3.3", "an index that no table has"))
    }
}

/// A string literal as it is on the wire.
struct Literal<'a> {
    huffman: bool,
    bytes: &'a [u8],
}

impl Literal<'_> {
    fn append(&self, out: &mut Vec<u8>) -> Result<(), Violation> {
        if self.huffman {
            return huffman::decode(self.bytes, out).ok_or(broken("RFC 7541 5.2", "a broken Huffman code"));
        }
        out.extend_from_slice(self.bytes);
        Ok(())
    }
}

/// The string at `at`, and where it ends; `None` if it is not there whole.
fn string(bytes: &[u8], at: usize) -> Result<Option<(Literal<'_>, usize)>, Violation> {
    let Some(&first) = bytes.get(at) else { return Ok(None) };
    let Some((len, start)) = integer(bytes, at, 7)? else { return Ok(None) };
    let Some(end) = start.checked_add(len) else {
        return Err(broken("RFC 7541 5.2", "a string without end"));
    };
    Ok(bytes.get(start..end).map(|bytes| (Literal { huffman: first & 0x80 != 0, bytes }, end)))
}

/// The number at `at` with a prefix of so many bits (RFC 7541 section 5.1), and where it ends; `None` if it is not there
/// whole.
#[inline]
fn integer(bytes: &[u8], at: usize, prefix: u32) -> Result<Option<(usize, usize)>, Violation> {
    let Some(&first) = bytes.get(at) else { return Ok(None) };
    let most = (1usize << prefix) - 1;
    let mut value = usize::from(first) & most;
    if value < most {
        return Ok(Some((value, at + 1)));
    }
    let (mut shift, mut next) = (0, at + 1);
    loop {
        let Some(&byte) = bytes.get(next) else { return Ok(None) };
        next += 1;
        // 28 bits are more than any table or string that we take; octets beyond them could only be zeros.
        if shift >= 28 {
            return Err(broken("RFC 7541 5.1", "a number is too large"));
        }
        value += usize::from(byte & 0x7f) << shift;
        shift += 7;
        if byte & 0x80 == 0 {
            return Ok(Some((value, next)));
        }
    }
}

/// A broken rule of RFC 7541.
const fn broken(section: &'static str, what: &'static str) -> Violation {
    Violation::new(Code::COMPRESSION_ERROR, section, what)
}
