//! Rules on MongoDB operations: who may do what, how often, how many at a time, for how long.
//!
//! The engine is the core's (`weir_decide::rules`). Here is what is MongoDB's own: the file's words ([`config`]), what a
//! command does and may touch ([`class`]), and what the client is told. The rules of a listener are in a [`Control`] that all
//! of its connections share, so that those which stand keep to the new ones from their next operation on.
//!
//! Nothing passes unread while there are rules: a request waits until all is known that a rule which may apply asks for; where
//! there is no memory for what has to wait it is refused, what cannot be understood ends the connection.

mod class;
mod config;
mod copies;
mod sense;
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests;

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use crate::names;
use bytes::Bytes;
use weir_codecs::mongo::{
    Clear, Command, ErrorReply, Inflate, Labels, OpCode, RequestHead, Shape, Whole, error_reply,
    with_max_time,
};
use weir_decide::exchange::{
    Class, Fault, NameId, NameKind, Names, Now, Outcome, Phase, Reason, Replies, RetryOn, Side,
};
use weir_decide::protocol::{At, Ruling, Step};
use weir_decide::rules::{Action, Cause, Judgement, Permits, Recurring, Rule, Rules, States};
use weir_measure::{Counter, Measure};

use crate::protocol::{MongoOp, Session};
use crate::{refusal, verdict};

pub use config::RuleSettings;
pub(crate) use config::{FIELD, read};

/// The most of a compressed request that is decompressed once more, whole, for its shape.
const LOOKED_INTO: usize = 320 * 1024;

/// The same for the names in it.
const NAMES_LOOKED_FOR: usize = 1 << 20;

/// The longest write that waits until it is there whole, for its deadline to be put into it.
const MOST_LIMITED: usize = 320 * 1024;

/// How much longer than the server Weir waits where the server knows the deadline. It answers in time; if not, it is lost.
const GRACE: Duration = Duration::from_millis(100);

/// What the limits of all listeners remember.
static STATES: LazyLock<States> = LazyLock::new(States::default);

/// The rules of a listener on one worker, shared by its connections.
#[derive(Default)]
pub struct Control {
    in_force: Cell<bool>,
    /// Some of them is more than a dry run.
    enforced: Cell<bool>,
    active: RefCell<Rc<Active>>,
}

impl Control {
    /// From now on these rules hold.
    pub fn replace(&self, listener: &str, rules: &[RuleSettings], measure: &Measure) {
        *self.active.borrow_mut() = Rc::new(Active::new(listener, rules, measure));
        self.in_force.set(!rules.is_empty());
        self.enforced.set(self.active.borrow().rules.enforce());
    }

    /// Whether there are any.
    pub(crate) fn is_in_force(&self) -> bool {
        self.in_force.get()
    }

    /// Whether any of them has to hold: nothing passes unread then.
    pub(crate) fn is_enforced(&self) -> bool {
        self.enforced.get()
    }

    /// What the rules say of a request, of which a head is known and which the decompressors can look into.
    pub(crate) fn govern(
        &self,
        session: &mut Session,
        names: &mut dyn Names,
        op: &mut MongoOp,
        (head, inflate): (Option<&RequestHead>, &RefCell<Inflate>),
        at: At<'_>,
    ) -> Ruling {
        if !self.is_in_force() {
            return Ruling::default();
        }
        let active = Rc::clone(&self.active.borrow());
        let ruling = active.govern(session, names, op, (head, inflate), at);
        if let Some(stream) = &mut op.governed.stream {
            stream.active = active;
        }
        ruling
    }
}

/// What an operation keeps of the rules while it is under way.
#[derive(Debug, Default)]
pub(crate) struct Governed {
    /// Its places under limits.
    permits: Permits,
    /// The rule that says how long it may take, and what counts when it is overdue.
    overdue: Option<(Arc<str>, Counter)>,
    /// What the server is told of that, in milliseconds.
    max_time: Option<u32>,
    /// How long it may take by rules that only run dry, and what counts when it took longer.
    dry_deadlines: Vec<(Duration, Counter)>,
    /// It is answered by a stream of replies: the rates under which further ones come.
    stream: Option<Box<Stream>>,
}

/// A stream of replies under rules.
#[derive(Default)]
struct Stream {
    active: Rc<Active>,
    rates: Recurring,
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.rates.fmt(f)
    }
}

impl Governed {
    /// It has been answered: its places are free, before the client can ask for them again.
    pub(crate) fn release(&mut self) {
        self.permits = Permits::default();
    }

    /// What its `maxTimeMS` is to be.
    pub(crate) fn max_time(&self) -> Option<u32> {
        self.max_time
    }

    /// Another reply of its stream begins. Says until when it is held back.
    pub(crate) fn further(&self, now: Now) -> Option<Now> {
        let stream = self.stream.as_deref()?;
        let further = stream.rates.further(now);
        further.acted.iter().for_each(|rule| stream.active.acted(*rule));
        (further.until > now).then_some(further.until)
    }

    /// It has ended, or a reply of its stream has.
    pub(crate) fn ended(&self, took: Duration) {
        for (limit, acted) in &self.dry_deadlines {
            if took >= *limit {
                acted.inc();
            }
        }
    }

    /// The server has ended it, for the time that it was told.
    pub(crate) fn note_exceeded(&mut self) {
        if self.max_time.is_some() {
            self.note_overdue();
        }
    }

    /// It is overdue. Says by which rule, if one said so.
    pub(crate) fn note_overdue(&mut self) -> Option<Arc<str>> {
        let (rule, acted) = self.overdue.take()?;
        acted.inc();
        Some(rule)
    }
}

#[derive(Default)]
struct Active {
    rules: Rules,
    details: Box<[Detail]>,
    /// Some rule goes by the shape of queries, which takes a walk over all of a command.
    by_shape: bool,
    /// Some rule sets a deadline.
    by_time: bool,
    /// Some rule forbids by the names of databases or collections.
    by_names: bool,
}

/// What the engine need not know of a rule.
struct Detail {
    name: Arc<str>,
    message: Option<Arc<str>>,
    error: Option<(i32, Labels)>,
    acted: Counter,
}

impl Active {
    fn new(listener: &str, rules: &[RuleSettings], measure: &Measure) -> Active {
        let detail = |settings: &RuleSettings| {
            let RuleSettings { rule, message, error } = settings;
            let dry_run = if rule.dry_run { "true" } else { "false" };
            let labels = [listener, &rule.name, config::word(&rule.action), dry_run];
            Detail {
                name: Arc::clone(&rule.name),
                message: message.clone(),
                error: *error,
                acted: measure.counter(&names::MONGO_RULE_ACTIONS, &labels),
            }
        };
        let engine: Vec<Rule> = rules.iter().map(|settings| settings.rule.clone()).collect();
        Active {
            rules: Rules::new(&engine, listener, &STATES),
            details: rules.iter().map(detail).collect(),
            by_shape: engine.iter().any(|rule| !rule.selector.shapes.is_empty()),
            by_names: engine.iter().any(|rule| {
                matches!(rule.action, Action::Deny | Action::ReadOnly) && rule.selector.goes_by_names()
            }),
            by_time: engine.iter().any(|rule| !rule.dry_run && matches!(rule.action, Action::Deadline(_))),
        }
    }

    fn govern(
        &self,
        session: &mut Session,
        names: &mut dyn Names,
        op: &mut MongoOp,
        (head, inflate): (Option<&RequestHead>, &RefCell<Inflate>),
        at: At<'_>,
    ) -> Ruling {
        let enforced = self.rules.enforce();
        let Some(head) = head.filter(|head| head.problem.is_none()) else {
            let waits = !at.end && head.is_none();
            return match (waits, enforced) {
                (true, _) => instead(Step::More { limit: usize::MAX }),
                (false, true) => instead(unreadable()),
                (false, false) => Ruling::default(),
            };
        };
        if !self.is_known(head) {
            let foreseen = class::foreseen(head, &session.application_name);
            let may_concern =
                |enforced| foreseen.is_none_or(|known| self.rules.may_concern(&known, enforced));
            if !may_concern(false) {
                return Ruling::default();
            }
            if !at.end {
                return instead(Step::More { limit: head.header.length as usize });
            }
            if !head.is_named() && !head.complete {
                if !(enforced && may_concern(true)) {
                    return Ruling::default();
                }
                let text = "too much waits until it is known what it is about";
                return instead(refuse(session, names, op, Reason::Limited, text));
            }
        }
        let Some(mut subject) = class::subject(head, &session.application_name, op.as_ref().parked) else {
            if !enforced {
                return Ruling::default();
            }
            return instead(refuse(session, names, op, Reason::Denied, "nobody can tell what it does"));
        };
        if self.by_shape {
            subject.shape = shape(head, at.bytes, inflate);
        }
        let (clear, few, many);
        if self.by_names && class::names_more(head) {
            clear = clear_of(head, at.bytes, inflate);
            many = class::touches(head, &subject, clear.as_ref());
            subject.touches = &many;
        } else if self.by_names {
            few = copies::widened(class::own(head, &subject));
            subject.touches = &few;
        }
        let judgement = self.rules.judge(&subject, at.now, at.random);
        judgement.would.iter().for_each(|rule| self.acted(*rule));
        let stream = (op.as_ref().replies == Replies::Stream)
            .then(|| Box::new(Stream { active: Rc::default(), rates: self.rules.recurring(&subject) }));
        self.rule(session, names, op, (head, at.bytes), (judgement, stream))
    }

    /// Does what has been judged of a request of this head, of which these are the bytes.
    fn rule(
        &self,
        session: &mut Session,
        names: &mut dyn Names,
        op: &mut MongoOp,
        (head, bytes): (&RequestHead, &[u8]),
        (judgement, stream): (Judgement, Option<Box<Stream>>),
    ) -> Ruling {
        let Judgement { refused, delay, deadline, permits, dry_deadlines, .. } = judgement;
        if let Some((n, _)) = delay {
            self.acted(n);
        }
        let step = refused.map(|(n, cause)| {
            // A delay and an error of one rule are one act of it.
            if delay.is_none_or(|(delayed, _)| delayed != n) {
                self.acted(n);
            }
            self.refusal(session, names, op, n, cause)
        });
        let detail = deadline.and_then(|(n, _)| self.details.get(n));
        let overdue = detail.map(|detail| (Arc::clone(&detail.name), detail.acted.clone()));
        let max_time = deadline.and_then(|(_, limit)| max_time(head, bytes, limit));
        let dry = |(n, limit): (usize, Duration)| Some((limit, self.details.get(n)?.acted.clone()));
        let dry_deadlines = dry_deadlines.into_iter().filter_map(dry).collect();
        op.governed = Governed { permits, overdue, max_time, dry_deadlines, stream };
        let rewritten = max_time.map(|_| Step::Rewrite { limit: MOST_LIMITED });
        let grace = if max_time.is_some() { GRACE } else { Duration::ZERO };
        Ruling {
            instead: step.or(rewritten),
            delay: delay.map(|(_, delay)| delay),
            time_limit: deadline.map(|(_, limit)| limit + grace),
        }
    }

    /// Whether all is known of a request that a rule may ask for. Writes are known by their beginning, but for their shape.
    fn is_known(&self, head: &RequestHead) -> bool {
        let begins = match head.command {
            Command::Insert => true,
            Command::Update | Command::Delete | Command::FindAndModify => {
                let waits = self.by_time && head.header.length as usize <= MOST_LIMITED;
                !self.by_shape && !waits
            }
            _ => false,
        };
        head.complete || (begins && head.is_named())
    }

    fn acted(&self, rule: usize) {
        if let Some(detail) = self.details.get(rule) {
            detail.acted.inc();
        }
    }

    fn refusal(
        &self,
        session: &mut Session,
        names: &mut dyn Names,
        op: &MongoOp,
        rule: usize,
        cause: Cause,
    ) -> Step {
        let Some(detail) = self.details.get(rule) else { return unreadable() };
        let name = &detail.name;
        let (reason, text) = match cause {
            Cause::Denied => (Reason::Denied, format!("denied by the rule {name}")),
            Cause::ReadOnly => (Reason::Denied, format!("read-only by the rule {name}")),
            Cause::Rate => (Reason::Limited, format!("too often for the rule {name}")),
            Cause::Concurrency => (Reason::Limited, format!("too many at once for the rule {name}")),
            Cause::Fault => {
                let (code, labels) = detail.error.unwrap_or((1, Labels::NONE));
                return injected(
                    session,
                    names,
                    op,
                    code,
                    labels,
                    &format!("on purpose, by the rule {name}"),
                );
            }
        };
        match &detail.message {
            Some(message) => refuse(session, names, op, reason, &format!("{text}: {message}")),
            None => refuse(session, names, op, reason, &text),
        }
    }
}

/// The request in the clear, where it can be read.
fn clear_of<'a>(head: &RequestHead, bytes: &'a [u8], inflate: &RefCell<Inflate>) -> Option<Clear<'a>> {
    if !head.complete {
        return None;
    }
    Clear::of(bytes, &mut inflate.borrow_mut(), NAMES_LOOKED_FOR).ok()
}

/// How long the server is to be told that a request may take. It ends what only reads when the connection that it came by is closed;
/// with a write it goes on, for an application that has been told that it failed. Not of one that is longer than is waited for.
fn max_time(head: &RequestHead, bytes: &[u8], limit: Duration) -> Option<u32> {
    use Command::{BulkWrite, Delete, FindAndModify, Insert, Update};
    let writes = matches!(head.command, Insert | Update | Delete | FindAndModify | BulkWrite);
    let is_whole = head.complete && bytes.len() == head.header.length as usize;
    let is_short = bytes.len().max(head.uncompressed_length as usize) <= MOST_LIMITED;
    let limit = u32::try_from(limit.as_millis()).ok()?;
    let less = head.max_time_ms.is_some_and(|own| own > 0 && own <= i64::from(limit));
    (writes && is_whole && is_short && head.op_code == OpCode::MSG && !less).then_some(limit)
}

/// Writes the request `whole` to `out`, with this limit.
pub(crate) fn write_max_time(
    max_time: u32,
    whole: &[u8],
    inflate: &RefCell<Inflate>,
    out: &mut bytes::BytesMut,
) {
    if with_max_time(whole, max_time, &mut inflate.borrow_mut(), MOST_LIMITED, out).is_err() {
        // It is of some form that nothing can be put into: Weir's own clock has to do.
        out.extend_from_slice(whole);
    }
}

fn instead(step: Step) -> Ruling {
    Ruling { instead: Some(step), ..Ruling::default() }
}

/// The shape of a request; `None` where that is in doubt: it is not there whole, or in a form that is not looked into.
fn shape(head: &RequestHead, bytes: &[u8], inflate: &RefCell<Inflate>) -> Option<u64> {
    if head.compressor.is_none() {
        return Shape::of(bytes).map(|shape| shape.hash);
    }
    let whole = Whole::take_apart(bytes, &mut inflate.borrow_mut(), LOOKED_INTO).ok()?;
    let mut plain = bytes::BytesMut::new();
    whole.put_together(whole.document(), &mut plain);
    Shape::of(&plain).map(|shape| shape.hash)
}

/// What cannot be understood is not answered: nobody knows how, or whether an answer is due.
fn unreadable() -> Step {
    Step::Close(Fault::new(Side::Client, Phase::Admitted, Reason::Malformed))
}

/// Answers as `reason` is answered, where an answer is due. What is due one in a form that nobody knows is closed.
fn refuse(session: &mut Session, names: &mut dyn Names, op: &MongoOp, reason: Reason, text: &str) -> Step {
    if op.reply_to.is_none() && op.as_ref().replies != weir_decide::exchange::Replies::None {
        return unreadable();
    }
    let fault = Fault::new(Side::Proxy, Phase::Admitted, reason);
    let mut out = bytes::BytesMut::new();
    let outcome = refusal::tell(session, names, op, &fault, &format!("weir: {text}"), &mut out);
    Step::Respond(out.freeze(), Outcome { fault: Some(fault), ..outcome })
}

/// Answers with an error that somebody wanted to see.
fn injected(
    session: &mut Session,
    names: &mut dyn Names,
    op: &MongoOp,
    code: i32,
    labels: Labels,
    text: &str,
) -> Step {
    let location;
    let code_name = match verdict::known(code) {
        Some(name) => name,
        // So does a server name an error that has no name.
        None => {
            location = format!("Location{code}");
            &location
        }
    };
    let mut bytes = Bytes::new();
    let mut code_id = NameId::NONE;
    if let Some(to) = op.reply_to {
        session.last_request_id = session.last_request_id.wrapping_add(1);
        let message = format!("weir: {text}");
        let error = ErrorReply { code, code_name, message: &message, labels, base_backoff_ms: None };
        let mut out = bytes::BytesMut::new();
        error_reply(&mut out, to, session.last_request_id, &error);
        bytes = out.freeze();
        code_id = names.fixed(NameKind::Code, code_name.as_bytes());
    } else if op.as_ref().replies != weir_decide::exchange::Replies::None {
        return unreadable();
    }
    let fault = Fault::new(Side::Proxy, Phase::Admitted, Reason::Injected);
    let outcome = Outcome {
        class: Class::Refused,
        result: "injected",
        code: code_id,
        retryable: RetryOn::NONE,
        fault: Some(fault),
        latency: 0,
    };
    Step::Respond(bytes, outcome)
}
