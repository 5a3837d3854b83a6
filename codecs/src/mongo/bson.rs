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

/// Where the first NUL is, in at most `most` bytes. Names are short: eight bytes at a time beat a general search.
#[inline]
pub(super) fn name_end(bytes: &[u8], most: usize) -> Option<usize> {
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
enum Shape {
    None,
    Fixed(u8),
    /// By its first four bytes: at least so much, and so much more than they say.
    Told(u8, u8),
    Strings,
}

static SHAPES: [Shape; 256] = shapes();

#[allow(clippy::indexing_slicing)] // evaluated at compile time, where out of bounds is a compile error
const fn shapes() -> [Shape; 256] {
    let mut shapes = [Shape::None; 256];
    shapes[0x01] = Shape::Fixed(8); // double
    shapes[0x02] = Shape::Told(1, 4); // string
    shapes[0x03] = Shape::Told(5, 0); // document
    shapes[0x04] = Shape::Told(5, 0); // array
    shapes[0x05] = Shape::Told(0, 5); // binary
    shapes[0x06] = Shape::Fixed(0); // undefined
    shapes[0x07] = Shape::Fixed(12); // ObjectId
    shapes[0x08] = Shape::Fixed(1); // boolean
    shapes[0x09] = Shape::Fixed(8); // date
    shapes[0x0A] = Shape::Fixed(0); // null
    shapes[0x0B] = Shape::Strings; // regular expression
    shapes[0x0C] = Shape::Told(1, 16); // DBPointer
    shapes[0x0D] = Shape::Told(1, 4); // code
    shapes[0x0E] = Shape::Told(1, 4); // symbol
    shapes[0x0F] = Shape::Told(14, 0); // code with scope
    shapes[0x10] = Shape::Fixed(4); // int32
    shapes[0x11] = Shape::Fixed(8); // timestamp
    shapes[0x12] = Shape::Fixed(8); // int64
    shapes[0x13] = Shape::Fixed(16); // decimal128
    shapes[0x7F] = Shape::Fixed(0); // max key
    shapes[0xFF] = Shape::Fixed(0); // min key
    shapes
}

/// How many bytes a value of this type takes (BSON specification 1.1).
#[inline(always)] // each walk wants its own copy: the result never exists in memory
pub(super) fn value_length(kind: u8, value: &[u8]) -> Result<Length, Problem> {
    match SHAPES.get(usize::from(kind)).copied().unwrap_or(Shape::None) {
        Shape::Fixed(length) => Ok(Length::Known(u32::from(length))),
        Shape::Told(least, extra) => {
            let Some(length) = value.first_chunk::<4>() else { return Ok(Length::Unknown) };
            let length = u32::from_le_bytes(*length);
            if length > i32::MAX as u32 || length < u32::from(least) {
                return Err(Problem::Length);
            }
            Ok(Length::Known(length + u32::from(extra)))
        }
        Shape::Strings => Ok(Length::Strings),
        Shape::None => Err(Problem::Type),
    }
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
