//! Names from the wire become numbers: process-wide, capped by kind, known by each worker in a cache of its own, so that a
//! name seen before costs one hash and no lock.

use crate::Limits;
use crate::capped::{Capped, lock};
use hashbrown::HashMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use weir_decide::exchange::{NameId, NameKind};

/// The longest name in bytes; a longer one is cut here and ends in `…`, and `weir_caps_met_total{cap="name_length"}` moves.
pub const MAX_NAME: usize = 256;

/// How everything beyond a cap is shown.
pub const OTHER: &str = "_other";

/// Every kind, in the order of [`slot`].
pub(crate) const KINDS: [(NameKind, &str); 5] = [
    (NameKind::Operation, "operation"),
    (NameKind::Resource, "resource"),
    (NameKind::Code, "code"),
    (NameKind::Application, "application"),
    (NameKind::CallSite, "call_site"),
];

pub(crate) fn slot(kind: NameKind) -> usize {
    match kind {
        NameKind::Operation => 0,
        NameKind::Resource => 1,
        NameKind::Code => 2,
        NameKind::Application => 3,
        NameKind::CallSite => 4,
    }
}

/// The process's names.
#[derive(Debug)]
pub(crate) struct Interner {
    kinds: [Capped<Box<[u8]>, NameId>; KINDS.len()],
    /// By id. Two ids may show the same text; whoever writes merges them.
    texts: Mutex<Vec<Arc<str>>>,
    /// Names that were cut, each time.
    cut: AtomicU64,
}

impl Interner {
    pub(crate) fn new(limits: &Limits) -> Interner {
        Interner {
            kinds: KINDS.map(|(kind, _)| Capped::new(limits.names(kind))),
            texts: Mutex::new(vec![Arc::from(""), Arc::from(OTHER)]),
            cut: AtomicU64::new(0),
        }
    }

    /// The id of `raw`, which is not longer than [`bounded`] makes it; `None` beyond the cap.
    fn find_or_add(&self, kind: NameKind, raw: &[u8]) -> Option<NameId> {
        let [operations, resources, codes, applications, call_sites] = &self.kinds;
        let names = match kind {
            NameKind::Operation => operations,
            NameKind::Resource => resources,
            NameKind::Code => codes,
            NameKind::Application => applications,
            NameKind::CallSite => call_sites,
        };
        names.find_or_add(raw, || {
            let mut texts = lock(&self.texts);
            let id = NameId(u32::try_from(texts.len()).unwrap_or(NameId::OTHER.0));
            texts.push(printable(raw));
            (raw.into(), id)
        })
    }

    /// How often a name was cut.
    pub(crate) fn cut(&self) -> u64 {
        self.cut.load(Ordering::Relaxed)
    }

    /// Brings `known`, a copy of the texts by id, up to date. Holds the lock for as long as copying what is new takes.
    pub(crate) fn copy_texts(&self, known: &mut Vec<Arc<str>>) {
        let texts = lock(&self.texts);
        known.extend(texts.iter().skip(known.len()).cloned());
    }
}

/// A worker's cache.
#[derive(Debug, Default)]
pub(crate) struct Cache {
    kinds: [HashMap<Box<[u8]>, NameId, foldhash::fast::RandomState>; KINDS.len()],
    scratch: Vec<u8>,
}

impl Cache {
    /// The id of the name made of `parts`; `None` beyond the cap of its kind.
    pub(crate) fn intern(&mut self, all: &Interner, kind: NameKind, parts: &[&[u8]]) -> Option<NameId> {
        let Cache { kinds, scratch } = self;
        let raw = match parts {
            [] => return Some(NameId::NONE),
            [one] if one.len() <= MAX_NAME => *one,
            many => {
                if many.iter().map(|part| part.len()).sum::<usize>() > MAX_NAME {
                    all.cut.fetch_add(1, Ordering::Relaxed);
                }
                bounded(many, scratch)
            }
        };
        if raw.is_empty() {
            return Some(NameId::NONE);
        }
        let known = kinds.get_mut(slot(kind))?;
        if let Some(id) = known.get(raw) {
            return Some(*id);
        }
        let id = all.find_or_add(kind, raw)?;
        known.insert(raw.into(), id);
        Some(id)
    }
}

/// Puts the parts together in `scratch`; what is longer than [`MAX_NAME`] is cut, at a character if it is UTF-8, and marked.
fn bounded<'a>(parts: &[&[u8]], scratch: &'a mut Vec<u8>) -> &'a [u8] {
    scratch.clear();
    for part in parts {
        let room = (MAX_NAME + 1).saturating_sub(scratch.len());
        scratch.extend_from_slice(part.get(..room).unwrap_or(part));
    }
    if scratch.len() > MAX_NAME {
        let mut cut = MAX_NAME;
        // At most three bytes back to the start of a character: 0b10xxxxxx goes on what stands before it.
        while cut > MAX_NAME - 3 && scratch.get(cut).is_some_and(|b| b & 0xC0 == 0x80) {
            cut -= 1;
        }
        scratch.truncate(cut);
        scratch.extend_from_slice("…".as_bytes());
    }
    scratch
}

/// The name as shown: control characters as `\u{7f}`, bytes that are not UTF-8 as `\xff`, a backslash as `\\`.
fn printable(raw: &[u8]) -> Arc<str> {
    let mut text = String::with_capacity(raw.len());
    for chunk in raw.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\\' => text.push_str("\\\\"),
                c if c.is_control() || invisible(c) => text.extend(c.escape_unicode()),
                c => text.push(c),
            }
        }
        for byte in chunk.invalid() {
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    text.into()
}

/// Characters that reorder or hide the text around them.
fn invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(all: &Interner, id: NameId) -> String {
        let mut texts = Vec::new();
        all.copy_texts(&mut texts);
        texts[id.0 as usize].to_string()
    }

    #[test]
    fn names_are_shown_printable_and_bounded() {
        let all = Interner::new(&Limits::default());
        let mut cache = Cache::default();
        let long = "é".repeat(200);
        let cases: &[(&[&[u8]], &str)] = &[
            (&[], ""),
            (&[b""], ""),
            (&[b"", b""], ""),
            (&[b"find"], "find"),
            (&[b"shop", b".", b"orders"], "shop.orders"),
            (&[b"shop.", b"orders"], "shop.orders"),
            (&[b"a\nb\x7f"], "a\\u{a}b\\u{7f}"),
            (&[b"a\\b\"c"], "a\\\\b\"c"),
            (&[b"\xff\xfeok"], "\\xff\\xfeok"),
            (&["über\u{202e}".as_bytes()], "über\\u{202e}"),
            (&[long.as_bytes()], &format!("{}…", "é".repeat(128))),
            (&[b"x", long.as_bytes()], &format!("x{}…", "é".repeat(127))),
        ];
        for (parts, shown) in cases {
            for _ in 0..2 {
                let id = cache.intern(&all, NameKind::Resource, parts).unwrap();
                assert_eq!(text(&all, id), *shown, "{parts:?}");
            }
        }
    }

    #[test]
    fn full_kind_knows_what_any_worker_knew_and_leaves_other_kinds_alone() {
        let all = Interner::new(&Limits { resources: 2, ..Limits::default() });
        let (mut one, mut two) = (Cache::default(), Cache::default());
        let a = one.intern(&all, NameKind::Resource, &[b"a"]).unwrap();
        let b = one.intern(&all, NameKind::Resource, &[b"b"]).unwrap();
        assert_eq!(one.intern(&all, NameKind::Resource, &[b"c"]), None);
        assert_eq!(two.intern(&all, NameKind::Resource, &[b"c"]), None);
        assert_eq!(two.intern(&all, NameKind::Resource, &[b"a"]), Some(a));
        assert_eq!(two.intern(&all, NameKind::Resource, &[b"b"]), Some(b));
        assert!(two.intern(&all, NameKind::Operation, &[b"c"]).is_some());
        assert!(two.kinds[slot(NameKind::Resource)].len() == 2, "what is beyond the cap is not remembered");
    }
}
