//! What request and response heads share: the version, and the fast scan of a head that arrived whole.

use std::mem::MaybeUninit;

use super::fields::{Fields, Span};

/// The versions this codec speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// HTTP/1.0
    Http10,
    /// HTTP/1.1
    Http11,
}

impl Version {
    /// As it stands on the wire.
    #[must_use]
    pub const fn as_bytes(self) -> &'static [u8] {
        match self {
            Self::Http10 => b"HTTP/1.0",
            Self::Http11 => b"HTTP/1.1",
        }
    }

    /// From the last byte of `HTTP/1.x`.
    pub(super) const fn from_minor(minor: u8) -> Self {
        if minor == b'0' { Self::Http10 } else { Self::Http11 }
    }
}

/// What came of looking at a buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Parsed {
    /// The head goes on: read more behind the same bytes and look again. No more than
    /// [`Limits::head`](super::Limits::head) bytes are ever asked for.
    Partial,
    /// The head is the first `len` bytes, any empty line before it included.
    Complete {
        /// Where the body begins.
        len: usize,
    },
}

/// As many fields as the fast scan takes; a head with more (and a limit that allows them) goes the slow way.
pub(super) const FAST_FIELDS: usize = 128;

pub(super) type Slots<'b> = [MaybeUninit<httparse::Header<'b>>; FAST_FIELDS];

/// Fills `fields` from what `httparse` found, if every line is exactly as the strict rules want it: lines follow each
/// other without a gap, end in CRLF, and nothing but SP and HTAB stands around a value. Gives the end of the head.
pub(super) fn fill(
    buf: &[u8],
    start: usize,
    headers: &[httparse::Header<'_>],
    fields: &mut Fields,
) -> Option<usize> {
    let base = buf.as_ptr().addr();
    let mut at = start;
    for header in headers {
        let name = header.name.as_bytes();
        if name.as_ptr().addr().wrapping_sub(base) != at {
            return None;
        }
        let colon = at + name.len();
        if buf.get(colon) != Some(&b':') {
            return None;
        }
        let value = if header.value.is_empty() {
            Span::new(colon + 1, colon + 1)
        } else {
            let from = header.value.as_ptr().addr().wrapping_sub(base);
            Span::new(from, from + header.value.len())
        };
        fields.push(buf, Span::new(at, colon), value);
        at = line_end(buf, value.end as usize)?;
    }
    fields.finish(at);
    buf.get(at..)?.starts_with(b"\r\n").then_some(at + 2)
}

/// Where the next line begins, if nothing but white space stands before the CRLF.
fn line_end(buf: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    loop {
        match buf.get(at)? {
            b' ' | b'\t' => at += 1,
            b'\r' => return (buf.get(at + 1) == Some(&b'\n')).then_some(at + 2),
            _ => return None,
        }
    }
}

/// The offset of a slice that points into `buf`.
pub(super) fn offset(buf: &[u8], part: &str) -> usize {
    part.as_ptr().addr().wrapping_sub(buf.as_ptr().addr())
}
