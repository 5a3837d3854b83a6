//! The rules of a listener in force: what they say of an operation, what it keeps of them while it is under way, and what is counted
//! of that. The same for every protocol, above what it tells of an operation (the engine's [`Subject`]); a protocol reads its file's
//! words into [`RuleSettings`], and words the refusals.

use crate::names::Family;
use crate::{Counter, Measure};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::{Arc, LazyLock};
use std::time::Duration;
use weir_decide::exchange::{Now, Reason};
use weir_decide::rules::{
    Action, Cause, Foreseen, Judgement, Permits, Recurring, Rule, Rules, States, Subject,
};

/// What the limits of all listeners remember.
static STATES: LazyLock<States> = LazyLock::new(States::default);

/// A rule as the file has it. `E`: the error with which a protocol's fault refuses.
#[derive(Debug, Clone)]
pub struct RuleSettings<E> {
    /// What the engine has to know.
    pub rule: Rule,
    /// What to tell those that are denied.
    pub message: Option<Arc<str>>,
    /// With which error a fault refuses.
    pub error: Option<E>,
}

/// The rules of a listener on one worker, shared by its connections, so that those which stand keep to new ones from their next
/// operation on.
#[derive(Debug)]
pub struct Control<E> {
    in_force: Cell<bool>,
    /// Some of them is more than a dry run.
    enforced: Cell<bool>,
    active: RefCell<Rc<Active<E>>>,
}

impl<E> Default for Control<E> {
    fn default() -> Control<E> {
        Control { in_force: Cell::default(), enforced: Cell::default(), active: RefCell::default() }
    }
}

impl<E: Copy> Control<E> {
    /// From now on these rules hold. What they do is counted in `acted`, by listener, rule, action and whether it is a dry run.
    pub fn replace(
        &self,
        listener: &str,
        rules: &[RuleSettings<E>],
        measure: &Measure,
        acted: &'static Family,
    ) {
        let active = Active::new(listener, rules, measure, acted);
        self.in_force.set(!rules.is_empty());
        self.enforced.set(active.enforce());
        *self.active.borrow_mut() = Rc::new(active);
    }

    /// Whether there are any.
    pub fn is_in_force(&self) -> bool {
        self.in_force.get()
    }

    /// Whether any of them has to hold: nothing passes unread then.
    pub fn is_enforced(&self) -> bool {
        self.enforced.get()
    }

    /// Those in force.
    pub fn active(&self) -> Rc<Active<E>> {
        Rc::clone(&self.active.borrow())
    }
}

/// What takes effort to find out of an operation, and whether some rule asks for it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Asks {
    /// The shape of what is asked, which takes a walk over all of it.
    pub shape: bool,
    /// All names that it touches: some rule forbids by names.
    pub names: bool,
    /// How long it may take.
    pub deadline: bool,
}

/// Rules in force.
#[derive(Debug)]
pub struct Active<E> {
    rules: Rules,
    details: Box<[Detail<E>]>,
    /// What counts that a rule acted, by its position.
    acted: Rc<[Counter]>,
    asks: Asks,
}

/// What the engine need not know of a rule.
#[derive(Debug)]
struct Detail<E> {
    name: Arc<str>,
    message: Option<Arc<str>>,
    error: Option<E>,
}

impl<E> Default for Active<E> {
    fn default() -> Active<E> {
        let (rules, details, acted) = (Rules::default(), Box::default(), Rc::default());
        Active { rules, details, acted, asks: Asks::default() }
    }
}

impl<E: Copy> Active<E> {
    fn new(
        listener: &str,
        rules: &[RuleSettings<E>],
        measure: &Measure,
        acted: &'static Family,
    ) -> Active<E> {
        let counter = |RuleSettings { rule, .. }: &RuleSettings<E>| {
            let dry_run = if rule.dry_run { "true" } else { "false" };
            measure.counter(acted, &[listener, &rule.name, rule.action.word(), dry_run])
        };
        let detail = |RuleSettings { rule, message, error }: &RuleSettings<E>| Detail {
            name: Arc::clone(&rule.name),
            message: message.clone(),
            error: *error,
        };
        let engine: Vec<Rule> = rules.iter().map(|settings| settings.rule.clone()).collect();
        let forbids = |rule: &Rule| matches!(rule.action, Action::Deny | Action::ReadOnly);
        let asks = Asks {
            shape: engine.iter().any(|rule| !rule.selector.shapes.is_empty()),
            names: engine.iter().any(|rule| forbids(rule) && rule.selector.goes_by_names()),
            deadline: engine.iter().any(|rule| !rule.dry_run && matches!(rule.action, Action::Deadline(_))),
        };
        Active {
            rules: Rules::new(&engine, listener, &STATES),
            details: rules.iter().map(detail).collect(),
            acted: rules.iter().map(counter).collect(),
            asks,
        }
    }

    /// Whether some rule is more than a dry run.
    pub fn enforce(&self) -> bool {
        self.rules.enforce()
    }

    /// What has to be found out of operations.
    pub fn asks(&self) -> Asks {
        self.asks
    }

    /// Whether some rule, or some that is no dry run, may apply to what is only known so far, whatever the rest turns out to be.
    pub fn may_concern(&self, known: &Foreseen<'_>, enforced: bool) -> bool {
        self.rules.may_concern(known, enforced)
    }

    /// What the rules say of an operation, which takes its places in the limits; what they do is counted. `streams`: it is answered
    /// by a stream of replies. `random` decides on disturbances.
    pub fn judge(&self, subject: &Subject<'_>, streams: bool, now: Now, random: u64) -> Ruled<E> {
        let judgement = self.rules.judge(subject, now, random);
        judgement.would.iter().for_each(|rule| self.acted(*rule));
        let recurring = || Stream { acted: Rc::clone(&self.acted), rates: self.rules.recurring(subject) };
        let stream = streams.then(|| Box::new(recurring()));
        let Judgement { refused, delay, deadline, permits, dry_deadlines, .. } = judgement;
        if let Some((n, _)) = delay {
            self.acted(n);
        }
        let refused = refused.and_then(|(n, cause)| {
            // A delay and an error of one rule are one act of it.
            if delay.is_none_or(|(delayed, _)| delayed != n) {
                self.acted(n);
            }
            self.refusal(n, cause)
        });
        let overdue = deadline
            .and_then(|(n, _)| Some((Arc::clone(&self.details.get(n)?.name), self.acted.get(n)?.clone())));
        let dry = |(n, limit): (usize, Duration)| Some((limit, self.acted.get(n)?.clone()));
        let dry_deadlines = dry_deadlines.into_iter().filter_map(dry).collect();
        Ruled {
            refused,
            delay: delay.map(|(_, delay)| delay),
            deadline: deadline.map(|(_, limit)| limit),
            governed: Governed { permits, overdue, dry_deadlines, stream },
        }
    }

    fn acted(&self, rule: usize) {
        if let Some(acted) = self.acted.get(rule) {
            acted.inc();
        }
    }

    fn refusal(&self, rule: usize, cause: Cause) -> Option<Refusal<E>> {
        let Detail { name, message, error } = self.details.get(rule)?;
        let (reason, text) = match cause {
            Cause::Denied => (Reason::Denied, format!("denied by the rule {name}")),
            Cause::ReadOnly => (Reason::Denied, format!("read-only by the rule {name}")),
            Cause::Rate => (Reason::Limited, format!("too often for the rule {name}")),
            Cause::Concurrency => (Reason::Limited, format!("too many at once for the rule {name}")),
            Cause::Fault => (Reason::Injected, format!("on purpose, by the rule {name}")),
        };
        let text = match message {
            Some(message) => format!("{text}: {message}"),
            None => text,
        };
        Some(Refusal { reason, text, error: *error })
    }
}

/// What the rules say of an operation.
#[derive(Debug)]
pub struct Ruled<E> {
    /// It is refused.
    pub refused: Option<Refusal<E>>,
    /// It is held back first.
    pub delay: Option<Duration>,
    /// It may take so long.
    pub deadline: Option<Duration>,
    /// What it keeps while it is under way.
    pub governed: Governed,
}

/// Why an operation is refused, to be told in the protocol's words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal<E> {
    /// Denied, limited or injected.
    pub reason: Reason,
    /// What to tell the client.
    pub text: String,
    /// Of what is injected: with which error, where the rule says so.
    pub error: Option<E>,
}

/// What an operation keeps of the rules while it is under way.
#[derive(Debug, Default)]
pub struct Governed {
    /// Its places under limits.
    permits: Permits,
    /// The rule that says how long it may take, and what counts when it is overdue.
    overdue: Option<(Arc<str>, Counter)>,
    /// How long it may take by rules that only run dry, and what counts when it took longer.
    dry_deadlines: Vec<(Duration, Counter)>,
    /// It is answered by a stream of replies: the rates under which further ones come.
    stream: Option<Box<Stream>>,
}

/// A stream of replies under rules.
#[derive(Debug)]
struct Stream {
    acted: Rc<[Counter]>,
    rates: Recurring,
}

impl Governed {
    /// It has been answered: its places are free, before the client can ask for them again.
    pub fn release(&mut self) {
        self.permits = Permits::default();
    }

    /// Another reply of its stream begins. Says until when it is held back.
    pub fn further(&self, now: Now) -> Option<Now> {
        let stream = self.stream.as_deref()?;
        let further = stream.rates.further(now);
        further.acted.iter().filter_map(|rule| stream.acted.get(*rule)).for_each(Counter::inc);
        (further.until > now).then_some(further.until)
    }

    /// It has ended, or a reply of its stream has.
    pub fn ended(&self, took: Duration) {
        self.dry_deadlines.iter().filter(|(limit, _)| took >= *limit).for_each(|(_, acted)| acted.inc());
    }

    /// It is overdue. Says by which rule, if one said so.
    pub fn note_overdue(&mut self) -> Option<Arc<str>> {
        let (rule, acted) = self.overdue.take()?;
        acted.inc();
        Some(rule)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Limits;
    use crate::names::Kind;
    use weir_decide::rules::{Disturbance, Globs, OperationClass, Rate, Selector};

    static ACTED: Family = Family {
        name: "weir_toy_rule_actions_total",
        help: "What rules did.",
        kind: Kind::Counter,
        labels: &["listener", "rule", "action", "dry_run"],
        max_series: Some(64),
    };

    fn rule(name: &str, collection: &str, action: Action) -> RuleSettings<u8> {
        let selector = Selector { collections: Globs::new([collection]), ..Selector::default() };
        let rule = Rule { name: name.into(), selector, action, dry_run: false };
        RuleSettings { rule, message: None, error: None }
    }

    fn about(collection: &[u8]) -> Subject<'_> {
        Subject {
            database: b"d",
            collection,
            touches: &[],
            operation: 1,
            inner: 1,
            class: OperationClass::Read,
            changes: false,
            application: b"",
            shape: None,
            parked: false,
            waits: None,
        }
    }

    /// What a protocol is told of an operation on `collection`, and what it keeps.
    fn judge(control: &Control<u8>, collection: &str) -> (Option<Refusal<u8>>, Governed) {
        let ruled = control.active().judge(&about(collection.as_bytes()), false, Now(1), 0);
        (ruled.refused, ruled.governed)
    }

    #[test]
    fn a_protocol_is_told_why_and_what_acted_is_counted() {
        let measure = Measure::new(Limits::default());
        let control = Control::<u8>::default();
        assert!(!control.is_in_force() && !control.is_enforced());
        let disturbance = Disturbance { percent: 100, delay: Some(Duration::from_secs(1)), refuse: true };
        let mut denied = rule("keep out", "secret", Action::Deny);
        denied.message = Some("ask first".into());
        let mut fault = rule("shake", "shaken", Action::Fault(disturbance));
        fault.error = Some(7);
        let few = rule("few", "busy", Action::Concurrency(1));
        let rare = rule("rare", "seldom", Action::Rate(Rate::new(1, Duration::from_secs(60), 1)));
        let short = rule("short", "late", Action::Deadline(Duration::from_millis(5)));
        let mut dry = rule("dry", "late", Action::Deadline(Duration::from_millis(2)));
        dry.rule.dry_run = true;
        control.replace("a protocol", &[denied, fault, few, rare, short, dry], &measure, &ACTED);
        assert!(control.is_in_force() && control.is_enforced());
        let asks = Asks { shape: false, names: true, deadline: true };
        assert_eq!(control.active().asks(), asks);

        let told = |collection: &str| {
            let refused = judge(&control, collection).0;
            refused.map_or((None, String::new(), None), |one| (Some(one.reason), one.text, one.error))
        };
        let denied = "denied by the rule keep out: ask first".to_owned();
        assert_eq!(told("secret"), (Some(Reason::Denied), denied, None));
        let shaken = "on purpose, by the rule shake".to_owned();
        assert_eq!(told("shaken"), (Some(Reason::Injected), shaken, Some(7)));
        assert_eq!([told("free").0, told("seldom").0, told("seldom").0], [None, None, Some(Reason::Limited)]);
        let (_, mut busy) = judge(&control, "busy");
        assert_eq!(told("busy").1, "too many at once for the rule few");
        busy.release();
        assert_eq!(told("busy").0, None);
        let (_, mut late) = judge(&control, "late");
        late.ended(Duration::from_millis(1));
        late.ended(Duration::from_millis(2));
        assert_eq!([late.note_overdue().as_deref(), late.note_overdue().as_deref()], [Some("short"), None]);

        let acted =
            |rule, action, dry_run| measure.counter(&ACTED, &["a protocol", rule, action, dry_run]).value();
        assert_eq!(acted("keep out", "deny", "false"), 1);
        assert_eq!(acted("shake", "fault", "false"), 1, "a delay and an error are one act");
        assert_eq!(acted("few", "concurrency", "false"), 1);
        assert_eq!(acted("rare", "rate", "false"), 1);
        assert_eq!([acted("short", "deadline", "false"), acted("dry", "deadline", "true")], [1, 1]);
    }
}
