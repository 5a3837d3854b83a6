//! One step of a walk within what it has entered: the next document of a sequence, the next element of a document,
//! or as many members of an array as there are bytes for.

use super::bson::{Length, document_length, kind, name_end, plain_document, value_length};
use super::problem::Problem;
use super::walk::{Element, Facts, Next, Place};

/// Longest element name that is compared with anything.
pub(super) const MAX_KEY: usize = 255;
/// Longest string (its length and NUL included) that is shown whole.
pub(super) const MAX_STRING: usize = 512;
/// How much of any other value is shown.
const PEEK: usize = 64;

/// Something entered and not yet left.
#[derive(Debug, Clone, Copy)]
pub(super) struct Frame {
    /// Where it ends in the message.
    pub end: u32,
    /// How many members have been seen.
    pub index: u32,
    pub place: Place,
    /// Documents one after the other, without types, names, or an end mark.
    pub sequence: bool,
}

pub(super) const NO_FRAME: Frame = Frame { end: 0, index: 0, place: Place::Ignored, sequence: false };

/// A read position within the bytes at hand. Positions beyond them are jumps not yet finished.
pub(super) struct Cursor<'a> {
    pub bytes: &'a [u8],
    pub base: u32,
    pub i: usize,
}

impl<'a> Cursor<'a> {
    pub fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.i..).unwrap_or_default()
    }

    pub fn offset(&self) -> u32 {
        // A message has at most 48 MB, and a jump is at most as long as an i32 can say.
        self.base.wrapping_add(self.i as u32)
    }

    pub fn jump(&mut self, n: u32) {
        self.i = self.i.saturating_add(n as usize);
    }
}

/// What a step within a frame came to.
pub(super) enum Found {
    Skipped,
    Entered(Frame),
    End,
    LongName(u8),
    Strings,
    Starved,
}

/// One document of a sequence.
#[inline]
pub(super) fn member<F: Facts>(
    facts: &mut F,
    cursor: &mut Cursor<'_>,
    frame: &mut Frame,
) -> Result<Found, Problem> {
    loop {
        let offset = cursor.offset();
        if offset >= frame.end {
            return if offset == frame.end { Ok(Found::End) } else { Err(Problem::Overrun) };
        }
        let rest = cursor.rest();
        let Some(length) = rest.first_chunk::<4>() else { return Ok(Found::Starved) };
        let length = document_length(i32::from_le_bytes(*length))?;
        let end = offset.saturating_add(length);
        if end > frame.end {
            return Err(Problem::Overrun);
        }
        if !frame.place.is_counted() {
            let Some(value) = rest.get(..PEEK.min(length as usize)) else { return Ok(Found::Starved) };
            let shown = Element { kind: kind::DOCUMENT, key: &[], value, length, offset };
            let next = facts.element(frame.place, frame.index, shown);
            frame.index += 1;
            if let Next::Enter(place) = next {
                cursor.i += 4;
                return Ok(Found::Entered(Frame { end, index: 0, place, sequence: false }));
            }
        } else {
            frame.index += 1;
        }
        cursor.jump(length);
    }
}

/// The members of an array of which only the number matters.
#[inline]
pub(super) fn count(cursor: &mut Cursor<'_>, frame: &mut Frame) -> Result<Found, Problem> {
    let end = frame.end.saturating_sub(cursor.base) as usize;
    loop {
        // Nearly all are documents, one after the other.
        while let Some(length) = cursor.bytes.get(cursor.i..).and_then(plain_document) {
            if cursor.i + length >= end {
                break;
            }
            cursor.i += length;
            frame.index += 1;
        }
        let rest = cursor.rest();
        let Some((&kind, named)) = rest.split_first() else { return Ok(Found::Starved) };
        let start = cursor.offset();
        if kind == 0 {
            cursor.i += 1;
            return if start + 1 == frame.end { Ok(Found::End) } else { Err(Problem::Terminator) };
        }
        let Some(name) = name_end(named, 16) else {
            return long_or_starved(kind, named.len() >= 16, cursor, frame);
        };
        let value = named.get(name + 1..).unwrap_or_default();
        let length = match value_length(kind, value)? {
            Length::Known(length) => length,
            Length::Strings => return regex(cursor, name, value, frame),
            Length::Unknown => return Ok(Found::Starved),
        };
        frame.index += 1;
        cursor.i += 2 + name;
        cursor.jump(length);
        if cursor.offset() >= frame.end {
            return Err(Problem::Overrun);
        }
    }
}

/// One element of a document or an array.
#[inline]
pub(super) fn element<F: Facts>(
    facts: &mut F,
    cursor: &mut Cursor<'_>,
    frame: &mut Frame,
) -> Result<Found, Problem> {
    // Within the bytes at hand all positions are plain ones; those in the message are told only to who asks. The frame may have
    // ended before them, where a regular expression goes on beyond it.
    let Cursor { bytes, base, .. } = *cursor;
    let frame_end = frame.end.saturating_sub(base) as usize;
    loop {
        let i = cursor.i;
        let Some((&kind, named)) = bytes.get(i..).and_then(<[u8]>::split_first) else {
            return Ok(Found::Starved);
        };
        if kind == 0 {
            cursor.i = i + 1;
            return if i + 1 == frame_end { Ok(Found::End) } else { Err(Problem::Terminator) };
        }
        let Some(name) = name_end(named, MAX_KEY + 1) else {
            return long_or_starved(kind, named.len() > MAX_KEY, cursor, frame);
        };
        let (Some(key), Some(value)) = (named.get(..name), named.get(name + 1..)) else {
            return Ok(Found::Starved);
        };
        let length = match value_length(kind, value)? {
            Length::Known(length) => length,
            Length::Strings => return regex(cursor, name, value, frame),
            Length::Unknown => return Ok(Found::Starved),
        };
        // A length is at most as long as an i32 can say, so nothing here overflows.
        let at = i + 2 + name;
        let end = at + length as usize;
        if end >= frame_end {
            return Err(Problem::Overrun);
        }
        let most = if kind == kind::STRING && length as usize <= MAX_STRING { MAX_STRING } else { PEEK };
        let Some(value) = value.get(..most.min(length as usize)) else { return Ok(Found::Starved) };
        let next = facts.element(
            frame.place,
            frame.index,
            Element { kind, key, value, length, offset: base.wrapping_add(at as u32) },
        );
        frame.index += 1;
        if let Next::Enter(place) = next {
            cursor.i = at + 4;
            let end = base.wrapping_add(end as u32);
            return Ok(Found::Entered(Frame { end, index: 0, place, sequence: false }));
        }
        cursor.i = end;
    }
}

fn long_or_starved(
    kind: u8,
    long: bool,
    cursor: &mut Cursor<'_>,
    frame: &mut Frame,
) -> Result<Found, Problem> {
    if !long {
        return Ok(Found::Starved);
    }
    cursor.i += 1;
    frame.index += 1;
    Ok(Found::LongName(kind))
}

/// A regular expression: two strings, jumped over at once when both are at hand.
fn regex(cursor: &mut Cursor<'_>, name: usize, value: &[u8], frame: &mut Frame) -> Result<Found, Problem> {
    let window = value.get(..PEEK).unwrap_or(value);
    let mut ends = memchr::memchr_iter(0, window);
    match (ends.next(), ends.next()) {
        (Some(_), Some(second)) => {
            cursor.i += 2 + name + second + 1;
            frame.index += 1;
            if cursor.offset() >= frame.end { Err(Problem::Overrun) } else { Ok(Found::Skipped) }
        }
        _ if window.len() < PEEK => Ok(Found::Starved),
        _ => {
            cursor.i += 2 + name;
            frame.index += 1;
            Ok(Found::Strings)
        }
    }
}
