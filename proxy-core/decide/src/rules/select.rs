//! What a rule applies to.

use super::{Foreseen, OperationClass, Subject, Touch};
use std::sync::Arc;

/// What a rule applies to: every list that is not empty has to match.
#[derive(Debug, Clone, Default)]
pub struct Selector {
    /// The database.
    pub databases: Globs,
    /// The collection.
    pub collections: Globs,
    /// What the application calls itself.
    pub applications: Globs,
    /// The operation.
    pub operations: Operations,
    /// The class, as a set of the bits of [`OperationClass`]; 0 is any.
    pub classes: u8,
    /// Hashes of what is asked without its values; none is any.
    pub shapes: Arc<[u64]>,
}

impl Selector {
    /// Whether the rule applies, by the names by which the operation goes.
    pub(super) fn matches(&self, subject: &Subject<'_>) -> bool {
        self.matches_but_names(subject)
            && self.databases.matches(subject.database)
            && self.collections.matches(subject.collection)
            && (self.shapes.is_empty() || subject.shape.is_some_and(|shape| self.shapes.contains(&shape)))
    }

    /// Whether the rule applies to anything that the operation touches or may touch, or only to what it changes.
    pub(super) fn may_be_meant(&self, subject: &Subject<'_>, changed: bool) -> bool {
        let fits = |globs: &Globs, name: Option<&[u8]>| name.is_none_or(|name| globs.matches(name));
        let meant = |touch: &Touch<'_>| {
            (touch.changed || !changed)
                && fits(&self.databases, touch.database)
                && fits(&self.collections, touch.collection)
        };
        let any_name = self.databases.is_any() && self.collections.is_any();
        let one = Touch {
            database: Some(subject.database),
            collection: Some(subject.collection),
            changed: subject.changes,
        };
        self.matches_but_names(subject)
            && (any_name
                || if subject.touches.is_empty() { meant(&one) } else { subject.touches.iter().any(meant) })
            && (self.shapes.is_empty() || subject.shape.is_none_or(|shape| self.shapes.contains(&shape)))
    }

    /// Whether it may depend on the names of databases or collections.
    pub fn goes_by_names(&self) -> bool {
        !self.databases.is_any() || !self.collections.is_any()
    }

    fn matches_but_names(&self, subject: &Subject<'_>) -> bool {
        self.class(subject)
            && self.operations.matches(subject.operation, subject.inner)
            && self.applications.matches(subject.application)
    }

    /// Whether the rule may apply, as far as that can be told.
    pub(super) fn may_match(&self, known: &Foreseen<'_>) -> bool {
        let writes = if known.writes { OperationClass::Write as u8 } else { 0 };
        let class = self.classes == 0 || self.classes & (known.class as u8 | writes) != 0;
        class
            && self.operations.matches(known.operation, known.operation)
            && self.applications.matches(known.application)
            && known.collection.is_none_or(|name| self.collections.matches(name))
    }

    fn class(&self, subject: &Subject<'_>) -> bool {
        match self.classes {
            0 => subject.class != OperationClass::Session || self.operations.names(subject.operation),
            classes => classes & subject.class as u8 != 0,
        }
    }
}

/// Patterns for names: `*` stands for any run of bytes, `?` for one; a pattern after `!` excludes. A name matches when some
/// pattern does (or there are only exclusions) and no exclusion does. Without patterns everything matches.
#[derive(Debug, Clone, Default)]
pub struct Globs {
    wanted: Arc<[Box<[u8]>]>,
    excluded: Arc<[Box<[u8]>]>,
}

impl Globs {
    /// From patterns as they are written.
    pub fn new<'a>(patterns: impl IntoIterator<Item = &'a str>) -> Globs {
        let (mut wanted, mut excluded) = (Vec::new(), Vec::new());
        for pattern in patterns {
            match pattern.strip_prefix('!') {
                Some(pattern) => excluded.push(pattern.as_bytes().into()),
                None => wanted.push(pattern.as_bytes().into()),
            }
        }
        Globs { wanted: wanted.into(), excluded: excluded.into() }
    }

    /// Whether everything matches.
    pub fn is_any(&self) -> bool {
        self.wanted.is_empty() && self.excluded.is_empty()
    }

    /// Whether the name matches.
    pub fn matches(&self, name: &[u8]) -> bool {
        (self.wanted.is_empty() || self.wanted.iter().any(|pattern| glob(pattern, name)))
            && !self.excluded.iter().any(|pattern| glob(pattern, name))
    }
}

/// Whether `name` fits `pattern`, in which `*` stands for any run of bytes and `?` for one. Linear in the name for each `*`
/// of the pattern.
pub fn glob(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n) = (0, 0);
    // Where to go on when what follows the last `*` does not fit: one byte further.
    let mut retry: Option<(usize, usize)> = None;
    while n < name.len() {
        match pattern.get(p) {
            Some(b'*') => {
                retry = Some((p + 1, n));
                p += 1;
            }
            Some(wanted) if *wanted == b'?' || Some(wanted) == name.get(n) => {
                p += 1;
                n += 1;
            }
            _ => match retry {
                Some((after, from)) => {
                    retry = Some((after, from + 1));
                    p = after;
                    n = from + 1;
                }
                None => return false,
            },
        }
    }
    pattern.get(p..).is_some_and(|rest| rest.iter().all(|byte| *byte == b'*'))
}

/// Operations by their numbers, wanted or excluded like names. Without any, every operation matches.
#[derive(Debug, Clone, Default)]
pub struct Operations {
    wanted: Arc<[u16]>,
    excluded: Arc<[u16]>,
}

impl Operations {
    /// Those wanted and those excluded.
    pub fn new(wanted: &[u16], excluded: &[u16]) -> Operations {
        let sorted = |numbers: &[u16]| {
            let mut numbers = numbers.to_vec();
            numbers.sort_unstable();
            numbers.into()
        };
        Operations { wanted: sorted(wanted), excluded: sorted(excluded) }
    }

    /// Whether the operation is wanted by its number.
    fn names(&self, operation: u16) -> bool {
        self.wanted.binary_search(&operation).is_ok()
    }

    /// Whether the operation matches, by its own number or by that of what is inside it.
    fn matches(&self, operation: u16, inner: u16) -> bool {
        let excluded = |number: &u16| self.excluded.binary_search(number).is_ok();
        (self.wanted.is_empty() || self.names(operation) || self.names(inner))
            && !excluded(&operation)
            && !excluded(&inner)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_their_patterns() {
        for (pattern, fits, not) in [
            ("orders", &["orders"][..], &["order", "orders2", "Orders", ""][..]),
            ("orders*", &["orders", "orders_2024"], &["order", "xorders"]),
            ("*_tmp", &["a_tmp", "_tmp", "_tmp_tmp"], &["_tmp2", "tmp"]),
            ("t?nant_*_x", &["tenant_1_x", "tanant__x", "tenant_1_x_x"], &["tnant_1_x", "tenant_1_y"]),
            ("*", &["", "anything"], &[]),
            ("**a*", &["a", "ba", "ab"], &["", "b"]),
            ("", &[""], &["a"]),
            ("?", &["a"], &["", "ab"]),
        ] {
            for name in fits {
                assert!(glob(pattern.as_bytes(), name.as_bytes()), "{pattern} {name}");
            }
            for name in not {
                assert!(!glob(pattern.as_bytes(), name.as_bytes()), "{pattern} {name}");
            }
        }
    }

    #[test]
    fn lists_want_and_exclude() {
        for (patterns, fits, not) in [
            (&[][..], &["", "a"][..], &[][..]),
            (&["a", "b*"], &["a", "b", "bc"], &["c", ""]),
            (&["!admin"], &["a", ""], &["admin"]),
            (&["a*", "!ab"], &["a", "ac"], &["ab", "b"]),
        ] {
            let globs = Globs::new(patterns.iter().copied());
            assert_eq!(globs.is_any(), patterns.is_empty());
            for name in fits {
                assert!(globs.matches(name.as_bytes()), "{patterns:?} {name}");
            }
            for name in not {
                assert!(!globs.matches(name.as_bytes()), "{patterns:?} {name}");
            }
        }
    }
}
