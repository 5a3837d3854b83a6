//! Rules: who may do what, how often, how many at a time, for how long.
//!
//! A [`Rule`] selects operations ([`Selector`]) and says what becomes of them ([`Action`]). All rules of a listener are
//! compiled once into [`Rules`]; [`Rules::judge`] then looks at one operation, without allocating and without locks:
//! 1. the first `Deny` or `ReadOnly` that applies refuses it;
//! 2. otherwise every limit that applies has to have room, and what earlier ones gave goes back when a later one has none;
//! 3. otherwise it may be disturbed on purpose, and has the shortest of the time limits that apply.
//!
//! What limits remember ([`limit`]) is shared by all workers and outlives a reload as long as the rule's name does.
//!
//! An operation that belongs to the connection or the session (handshakes, commits, ends of cursors) is touched only by rules
//! that name its operation or its class: otherwise a rule about a database would lock everybody out.

pub mod limit;
mod select;

pub use limit::{Bucket, Permit, Rate, States};
pub use select::{Globs, Operations, Selector, glob};

use crate::exchange::Now;
use limit::State;
use std::sync::Arc;
use std::time::Duration;

/// What kind of thing an operation does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum OperationClass {
    /// Reads what users keep, changes nothing.
    Read = 1,
    /// May change what users keep.
    Write = 2,
    /// Looks at or changes the server.
    Admin = 4,
    /// Belongs to the connection, the session, the transaction.
    Session = 8,
}

/// An operation as rules see it.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// The database, or what the protocol has in its place.
    pub database: &'a [u8],
    /// The collection, table, service.
    pub collection: &'a [u8],
    /// It touches other collections of the database too, or may do so.
    pub more_collections: bool,
    /// It touches other databases too, or may do so.
    pub more_databases: bool,
    /// The protocol's number for the operation.
    pub operation: u16,
    /// The number of the operation inside it, if there is one (`explain`); otherwise the same.
    pub inner: u16,
    /// What kind of thing it does.
    pub class: OperationClass,
    /// It changes something: data or the server.
    pub changes: bool,
    /// What the application calls itself, empty when it does not.
    pub application: &'a [u8],
    /// The hash of what is asked without its values, where it is known.
    pub shape: Option<u64>,
    /// It waits for news, however long that takes: time limits are not for it.
    pub parked: bool,
}

/// What is certain of an operation of which the database and perhaps more is not known yet.
#[derive(Debug, Clone, Copy)]
pub struct Foreseen<'a> {
    /// The collection; `None` where it may be any, or touch others besides.
    pub collection: Option<&'a [u8]>,
    /// The protocol's number for the operation; there is none inside.
    pub operation: u16,
    /// What kind of thing it does.
    pub class: OperationClass,
    /// It is a write, or may turn out to be one.
    pub writes: bool,
    /// What the application calls itself.
    pub application: &'a [u8],
}

/// What becomes of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// It is refused.
    Deny,
    /// It is refused if it changes anything.
    ReadOnly,
    /// It is refused beyond this rate.
    Rate(Rate),
    /// It is refused while so many others are under way.
    Concurrency(u32),
    /// It may take so long.
    Deadline(Duration),
    /// A share of them is disturbed on purpose.
    Fault(Disturbance),
}

/// A disturbance on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Disturbance {
    /// Of how many in a hundred.
    pub percent: u8,
    /// It is held back so long.
    pub delay: Option<Duration>,
    /// Then it is refused.
    pub refuse: bool,
}

/// One rule.
#[derive(Debug, Clone)]
pub struct Rule {
    /// Its name: the identity of what it remembers.
    pub name: Arc<str>,
    /// What it applies to.
    pub selector: Selector,
    /// What becomes of that.
    pub action: Action,
}

/// Why an operation is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// It is not allowed.
    Denied,
    /// It would change something.
    ReadOnly,
    /// There were too many in too short a time.
    Rate,
    /// There are too many at once.
    Concurrency,
    /// On purpose.
    Fault,
}

/// What the rules say of an operation. Rules are named by their position.
#[derive(Debug, Default)]
pub struct Judgement {
    /// It is refused, by this rule.
    pub refused: Option<(usize, Cause)>,
    /// It is held back first, by this rule.
    pub delay: Option<(usize, Duration)>,
    /// It may take so long, says this rule.
    pub deadline: Option<(usize, Duration)>,
    /// Its places under concurrency limits: to be kept until it has ended.
    pub permits: Permits,
}

/// The places of one operation. More than one is rare, and only that takes memory of its own.
#[derive(Debug, Default)]
pub struct Permits {
    first: Option<Permit>,
    more: Vec<Permit>,
}

impl Permits {
    fn push(&mut self, permit: Permit) {
        match self.first {
            None => self.first = Some(permit),
            Some(_) => self.more.push(permit),
        }
    }

    /// How many places these are.
    pub fn count(&self) -> usize {
        usize::from(self.first.is_some()) + self.more.len()
    }
}

/// The rules of a listener, compiled.
#[derive(Debug, Default)]
pub struct Rules {
    rules: Box<[Compiled]>,
}

#[derive(Debug)]
struct Compiled {
    selector: Selector,
    action: Action,
    state: Arc<State>,
}

impl Rules {
    /// Compiles rules. `scope` (the listener) and a rule's name together say which state in `states` is its own.
    pub fn new(rules: &[Rule], scope: &str, states: &States) -> Rules {
        let compile = |rule: &Rule| Compiled {
            selector: rule.selector.clone(),
            action: rule.action,
            state: states.of(scope, &rule.name),
        };
        Rules { rules: rules.iter().map(compile).collect() }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Whether some rule may apply to what is only known so far, whatever the rest turns out to be.
    pub fn may_concern(&self, known: &Foreseen<'_>) -> bool {
        let asks = |rule: &Compiled| known.writes || rule.action != Action::ReadOnly;
        self.rules.iter().any(|rule| asks(rule) && rule.selector.may_match(known))
    }

    /// What the rules say of an operation, which takes its places in the limits. `random` decides on disturbances.
    pub fn judge(&self, subject: &Subject<'_>, now: Now, random: u64) -> Judgement {
        if let Some(refused) = self.refusal(subject) {
            return Judgement { refused: Some(refused), ..Judgement::default() };
        }
        let mut judgement = Judgement::default();
        if let Err(refused) = self.limits(subject, now, &mut judgement.permits) {
            return Judgement { refused: Some(refused), ..Judgement::default() };
        }
        self.disturb(subject, random, &mut judgement);
        judgement.deadline = self.deadline(subject);
        judgement
    }

    /// What forbids it. What is in doubt is forbidden.
    fn refusal(&self, subject: &Subject<'_>) -> Option<(usize, Cause)> {
        self.rules.iter().enumerate().find_map(|(n, rule)| {
            let cause = match rule.action {
                Action::Deny => Cause::Denied,
                Action::ReadOnly if subject.changes => Cause::ReadOnly,
                _ => return None,
            };
            rule.selector.matches(subject, true).then_some((n, cause))
        })
    }

    fn limits(&self, subject: &Subject<'_>, now: Now, permits: &mut Permits) -> Result<(), (usize, Cause)> {
        for (n, rule) in self.rules.iter().enumerate() {
            // What waits for news may wait for hours, and costs nothing meanwhile.
            if let Action::Concurrency(limit) = rule.action
                && !subject.parked
                && rule.selector.matches(subject, false)
            {
                permits.push(limit::enter(&rule.state, limit).ok_or((n, Cause::Concurrency))?);
            }
        }
        for (n, rule) in self.rates(subject) {
            let Action::Rate(rate) = rule.action else { continue };
            if !rule.state.bucket.take(rate, now) {
                // The others have no reason to count what is not going to happen.
                for (_, earlier) in self.rates(subject).take_while(|(m, _)| *m < n) {
                    if let Action::Rate(rate) = earlier.action {
                        earlier.state.bucket.give_back(rate);
                    }
                }
                return Err((n, Cause::Rate));
            }
        }
        Ok(())
    }

    fn rates(&self, subject: &Subject<'_>) -> impl Iterator<Item = (usize, &Compiled)> {
        self.rules.iter().enumerate().filter(|(_, rule)| {
            matches!(rule.action, Action::Rate(_)) && rule.selector.matches(subject, false)
        })
    }

    fn disturb(&self, subject: &Subject<'_>, random: u64, judgement: &mut Judgement) {
        let mut random = random;
        for (n, rule) in self.rules.iter().enumerate() {
            let Action::Fault(disturbance) = rule.action else { continue };
            if !rule.selector.matches(subject, false) {
                continue;
            }
            // Each rule throws dice of its own (the step of a linear congruential generator, Knuth's constants).
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let thrown = (u128::from(random) * 100) >> 64;
            if thrown >= u128::from(disturbance.percent) {
                continue;
            }
            if let Some(delay) = disturbance.delay
                && judgement.delay.is_none_or(|(_, longest)| delay > longest)
            {
                judgement.delay = Some((n, delay));
            }
            if disturbance.refuse {
                judgement.refused = Some((n, Cause::Fault));
                return;
            }
        }
    }

    fn deadline(&self, subject: &Subject<'_>) -> Option<(usize, Duration)> {
        if subject.parked {
            return None;
        }
        let deadlines = self.rules.iter().enumerate().filter_map(|(n, rule)| match rule.action {
            Action::Deadline(limit) if rule.selector.matches(subject, false) => Some((n, limit)),
            _ => None,
        });
        deadlines.min_by_key(|(_, limit)| *limit)
    }
}
