//! The spanned tree: what the file says, with where it says so, before anything is known about what it should say.

use crate::diagnostic::Position;
use std::sync::atomic::{AtomicU8, Ordering};

/// A value of the file.
#[derive(Debug)]
pub struct Node {
    /// Its number in the order of the file, from which its key path is found when something is wrong with it.
    pub(crate) id: u32,
    pub(crate) at: Position,
    pub(crate) value: Value,
}

/// What a value is, as far as the syntax tells.
#[derive(Debug)]
pub enum Value {
    /// Text: a number, a word, a string.
    Scalar(Scalar),
    /// A list.
    List(Vec<Node>),
    /// A mapping, in the order of the file; its keys are unique.
    Map(Vec<Entry>),
    /// Something an error has already been said about; readers pass over it in silence.
    Broken,
}

/// Text of the file.
#[derive(Debug)]
pub struct Scalar {
    pub(crate) text: Box<str>,
    /// Not quoted, so that it may be a number, a boolean or null.
    pub(crate) plain: bool,
    /// The text as it stands in the file, where `${..}` was replaced in it: such a value is never shown.
    pub(crate) written: Option<Box<str>>,
}

/// One key of a mapping and its value.
#[derive(Debug)]
pub struct Entry {
    pub(crate) key: Box<str>,
    pub(crate) key_at: Position,
    pub(crate) value: Node,
    /// Whether a table knows the key, and whether a reader has asked for it: a key that is known and never asked for would
    /// be an option without an effect.
    pub(crate) seen: Seen,
}

/// How far the walk has got with an entry.
#[derive(Debug, Default)]
pub(crate) struct Seen(AtomicU8);

impl Seen {
    const KNOWN: u8 = 1;
    const READ: u8 = 2;

    pub(crate) fn known(&self) {
        self.0.fetch_or(Seen::KNOWN, Ordering::Relaxed);
    }

    pub(crate) fn read(&self) {
        self.0.fetch_or(Seen::READ, Ordering::Relaxed);
    }
}

impl Node {
    /// Where it begins.
    pub fn position(&self) -> Position {
        self.at
    }

    /// What it is.
    pub fn value(&self) -> &Value {
        &self.value
    }

    /// Its items, if it is a list.
    pub fn items(&self) -> Option<&[Node]> {
        match &self.value {
            Value::List(items) => Some(items),
            _ => None,
        }
    }

    /// Its entries, if it is a mapping.
    pub fn entries(&self) -> Option<&[Entry]> {
        match &self.value {
            Value::Map(entries) => Some(entries),
            _ => None,
        }
    }

    /// The value under `key`, if it is a mapping that has it.
    pub fn child(&self, key: &str) -> Option<&Node> {
        let entry = self.entries()?.iter().find(|entry| &*entry.key == key)?;
        entry.seen.read();
        Some(&entry.value)
    }

    /// The first key at or below this node that a table knows and no reader asked for.
    pub(crate) fn ignored(&self) -> Option<&str> {
        match &self.value {
            Value::List(items) => items.iter().find_map(Node::ignored),
            Value::Map(entries) => entries.iter().find_map(|entry| {
                let ignored = entry.seen.0.load(Ordering::Relaxed) == Seen::KNOWN;
                if ignored { Some(entry.key()) } else { entry.value.ignored() }
            }),
            Value::Scalar(_) | Value::Broken => None,
        }
    }

    pub(crate) fn is_broken(&self) -> bool {
        matches!(self.value, Value::Broken)
    }

    pub(crate) fn is_null(&self) -> bool {
        matches!(&self.value, Value::Scalar(scalar) if scalar.is_null())
    }
}

impl Scalar {
    /// The text, with `${..}` replaced. Not to be shown: [`Scalar::shown`] is.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The text that may be shown: as written in the file.
    pub fn shown(&self) -> &str {
        self.written.as_deref().unwrap_or(&self.text)
    }

    /// Whether it may be read as a number, a boolean or null: it is not quoted, or was replaced (`"${PORT}"` has to be
    /// quoted inside of `{ }`).
    pub(crate) fn may_be_typed(&self) -> bool {
        self.plain || self.written.is_some()
    }

    pub(crate) fn is_null(&self) -> bool {
        self.plain && self.written.is_none() && matches!(&*self.text, "" | "~" | "null" | "Null" | "NULL")
    }
}

impl Entry {
    /// The key.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Where the key begins.
    pub fn key_position(&self) -> Position {
        self.key_at
    }

    /// The value.
    pub fn value(&self) -> &Node {
        &self.value
    }
}

/// The path of the node with number `id` below `root`: `clusters.web.endpoints[0]`. Numbers count in the order of the file,
/// so every step is a binary search.
pub(crate) fn path_of(root: &Node, id: u32) -> String {
    let mut path = String::new();
    let mut node = root;
    while node.id != id {
        match &node.value {
            Value::List(items) => {
                let after = items.partition_point(|item| item.id <= id);
                let Some((index, item)) = after.checked_sub(1).and_then(|n| Some((n, items.get(n)?))) else {
                    break;
                };
                path.push_str(&format!("[{index}]"));
                node = item;
            }
            Value::Map(entries) => {
                let after = entries.partition_point(|entry| entry.value.id <= id);
                let Some(entry) = after.checked_sub(1).and_then(|n| entries.get(n)) else { break };
                push_key(&mut path, &entry.key);
                node = &entry.value;
            }
            Value::Scalar(_) | Value::Broken => break,
        }
    }
    path
}

/// Appends a key to a path. A key that could be misread (dots, spaces, anything unprintable) is quoted and escaped.
pub(crate) fn push_key(path: &mut String, key: &str) {
    let plain = !key.is_empty()
        && key.chars().count() <= 128
        && key.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
    if !path.is_empty() {
        path.push('.');
    }
    if plain {
        path.push_str(key);
    } else {
        path.push('"');
        path.push_str(&crate::walk::clip(key));
        path.push('"');
    }
}
