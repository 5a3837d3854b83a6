//! Call sites: from where in an application's code an operation comes, as the application says in what its protocol has for that
//! ([`Said`]).
//!
//! Only what the settings ask for is taken out of it; the rest is kept nowhere. Without settings it is not looked at.

use crate::pattern::Pattern;
use std::cell::RefCell;
use std::sync::Arc;
use weir_config::{Fields, Kind, Walk};
use weir_decide::exchange::{NameId, NameKind, Names};

/// The most patterns.
const MOST: usize = 16;
const PATTERN: Kind = Kind::Text { max: 255 };

/// What `key` is in a protocol's table.
pub const KEY: Kind = Kind::Text { max: 64 };
/// What `pattern` is.
pub const PATTERNS: Kind = Kind::OneOrMany(&PATTERN);

/// What an application says of an operation.
pub trait Said {
    /// All of it, where it is a text.
    fn text(&self) -> Option<&[u8]>;

    /// Puts the text that stands under `key` in it into `out`. Says whether there is one.
    fn field(&self, key: &[u8], out: &mut Vec<u8>) -> bool;
}

/// What to look for.
#[derive(Debug, Clone)]
pub struct CallSiteSettings {
    key: Option<Arc<str>>,
    patterns: Arc<[Pattern]>,
}

impl CallSiteSettings {
    /// Reads `key` and `pattern` of a protocol's `call_sites`; nothing where an error was recorded.
    pub fn read(walk: &mut Walk<'_>, fields: &Fields<'_>) -> Option<CallSiteSettings> {
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
        good.then(|| CallSiteSettings { key, patterns: patterns.into() })
    }

    fn name<'a>(&self, said: &'a dyn Said, scratch: &'a mut Vec<u8>) -> Option<&'a [u8]> {
        let text = match &self.key {
            Some(key) => said.field(key.as_bytes(), scratch).then_some(&**scratch)?,
            None => said.text()?,
        };
        if self.patterns.is_empty() {
            return Some(text);
        }
        self.patterns.iter().find_map(|pattern| pattern.take(text))
    }
}

/// Finds them, on one worker.
#[derive(Debug, Default)]
pub struct CallSites {
    settings: Option<CallSiteSettings>,
    /// So that nothing is allocated for an operation.
    scratch: RefCell<Vec<u8>>,
}

impl CallSites {
    /// By these settings; without any there are none.
    pub fn new(settings: Option<CallSiteSettings>) -> CallSites {
        CallSites { settings, scratch: RefCell::default() }
    }

    /// Whether they are looked for.
    pub fn are_asked_for(&self) -> bool {
        self.settings.is_some()
    }

    /// The call site that is named in what was said; [`NameId::NONE`] where none is.
    pub fn of(&self, names: &mut dyn Names, said: &dyn Said) -> NameId {
        let Some(settings) = &self.settings else { return NameId::NONE };
        let named = &mut *self.scratch.borrow_mut();
        let named = settings.name(said, named);
        named.map_or(NameId::NONE, |name| names.intern(NameKind::CallSite, &[name]))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    /// A text, or fields by name.
    #[derive(Debug, Clone, Copy)]
    enum Toy {
        Text(&'static str),
        Fields(&'static [(&'static str, &'static str)]),
    }

    impl Said for Toy {
        fn text(&self) -> Option<&[u8]> {
            match self {
                Toy::Text(text) => Some(text.as_bytes()),
                Toy::Fields(_) => None,
            }
        }

        fn field(&self, key: &[u8], out: &mut Vec<u8>) -> bool {
            let Toy::Fields(fields) = self else { return false };
            let found = fields.iter().find(|(name, _)| name.as_bytes() == key);
            out.clear();
            found.iter().for_each(|(_, text)| out.extend_from_slice(text.as_bytes()));
            found.is_some()
        }
    }

    #[test]
    fn names_come_from_keys_and_patterns() {
        let fields = Toy::Fields(&[("callingFunction", "orders.load:17"), ("user", "secret")]);
        let text = Toy::Text("at orders.load for secret");
        for (key, patterns, said, expected) in [
            (Some("callingFunction"), &[][..], fields, Some("orders.load:17")),
            (Some("callingFunction"), &["(*);*", "(*):*"], fields, Some("orders.load")),
            (Some("callingFunction"), &["(*);*"], fields, None),
            (Some("callingFunction"), &[], text, None),
            (Some("function"), &[], fields, None),
            (None, &[], fields, None),
            (None, &[], text, Some("at orders.load for secret")),
            (None, &["at (*) for *"], text, Some("orders.load")),
            (None, &["from (*) for *"], text, None),
        ] {
            let patterns: Vec<_> = patterns.iter().map(|text| Pattern::new(text).unwrap()).collect();
            let settings = CallSiteSettings { key: key.map(Arc::from), patterns: patterns.into() };
            let mut scratch = Vec::new();
            let name = settings.name(&said, &mut scratch);
            assert_eq!(name, expected.map(str::as_bytes), "{settings:?} {said:?}");
        }
    }
}
