//! A command's comment: what an application says of itself in it.
//!
//! It is looked for only where somebody asks, in a message that is in the clear: the top-level `comment`, a string or a document,
//! otherwise the `$comment` of its condition (older drivers write it there).

use super::bson::kind;
use super::elements::{Element, document, elements};
use super::header::{HEADER_LENGTH, Header, OpCode};
use crate::dynamodb::json::{Container, Role, Scalar, Tokeniser, Visitor};

/// The comment of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comment<'a> {
    /// A string, as its bytes.
    Text(&'a [u8]),
    /// The elements of a document.
    Document(&'a [u8]),
}

impl<'a> Comment<'a> {
    /// The comment of the command in `message`: the first bytes of an `OP_MSG` that is not compressed and whose first section is
    /// the body. `None` where there is none, or none within these bytes.
    pub fn of(message: &'a [u8]) -> Option<Comment<'a>> {
        Header::parse(message).ok().flatten().filter(|header| header.op_code == OpCode::MSG)?;
        let (_, body) = message.get(HEADER_LENGTH + 4..)?.split_first().filter(|(kind, _)| **kind == 0)?;
        let length = u32::from_le_bytes(*body.first_chunk()?) as usize;
        // Not all of it need be there; its last NUL is no element.
        let body = body.get(4..body.len().min(length.saturating_sub(1)))?;
        let mut condition = None;
        for element in elements(body).map_while(|element| element) {
            match element.name {
                b"comment" => return Comment::read(&element),
                b"filter" | b"query" | b"q" if element.kind == kind::DOCUMENT => {
                    condition = Some(element.value)
                }
                _ => {}
            }
        }
        let mut condition = elements(document(condition?)?).map_while(|element| element);
        condition.find(|element| element.name == b"$comment").and_then(|element| Comment::read(&element))
    }

    fn read(element: &Element<'a>) -> Option<Comment<'a>> {
        match element.kind {
            kind::STRING => string(element.value).map(Comment::Text),
            kind::DOCUMENT => document(element.value).map(Comment::Document),
            _ => None,
        }
    }

    /// The string that stands under `key` in the comment, a document or a text that is JSON: puts it into `out` and says whether
    /// there was one.
    pub fn field(self, key: &[u8], out: &mut Vec<u8>) -> bool {
        out.clear();
        match self {
            Comment::Document(body) => {
                let mut elements = elements(body).map_while(|element| element);
                let found = elements.find(|element| element.name == key && element.kind == kind::STRING);
                let Some(text) = found.and_then(|element| string(element.value)) else { return false };
                out.extend_from_slice(text);
                true
            }
            Comment::Text(text) => {
                // Most texts are none: no need to begin.
                if text.trim_ascii_start().first() != Some(&b'{') {
                    return false;
                }
                let mut member = Member { key, out, depth: 0, at: None, state: Sought::Key };
                let mut json = Tokeniser::default();
                json.feed(text, &mut member).is_ok()
                    && json.finish(&mut member).is_ok()
                    && member.state == Sought::Found
            }
        }
    }
}

/// The bytes of a string value: its length and its NUL go.
fn string(value: &[u8]) -> Option<&[u8]> {
    value.get(4..value.len().checked_sub(1)?)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sought {
    /// The key has not been met.
    Key,
    /// Its value comes next.
    Value,
    /// Its value is being read.
    Text,
    /// That was it.
    Found,
}

/// Finds a member of the outermost object.
struct Member<'k, 'o> {
    key: &'k [u8],
    out: &'o mut Vec<u8>,
    depth: u32,
    /// How much of the key the member's has been found to be.
    at: Option<usize>,
    state: Sought,
}

impl Visitor for Member<'_, '_> {
    fn open(&mut self, _: Container) {
        self.depth += 1;
        self.pass();
    }

    fn close(&mut self) {
        self.depth -= 1;
    }

    fn string(&mut self, role: Role) -> bool {
        match (role, self.state) {
            (Role::Key, Sought::Key) if self.depth == 1 => self.at = Some(0),
            (Role::Value, Sought::Value) => self.state = Sought::Text,
            _ => return false,
        }
        true
    }

    fn number(&mut self) -> bool {
        false
    }

    fn text(&mut self, part: &[u8]) {
        if self.state == Sought::Text {
            self.out.extend_from_slice(part);
        } else if let Some(at) = self.at {
            let goes_on = self.key.get(at..).is_some_and(|rest| rest.starts_with(part));
            self.at = goes_on.then_some(at + part.len());
        }
    }

    fn string_end(&mut self, role: Role) {
        match (role, self.state) {
            (Role::Key, Sought::Key) if self.at.take() == Some(self.key.len()) => self.state = Sought::Value,
            (Role::Value, Sought::Text) => self.state = Sought::Found,
            _ => {}
        }
    }

    fn scalar(&mut self, _: Scalar) {
        self.pass();
    }
}

impl Member<'_, '_> {
    /// Its value is no string.
    fn pass(&mut self) {
        if self.state == Sought::Value {
            self.state = Sought::Key;
        }
    }
}
