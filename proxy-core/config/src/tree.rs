//! Text into the spanned tree, from the events of `saphyr-parser`. Everything is bounded: the text by [`MAX_BYTES`], nesting
//! by [`MAX_DEPTH`], values by [`MAX_NODES`]; anchors and aliases, by which a small file could grow without bound, are refused.

use crate::diagnostic::{Diagnostic, Errors, Position};
use crate::node::{Entry, Node, Scalar, Seen, Value};
use hashbrown::{HashTable, hash_table};
use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span, StrInput};
use std::hash::BuildHasher;

/// The largest file, in bytes.
pub const MAX_BYTES: usize = 16 << 20;
/// The deepest nesting of lists and mappings.
pub const MAX_DEPTH: usize = 32;
/// The most values in a file.
pub const MAX_NODES: u32 = 1 << 20;

/// Something wrong with the text itself.
pub(crate) struct Mistake {
    pub at: Position,
    /// The node it is in, for its path, where there is one.
    pub node: Option<u32>,
    pub message: String,
}

/// The tree, if there is one, and what was wrong on the way to it.
pub(crate) struct Tree {
    pub root: Option<Node>,
    pub mistakes: Vec<Mistake>,
    /// How many more there were.
    pub omitted: usize,
}

/// What replaces `${..}`: the text, `None` when there is nothing to replace, or what is wrong.
pub(crate) type Substitute<'a> = &'a mut dyn FnMut(&str) -> Result<Option<String>, String>;

struct Builder<'t, 's> {
    parser: Parser<'t, StrInput<'t>>,
    substitute: Substitute<'s>,
    next_id: u32,
    last: Position,
    mistakes: Vec<Mistake>,
    omitted: usize,
    hasher: foldhash::fast::RandomState,
}

/// Reading cannot go on; why is among the mistakes.
struct Stop;

pub(crate) fn read(text: &str, substitute: Substitute<'_>) -> Tree {
    let last = end_of(text);
    let (parser, next_id, mistakes) = (Parser::new_from_str(text), 0, Vec::new());
    let hasher = foldhash::fast::RandomState::default();
    let mut builder = Builder { hasher, parser, substitute, next_id, last, mistakes, omitted: 0 };
    let root = if text.len() > MAX_BYTES {
        builder.mistake(Position::START, None, format!("the file is larger than {} MiB", MAX_BYTES >> 20));
        None
    } else {
        builder.document().ok()
    };
    Tree { root, mistakes: builder.mistakes, omitted: builder.omitted }
}

/// The position after the last character.
fn end_of(text: &str) -> Position {
    // YAML 1.2 section 5.4: a line ends with LF, CR or both.
    let count = |byte| text.bytes().filter(|b| *b == byte).count();
    let mut breaks = count(b'\n');
    if text.contains('\r') {
        breaks += count(b'\r') - text.matches("\r\n").count();
    }
    let tail = text.rsplit(['\n', '\r']).next().unwrap_or_default();
    Position { line: narrow(breaks + 1), column: narrow(tail.chars().count() + 1) }
}

/// Moves positions that lie behind the end of their line to that end: the scanner loses count of columns after characters that
/// have no place in a text file.
pub(crate) fn keep_within(text: &str, list: &mut [Diagnostic]) {
    list.sort_by_key(|diagnostic| diagnostic.at);
    let unix = text.replace("\r\n", "\n");
    let mut lines = unix.split(['\n', '\r']);
    let (mut number, mut line) = (1, lines.next().unwrap_or_default());
    for diagnostic in list {
        while number < diagnostic.at.line {
            let Some(next) = lines.next() else { break };
            (number, line) = (number + 1, next);
        }
        let end = narrow(line.chars().count() + 1);
        diagnostic.at.column = diagnostic.at.column.min(end);
    }
}

fn narrow(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

impl<'t> Builder<'t, '_> {
    fn mistake(&mut self, at: Position, node: Option<u32>, message: impl Into<String>) {
        if self.mistakes.len() < Errors::MOST {
            self.mistakes.push(Mistake { at, node, message: message.into() });
        } else {
            self.omitted += 1;
        }
    }

    fn position(&self, span: &Span) -> Position {
        self.clamp(span.start.line(), span.start.col())
    }

    /// The scanner's mark, within the file.
    fn clamp(&self, line: usize, column: usize) -> Position {
        Position { line: narrow(line.max(1)), column: narrow(column + 1) }.min(self.last)
    }

    fn next(&mut self) -> Result<(Event<'t>, Position), Stop> {
        match self.parser.next_event() {
            Some(Ok((event, span))) => Ok((event, self.position(&span))),
            Some(Err(error)) => Err(self.syntax(&error)),
            None => {
                self.mistake(self.last, None, "the file ends too early");
                Err(Stop)
            }
        }
    }

    fn syntax(&mut self, error: &ScanError) -> Stop {
        let at = self.clamp(error.marker().line(), error.marker().col());
        self.mistake(at, None, format!("not YAML: {}", error.info()));
        Stop
    }

    fn document(&mut self) -> Result<Node, Stop> {
        let root = loop {
            let (event, at) = self.next()?;
            match event {
                Event::StreamStart | Event::DocumentStart(_) | Event::Nothing => {}
                Event::StreamEnd => {
                    self.mistake(Position::START, None, "the file is empty");
                    return Err(Stop);
                }
                event => break self.node(event, at, 0)?,
            }
        };
        loop {
            let (event, at) = self.next()?;
            match event {
                Event::DocumentEnd | Event::Nothing => {}
                Event::StreamEnd => return Ok(root),
                _ => {
                    self.mistake(at, None, "a second document begins here; a file holds one");
                    return Ok(root);
                }
            }
        }
    }

    fn node(&mut self, event: Event<'t>, at: Position, depth: usize) -> Result<Node, Stop> {
        let id = self.next_id;
        if depth > MAX_DEPTH || id >= MAX_NODES {
            let cap = if id >= MAX_NODES {
                format!("more than {MAX_NODES} values")
            } else {
                format!("nested more than {MAX_DEPTH} deep")
            };
            self.mistake(at, None, cap);
            return Err(Stop);
        }
        self.next_id += 1;
        let (anchor, tagged) = match &event {
            Event::Scalar(_, _, anchor, tag)
            | Event::SequenceStart(anchor, tag)
            | Event::MappingStart(anchor, tag) => (*anchor, tag.is_some()),
            _ => (0, false),
        };
        if anchor != 0 {
            self.mistake(at, Some(id), "anchors (`&name`) are not supported: write the value out");
        }
        if tagged {
            self.mistake(at, Some(id), "tags (`!name`) are not supported: leave it out");
        }
        let value = match event {
            Event::Scalar(text, style, ..) => self.scalar(&text, style == ScalarStyle::Plain, at, id),
            Event::SequenceStart(..) => self.list(depth)?,
            Event::MappingStart(..) => self.map(depth)?,
            Event::Alias(_) => {
                self.mistake(at, Some(id), "aliases (`*name`) are not supported: write the value out");
                Value::Broken
            }
            _ => {
                self.mistake(at, Some(id), "a value was expected");
                return Err(Stop);
            }
        };
        Ok(Node { id, at, value })
    }

    fn scalar(&mut self, text: &str, plain: bool, at: Position, id: u32) -> Value {
        match (self.substitute)(text) {
            Ok(None) => Value::Scalar(Scalar { text: text.into(), plain, written: None }),
            Ok(Some(replaced)) => {
                Value::Scalar(Scalar { text: replaced.into(), plain, written: Some(text.into()) })
            }
            Err(message) => {
                self.mistake(at, Some(id), message);
                Value::Broken
            }
        }
    }

    fn list(&mut self, depth: usize) -> Result<Value, Stop> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(Value::List(items)),
                (event, at) => items.push(self.node(event, at, depth + 1)?),
            }
        }
    }

    fn map(&mut self, depth: usize) -> Result<Value, Stop> {
        let mut entries: Vec<Entry> = Vec::new();
        // Beyond a few keys a scan of all for each would be quadratic.
        let mut seen: HashTable<usize> = HashTable::new();
        loop {
            let (event, key_at) = self.next()?;
            let key: Box<str> = match event {
                Event::MappingEnd => return Ok(Value::Map(entries)),
                Event::Scalar(text, _, 0, None) => text.as_ref().into(),
                _ => {
                    self.mistake(key_at, None, "a key is plain text: no list, mapping, anchor or tag");
                    return Err(Stop);
                }
            };
            let (event, at) = self.next()?;
            let value = self.node(event, at, depth + 1)?;
            let first = if entries.len() < 16 {
                entries.iter().position(|entry| entry.key == key)
            } else {
                let hash = |key: &str| self.hasher.hash_one(key);
                let hash_at = |n: &usize| entries.get(*n).map_or(0, |entry| hash(&entry.key));
                if seen.is_empty() {
                    for n in 0..entries.len() {
                        seen.insert_unique(hash_at(&n), n, hash_at);
                    }
                }
                let same = |n: &usize| entries.get(*n).is_some_and(|entry| entry.key == key);
                match seen.entry(hash(&key), same, hash_at) {
                    hash_table::Entry::Occupied(first) => Some(*first.get()),
                    hash_table::Entry::Vacant(place) => {
                        place.insert(entries.len());
                        None
                    }
                }
            };
            match first.and_then(|n| entries.get(n)) {
                // The path of the first is that of the second.
                Some(Entry { key_at: first, value: Node { id, .. }, .. }) => {
                    let (first, id) = (*first, *id);
                    self.mistake(key_at, Some(id), format!("defined twice, first at {first}"));
                }
                None => entries.push(Entry { key, key_at, value, seen: Seen::default() }),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::{Environment, System};

    #[test]
    fn positions_stay_within_their_lines() {
        // After the NUL in a comment the scanner takes the next line for more of this one.
        let text = "a: { b: 1 } c #lu\0\nlu: {\u{14}\n";
        let errors = crate::parse_with(text, "f", &[], &System as &dyn Environment).unwrap_err();
        let lines: Vec<&str> = text.split('\n').collect();
        for error in errors.list() {
            assert!(
                error.at.column as usize <= lines[error.at.line as usize - 1].chars().count() + 1,
                "{error}"
            );
        }
        let mut list = errors.list().to_vec();
        list[0].at = crate::Position { line: 2, column: 900 };
        super::keep_within("one\r\ntwo\rthree", &mut list);
        assert_eq!(list[0].at, crate::Position { line: 2, column: 4 });
    }
}
