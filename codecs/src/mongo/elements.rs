//! A walk over documents that are there whole, element by element: for what is looked into as a whole (shapes, the names that a
//! command touches), which the resumable walk of [`walk`](super::walk) is not made for.

use super::bson::{Length, value_length};

/// The most elements of a document, and documents in an array, that are looked at.
pub(super) const MAX_ELEMENTS: usize = 256;

/// An element of a document.
pub(super) struct Element<'a> {
    pub(super) kind: u8,
    pub(super) name: &'a [u8],
    pub(super) value: &'a [u8],
}

/// Identifier, documents, the rest.
pub(super) type Sequence<'a> = (&'a [u8], Option<&'a [u8]>, &'a [u8]);

/// The next document sequence: its identifier, its documents if they are all there, and what follows.
pub(super) fn sequence(section: &[u8]) -> Option<Sequence<'_>> {
    let (kind, rest) = section.split_first()?;
    if *kind != 1 {
        return None;
    }
    let length = u32::from_le_bytes(*rest.first_chunk()?) as usize;
    let inner = rest.get(4..rest.len().min(length))?;
    let end = memchr::memchr(0, inner)?;
    let documents = inner.get(end + 1..).filter(|_| rest.len() >= length);
    Some((inner.get(..end)?, documents, rest.get(length..).unwrap_or_default()))
}

/// What stands between a document's length and its last NUL.
pub(super) fn document(value: &[u8]) -> Option<&[u8]> {
    let length = u32::from_le_bytes(*value.first_chunk()?) as usize;
    let (last, inner) = value.get(4..length)?.split_last()?;
    (*last == 0).then_some(inner)
}

/// The elements of a document; one `None` where they are broken or too many.
pub(super) fn elements(rest: &[u8]) -> impl Iterator<Item = Option<Element<'_>>> {
    elements_up_to(MAX_ELEMENTS, rest)
}

/// The same, with a limit of one's own.
pub(super) fn elements_up_to(mut left: usize, mut rest: &[u8]) -> impl Iterator<Item = Option<Element<'_>>> {
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        left = left.saturating_sub(1);
        let next = if left == 0 { None } else { element(rest) };
        rest = next.as_ref().map_or(&[], |(_, after)| after);
        Some(next.map(|(element, _)| element))
    })
}

fn element(bytes: &[u8]) -> Option<(Element<'_>, &[u8])> {
    let (&kind, rest) = bytes.split_first()?;
    let end = memchr::memchr(0, rest)?;
    let (name, rest) = (rest.get(..end)?, rest.get(end + 1..)?);
    let length = match value_length(kind, rest).ok()? {
        Length::Known(length) => length as usize,
        Length::Strings => {
            let first = memchr::memchr(0, rest)? + 1;
            first + memchr::memchr(0, rest.get(first..)?)? + 1
        }
        Length::Unknown => return None,
    };
    let (value, after) = (rest.get(..length)?, rest.get(length..)?);
    Some((Element { kind, name, value }, after))
}
