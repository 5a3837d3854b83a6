//! BSON (specification 1.1) as far as a walk needs it: how long values are, and small values read in place.

use super::problem::Problem;
use super::walk::Element;

/// BSON element types that are looked at.
pub(super) mod kind {
    pub const DOUBLE: u8 = 0x01;
    pub const STRING: u8 = 0x02;
    pub const DOCUMENT: u8 = 0x03;
    pub const ARRAY: u8 = 0x04;
    pub const BINARY: u8 = 0x05;
    pub const BOOL: u8 = 0x08;
    pub const INT32: u8 = 0x10;
    pub const INT64: u8 = 0x12;
}

/// How long a value is.
pub(super) enum Length {
    Known(u32),
    /// Two strings that end where they end.
    Strings,
    /// The length field is not there yet.
    Unknown,
}

/// How many bytes a value of this type takes (BSON specification 1.1).
#[inline]
pub(super) fn value_length(kind: u8, value: &[u8]) -> Result<Length, Problem> {
    let fixed = match kind {
        0x01 | 0x09 | 0x11 | 0x12 => 8,
        0x10 => 4,
        0x08 => 1,
        0x06 | 0x0A | 0x7F | 0xFF => 0,
        0x07 => 12,
        0x13 => 16,
        0x0B => return Ok(Length::Strings),
        0x02..=0x05 | 0x0C..=0x0F => {
            let Some(length) = value.first_chunk::<4>() else { return Ok(Length::Unknown) };
            let length = i32::from_le_bytes(*length);
            return variable_length(kind, length).map(Length::Known);
        }
        _ => return Err(Problem::Type),
    };
    Ok(Length::Known(fixed))
}

#[inline]
fn variable_length(kind: u8, length: i32) -> Result<u32, Problem> {
    let length = u32::try_from(length).map_err(|_| Problem::Length)?;
    let (least, extra) = match kind {
        0x03 | 0x04 => (5, 0),
        0x05 => (0, 5),
        0x0C => (1, 16),
        0x0F => (14, 0),
        _ => (1, 4),
    };
    if length < least {
        return Err(Problem::Length);
    }
    Ok(length.saturating_add(extra))
}

pub(super) fn document_length(length: i32) -> Result<u32, Problem> {
    match u32::try_from(length) {
        Ok(length @ 5..) => Ok(length),
        _ => Err(Problem::Length),
    }
}

/// A string without its length and NUL; `None` for other types and for one too long to be shown.
pub(super) fn as_str<'a>(element: &Element<'a>) -> Option<&'a [u8]> {
    if element.kind != kind::STRING || element.value.len() != element.length as usize {
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
