//! Client to upstream: what becomes of a request's pieces.

use super::exchange::{Exchange, State};
use super::held;
use super::limits::MAX_PENDING;
use super::pace::Pace;
use super::pending::{Answering, Due, Pending};
use super::room::Claim;
use bytes::{Bytes, BytesMut};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::task::coop;
use weir_codecs::Piece;
use weir_decide::exchange::{Affinity, Fault, Now, Outcome, Phase, Reason, Side};
use weir_decide::protocol::{At, Decode, Protocol, Ruling, Step};

pub(super) type RequestHead<P> = <<P as Protocol>::Request as Decode>::Head;
pub(super) type Held<P> = held::Held<RequestHead<P>>;

/// The request message that is coming in.
pub(super) enum Inbound<P: Protocol> {
    /// None: the next byte begins one.
    Boundary,
    /// It is held until the protocol knows what to do with it.
    Held(Held<P>),
    /// Its pieces go on as they come.
    Passing { number: u64 },
    /// It is collected, to be rewritten.
    Collecting { number: u64, whole: BytesMut, limit: usize },
    /// The rest of it goes nowhere: Weir answers it.
    Swallowing { number: u64 },
    /// What has come of it is held back for a while.
    Delayed(Box<Delayed<P>>),
}

/// A request that is held back by a rule.
pub(super) struct Delayed<P: Protocol> {
    held: Held<P>,
    pending: Box<Pending<P::Op>>,
    step: Step,
    due: Option<Due>,
    /// When it goes on.
    pub(super) until: Now,
}

impl<P: Protocol> Delayed<P> {
    /// Whether nothing will answer it.
    pub(super) fn is_unanswered(&self) -> bool {
        self.pending.is_unanswered()
    }
}

impl<P: Protocol> Exchange<P> {
    /// Cuts what is in hand into pieces and passes them on, until there is no more or something has to be waited for. Says whether
    /// the task may go on: each message counts as its work, but for the first, for which the reading has been counted.
    pub(super) fn take_requests(&mut self, cx: &mut Context<'_>) -> bool {
        let (mut taken, mut in_turn) = (false, true);
        while self.state == State::Open
            && self.opaque.is_none()
            && !self.wants_upstream()
            && !matches!(self.inbound, Inbound::Delayed(_))
        {
            if matches!(self.inbound, Inbound::Boundary) && self.pending.len() >= MAX_PENDING {
                self.context.messages().limit_pending.inc();
                break;
            }
            let Some(buffer) = self.from_client.fresh() else { break };
            if buffer.is_empty() && !self.requests.has_failed() {
                self.from_client.starve();
                break;
            }
            if taken && !is_in_turn(cx) {
                in_turn = false;
                break;
            }
            taken = true;
            match self.requests.decode(buffer) {
                Ok(Some(piece)) => self.request_piece(piece),
                Ok(None) => self.from_client.starve(),
                Err(malformed) => self.unreadable(Side::Client, malformed),
            }
            if self.requests.has_toiled() {
                put_off(cx);
                self.turn_over = true;
                in_turn = false;
                break;
            }
        }
        self.release_local();
        in_turn
    }

    fn request_piece(&mut self, piece: Piece<RequestHead<P>>) {
        let Piece { bytes, head, last } = piece;
        if matches!(self.inbound, Inbound::Boundary) {
            self.pace = Pace::default();
            self.decide(Held::<P>::new(bytes, head, last, self.now), &[]);
        } else {
            self.further_piece(Piece { bytes, head, last });
        }
    }

    /// Another piece of the message that is coming in.
    #[inline(never)]
    fn further_piece(&mut self, piece: Piece<RequestHead<P>>) {
        let Piece { bytes, head, last } = piece;
        self.pace.brings(bytes.len());
        match std::mem::replace(&mut self.inbound, Inbound::Boundary) {
            Inbound::Boundary => {}
            Inbound::Held(mut held) => {
                let news = head.is_some();
                held.add(bytes, head, last);
                if news || held.is_end() {
                    self.decide(held, &[]);
                } else {
                    let limit = held.limit;
                    self.wait(held, limit);
                }
            }
            Inbound::Passing { number } => {
                self.note(number, &bytes, head.as_ref(), last);
                self.to_upstream.push(bytes);
                if !last {
                    self.inbound = Inbound::Passing { number };
                }
            }
            Inbound::Collecting { number, mut whole, limit } => {
                self.note(number, &bytes, head.as_ref(), last);
                whole.extend_from_slice(&bytes);
                self.collect(number, whole, limit, last);
            }
            Inbound::Swallowing { number } => {
                self.note(number, &bytes, None, last);
                if !last {
                    self.inbound = Inbound::Swallowing { number };
                }
            }
            // Nothing is read while it lasts.
            Inbound::Delayed(delayed) => self.inbound = Inbound::Delayed(delayed),
        }
    }

    /// Another piece of the request `number`.
    #[inline(never)]
    fn note(&mut self, number: u64, bytes: &Bytes, head: Option<&RequestHead<P>>, last: bool) {
        let Some(pending) = self.pending.find(number) else { return };
        pending.request_bytes += bytes.len() as u64;
        if last {
            pending.complete = true;
            pending.completed = Some(self.now);
        }
        if let Some(head) = head {
            let mut names = self.context.names();
            self.protocol.learn(&mut self.session, &mut names, &mut pending.op, head);
            pending.note_parking();
        }
    }

    /// Asks the protocol what to do with a request of which `held` has come, and does it. Says whether the caller is to send on what
    /// is in `room`.
    pub(super) fn decide(&mut self, mut held: Held<P>, room: &[u8]) -> bool {
        let end = held.is_end();
        let mut names = self.context.names();
        let mut pending = self.pending.blank();
        let op = &mut pending.op;
        let mut step = self.protocol.request(&mut self.session, &mut names, op, held.head.as_ref(), end);
        let mut due = None;
        if matches!(step, Step::Forward) && self.turns_away(op) {
            step = Step::Close(Self::draining());
        }
        let mut names = self.context.names();
        if matches!(step, Step::Forward | Step::Rewrite { .. }) {
            held.join();
            let at = At { now: self.now, random: self.context.worker.random(), bytes: held.first(room), end };
            let Ruling { instead, delay, time_limit } =
                self.protocol.govern(&mut self.session, &mut names, op, held.head.as_ref(), at);
            step = instead.unwrap_or(step);
            due = time_limit.map(|limit| Due { at: held.began.after(limit), limit });
            if let Some(delay) = delay {
                let until = self.now.after(delay);
                self.alarm.set(until);
                held.leave(room);
                self.inbound = Inbound::Delayed(Box::new(Delayed { held, pending, step, due, until }));
                return false;
            }
        }
        self.act((held, room), pending, step, due)
    }

    /// A request that was held back goes on.
    #[cold]
    pub(super) fn resume(&mut self, delayed: Delayed<P>) {
        let Delayed { held, pending, step, due, .. } = delayed;
        self.act((held, &[]), pending, step, due);
        self.release_local();
    }

    /// A request that was held back is not going to go on: it joins those under way, to end with them.
    #[cold]
    pub(super) fn abandon_delayed(&mut self) {
        if matches!(self.inbound, Inbound::Delayed(_))
            && let Inbound::Delayed(delayed) = std::mem::replace(&mut self.inbound, Inbound::Boundary)
        {
            self.begin(delayed.pending, (&delayed.held, &[]), Answering::Awaited, None);
        }
    }

    /// Does with a request of which `held` has come what was decided. Says whether the caller is to send on what is in `room`.
    fn act(
        &mut self,
        (mut held, room): (Held<P>, &[u8]),
        pending: Box<Pending<P::Op>>,
        step: Step,
        due: Option<Due>,
    ) -> bool {
        let last = held.last;
        if !matches!(step, Step::Forward) {
            held.leave(room);
        }
        match step {
            Step::More { limit } if !held.is_end() => {
                self.pending.give_back(pending);
                self.wait(held, limit);
            }
            Step::More { .. } => {
                self.begin(pending, (&held, room), Answering::Awaited, due);
                self.fail(Side::Proxy, Reason::Internal);
            }
            Step::Forward => match self.admit(pending, (&held, room), due) {
                Ok(_) if held.is_in_room() => return true,
                Ok(number) => {
                    held.give(|piece| self.to_upstream.push(piece));
                    if !last {
                        self.inbound = Inbound::Passing { number };
                    }
                }
                Err((number, fault)) => self.swallow(number, fault, last),
            },
            Step::Rewrite { limit } => match self.admit(pending, (&held, room), due) {
                Ok(number) => {
                    let mut whole = BytesMut::with_capacity(held.size);
                    held.give(|piece| whole.extend_from_slice(&piece));
                    self.collect(number, whole, limit, last);
                }
                Err((number, fault)) => self.swallow(number, fault, last),
            },
            Step::Respond(bytes, outcome) => {
                let answer = answering(bytes, outcome);
                let number = self.begin(pending, (&held, room), answer, None);
                if !last {
                    self.inbound = Inbound::Swallowing { number };
                }
            }
            Step::Close(fault) => {
                let number = self.begin(pending, (&held, room), Answering::Awaited, None);
                self.judge_failed(number, fault);
                self.fail(fault.side, fault.reason);
            }
        }
        false
    }

    /// Waits for more of a request; where there is no memory for that it has to be decided as it is.
    #[inline(never)]
    fn wait(&mut self, mut held: Held<P>, limit: usize) {
        let claim = Claim {
            listener: Arc::clone(&self.context.listener),
            address: self.from.address.ip().map(|address| address.ip()),
            standing: self.protocol.standing(&self.session),
            now: self.now,
        };
        if held.wait(limit, &claim) {
            self.inbound = Inbound::Held(held);
        } else {
            self.context.messages().limit_held_request.inc();
            self.decide(held, &[]);
        }
    }

    /// What is held is decided by what is known of it, if its memory has been taken back. Says whether it was.
    pub(super) fn poll_taken_back(&mut self, cx: &Context<'_>) -> bool {
        matches!(&self.inbound, Inbound::Held(held) if held.is_taken_back(cx)) && self.give_up_room()
    }

    #[cold]
    fn give_up_room(&mut self) -> bool {
        if let Inbound::Held(mut held) = std::mem::replace(&mut self.inbound, Inbound::Boundary) {
            held.limit = 0;
            self.context.messages().limit_held_request.inc();
            self.decide(held, &[]);
            self.release_local();
        }
        true
    }

    /// The operation joins those under way.
    fn begin(
        &mut self,
        mut pending: Box<Pending<P::Op>>,
        (held, room): (&Held<P>, &[u8]),
        answer: Answering,
        due: Option<Due>,
    ) -> u64 {
        let number = self.pending.number();
        if let Some(due) = due {
            self.alarm.set(due.at);
        }
        pending.number = number;
        pending.in_flight = Some(self.context.worker.measure().started(self.context.place));
        pending.began = held.began;
        pending.request_bytes = held.size as u64;
        (pending.due, pending.limit) = (due.map(|due| due.at), due.map(|due| due.limit));
        pending.complete = held.last;
        pending.completed = held.last.then_some(self.now);
        pending.answer = answer;
        pending.note_parking();
        self.protocol.begun(&mut self.session, &mut pending.op, held.first(room), held.is_whole());
        self.pending.push(pending);
        if self.pending.len() == 1 {
            self.held.connection().under_way(self.pending.under_way_since());
        }
        number
    }

    /// The operation joins those under way, with a place in the cluster. Without an upstream connection it gets that when the
    /// connection is made.
    fn admit(
        &mut self,
        mut pending: Box<Pending<P::Op>>,
        held: (&Held<P>, &[u8]),
        due: Option<Due>,
    ) -> Result<u64, (u64, Fault)> {
        let Some(upstream) = &mut self.upstream else {
            return Ok(self.begin(pending, held, Answering::Awaited, due));
        };
        let op = pending.op.as_mut();
        op.affinity = Affinity::Connection;
        let admitted = self.context.cluster.view.admit(op, &mut upstream.tries, self.now);
        let refused = match admitted {
            Ok(ticket) => {
                pending.ticket = Some(ticket);
                None
            }
            Err(fault) => Some(fault),
        };
        let number = self.begin(pending, held, Answering::Awaited, due);
        refused.map_or(Ok(number), |fault| Err((number, fault)))
    }

    /// Collects a request to be rewritten; with its last piece rewrites it and sends it on.
    #[inline(never)]
    fn collect(&mut self, number: u64, whole: BytesMut, limit: usize, last: bool) {
        if whole.len() > limit {
            self.context.messages().limit_rewrite.inc();
            let fault = Fault::new(Side::Proxy, Phase::Admitted, Reason::TooLarge);
            return self.swallow(number, fault, last);
        }
        if !last {
            self.inbound = Inbound::Collecting { number, whole, limit };
            return;
        }
        let Some(pending) = self.pending.find(number) else { return };
        let mut out = BytesMut::with_capacity(whole.len());
        match self.protocol.rewrite(&mut self.session, &pending.op, &whole, Duration::ZERO, &mut out) {
            Ok(()) => self.to_upstream.push(out.freeze()),
            Err(unwritten) => {
                let (side, reason) = self.note_unwritten(Side::Client, unwritten);
                let fault = Fault::new(side, Phase::Admitted, reason);
                self.swallow(number, fault, true);
            }
        }
    }

    /// Weir answers this operation itself, with a refusal; what is still to come of the request goes nowhere.
    #[cold]
    pub(super) fn swallow(&mut self, number: u64, fault: Fault, last: bool) {
        self.inbound = if last { Inbound::Boundary } else { Inbound::Swallowing { number } };
        if !self.refuse(number, fault) {
            // The client would wait for an answer for ever.
            self.fail(fault.side, fault.reason);
        }
    }

    /// Makes a refusal the answer to this operation. Says whether there is one, where one is due.
    #[cold]
    pub(super) fn refuse(&mut self, number: u64, fault: Fault) -> bool {
        let Some(pending) = self.pending.find(number) else { return true };
        let mut out = BytesMut::new();
        let mut names = self.context.names();
        let mut outcome =
            self.protocol.refuse(&mut self.session, &mut names, &mut pending.op, &fault, &mut out);
        outcome.fault = Some(fault);
        pending.give_up_attempt(&outcome, self.now);
        let speechless = out.is_empty() && !pending.is_unanswered();
        pending.answer = answering(out.freeze(), outcome);
        !speechless
    }

    /// Answers of Weir's own whose turn has come: everything before them is answered, and no reply is in the middle.
    pub(super) fn release_local(&mut self) {
        while self.outbound.is_boundary()
            && let Some(pending) = self.pending.oldest_open()
            && pending.complete
        {
            let Answering::Local(bytes, outcome) = &mut pending.answer else { return };
            pending.reply_bytes = bytes.len() as u64;
            pending.first_byte = Some(self.now);
            self.to_client.push(std::mem::take(bytes));
            pending.answer = Answering::Judged(*outcome);
        }
    }
}

/// Counts a message as work of the task; one that has done enough for now is put off, to be woken when others have had their turn.
fn is_in_turn(cx: &mut Context<'_>) -> bool {
    let turn = coop::poll_proceed(cx);
    if let Poll::Ready(turn) = &turn {
        turn.made_progress();
    }
    turn.is_ready()
}

/// The task has done enough for now: it is woken when others have had their turn, and sockets have been looked at.
pub(super) fn put_off(cx: &mut Context<'_>) {
    let _ = pin!(tokio::task::yield_now()).poll(cx);
}

fn answering(bytes: Bytes, outcome: Outcome) -> Answering {
    if bytes.is_empty() { Answering::Judged(outcome) } else { Answering::Local(bytes, outcome) }
}

impl<P: Protocol> Inbound<P> {
    /// What has been held or collected, as it came.
    pub(super) fn into_bytes(self) -> Vec<Bytes> {
        let mut pieces = Vec::new();
        match self {
            Inbound::Held(held) => held.give(|piece| pieces.push(piece)),
            Inbound::Collecting { whole, .. } => pieces.push(whole.freeze()),
            Inbound::Delayed(delayed) => delayed.held.give(|piece| pieces.push(piece)),
            Inbound::Boundary | Inbound::Passing { .. } | Inbound::Swallowing { .. } => {}
        }
        pieces
    }
}
