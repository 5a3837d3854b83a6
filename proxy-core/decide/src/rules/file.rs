//! What the rules of every protocol have in the file: the kinds and fields that their tables share, and how they are read. Tables
//! stand with the protocols, since they say what a rule does in a protocol's own words.

use super::{Action, Globs, OperationClass, Operations, Rate};
use std::sync::Arc;
use std::time::Duration;
use weir_config::{Field, Fields, Kind, Node, Walk, words};

/// The most rules of a listener.
pub const MOST: usize = 256;
/// A rule's name.
pub const NAME: Kind = Kind::Text { max: 64 };
/// Patterns for names.
pub const PATTERNS: Kind = Kind::OneOrMany(&PATTERN);
/// Classes of operations.
pub const CLASSES: Kind = Kind::OneOrMany(&CLASS);
/// Hashes of shapes.
pub const SHAPES: Kind = Kind::OneOrMany(&SHAPE);

const PATTERN: Kind = Kind::Text { max: 255 };
const SHAPE: Kind = Kind::Text { max: 64 };
const CLASS: Kind = Kind::OneOf(ClassWord::CHOICES);

words! {
    enum ClassWord {
        /// Reads data, changes nothing.
        Read = "read",
        /// May change data, collections or indexes; every command that is not known.
        Write = "write",
        /// Looks at or changes the server, its users, replication or sharding.
        Admin = "admin",
        /// Handshakes, authentication, sessions, transactions, ends of cursors.
        Session = "session",
    }
}

/// `rate.count`
pub const COUNT: Field = Field::required(
    "count",
    Kind::Integer { min: 1, max: 1_000_000 },
    "How many in the long run, in each `per`.",
);
/// `rate.per`
pub const PER: Field =
    Field::with_default("per", Kind::Duration { min: 1, max: 86_400_000 }, "1s", "In how long a time.");
/// `rate.burst`
pub const BURST: Field = Field::optional(
    "burst",
    Kind::Integer { min: 1, max: 1_000_000 },
    "How many at once after a pause. Without it as many as `count`.",
);
/// `deny.message`, `read_only.message`
pub const MESSAGE: Field =
    Field::optional("message", Kind::Text { max: 200 }, "What to tell the application.");
/// `fault.percent`
pub const PERCENT: Field =
    Field::with_default("percent", Kind::Integer { min: 1, max: 100 }, "100", "Of how many in a hundred.");
/// `fault.delay`
pub const DELAY: Field =
    Field::optional("delay", Kind::Duration { min: 1, max: 60_000 }, "Holds them back so long.");

/// Reads a list of rules, of which no two have the same name; nothing only when an error was recorded.
pub fn list<S>(
    walk: &mut Walk<'_>,
    fields: &Fields<'_>,
    key: &str,
    one: impl Fn(&mut Walk<'_>, &Node) -> Option<S>,
    name: impl Fn(&S) -> &Arc<str>,
) -> Option<Arc<[S]>> {
    let Some(items) = fields.items(walk, key) else {
        // Not there, or wrong, which has been recorded.
        return Some(Arc::new([]));
    };
    let mut rules: Vec<S> = Vec::new();
    let mut good = true;
    for node in items {
        match one(walk, node) {
            Some(rule) if rules.iter().any(|other| name(other) == name(&rule)) => {
                walk.error(node.child("name").unwrap_or(node), "another rule of this listener has this name");
                good = false;
            }
            Some(rule) => rules.push(rule),
            None => good = false,
        }
    }
    good.then(|| rules.into())
}

/// What a rule does, so far as that is the same for every protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Does {
    /// Nothing for a fault, and where an error was recorded.
    pub action: Option<Action>,
    /// What to tell those that are denied.
    pub message: Option<Arc<str>>,
}

/// Reads `deny`, `read_only`, `rate`, `concurrency` and `deadline` of a rule, which has one of them at most. A fault refuses in a
/// protocol's own words.
pub fn action(walk: &mut Walk<'_>, fields: &Fields<'_>) -> Does {
    let mut does = Does { action: None, message: None };
    if let Some(deny) = fields.table(walk, "deny") {
        does = Does { action: Some(Action::Deny), message: deny.text(walk, "message") };
    }
    if let Some(read_only) = fields.table(walk, "read_only") {
        does = Does { action: Some(Action::ReadOnly), message: read_only.text(walk, "message") };
    }
    if let Some(rate) = fields.table(walk, "rate") {
        let count = rate.number(walk, "count");
        let per: Option<Duration> = rate.duration(walk, "per");
        let burst = rate.number(walk, "burst");
        let rate = count.zip(per).map(|(count, per)| Rate::new(count, per, burst.unwrap_or(count)));
        does.action = rate.map(Action::Rate);
    }
    if let Some(limit) = fields.number(walk, "concurrency") {
        does.action = Some(Action::Concurrency(limit));
    }
    if let Some(limit) = fields.duration(walk, "deadline") {
        does.action = Some(Action::Deadline(limit));
    }
    does
}

/// Reads classes, as a set of their bits.
pub fn classes(walk: &mut Walk<'_>, fields: &Fields<'_>, key: &str) -> Option<u8> {
    let mut classes = Some(0);
    for node in fields.items(walk, key).unwrap_or_default() {
        let class = walk.word(node, &CLASS).map(|word| match word {
            ClassWord::Read => OperationClass::Read,
            ClassWord::Write => OperationClass::Write,
            ClassWord::Admin => OperationClass::Admin,
            ClassWord::Session => OperationClass::Session,
        });
        classes = classes.zip(class).map(|(classes, class)| classes | class as u8);
    }
    classes
}

/// Reads hashes as the slow operations show them.
pub fn shapes(walk: &mut Walk<'_>, fields: &Fields<'_>, key: &str) -> Option<Arc<[u64]>> {
    let (mut shapes, mut good) = (Vec::new(), true);
    for node in fields.items(walk, key).unwrap_or_default() {
        let Some(text) = walk.text(node, &SHAPE) else {
            good = false;
            continue;
        };
        match u64::from_str_radix(&text, 16) {
            Ok(hash) if text.len() == 16 => shapes.push(hash),
            _ => {
                walk.error(node, "expected the 16 hexadecimal digits of a shape's hash, in quotes");
                good = false;
            }
        }
    }
    good.then(|| shapes.into())
}

/// Reads patterns for names.
pub fn globs(walk: &mut Walk<'_>, fields: &Fields<'_>, key: &str) -> Option<Globs> {
    let nodes = fields.items(walk, key).unwrap_or_default();
    let texts: Vec<_> = nodes.iter().map(|node| walk.text(node, &PATTERN)).collect();
    let texts: Option<Vec<Arc<str>>> = texts.into_iter().collect();
    Some(Globs::new(texts?.iter().map(|text| &**text)))
}

/// The operations of a protocol by name.
#[derive(Debug)]
pub struct Named {
    /// What is expected, for errors.
    pub expected: &'static str,
    /// The number of the operation of this name.
    pub number: fn(&str) -> Option<u16>,
    /// All names that there are.
    pub known: fn() -> Box<dyn Iterator<Item = &'static str>>,
}

/// Reads names of operations; those after `!` are excluded.
pub fn operations(walk: &mut Walk<'_>, fields: &Fields<'_>, key: &str, named: &Named) -> Option<Operations> {
    let (mut wanted, mut excluded, mut good) = (Vec::new(), Vec::new(), true);
    for node in fields.items(walk, key).unwrap_or_default() {
        let Some(text) = walk.text(node, &PATTERN) else {
            good = false;
            continue;
        };
        let (list, name) = match text.strip_prefix('!') {
            Some(name) => (&mut excluded, name),
            None => (&mut wanted, &*text),
        };
        match (named.number)(name) {
            Some(number) => list.push(number),
            None => {
                walk.unlisted(node, name, named.expected, (named.known)());
                good = false;
            }
        }
    }
    good.then(|| Operations::new(&wanted, &excluded))
}
