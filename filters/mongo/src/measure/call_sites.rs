//! Call sites: from where in an application's code an operation comes, as its `comment` says.
//!
//! Only what the settings ask for is taken out of a comment; the rest of it is kept nowhere. Without settings no comment is looked
//! at. A compressed request that has one is decompressed a second time, as far as [`LOOKED_AT`]: what the decoder saw of it has
//! passed by then.

use std::cell::RefCell;
use std::sync::Arc;

use weir_codecs::mongo::{Command, Comment, Inflate, RequestHead, opening};
use weir_config::{Field, Fields, Kind, Table, Walk};
use weir_decide::exchange::{NameId, NameKind, Names};

use super::pattern::Pattern;

/// How much of a compressed request is looked at, when decompressed.
const LOOKED_AT: usize = 4096;
/// The most patterns.
const MOST: usize = 16;
const PATTERN: Kind = Kind::Text { max: 255 };
const PATTERNS: Kind = Kind::OneOrMany(&PATTERN);

static TABLE: Table = Table {
    name: "mongo call_sites",
    doc: "What of an operation's `comment` (or its condition's `$comment`) names the place in the application's code that it comes \
          from: at least one of `key` and `pattern`. Nothing else of a comment is kept.",
    fields: &[
        Field::optional(
            "key",
            Kind::Text { max: 64 },
            "The name stands under this key, where the comment is a document or a text that is a JSON object.",
        ),
        Field::optional(
            "pattern",
            PATTERNS,
            "The name is what stands between the parentheses of the first pattern that fits all of the text (of what stands under \
             `key`, where that is given). `*` stands for any characters, as few as will do, `?` for one, `\\` before another for \
             itself.",
        ),
    ],
    rules: &[],
};

/// The field of the `mongo` section.
pub(crate) const FIELD: Field = Field::optional(
    "call_sites",
    Kind::Table(&TABLE),
    "Counts operations by the place in the application's code that their comment names. Left out: no comment is looked at.",
);

/// What to look for.
#[derive(Debug, Clone)]
pub(crate) struct CallSiteSettings {
    key: Option<Arc<str>>,
    patterns: Arc<[Pattern]>,
}

impl CallSiteSettings {
    /// Reads the field: nothing within where it is not there, nothing at all where an error was recorded.
    pub(crate) fn read(walk: &mut Walk<'_>, fields: &Fields<'_>) -> Option<Option<CallSiteSettings>> {
        if fields.child("call_sites").is_none() {
            return Some(None);
        }
        let fields = fields.table(walk, "call_sites")?;
        let key = fields.text(walk, "key");
        if fields.child("key").is_none() && fields.child("pattern").is_none() {
            walk.error(fields.node(), "expected `key` or `pattern` or both");
            return None;
        }
        let nodes = fields.items(walk, "pattern").unwrap_or_default();
        let (mut patterns, mut good) = (Vec::new(), fields.child("key").is_none() || key.is_some());
        for node in nodes {
            match walk.text(node, &PATTERN).map(|text| Pattern::new(&text)) {
                Some(Ok(_)) if patterns.len() == MOST => {
                    walk.error(node, format!("expected {MOST} patterns at most"));
                    return None;
                }
                Some(Ok(pattern)) => patterns.push(pattern),
                Some(Err(wrong)) => {
                    walk.error(node, wrong);
                    good = false;
                }
                None => good = false,
            }
        }
        good.then(|| Some(CallSiteSettings { key, patterns: patterns.into() }))
    }
}

/// Finds them, on one worker.
#[derive(Debug, Default)]
pub(crate) struct CallSites {
    settings: Option<CallSiteSettings>,
    scratch: RefCell<Scratch>,
}

/// So that nothing is allocated for an operation.
#[derive(Debug, Default)]
struct Scratch {
    clear: Vec<u8>,
    text: Vec<u8>,
}

impl CallSites {
    pub(crate) fn new(settings: Option<CallSiteSettings>) -> CallSites {
        CallSites { settings, scratch: RefCell::default() }
    }

    /// The call site of a request of which this is the head, and `bytes` the first bytes; nothing where it names none.
    pub(crate) fn of(
        &self,
        names: &mut dyn Names,
        head: &RequestHead,
        bytes: &[u8],
        inflate: &RefCell<Inflate>,
    ) -> NameId {
        let Some(settings) = &self.settings else { return NameId::NONE };
        let in_condition = head.has_filter && matches!(head.command, Command::Find | Command::Count);
        if head.comment.is_none() && !in_condition {
            return NameId::NONE;
        }
        let Scratch { clear, text } = &mut *self.scratch.borrow_mut();
        let bytes = match head.compressor {
            None => bytes,
            Some(_) if opening(bytes, &mut inflate.borrow_mut(), LOOKED_AT, clear) => clear,
            Some(_) => return NameId::NONE,
        };
        let named = Comment::of(bytes).and_then(|comment| settings.name(comment, text));
        named.map_or(NameId::NONE, |name| names.intern(NameKind::CallSite, &[name]))
    }
}

impl CallSiteSettings {
    fn name<'a>(&self, comment: Comment<'a>, scratch: &'a mut Vec<u8>) -> Option<&'a [u8]> {
        let text = match (&self.key, comment) {
            (Some(key), comment) => comment.field(key.as_bytes(), scratch).then_some(&**scratch)?,
            (None, Comment::Text(text)) => text,
            (None, Comment::Document(_)) => return None,
        };
        if self.patterns.is_empty() {
            return Some(text);
        }
        self.patterns.iter().find_map(|pattern| pattern.take(text))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    #[test]
    fn names_come_from_keys_and_patterns() {
        let json = br#"{"callingFunction": "orders.load:17", "user": "secret"}"#;
        let mut document = b"\x02callingFunction\0\x0c\0\0\0orders.load\0".to_vec();
        document.extend(b"\x02user\0\x07\0\0\0secret\0");
        let document = Comment::Document(&document);
        let (json, text) = (Comment::Text(json), Comment::Text(b"at orders.load for secret"));
        for (key, patterns, comment, expected) in [
            (Some("callingFunction"), &[][..], document, Some("orders.load")),
            (Some("callingFunction"), &[], json, Some("orders.load:17")),
            (Some("callingFunction"), &["(*):*", "(*)"], json, Some("orders.load")),
            (Some("callingFunction"), &["(*):*", "(*)"], document, Some("orders.load")),
            (Some("callingFunction"), &["(*):*"], document, None),
            (Some("callingFunction"), &[], text, None),
            (Some("function"), &[], json, None),
            (None, &["at (*) for *"], text, Some("orders.load")),
            (None, &["at (*)"], document, None),
            (None, &["from (*) for *"], text, None),
        ] {
            let patterns: Vec<_> = patterns.iter().map(|text| Pattern::new(text).unwrap()).collect();
            let settings = CallSiteSettings { key: key.map(Arc::from), patterns: patterns.into() };
            let mut scratch = Vec::new();
            let name = settings.name(comment, &mut scratch);
            assert_eq!(name, expected.map(str::as_bytes), "{settings:?} {comment:?}");
        }
    }
}
