//! Rules on MongoDB operations: who may do what, how often, how many at a time, for how long.
//!
//! The engine is the core's (`weir_decide::rules`), and so is what is counted and kept of it (`weir_measure::rules`). Here is what is MongoDB's own: the file's words ([`config`]), what a
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

use std::cell::RefCell;
use std::time::Duration;

use crate::names;
use bytes::Bytes;
use weir_codecs::mongo::{
    Clear, Command, ErrorReply, Inflate, Labels, OpCode, RequestHead, Shape, Whole, error_reply,
    with_max_time,
};
use weir_decide::exchange::{
    Class, Fault, NameId, NameKind, Names, Outcome, Phase, Reason, Replies, RetryOn, Side,
};
use weir_decide::protocol::{At, Ruling, Step};
use weir_measure::{Measure, rules};

use crate::operation::{MongoOp, Session};
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

/// The rules of a listener on one worker, shared by its connections.
#[derive(Default)]
pub struct Control(rules::Control<(i32, Labels)>);

/// What is known of a request, and its bytes so far.
type Known<'a> = (Option<&'a RequestHead>, &'a RefCell<Inflate>);

impl Control {
    /// From now on these rules hold.
    pub fn replace(&self, listener: &str, rules: &[RuleSettings], measure: &Measure) {
        self.0.replace(listener, rules, measure, &names::MONGO_RULE_ACTIONS);
    }

    /// Whether there are any.
    pub(crate) fn is_in_force(&self) -> bool {
        self.0.is_in_force()
    }

    /// Whether any of them has to hold: nothing passes unread then.
    pub(crate) fn is_enforced(&self) -> bool {
        self.0.is_enforced()
    }

    /// What the rules say of a request, of which a head is known and which the decompressors can look into.
    pub(crate) fn govern(
        &self,
        session: &mut Session,
        names: &mut dyn Names,
        op: &mut MongoOp,
        known: Known<'_>,
        at: At<'_>,
    ) -> Ruling {
        if !self.is_in_force() {
            return Ruling::default();
        }
        govern(&self.0.active(), session, names, op, known, at)
    }
}

/// The rules in force.
type Active = rules::Active<(i32, Labels)>;

fn govern(
    active: &Active,
    session: &mut Session,
    names: &mut dyn Names,
    op: &mut MongoOp,
    (head, inflate): Known<'_>,
    at: At<'_>,
) -> Ruling {
    let enforced = active.enforce();
    let Some(head) = head.filter(|head| head.problem.is_none()) else {
        let waits = !at.end && head.is_none();
        return match (waits, enforced) {
            (true, _) => instead(Step::More { limit: usize::MAX }),
            (false, true) => instead(unreadable()),
            (false, false) => Ruling::default(),
        };
    };
    if !is_known(active, head) {
        let foreseen = class::foreseen(head, &session.application_name);
        let may_concern = |enforced| foreseen.is_none_or(|known| active.may_concern(&known, enforced));
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
    if active.asks().shape {
        subject.shape = shape(head, at.bytes, inflate);
    }
    let (clear, few, many);
    if active.asks().names && class::names_more(head) {
        clear = clear_of(head, at.bytes, inflate);
        many = class::touches(head, &subject, clear.as_ref());
        subject.touches = &many;
    } else if active.asks().names {
        few = copies::widened(class::own(head, &subject));
        subject.touches = &few;
    }

    let streams = op.as_ref().replies == Replies::Stream;
    let rules::Ruled { refused, delay, deadline, governed } =
        active.judge(&subject, streams, at.now, at.random);
    let step = refused.map(|refused| refusal_of(session, names, op, &refused));
    op.max_time = deadline.and_then(|limit| max_time(head, at.bytes, limit));
    op.governed = governed;
    let rewritten = op.max_time.map(|_| Step::Rewrite { limit: MOST_LIMITED });
    let grace = if op.max_time.is_some() { GRACE } else { Duration::ZERO };
    Ruling { instead: step.or(rewritten), delay, time_limit: deadline.map(|limit| limit + grace) }
}

/// Whether all is known of a request that a rule may ask for. Writes are known by their beginning, but for their shape.
fn is_known(active: &Active, head: &RequestHead) -> bool {
    let begins = match head.command {
        Command::Insert => true,
        Command::Update | Command::Delete | Command::FindAndModify => {
            let waits = active.asks().deadline && head.header.length as usize <= MOST_LIMITED;
            !active.asks().shape && !waits
        }
        _ => false,
    };
    head.complete || (begins && head.is_named())
}

/// Answers what a rule refuses.
fn refusal_of(
    session: &mut Session,
    names: &mut dyn Names,
    op: &MongoOp,
    refused: &rules::Refusal<(i32, Labels)>,
) -> Step {
    match refused.reason {
        Reason::Injected => {
            let (code, labels) = refused.error.unwrap_or((1, Labels::NONE));
            injected(session, names, op, code, labels, &refused.text)
        }
        reason => refuse(session, names, op, reason, &refused.text),
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
