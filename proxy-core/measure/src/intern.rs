//! Names become numbers, known by each worker in a cache of its own, so that a name seen before costs one hash and no lock. Those of
//! closed sets and of the configuration are always there; those from the wire belong to their listener ([`crate::scope`]).

use crate::Limits;
use crate::capped::lock;
use crate::scope::{Cap, Name, Scope, Shared};
use hashbrown::HashMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use weir_decide::exchange::{NameId, NameKind};

/// The longest name in bytes; a longer one is cut here and ends in `…`, and `weir_caps_met_total{cap="name_length"}` moves.
pub const MAX_NAME: usize = 256;

/// The most names that are always there: closed sets are small, configurations are not endless.
pub(crate) const MAX_FIXED: usize = 65_536;

/// The most listeners with names of their own.
const MAX_SCOPES: usize = 4096;

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

/// The process's names: those that are always there, and those of each listener.
#[derive(Debug)]
pub(crate) struct Interner {
    fixed: Mutex<Fixed>,
    scopes: Mutex<Vec<Arc<Scope>>>,
    pub(crate) shared: Arc<Shared>,
    /// The number of the latest name of any listener.
    serial: AtomicU64,
    /// Names that were cut, each time.
    cut: AtomicU64,
}

#[derive(Debug)]
struct Fixed {
    known: [HashMap<Box<[u8]>, NameId, foldhash::fast::RandomState>; KINDS.len()],
    /// By id. Two ids may show the same text; whoever writes merges them.
    texts: Vec<Arc<str>>,
}

impl Interner {
    pub(crate) fn new(limits: &Limits) -> Interner {
        let texts = vec![Arc::from(""), Arc::from(OTHER)];
        let shared = Shared {
            names: KINDS.map(|(kind, _)| Cap::new(limits.names(kind))),
            rows: [limits.rows, limits.outcomes, limits.application_rows, limits.call_site_rows, limits.rows]
                .map(Cap::new),
            listeners: AtomicUsize::new(0),
            gone: AtomicU64::new(0),
        };
        Interner {
            fixed: Mutex::new(Fixed { known: Default::default(), texts }),
            scopes: Mutex::default(),
            shared: Arc::new(shared),
            serial: AtomicU64::new(0),
            cut: AtomicU64::new(0),
        }
    }

    /// The names of `listener`: the same whenever they are asked for. Those beyond [`MAX_SCOPES`] share what the last one has.
    pub(crate) fn scope(&self, listener: &Arc<str>) -> Arc<Scope> {
        let mut scopes = lock(&self.scopes);
        if let Some(known) = scopes.iter().find(|scope| scope.listener == *listener) {
            return Arc::clone(known);
        }
        if let Some(last) = scopes.last().filter(|_| scopes.len() >= MAX_SCOPES) {
            return Arc::clone(last);
        }
        let number = u16::try_from(scopes.len() + 1).unwrap_or(u16::MAX);
        let scope = Arc::new(Scope::new(number, Arc::clone(listener), Arc::clone(&self.shared)));
        self.shared.listeners.store(scopes.len() + 1, Ordering::Relaxed);
        scopes.push(Arc::clone(&scope));
        scope
    }

    pub(crate) fn scopes(&self) -> Vec<Arc<Scope>> {
        lock(&self.scopes).clone()
    }

    pub(crate) fn next(&self, scope: &Scope) -> NameId {
        NameId::of(scope.number, self.serial.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// The id of a name that is always there; `make`: it is from now on. `None`: it is not, or there are [`MAX_FIXED`] others.
    fn fixed(&self, kind: NameKind, raw: &[u8], make: bool) -> Option<NameId> {
        let fixed = &mut *lock(&self.fixed);
        let known = fixed.known.get_mut(slot(kind))?;
        if let Some(id) = known.get(raw) {
            return Some(*id);
        }
        if !make || fixed.texts.len() >= MAX_FIXED {
            return None;
        }
        let id = NameId::of(0, fixed.texts.len() as u64);
        fixed.texts.push(printable(raw));
        known.insert(raw.into(), id);
        Some(id)
    }

    /// How often a name was cut.
    pub(crate) fn cut(&self) -> u64 {
        self.cut.load(Ordering::Relaxed)
    }

    /// Brings `known`, a copy of the texts of those that are always there by id, up to date. Holds the lock for as long as copying
    /// what is new takes.
    pub(crate) fn copy_texts(&self, known: &mut Vec<Arc<str>>) {
        let fixed = lock(&self.fixed);
        known.extend(fixed.texts.iter().skip(known.len()).cloned());
    }
}

/// What a worker knows of a kind: names that are always there, and those of a listener.
type Known<V> = [HashMap<Box<[u8]>, V, foldhash::fast::RandomState>; KINDS.len()];

/// A worker's cache.
#[derive(Debug, Default)]
pub(crate) struct Cache {
    fixed: Known<NameId>,
    scratch: Vec<u8>,
}

/// A worker's cache of a listener's names. Those that have gone are thrown out when there are many.
#[derive(Debug, Default)]
pub(crate) struct ScopeCache(Known<Arc<Name>>);

impl Cache {
    /// The id of the name made of `parts` that is always there; `None` beyond the cap.
    pub(crate) fn fixed(&mut self, all: &Interner, kind: NameKind, parts: &[&[u8]]) -> Option<NameId> {
        let Some(raw) = raw(all, parts, &mut self.scratch) else { return Some(NameId::NONE) };
        find(&mut self.fixed, all, kind, raw, true)
    }

    /// The id of the name made of `parts` that came from the wire of a listener's.
    pub(crate) fn intern(
        &mut self,
        all: &Interner,
        (scope, names): (&Scope, &mut ScopeCache),
        kind: NameKind,
        parts: &[&[u8]],
    ) -> Option<NameId> {
        let Some(raw) = raw(all, parts, &mut self.scratch) else { return Some(NameId::NONE) };
        let known = names.0.get_mut(slot(kind))?;
        if let Some(name) = known.get(raw) {
            if !name.has_gone() {
                return Some(name.id);
            }
            known.remove(raw);
        }
        if let Some(id) = find(&mut self.fixed, all, kind, raw, false) {
            return Some(id);
        }
        let name = scope.find_or_add(slot(kind), raw, || (all.next(scope), printable(raw)))?;
        if known.len() == known.capacity() {
            known.retain(|_, name| !name.has_gone());
        }
        let id = name.id;
        known.insert(raw.into(), name);
        Some(id)
    }
}

/// The bytes of a name, not longer than [`bounded`] makes it; `None`: it has none.
fn raw<'a>(all: &Interner, parts: &[&'a [u8]], scratch: &'a mut Vec<u8>) -> Option<&'a [u8]> {
    let raw = match parts {
        [] => return None,
        [one] if one.len() <= MAX_NAME => *one,
        many => {
            if many.iter().map(|part| part.len()).sum::<usize>() > MAX_NAME {
                all.cut.fetch_add(1, Ordering::Relaxed);
            }
            bounded(many, scratch)
        }
    };
    (!raw.is_empty()).then_some(raw)
}

fn find(fixed: &mut Known<NameId>, all: &Interner, kind: NameKind, raw: &[u8], make: bool) -> Option<NameId> {
    let known = fixed.get_mut(slot(kind))?;
    if let Some(id) = known.get(raw) {
        return Some(*id);
    }
    let id = all.fixed(kind, raw, make)?;
    known.insert(raw.into(), id);
    Some(id)
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
        texts[usize::try_from(id.0).unwrap()].to_string()
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
                let id = cache.fixed(&all, NameKind::Resource, parts).unwrap();
                assert_eq!(text(&all, id), *shown, "{parts:?}");
            }
        }
    }

    #[test]
    fn names_that_are_always_there_are_the_same_for_everybody() {
        let all = Interner::new(&Limits::default());
        let (mut one, mut two) = (Cache::default(), Cache::default());
        let scope = all.scope(&"l".into());
        let (mut names, mut others) = (ScopeCache::default(), ScopeCache::default());
        let find = one.fixed(&all, NameKind::Operation, &[b"find"]).unwrap();
        assert_eq!(two.intern(&all, (&scope, &mut others), NameKind::Operation, &[b"fi", b"nd"]), Some(find));
        let invented = two.intern(&all, (&scope, &mut others), NameKind::Operation, &[b"fund"]).unwrap();
        assert_eq!((find.scope(), invented.scope()), (0, 1));
        assert_eq!(one.intern(&all, (&scope, &mut names), NameKind::Operation, &[b"fund"]), Some(invented));
        let elsewhere = all.scope(&"m".into());
        let theirs =
            one.intern(&all, (&elsewhere, &mut ScopeCache::default()), NameKind::Operation, &[b"fund"]);
        assert_eq!(theirs.unwrap().scope(), 2);
    }
}
