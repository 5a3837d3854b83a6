//! BSON (specification 1.1) as far as a walk needs it: how long values are, and small values read in place.

use super::frame::MAX_STRING;
use super::problem::Problem;
use super::walk::Element;

/// BSON element types that are looked at.
pub(super) mod kind {
    pub const DOUBLE: u8 = 0x01;
    pub const STRING: u8 = 0x02;
    pub const DOCUMENT: u8 = 0x03;
    pub const ARRAY: u8 = 0x04;
    pub const BINARY: u8 = 0x05;
    pub const OBJECT_ID: u8 = 0x07;
    pub const BOOL: u8 = 0x08;
    pub const INT32: u8 = 0x10;
    pub const INT64: u8 = 0x12;
}

/// A one in each of eight bytes.
const ONES: u64 = 0x0101_0101_0101_0101;

/// Which of eight bytes is the first NUL.
#[inline]
fn first_nul(word: u64) -> Option<usize> {
    // The lowest bit left standing is that of the first zero byte; those above it may lie.
    let zeros = word.wrapping_sub(ONES) & !word & (ONES << 7);
    (zeros != 0).then_some(zeros.trailing_zeros() as usize / 8)
}

/// Where the first NUL is, in at most `most` bytes, which are sixteen at least. Names are short: nearly all end within sixteen bytes.
#[inline]
pub(super) fn name_end(bytes: &[u8], most: usize) -> Option<usize> {
    let Some((first, rest)) = bytes.split_first_chunk::<8>() else { return long_name_end(bytes, most) };
    if let Some(end) = first_nul(u64::from_le_bytes(*first)) {
        return Some(end);
    }
    let second = rest.first_chunk::<8>().and_then(|word| first_nul(u64::from_le_bytes(*word)));
    second.map(|end| 8 + end).or_else(|| long_name_end(bytes, most))
}

#[inline(never)]
fn long_name_end(bytes: &[u8], most: usize) -> Option<usize> {
    let mut at = 0;
    while at < most {
        let Some(word) = bytes.get(at..).and_then(|rest| rest.first_chunk::<8>()) else {
            let tail = bytes.get(at..most.min(bytes.len()))?;
            return tail.iter().position(|&byte| byte == 0).map(|end| at + end);
        };
        if let Some(end) = first_nul(u64::from_le_bytes(*word)) {
            return (at + end < most).then_some(at + end);
        }
        at += 8;
    }
    None
}

/// The whole length of an element that is a document with a name of at most six bytes, as in a batch or in an
/// array of documents to insert; `None` for anything else, and for what is not all there or not right.
#[inline]
pub(super) fn plain_document(bytes: &[u8]) -> Option<usize> {
    let word = u64::from_le_bytes(*bytes.first_chunk::<8>()?);
    if word as u8 != kind::DOCUMENT {
        return None;
    }
    let name = first_nul(word)? + 1;
    let length = u32::from_le_bytes(*bytes.get(name..)?.first_chunk::<4>()?);
    (length >= 5).then_some(name + length as usize)
}

/// How long a value is.
pub(super) enum Length {
    Known(u32),
    /// Two strings that end where they end.
    Strings,
    /// The length field is not there yet.
    Unknown,
}

/// How a type's length is told.
#[derive(Clone, Copy)]
struct Shape {
    how: How,
    /// The least that its first four bytes may say.
    least: u8,
    /// How long it is, or how much longer than they say.
    extra: u8,
}

#[derive(Clone, Copy, PartialEq)]
enum How {
    Fixed,
    /// By its first four bytes.
    Told,
    Strings,
    Unknown,
}

const fn fixed(extra: u8) -> Shape {
    Shape { how: How::Fixed, least: 0, extra }
}

const fn told(least: u8, extra: u8) -> Shape {
    Shape { how: How::Told, least, extra }
}

static SHAPES: [Shape; 256] = shapes();

#[allow(clippy::indexing_slicing)] // evaluated at compile time, where out of bounds is a compile error
const fn shapes() -> [Shape; 256] {
    let mut shapes = [Shape { how: How::Unknown, least: 0, extra: 0 }; 256];
    shapes[0x01] = fixed(8); // double
    shapes[0x02] = told(1, 4); // string
    shapes[0x03] = told(5, 0); // document
    shapes[0x04] = told(5, 0); // array
    shapes[0x05] = told(0, 5); // binary
    shapes[0x06] = fixed(0); // undefined
    shapes[0x07] = fixed(12); // ObjectId
    shapes[0x08] = fixed(1); // boolean
    shapes[0x09] = fixed(8); // date
    shapes[0x0A] = fixed(0); // null
    shapes[0x0B] = Shape { how: How::Strings, least: 0, extra: 0 }; // regular expression
    shapes[0x0C] = told(1, 16); // DBPointer
    shapes[0x0D] = told(1, 4); // code
    shapes[0x0E] = told(1, 4); // symbol
    shapes[0x0F] = told(14, 0); // code with scope
    shapes[0x10] = fixed(4); // int32
    shapes[0x11] = fixed(8); // timestamp
    shapes[0x12] = fixed(8); // int64
    shapes[0x13] = fixed(16); // decimal128
    shapes[0x7F] = fixed(0); // max key
    shapes[0xFF] = fixed(0); // min key
    shapes
}

/// How many bytes a value of this type takes (BSON specification 1.1).
#[inline(always)] // each walk wants its own copy: the result never exists in memory
pub(super) fn value_length(kind: u8, value: &[u8]) -> Result<Length, Problem> {
    let Some(Shape { how, least, extra }) = SHAPES.get(usize::from(kind)).copied() else {
        return Err(Problem::Type);
    };
    // Two comparisons instead of a jump through a table, which is guessed wrong too often.
    if how == How::Fixed {
        return Ok(Length::Known(u32::from(extra)));
    }
    if how == How::Told {
        let Some(length) = value.first_chunk::<4>() else { return Ok(Length::Unknown) };
        let length = u32::from_le_bytes(*length);
        if length > i32::MAX as u32 || length < u32::from(least) {
            return Err(Problem::Length);
        }
        return Ok(Length::Known(length + u32::from(extra)));
    }
    if how == How::Strings { Ok(Length::Strings) } else { Err(Problem::Type) }
}

pub(super) fn document_length(length: i32) -> Result<u32, Problem> {
    match u32::try_from(length) {
        Ok(length @ 5..) => Ok(length),
        _ => Err(Problem::Length),
    }
}

/// A string without its length and NUL; `None` for other types and for one too long to be shown.
pub(super) fn as_str<'a>(element: &Element<'a>) -> Option<&'a [u8]> {
    let length = element.length as usize;
    if element.kind != kind::STRING || length > MAX_STRING || element.value.len() != length {
        return None;
    }
    element.value.get(4..)?.split_last().map(|(_, text)| text)
}

/// A 64-bit integer (or a 32-bit one, which some drivers write for small numbers).
pub(super) fn as_i64(element: &Element<'_>) -> Option<i64> {
    match element.kind {
        kind::INT64 => element.value.first_chunk().map(|bytes| i64::from_le_bytes(*bytes)),
        kind::INT32 => element.value.first_chunk().map(|bytes| i64::from(i32::from_le_bytes(*bytes))),
        _ => None,
    }
}

/// Any number, a double cut to its whole part: shells send every number as a double.
pub(super) fn as_number(element: &Element<'_>) -> Option<i64> {
    match element.kind {
        kind::DOUBLE => element.value.first_chunk().map(|bytes| f64::from_le_bytes(*bytes) as i64),
        _ => as_i64(element),
    }
}

/// A boolean, or a number that stands for one.
pub(super) fn as_bool(element: &Element<'_>) -> Option<bool> {
    match element.kind {
        kind::BOOL => element.value.first().map(|&byte| byte != 0),
        kind::DOUBLE => element.value.first_chunk().map(|bytes| f64::from_le_bytes(*bytes) != 0.0),
        _ => as_i64(element).map(|n| n != 0),
    }
}

/// The bytes of a binary value, without length and subtype, as far as they are shown.
pub(super) fn subtype_bytes<'a>(element: &Element<'a>) -> Option<&'a [u8]> {
    if element.kind != kind::BINARY {
        return None;
    }
    element.value.get(5..)
}
