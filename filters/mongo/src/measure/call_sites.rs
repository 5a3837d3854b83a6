//! Call sites: from where in an application's code an operation comes, as its `comment` says.
//!
//! What of a comment names one is the core's to say ([`weir_measure::call_sites`]); here it is found. A compressed request that has one is decompressed a second time, as far as [`LOOKED_AT`]: what the decoder saw of it has
//! passed by then.

use std::cell::RefCell;

use weir_codecs::mongo::{Command, Comment, Inflate, RequestHead, opening};
use weir_config::{Field, Fields, Kind, Table, Walk};
use weir_decide::exchange::{NameId, Names};
use weir_measure::call_sites::{self, CallSiteSettings, Said};

/// How much of a compressed request is looked at, when decompressed.
const LOOKED_AT: usize = 4096;

static TABLE: Table = Table {
    name: "mongo call_sites",
    doc: "What of an operation's `comment` (or its condition's `$comment`) names the place in the application's code that it comes \
          from: at least one of `key` and `pattern`. Nothing else of a comment is kept.",
    fields: &[
        Field::optional(
            "key",
            call_sites::KEY,
            "The name stands under this key, where the comment is a document or a text that is a JSON object.",
        ),
        Field::optional(
            "pattern",
            call_sites::PATTERNS,
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

/// Reads the field: nothing within where it is not there, nothing at all where an error was recorded.
pub(crate) fn read(walk: &mut Walk<'_>, fields: &Fields<'_>) -> Option<Option<CallSiteSettings>> {
    if fields.child("call_sites").is_none() {
        return Some(None);
    }
    let fields = fields.table(walk, "call_sites")?;
    CallSiteSettings::read(walk, &fields).map(Some)
}

/// Finds them, on one worker.
#[derive(Debug, Default)]
pub(crate) struct CallSites {
    named: call_sites::CallSites,
    /// So that nothing is allocated for an operation.
    clear: RefCell<Vec<u8>>,
}

/// A command's comment, in which an application names them.
struct InComment<'a>(Comment<'a>);

impl Said for InComment<'_> {
    fn text(&self) -> Option<&[u8]> {
        match self.0 {
            Comment::Text(text) => Some(text),
            Comment::Document(_) => None,
        }
    }

    fn field(&self, key: &[u8], out: &mut Vec<u8>) -> bool {
        self.0.field(key, out)
    }
}

impl CallSites {
    pub(crate) fn new(settings: Option<CallSiteSettings>) -> CallSites {
        CallSites { named: call_sites::CallSites::new(settings), clear: RefCell::default() }
    }

    /// The call site of a request of which this is the head, and `bytes` the first bytes; nothing where it names none.
    pub(crate) fn of(
        &self,
        names: &mut dyn Names,
        head: &RequestHead,
        bytes: &[u8],
        inflate: &RefCell<Inflate>,
    ) -> NameId {
        if !self.named.are_asked_for() {
            return NameId::NONE;
        }
        let in_condition = head.has_filter && matches!(head.command, Command::Find | Command::Count);
        if head.comment.is_none() && !in_condition {
            return NameId::NONE;
        }
        let clear = &mut *self.clear.borrow_mut();
        let bytes = match head.compressor {
            None => bytes,
            Some(_) if opening(bytes, &mut inflate.borrow_mut(), LOOKED_AT, clear) => clear,
            Some(_) => return NameId::NONE,
        };
        Comment::of(bytes).map_or(NameId::NONE, |comment| self.named.of(names, &InComment(comment)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comment_says_what_stands_in_it() {
        let json = br#"{"callingFunction": "orders.load:17", "user": "secret"}"#;
        let mut document = b"\x02callingFunction\0\x0c\0\0\0orders.load\0".to_vec();
        document.extend(b"\x02user\0\x07\0\0\0secret\0");
        let (json, document) = (InComment(Comment::Text(json)), InComment(Comment::Document(&document)));
        let field = |said: &dyn Said, key: &str| {
            let mut out = Vec::new();
            said.field(key.as_bytes(), &mut out).then_some(out)
        };
        assert_eq!(field(&json, "callingFunction").as_deref(), Some(&b"orders.load:17"[..]));
        assert_eq!(field(&document, "callingFunction").as_deref(), Some(&b"orders.load"[..]));
        assert_eq!([field(&json, "function"), field(&document, "function")], [None, None]);
        assert_eq!((json.text().is_some(), document.text()), (true, None));
    }
}
