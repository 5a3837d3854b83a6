//! The walk over an `OP_MSG` that is all there and as it should be, which nearly all are: no state to be kept between runs of bytes,
//! so a third of the work of [`super::walk`]. It tells [`Facts`] the same things in the same order. What it meets beyond the ordinary
//! (a checksum, a regular expression, a very long name, anything wrong) it does not judge: the walk proper begins anew.

use super::bson::{Length, document_length, kind, name_end, plain_document, value_length};
use super::frame::MAX_KEY;
use super::header::HEADER_LENGTH;
use super::walk::{DEPTH, Element, Facts, MAX_CSTRING, Next, Place};

/// Where the first section begins: behind the header and the flags.
const SECTIONS: usize = HEADER_LENGTH + 4;

/// Walks over a whole message. `None`: `facts` have been told something or other, and nothing is to be concluded.
pub(super) fn walk<F: Facts>(facts: &mut F, message: &[u8]) -> Option<()> {
    let bits = u32::from_le_bytes(*message.get(HEADER_LENGTH..)?.first_chunk::<4>()?);
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
                Walk { facts, base: at + 1 }.document(content, F::BODY, DEPTH)?;
            }
            1 => sequence(facts, content, at + 1)?,
            _ => return None,
        }
        at += 1 + length;
    }
    (bodies == 1).then_some(())
}

/// The documents of a section: its length, an identifier, then one after the other.
fn sequence<F: Facts>(facts: &mut F, section: &[u8], base: usize) -> Option<()> {
    let named = section.get(4..)?;
    let name = name_end(named, MAX_CSTRING)?;
    let place = facts.section(named.get(..name));
    let mut at = 4 + name + 1;
    let mut members = 0;
    while at < section.len() {
        let rest = section.get(at..)?;
        let length = document_length(i32::from_le_bytes(*rest.first_chunk::<4>()?)).ok()?;
        let document = rest.get(..length as usize)?;
        if !place.is_counted() {
            let offset = (base + at) as u32;
            let shown = Element { kind: kind::DOCUMENT, key: &[], value: document, length, offset };
            if let Next::Enter(inner) = facts.element(place, members, shown) {
                Walk { facts: &mut *facts, base: base + at }.value(document, inner, DEPTH - 1)?;
            }
        }
        members += 1;
        at += document.len();
    }
    facts.leave(place, members);
    Some(())
}

/// A walk over one document, and those in it.
struct Walk<'f, F> {
    facts: &'f mut F,
    /// Where in the message the document begins.
    base: usize,
}

impl<F: Facts> Walk<'_, F> {
    /// What has been entered: `document` is all of it.
    fn value(&mut self, document: &[u8], place: Place, depth: usize) -> Option<()> {
        if place.is_counted() {
            let members = count(document)?;
            self.facts.leave(place, members);
            return Some(());
        }
        self.document(document, place, depth)
    }

    fn document(&mut self, document: &[u8], place: Place, depth: usize) -> Option<()> {
        let depth = depth.checked_sub(1)?;
        let mut at = 4;
        let mut index = 0;
        loop {
            let (&kind, named) = document.get(at..)?.split_first()?;
            if kind == 0 {
                self.facts.leave(place, index);
                return named.is_empty().then_some(());
            }
            let name = name_end(named, MAX_KEY + 1)?;
            let (key, rest) = (named.get(..name)?, named.get(name + 1..)?);
            let Ok(Length::Known(length)) = value_length(kind, rest) else { return None };
            // Behind it there is the end mark at least.
            let value = rest.get(..length as usize).filter(|value| value.len() < rest.len())?;
            at += 2 + name;
            let offset = (self.base + at) as u32;
            let next = self.facts.element(place, index, Element { kind, key, value, length, offset });
            if let Next::Enter(inner) = next {
                let base = self.base;
                Walk { facts: &mut *self.facts, base: base + at }.value(value, inner, depth)?;
            }
            index += 1;
            at += value.len();
        }
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
