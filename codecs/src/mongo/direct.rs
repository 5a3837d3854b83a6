//! The walk over a message that is all there and as it should be, which nearly all are: no state to be kept between runs of bytes,
//! so a third of the work of [`super::walk`]. It tells [`Facts`] the same things in the same order. What it meets beyond the ordinary
//! (a checksum, a regular expression, a very long name, a legacy write, anything wrong) it does not judge: the walk proper begins anew.

use super::bson::{Length, document_length, kind, name_end, plain_document, value_length};
use super::frame::MAX_KEY;
use super::header::{HEADER_LENGTH, OpCode};
use super::walk::{DEPTH, Element, Facts, MAX_CSTRING, Next, Place};

/// Where the first section of an `OP_MSG` begins: behind the header and the flags.
const SECTIONS: usize = HEADER_LENGTH + 4;

/// Where the documents of an `OP_REPLY` begin: behind the header, the flags, the cursor, and two numbers.
const REPLIES: usize = HEADER_LENGTH + 20;

/// Walks over a whole message. `None`: `facts` have been told something or other, and nothing is to be concluded.
pub(super) fn walk<F: Facts>(facts: &mut F, op_code: OpCode, message: &[u8]) -> Option<()> {
    match op_code {
        OpCode::MSG => msg(facts, message),
        OpCode::QUERY => query(facts, message),
        OpCode::REPLY => reply(facts, message),
        _ => None,
    }
}

fn msg<F: Facts>(facts: &mut F, message: &[u8]) -> Option<()> {
    let bits = u32::from_le_bytes(*message.get(HEADER_LENGTH..)?.first_chunk()?);
    if bits & 1 != 0 {
        return None;
    }
    facts.flags(bits);
    let mut at = SECTIONS;
    let mut bodies = 0;
    while at < message.len() {
        let section = message.get(at..)?;
        let (&kind, sized) = section.split_first()?;
        let length = document_length(i32::from_le_bytes(*sized.first_chunk::<4>()?)).ok()? as usize;
        let content = sized.get(..length)?;
        match kind {
            0 => {
                bodies += 1;
                elements(facts, content, at + 1 + length, F::BODY, DEPTH)?;
            }
            1 => sequence(facts, content, at + 1)?,
            _ => return None,
        }
        at += 1 + length;
    }
    (bodies == 1).then_some(())
}

fn query<F: Facts>(facts: &mut F, message: &[u8]) -> Option<()> {
    let named = message.get(HEADER_LENGTH + 4..)?;
    let name = name_end(named, MAX_CSTRING)?;
    // Behind it there are how many to skip and to return.
    let at = HEADER_LENGTH + 4 + name + 1 + 8;
    let queries = message.get(at..)?;
    facts.full_name(named.get(..name));
    documents(facts, Place::Legacy, queries, at)
}

fn reply<F: Facts>(facts: &mut F, message: &[u8]) -> Option<()> {
    let bits = u32::from_le_bytes(*message.get(HEADER_LENGTH..)?.first_chunk()?);
    let cursor = i64::from_le_bytes(*message.get(HEADER_LENGTH + 4..)?.first_chunk()?);
    let replies = message.get(REPLIES..)?;
    facts.flags(bits);
    facts.cursor(cursor);
    documents(facts, Place::Replies, replies, REPLIES)
}

/// A section of documents: its length, an identifier, then one after the other.
fn sequence<F: Facts>(facts: &mut F, section: &[u8], base: usize) -> Option<()> {
    let named = section.get(4..)?;
    let name = name_end(named, MAX_CSTRING)?;
    let place = facts.section(named.get(..name));
    let at = 4 + name + 1;
    documents(facts, place, section.get(at..)?, base + at)
}

/// Documents one after the other, the first of which is at `base` in the message.
fn documents<F: Facts>(facts: &mut F, place: Place, all: &[u8], base: usize) -> Option<()> {
    let mut at = 0;
    let mut members = 0;
    while at < all.len() {
        let rest = all.get(at..)?;
        let length = document_length(i32::from_le_bytes(*rest.first_chunk::<4>()?)).ok()?;
        let document = rest.get(..length as usize)?;
        if !place.is_counted() {
            let offset = (base + at) as u32;
            let shown = Element { kind: kind::DOCUMENT, key: &[], value: document, length, offset };
            if let Next::Enter(inner) = facts.element(place, members, shown) {
                enter(facts, document, base + at + document.len(), inner, DEPTH - 1)?;
            }
        }
        members += 1;
        at += document.len();
    }
    facts.leave(place, members);
    Some(())
}

/// What has been entered: `document` is all of it, and ends at `end` in the message.
fn enter<F: Facts>(facts: &mut F, document: &[u8], end: usize, place: Place, depth: usize) -> Option<()> {
    if place.is_counted() {
        depth.checked_sub(1)?;
        let members = count(document)?;
        facts.leave(place, members);
        return Some(());
    }
    elements(facts, document, end, place, depth)
}

fn elements<F: Facts>(facts: &mut F, document: &[u8], end: usize, place: Place, depth: usize) -> Option<()> {
    let depth = depth.checked_sub(1)?;
    let mut rest = document.get(4..)?;
    let mut index = 0;
    loop {
        let (&kind, named) = rest.split_first()?;
        if kind == 0 {
            facts.leave(place, index);
            return named.is_empty().then_some(());
        }
        let name = name_end(named, MAX_KEY + 1)?;
        let (key, value) = (named.get(..name)?, named.get(name + 1..)?);
        let Ok(Length::Known(length)) = value_length(kind, value) else { return None };
        // Behind it there is the end mark at least.
        let (value, after) = value.split_at_checked(length as usize)?;
        let ends = end - after.len();
        let offset = (ends - value.len()) as u32;
        let next = facts.element(place, index, Element { kind, key, value, length, offset });
        if let Next::Enter(inner) = next {
            enter(facts, value, ends, inner, depth)?;
        }
        index += 1;
        rest = after;
    }
}

/// How many members an array has.
fn count(array: &[u8]) -> Option<u32> {
    let mut rest = array.get(4..)?;
    let mut members = 0;
    loop {
        // Nearly all are documents, one after the other.
        while let Some(after) = plain_document(rest).and_then(|length| rest.get(length..)) {
            members += 1;
            rest = after;
        }
        let (&kind, named) = rest.split_first()?;
        if kind == 0 {
            return named.is_empty().then_some(members);
        }
        let name = name_end(named, 16)?;
        let value = named.get(name + 1..)?;
        let Ok(Length::Known(length)) = value_length(kind, value) else { return None };
        rest = value.get(length as usize..)?;
        members += 1;
    }
}
