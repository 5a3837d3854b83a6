//! The operations under way on one connection, in the order of their requests.

use crate::shells::context::Context;
use bytes::Bytes;
use std::collections::VecDeque;
use std::time::Duration;
use weir_decide::cluster::{Pick, Ticket, Tries};
use weir_decide::exchange::{Class, NameId, Now, Operation, Outcome, Phase, Replies, RetryOn};
use weir_decide::policy::{Known, RetryPolicy};
use weir_decide::protocol::Ending;
use weir_measure::{InFlight, Record};

/// How something went that nobody answers: it has been delivered.
pub(super) const DELIVERED: Outcome = Outcome {
    class: Class::Success,
    result: "ok",
    code: NameId::NONE,
    retryable: RetryOn::NONE,
    fault: None,
    latency: 0,
};

/// How long an operation may take, and when that is over.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Due {
    pub(crate) at: Now,
    pub(crate) limit: Duration,
}

/// One operation under way.
pub(crate) struct Pending<Op> {
    pub(crate) op: Op,
    /// Tells it from the others of this connection.
    pub(crate) number: u64,
    /// Its place in the cluster; none while there is no upstream connection, and for what Weir answers itself.
    pub(crate) ticket: Option<Ticket>,
    /// Where it was, once Weir answers it itself.
    was_at: Option<Pick>,
    /// None until it has joined those under way.
    pub(crate) in_flight: Option<InFlight>,
    /// When its first byte had come.
    pub(crate) began: Now,
    /// When the first byte of a reply had.
    pub(crate) first_byte: Option<Now>,
    pub(crate) request_bytes: u64,
    pub(crate) reply_bytes: u64,
    pub(crate) retries: u32,
    /// When it is overdue.
    pub(crate) due: Option<Now>,
    /// How long each reply of a stream may take.
    pub(crate) limit: Option<Duration>,
    /// The last of the request has come (and is queued for the upstream, or swallowed).
    pub(crate) complete: bool,
    /// When the last of the request had come.
    pub(crate) completed: Option<Now>,
    pub(crate) answer: Answering,
}

/// Where its reply comes from, and how far that is.
pub(crate) enum Answering {
    /// From the upstream; not yet, or not yet all of it.
    Awaited,
    /// From Weir: these bytes, when its turn has come.
    Local(Bytes, Outcome),
    /// All of it is queued for the client (or there is none): this is how it went.
    Judged(Outcome),
}

impl<Op: Default> Default for Pending<Op> {
    fn default() -> Pending<Op> {
        Pending {
            op: Op::default(),
            number: 0,
            ticket: None,
            was_at: None,
            in_flight: None,
            began: Now(0),
            first_byte: None,
            request_bytes: 0,
            reply_bytes: 0,
            retries: 0,
            due: None,
            limit: None,
            complete: false,
            completed: None,
            answer: Answering::Awaited,
        }
    }
}

impl<Op: AsRef<Operation>> Pending<Op> {
    /// Whether a reply of the upstream may be for it.
    pub(crate) fn is_awaited(&self) -> bool {
        matches!(self.answer, Answering::Awaited)
    }

    /// Whether it has come to its end, but for its last bytes to be written.
    fn is_done(&self) -> bool {
        self.complete && matches!(self.answer, Answering::Judged(_))
    }

    /// How far it has got; `connected` says whether there is an upstream.
    pub(crate) fn phase(&self, connected: bool) -> Phase {
        match (connected, self.complete, self.first_byte.is_some()) {
            (_, _, true) => Phase::Replying,
            (false, ..) => Phase::Connecting,
            (true, false, false) => Phase::Sending,
            (true, true, false) => Phase::Waiting,
        }
    }

    /// Whether nothing will answer it.
    pub(crate) fn is_unanswered(&self) -> bool {
        self.op.as_ref().replies == Replies::None
    }

    fn judge_unanswered(&mut self) {
        if self.complete && self.is_awaited() && self.is_unanswered() {
            self.answer = Answering::Judged(DELIVERED);
        }
    }

    /// One reply of a stream has ended: it counts as an operation of its own, as the server and the drivers count it, and the
    /// next one begins.
    pub(crate) fn turn(
        &mut self,
        mut outcome: Outcome,
        context: &Context,
        now: Now,
        tell: impl FnOnce(&mut Op, &Ending<'_>),
    ) {
        outcome.latency = now.since(self.began);
        context.worker.measure().record(&self.record(&outcome, context));
        self.tell(&outcome, now, tell);
        self.completed = Some(now);
        self.began = now;
        self.due = self.limit.map(|limit| now.after(limit));
        self.first_byte = None;
        (self.request_bytes, self.reply_bytes, self.retries) = (0, 0, 0);
    }

    /// Weir answers it itself, so its place in the cluster is free.
    pub(crate) fn give_up_attempt(&mut self, outcome: &Outcome, now: Now) {
        if let Some(ticket) = self.ticket.take() {
            self.was_at = Some(ticket.pick().clone());
            ticket.finish(outcome, &RetryPolicy::NONE, &Known::OVER, &mut Tries::new(), now);
        }
    }

    /// Tells of its end.
    fn tell(&mut self, outcome: &Outcome, ended: Now, tell: impl FnOnce(&mut Op, &Ending<'_>)) {
        let pick = self.ticket.as_ref().map(Ticket::pick).or(self.was_at.as_ref());
        let ending = Ending {
            outcome,
            began: self.began,
            complete: self.completed,
            first_byte: self.first_byte,
            ended,
            request_bytes: self.request_bytes,
            reply_bytes: self.reply_bytes,
            endpoint: pick.map(|pick| &**pick.address()),
        };
        tell(&mut self.op, &ending);
    }

    fn record(&self, outcome: &Outcome, context: &Context) -> Record {
        let op = self.op.as_ref();
        let timed = !op.parked;
        Record {
            place: context.place,
            operation: op.name,
            resource: op.resource,
            application: context.application(op.application),
            call_site: op.call_site,
            result: outcome.result,
            code: outcome.code,
            duration: timed.then_some(outcome.latency),
            first_byte: self.first_byte.filter(|_| timed).map(|at| at.since(self.began)),
            request_bytes: self.request_bytes,
            reply_bytes: self.reply_bytes,
            retries: self.retries,
            fault: outcome.fault,
            refused: outcome.class == Class::Refused,
            believed: op.belief.holds(outcome.class),
            items: op.items,
            traits: op.traits,
        }
    }

    /// It may have turned out to be a long poll.
    pub(crate) fn note_parking(&mut self) {
        if self.op.as_ref().parked {
            if let Some(in_flight) = &mut self.in_flight {
                in_flight.park();
            }
            if let Some(ticket) = &mut self.ticket {
                ticket.park();
            }
        }
    }
}

/// The operations under way, oldest first. They are large, so each stays where it was made.
///
/// Drivers have one operation under way on a connection: everything here looks at the first, and beyond it only where there are more.
pub(crate) struct Queue<Op> {
    first: Option<Box<Pending<Op>>>,
    /// None unless there is a first; boxed, since most connections never need it.
    #[allow(clippy::box_collection)] // an idle connection has a pointer, not a list
    more: Option<Box<VecDeque<Box<Pending<Op>>>>>,
    /// Room for the next one.
    spare: Option<Box<Pending<Op>>>,
    next: u64,
}

impl<Op: AsRef<Operation> + Default> Queue<Op> {
    pub(crate) fn new() -> Queue<Op> {
        Queue { first: None, more: None, spare: None, next: 0 }
    }

    /// Room for an operation of which nothing is known.
    pub(crate) fn blank(&mut self) -> Box<Pending<Op>> {
        self.spare.take().unwrap_or_default()
    }

    /// It is not needed any more: what it held on to is let go.
    pub(crate) fn give_back(&mut self, mut pending: Box<Pending<Op>>) {
        *pending = Pending::default();
        self.spare = Some(pending);
    }

    pub(crate) fn len(&self) -> usize {
        usize::from(self.first.is_some()) + self.more.as_ref().map_or(0, |more| more.len())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    fn iter(&self) -> impl Iterator<Item = &Pending<Op>> {
        self.first.iter().chain(self.more.iter().flat_map(|more| more.iter())).map(|pending| &**pending)
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Pending<Op>> {
        let more = self.more.iter_mut().flat_map(|more| more.iter_mut());
        self.first.iter_mut().chain(more).map(|pending| &mut **pending)
    }

    /// A number for the next operation.
    pub(crate) fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    pub(crate) fn push(&mut self, pending: Box<Pending<Op>>) {
        match &self.first {
            None => self.first = Some(pending),
            Some(_) => self.more.get_or_insert_default().push_back(pending),
        }
    }

    /// The oldest of which this is true.
    #[inline]
    fn search(&mut self, is: impl Fn(&Pending<Op>) -> bool) -> Option<&mut Pending<Op>> {
        match &mut self.first {
            Some(first) if is(first) => Some(first),
            _ => beyond(self.more.as_mut()?, is),
        }
    }

    /// The operation with this number.
    pub(crate) fn find(&mut self, number: u64) -> Option<&mut Pending<Op>> {
        self.search(|pending| pending.number == number)
    }

    /// The operation that a reply with this tag is for; without a tag the oldest.
    pub(crate) fn answered_by(&mut self, tag: Option<u64>) -> Option<&mut Pending<Op>> {
        self.search(|pending| pending.is_awaited() && tag.is_none_or(|tag| pending.op.as_ref().tag == tag))
    }

    /// The oldest that has not been judged.
    pub(crate) fn oldest_open(&mut self) -> Option<&mut Pending<Op>> {
        self.search(|pending| !matches!(pending.answer, Answering::Judged(_)))
    }

    /// An operation that is overdue by now.
    pub(crate) fn overdue(&mut self, now: Now) -> Option<&mut Pending<Op>> {
        self.search(|pending| pending.is_awaited() && pending.due.is_some_and(|due| due <= now))
    }

    /// When the oldest that is no long poll began.
    pub(crate) fn under_way_since(&self) -> Option<Now> {
        match &self.first {
            Some(first) if !first.op.as_ref().parked => Some(first.began),
            _ => self.iter().find(|pending| !pending.op.as_ref().parked).map(|pending| pending.began),
        }
    }

    /// When the first of those that may take only so long is overdue.
    pub(crate) fn first_due(&self) -> Option<Now> {
        self.iter().filter(|pending| pending.is_awaited()).filter_map(|pending| pending.due).min()
    }

    /// How many still wait for an answer.
    pub(crate) fn awaited(&self) -> usize {
        self.iter().filter(|pending| !matches!(pending.answer, Answering::Judged(_))).count()
    }

    /// The one that there is, if there is just one.
    pub(crate) fn only(&self) -> Option<&Pending<Op>> {
        match (&self.first, &self.more) {
            (Some(first), Some(more)) if more.is_empty() => Some(first),
            (Some(first), None) => Some(first),
            _ => None,
        }
    }

    /// The oldest of all.
    pub(crate) fn oldest(&self) -> Option<&Op> {
        self.first.as_ref().map(|pending| &pending.op)
    }

    /// Whether all are long polls that have been sent and are not answered yet.
    pub(crate) fn are_parked(&self) -> bool {
        self.iter().all(|one| one.op.as_ref().parked && one.complete && one.is_awaited())
    }

    /// Whether any has come to its end, but for its last bytes to be written.
    pub(crate) fn has_done(&self) -> bool {
        match (&self.first, &self.more) {
            (Some(first), _) if first.is_done() => true,
            (_, Some(more)) => more.iter().any(|one| one.is_done()),
            _ => false,
        }
    }

    /// Everything queued for the upstream has been written: what nothing will answer is done.
    pub(crate) fn judge_unanswered(&mut self) {
        self.first.iter_mut().for_each(|first| first.judge_unanswered());
        if let Some(more) = &mut self.more {
            more.iter_mut().for_each(|one| one.judge_unanswered());
        }
    }

    /// Everything queued for the client has been written: counts and forgets those that are judged and complete.
    pub(crate) fn retire(
        &mut self,
        context: &Context,
        tries: &mut Tries,
        now: Now,
        mut tell: impl FnMut(&mut Op, &Ending<'_>),
    ) {
        while let Some(mut done) = self.take_done() {
            if let Answering::Judged(outcome) = done.answer {
                count(&mut done, outcome, context, tries, now, &mut tell);
            }
            self.give_back(done);
        }
    }

    /// Takes out the oldest that has come to its end.
    fn take_done(&mut self) -> Option<Box<Pending<Op>>> {
        if self.first.as_ref()?.is_done() {
            let next = self.more.as_mut().and_then(|more| more.pop_front());
            return std::mem::replace(&mut self.first, next);
        }
        let more = self.more.as_mut()?;
        let at = more.iter().position(|one| one.is_done())?;
        more.remove(at)
    }
}

/// The oldest of those behind the first of which this is true: few connections have any.
#[cold]
fn beyond<Op>(
    more: &mut VecDeque<Box<Pending<Op>>>,
    is: impl Fn(&Pending<Op>) -> bool,
) -> Option<&mut Pending<Op>> {
    more.iter_mut().map(|pending| &mut **pending).find(|pending| is(pending))
}

fn count<Op: AsRef<Operation>>(
    pending: &mut Pending<Op>,
    mut outcome: Outcome,
    context: &Context,
    tries: &mut Tries,
    now: Now,
    tell: impl FnOnce(&mut Op, &Ending<'_>),
) {
    outcome.latency = now.since(pending.began);
    context.worker.measure().record(&pending.record(&outcome, context));
    pending.tell(&outcome, now, tell);
    if let Some(ticket) = pending.ticket.take() {
        ticket.finish(&outcome, &RetryPolicy::NONE, &Known::OVER, tries, now);
    }
}
