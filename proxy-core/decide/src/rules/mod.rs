//! Rules: who may do what, how often, how many at a time, for how long.
//!
//! A [`Rule`] selects operations ([`Selector`]) and says what becomes of them ([`Action`]). All rules of a listener are
//! compiled once into [`Rules`]; [`Rules::judge`] then looks at one operation, without allocating and without locks:
//! 1. the first `Deny` or `ReadOnly` that applies refuses it;
//! 2. otherwise every limit that applies has to have room, and what earlier ones gave goes back when a later one has none;
//! 3. otherwise it may be disturbed on purpose, and has the shortest of the time limits that apply.
//!
//! A rule that only runs dry does none of that: of what the others let through it says what would have become of it.
//!
//! What limits remember ([`limit`]) is shared by all workers and outlives a reload as long as the rule's name does.
//!
//! An operation that belongs to the connection or the session (handshakes, commits, ends of cursors) is touched only by rules
//! that name its operation or its class: otherwise a rule about a database would lock everybody out.

pub mod file;
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
    /// All that it touches, or may touch: what forbids goes by it. Where it is empty that is the one collection above.
    pub touches: &'a [Touch<'a>],
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
    /// It waits for news: it takes no place of those that are under way at a time.
    pub parked: bool,
    /// How long it may wait for them, which a time limit adds to; `None`: however long that takes, time limits are not for it.
    pub waits: Option<Duration>,
}

/// Something that an operation touches. A name of `None` may be any.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Touch<'a> {
    /// The database.
    pub database: Option<&'a [u8]>,
    /// The collection, empty where it is about none.
    pub collection: Option<&'a [u8]>,
    /// It is changed, or may be; otherwise it is only read.
    pub changed: bool,
}

impl Touch<'_> {
    /// Nobody knows what: it may be anything.
    pub const ANY: Touch<'static> = Touch { database: None, collection: None, changed: true };
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

impl Action {
    /// Its word, in the file and in metrics.
    pub fn word(&self) -> &'static str {
        match self {
            Action::Deny => "deny",
            Action::ReadOnly => "read_only",
            Action::Rate(_) => "rate",
            Action::Concurrency(_) => "concurrency",
            Action::Deadline(_) => "deadline",
            Action::Fault(_) => "fault",
        }
    }
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
    /// It is only said what would become of it: [`Judgement::would`].
    pub dry_run: bool,
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
    /// What else would have become of it by rules that only run dry: each of them that would have refused or disturbed it.
    pub would: Vec<usize>,
    /// The time limits of rules that only run dry.
    pub dry_deadlines: Vec<(usize, Duration)>,
}

/// The rates under which the batches of a stream come.
#[derive(Debug, Default)]
pub struct Recurring(Vec<(usize, Rate, bool, Arc<State>)>);

/// What rates say of another batch of a stream.
#[derive(Debug, Default)]
pub struct Further {
    /// It is held back until then.
    pub until: Now,
    /// The rules that hold it back, or would if they did not only run dry.
    pub acted: Vec<usize>,
}

impl Recurring {
    /// Another batch begins: it takes its place under each rate, when that has one.
    pub fn further(&self, now: Now) -> Further {
        let mut further = Further { until: now, acted: Vec::new() };
        for (n, rate, dry_run, state) in &self.0 {
            let held = if *dry_run {
                !state.bucket.take(*rate, now)
            } else {
                let due = state.bucket.book(*rate, now);
                further.until = further.until.max(due);
                due > now
            };
            if held {
                further.acted.push(*n);
            }
        }
        further
    }
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
    dry_run: bool,
    state: Arc<State>,
}

impl Compiled {
    /// Why it forbids the operation. What is in doubt is forbidden.
    fn forbids(&self, subject: &Subject<'_>) -> Option<Cause> {
        let (cause, changes) = match self.action {
            Action::Deny => (Cause::Denied, false),
            Action::ReadOnly if subject.changes => (Cause::ReadOnly, true),
            _ => return None,
        };
        self.selector.may_be_meant(subject, changes).then_some(cause)
    }
}

impl Rules {
    /// Compiles rules. `scope` (the listener) and a rule's name together say which state in `states` is its own.
    pub fn new(rules: &[Rule], scope: &str, states: &States) -> Rules {
        let compile = |rule: &Rule| Compiled {
            selector: rule.selector.clone(),
            action: rule.action,
            dry_run: rule.dry_run,
            state: states.of(scope, &rule.name),
        };
        Rules { rules: rules.iter().map(compile).collect() }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Whether some rule is more than a dry run.
    pub fn enforce(&self) -> bool {
        self.rules.iter().any(|rule| !rule.dry_run)
    }

    /// Whether some rule, or some that is no dry run, may apply to what is only known so far, whatever the rest turns out to be.
    pub fn may_concern(&self, known: &Foreseen<'_>, enforced: bool) -> bool {
        let asks = |rule: &Compiled| known.writes || rule.action != Action::ReadOnly;
        let mut rules = self.rules.iter().filter(|rule| !(enforced && rule.dry_run));
        rules.any(|rule| asks(rule) && rule.selector.may_match(known))
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
        if self.rules.iter().any(|rule| rule.dry_run) {
            self.run_dry(subject, now, &mut judgement);
        }
        self.disturb(subject, random, &mut judgement);
        judgement.deadline = self.deadlines(subject, false).min_by_key(|(_, limit)| *limit);
        judgement
    }

    /// The rates under which further batches of an operation come, where it is one of a stream.
    pub fn recurring(&self, subject: &Subject<'_>) -> Recurring {
        let rates = self.rules.iter().enumerate().filter_map(|(n, rule)| match rule.action {
            Action::Rate(rate) if rule.selector.matches(subject) => {
                Some((n, rate, rule.dry_run, Arc::clone(&rule.state)))
            }
            _ => None,
        });
        Recurring(rates.collect())
    }

    fn enforced(&self) -> impl Iterator<Item = (usize, &Compiled)> {
        self.rules.iter().enumerate().filter(|(_, rule)| !rule.dry_run)
    }

    /// What forbids it.
    fn refusal(&self, subject: &Subject<'_>) -> Option<(usize, Cause)> {
        self.enforced().find_map(|(n, rule)| Some((n, rule.forbids(subject)?)))
    }

    /// What would become of an operation that is let through, by rules that only run dry: each goes by itself, and counts what it
    /// would if it held.
    #[cold]
    fn run_dry(&self, subject: &Subject<'_>, now: Now, judgement: &mut Judgement) {
        for (n, rule) in self.rules.iter().enumerate().filter(|(_, rule)| rule.dry_run) {
            let applies = || rule.selector.matches(subject);
            let would = match rule.action {
                Action::Deny | Action::ReadOnly => rule.forbids(subject).is_some(),
                Action::Concurrency(limit) if !subject.parked && applies() => {
                    match limit::enter(&rule.state, limit) {
                        Some(permit) => {
                            judgement.permits.push(permit);
                            false
                        }
                        None => true,
                    }
                }
                Action::Rate(rate) => applies() && !rule.state.bucket.take(rate, now),
                Action::Concurrency(_) | Action::Deadline(_) | Action::Fault(_) => false,
            };
            if would {
                judgement.would.push(n);
            }
        }
        judgement.dry_deadlines = self.deadlines(subject, true).collect();
    }

    fn limits(&self, subject: &Subject<'_>, now: Now, permits: &mut Permits) -> Result<(), (usize, Cause)> {
        for (n, rule) in self.enforced() {
            // What waits for news may wait for hours, and costs nothing meanwhile.
            if let Action::Concurrency(limit) = rule.action
                && !subject.parked
                && rule.selector.matches(subject)
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
        self.enforced()
            .filter(|(_, rule)| matches!(rule.action, Action::Rate(_)) && rule.selector.matches(subject))
    }

    fn disturb(&self, subject: &Subject<'_>, random: u64, judgement: &mut Judgement) {
        let mut random = random;
        for (n, rule) in self.rules.iter().enumerate() {
            let Action::Fault(disturbance) = rule.action else { continue };
            if !rule.selector.matches(subject) {
                continue;
            }
            // Each rule throws dice of its own (the step of a linear congruential generator, Knuth's constants).
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let thrown = (u128::from(random) * 100) >> 64;
            if thrown >= u128::from(disturbance.percent) {
                continue;
            }
            if rule.dry_run {
                judgement.would.push(n);
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

    fn deadlines(&self, subject: &Subject<'_>, dry_run: bool) -> impl Iterator<Item = (usize, Duration)> {
        let waits = if subject.parked { subject.waits } else { Some(Duration::ZERO) };
        self.rules.iter().enumerate().filter_map(move |(n, rule)| match rule.action {
            Action::Deadline(limit) if rule.dry_run == dry_run && rule.selector.matches(subject) => {
                Some((n, limit + waits?))
            }
            _ => None,
        })
    }
}
