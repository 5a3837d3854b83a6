//! The loop itself: both directions of one connection, polled together.

use super::Made;
use super::alarm::Alarm;
use super::leaving::Leaving;
use super::limits::MAX_PENDING;
use super::pace::Pace;
use super::pending::Queue;
use super::queue::{Incoming, Outgoing, Read};
use super::replies::Outbound;
use super::requests::Inbound;
use crate::ground::address::{Address, Client};
use crate::ground::counted::Held;
use crate::ground::drain::Drain;
use crate::ground::idle::Idle;
use crate::ground::io::{Io, reason};
use crate::shells::context::Context;
use crate::shells::cuts::Cut;
use crate::shells::relay::Half;
use crate::upstream::cluster::{Connected, Slot};
use std::io;
use std::rc::Rc;
use std::task::{self, Poll};
use weir_decide::cluster::{Pick, Tries};
use weir_decide::exchange::{EndpointId, Now, Operation, Reason, Side};
use weir_decide::protocol::Protocol;

/// What the loop stops for.
pub(crate) enum Event {
    /// An operation waits for the upstream connection to be made.
    Connect,
    /// Everything is over but for the farewell.
    End,
}

/// One client connection, and the upstream connection it is pinned to once there is one.
pub(crate) struct Exchange<P: Protocol> {
    pub(super) protocol: Rc<P>,
    pub(super) context: Rc<Context>,
    /// Keeps the connection counted and shown.
    pub(super) held: Held,
    pub(super) from: Client,
    pub(super) session: P::Session,
    pub(super) requests: P::Request,
    pub(super) replies: P::Reply,
    pub(super) pending: Queue<P::Op>,
    pub(super) client: Io,
    pub(super) from_client: Incoming,
    pub(super) to_client: Outgoing,
    /// The request message that is coming in.
    pub(super) inbound: Inbound<P>,
    pub(super) upstream: Option<Upstream>,
    pub(super) from_upstream: Incoming,
    pub(super) to_upstream: Outgoing,
    /// The reply message that is coming in.
    pub(super) outbound: Outbound<P>,
    /// Bytes both ways, since a message could not be read.
    pub(super) opaque: Option<Box<Opaque>>,
    pub(super) idle: Idle,
    /// Wakes for what is held back and for what is overdue.
    pub(super) alarm: Alarm,
    /// How the request message comes in.
    pub(super) pace: Pace,
    /// Where the upstream connection went that an overdue operation took with it.
    pub(super) pinned: Option<EndpointId>,
    /// When the bytes at hand had come.
    pub(super) now: Now,
    /// That was in this turn of the task's, so nothing has been waited for since.
    pub(super) now_is_fresh: bool,
    /// It has done as much as one turn should: what is in hand is for the next one.
    pub(super) turn_over: bool,
    /// Once the connection is to come to its end.
    pub(super) leaving: Option<Box<Leaving>>,
    /// The server has been told that the client has sent its last byte.
    pub(super) told_end: bool,
    /// The server that it only watches has gone.
    pub(super) ends_later: bool,
    pub(super) state: State,
}

/// The upstream connection.
pub(super) struct Upstream {
    pub(super) io: Io,
    pub(super) pick: Pick,
    /// For operations that go where the connection is pinned to.
    pub(super) tries: Tries,
    /// Nothing more can be written; what the server said before may still be read.
    pub(super) broken: bool,
    /// By which it can be ended from elsewhere.
    cut: Option<Rc<Cut>>,
    _slot: Slot,
}

/// Both directions as bytes.
pub(super) struct Opaque {
    pub(super) up: Half,
    pub(super) down: Half,
    pub(super) _counted: weir_measure::Held,
}

/// What a look at one direction came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Looked {
    /// Something was read: there may be more.
    Moved,
    /// Something was read, and that was all: from now on as [`Looked::Waits`].
    Settled,
    /// There is nothing to read; when there is, this task is woken, however often the other direction moves meanwhile.
    Waits,
    /// It cannot go on until something else has moved.
    Blocked,
}

impl Looked {
    fn moved(settled: bool) -> Looked {
        if settled { Looked::Settled } else { Looked::Moved }
    }
}

/// Where the connection stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Operations come and go.
    Open,
    /// It is over; what is queued for the client is still written, then the connection is closed in order.
    Closing,
    /// It is over and the client has gone.
    Gone,
}

impl<P: Protocol> Exchange<P> {
    pub(super) fn new(
        protocol: Rc<P>,
        context: Rc<Context>,
        (client, held): (Io, Held),
        (from, local): (Client, Address),
    ) -> Exchange<P> {
        let (mut session, requests, replies) = protocol.session();
        if let Some(local) = local.ip() {
            protocol.connected(&mut session, local);
        }
        let now = context.worker.now();
        Exchange {
            idle: Idle::new(context.idle_timeout, now),
            protocol,
            context,
            held,
            from,
            session,
            requests,
            replies,
            pending: Queue::new(),
            client,
            from_client: Incoming::default(),
            to_client: Outgoing::default(),
            inbound: Inbound::Boundary,
            upstream: None,
            from_upstream: Incoming::default(),
            to_upstream: Outgoing::default(),
            outbound: Outbound::Boundary,
            opaque: None,
            alarm: Alarm::default(),
            pace: Pace::default(),
            pinned: None,
            now,
            now_is_fresh: false,
            turn_over: false,
            leaving: None,
            told_end: false,
            ends_later: false,
            state: State::Open,
        }
    }

    pub(super) fn context(&self) -> &Rc<Context> {
        &self.context
    }

    /// Moves everything that can be moved, then says what it stopped for, or waits.
    pub(super) fn poll<'a>(
        &mut self,
        cx: &mut task::Context<'_>,
        draining: &mut impl FnMut(&mut task::Context<'_>) -> Option<&'a Rc<Drain>>,
    ) -> Poll<Event> {
        let (mut replies, mut requests) = (Looked::Moved, Looked::Moved);
        (self.now_is_fresh, self.turn_over) = (false, false);
        if self.upstream.as_ref().and_then(|upstream| upstream.cut.as_ref()).is_some_and(|cut| cut.poll(cx)) {
            self.upstream_ended(Reason::Closed);
        }
        loop {
            if self.opaque.is_some() && self.state == State::Open && self.upstream.is_some() {
                return self.poll_opaque(cx);
            }
            // Replies first: what ends makes room for what begins.
            if !matches!(replies, Looked::Waits | Looked::Settled) {
                replies = self.poll_replies(cx);
            }
            if !matches!(requests, Looked::Waits | Looked::Settled) {
                requests = self.poll_requests(cx);
            }
            let full = self.pending.len() >= MAX_PENDING;
            self.retire(cx);
            if full && self.pending.len() < MAX_PENDING {
                // What waited for that may be in hand, where nobody is woken for it.
                requests = Looked::Moved;
            }
            if self.from_client.has_ended() && self.from_client.fresh().is_none() {
                self.client_ended(cx);
            }
            if self.state != State::Open {
                return Poll::Ready(Event::End);
            }
            if self.wants_upstream() {
                return Poll::Ready(Event::Connect);
            }
            if self.turn_over {
                return Poll::Pending;
            }
            if self.poll_alarm(cx) || self.poll_taken_back(cx) {
                (replies, requests) = (Looked::Moved, Looked::Moved);
                continue;
            }
            match (replies, requests) {
                (Looked::Moved, _) | (_, Looked::Moved) => {}
                // What could not go on may be able to by now.
                (Looked::Settled, Looked::Blocked) => replies = Looked::Waits,
                (Looked::Blocked, Looked::Settled) => requests = Looked::Waits,
                _ => break,
            }
        }
        let waits_for_client = matches!(requests, Looked::Waits | Looked::Settled);
        if self.mind_pace(waits_for_client) && self.poll_alarm(cx) {
            // Hardly: it was set just now.
            cx.waker().wake_by_ref();
        }
        if let Some(drain) = draining(cx)
            && self.poll_leave(drain, cx).is_ready()
        {
            return Poll::Ready(Event::End);
        }
        if self.idle.poll(cx).is_ready() {
            let waits = !self.pending.is_empty() && self.pending.are_parked() && self.to_client.is_empty();
            if !waits {
                self.fail(Side::Proxy, Reason::Idle);
                return Poll::Ready(Event::End);
            }
            // Nothing is expected to move while everything under way waits for something to happen.
            self.idle.moved(self.context.worker.now());
            return self.idle.poll(cx).map(|()| Event::End);
        }
        Poll::Pending
    }

    /// Upstream to client: writes what waits, then reads, if there is room.
    fn poll_replies(&mut self, cx: &mut task::Context<'_>) -> Looked {
        if !self.flush_client(cx) {
            return Looked::Blocked;
        }
        // A rule holds back the next reply of a stream, or one waits for what it should say.
        if self.alarm.holds() {
            return Looked::Blocked;
        }
        if self.from_upstream.fresh().is_some_and(|left| !left.is_empty()) {
            // What was left for this turn.
            return self.take_fresh_replies(cx);
        }
        let Some(upstream) = &mut self.upstream else { return Looked::Blocked };
        let buffers = self.context.worker.buffers();
        self.from_upstream.release(buffers);
        let mut room = buffers.take_room();
        let read = self.from_upstream.poll_read(&mut upstream.io, buffers, &mut room, cx);
        let looked = self.take_read_replies(read, &room, cx);
        self.context.worker.buffers().give_room(room);
        looked
    }

    fn take_read_replies(
        &mut self,
        read: Poll<io::Result<Read>>,
        room: &[u8],
        cx: &mut task::Context<'_>,
    ) -> Looked {
        match read {
            Poll::Pending => return Looked::Waits,
            Poll::Ready(Ok(Read::More)) => {
                self.moved();
                // This may take some time.
                self.context.worker.outbox().empty();
            }
            Poll::Ready(Ok(Read::Room)) => {
                self.moved();
                if self.pass_whole_reply(room, cx) {
                    let Some(upstream) = &mut self.upstream else { return Looked::Moved };
                    return Looked::moved(self.from_upstream.has_settled(&mut upstream.io, cx));
                }
                self.from_upstream.keep(room, self.context.worker.buffers());
            }
            Poll::Ready(Ok(Read::End)) => {
                self.upstream_ended(Reason::Closed);
                return Looked::Moved;
            }
            Poll::Ready(Err(error)) => {
                self.upstream_ended(reason(&error));
                return Looked::Moved;
            }
        }
        self.take_fresh_replies(cx)
    }

    /// Takes what is in hand.
    fn take_fresh_replies(&mut self, cx: &mut task::Context<'_>) -> Looked {
        if !self.take_replies(cx) {
            self.flush_client(cx);
            return Looked::Blocked;
        }
        if !self.flush_client(cx) {
            return Looked::Moved;
        }
        self.from_upstream.release(self.context.worker.buffers());
        let Some(upstream) = &mut self.upstream else { return Looked::Moved };
        Looked::moved(self.from_upstream.has_settled(&mut upstream.io, cx))
    }

    /// Client to upstream: writes what waits, then looks at what is in hand or reads more, if there is room.
    fn poll_requests(&mut self, cx: &mut task::Context<'_>) -> Looked {
        if self.state != State::Open || !self.flush_upstream(cx) || self.pending.len() >= MAX_PENDING {
            return Looked::Blocked;
        }
        if let Inbound::Delayed(delayed) = &self.inbound {
            // What comes behind it waits too.
            let is_unanswered = delayed.is_unanswered();
            let gone = self.poll_client_gone(cx).is_ready();
            if gone || (self.from_client.has_ended() && !is_unanswered) {
                self.client_lost(Reason::Closed);
            }
            return Looked::Blocked;
        }
        if self.from_client.fresh().is_some() {
            return self.take_fresh_requests(cx);
        }
        if self.from_client.has_ended() {
            return Looked::Blocked;
        }
        let buffers = self.context.worker.buffers();
        self.from_client.release(buffers);
        let mut room = buffers.take_room();
        let read = self.from_client.poll_read(&mut self.client, buffers, &mut room, cx);
        let looked = self.take_read_requests(read, &room, cx);
        self.context.worker.buffers().give_room(room);
        looked
    }

    fn take_read_requests(
        &mut self,
        read: Poll<io::Result<Read>>,
        room: &[u8],
        cx: &mut task::Context<'_>,
    ) -> Looked {
        match read {
            Poll::Pending => return Looked::Waits,
            Poll::Ready(Ok(Read::More)) => {
                self.moved();
                self.context.worker.outbox().empty();
            }
            Poll::Ready(Ok(Read::Room)) => {
                self.moved();
                if self.pass_whole_request(room, cx) {
                    return Looked::moved(self.from_client.has_settled(&mut self.client, cx));
                }
                self.from_client.keep(room, self.context.worker.buffers());
            }
            Poll::Ready(Ok(Read::End)) => return Looked::Moved,
            Poll::Ready(Err(error)) => {
                self.client_lost(reason(&error));
                return Looked::Moved;
            }
        }
        self.take_fresh_requests(cx)
    }

    /// Takes what is in hand.
    fn take_fresh_requests(&mut self, cx: &mut task::Context<'_>) -> Looked {
        let in_turn = self.take_requests(cx);
        if self.flush_upstream(cx) {
            self.from_client.release(self.context.worker.buffers());
        }
        if !in_turn {
            return Looked::Blocked;
        }
        Looked::moved(self.from_client.has_settled(&mut self.client, cx))
    }

    /// Writes what waits for the client. Says whether all of it has gone.
    pub(super) fn flush_client(&mut self, cx: &mut task::Context<'_>) -> bool {
        if self.to_client.is_empty() {
            return true;
        }
        let written = self.to_client.poll_write(&mut self.client, cx);
        self.told_client(written)
    }

    /// What was queued for the client has been written, or not. Says whether all of it has gone.
    pub(super) fn told_client(&mut self, written: Poll<io::Result<()>>) -> bool {
        match written {
            Poll::Pending => false,
            Poll::Ready(Ok(())) => true,
            Poll::Ready(Err(error)) => {
                self.client_lost(reason(&error));
                false
            }
        }
    }

    /// Writes what waits for the upstream. Says whether all of it has gone.
    pub(super) fn flush_upstream(&mut self, cx: &mut task::Context<'_>) -> bool {
        match &mut self.upstream {
            // What was to be written is gone, but nothing more is taken up.
            Some(upstream) if upstream.broken => false,
            _ if self.to_upstream.is_empty() => true,
            Some(upstream) => {
                let written = self.to_upstream.poll_write(&mut upstream.io, cx);
                self.told_upstream(written)
            }
            None => false,
        }
    }

    /// What was queued for the upstream has been written, or not. Says whether all of it has gone.
    pub(super) fn told_upstream(&mut self, written: Poll<io::Result<()>>) -> bool {
        match written {
            Poll::Pending => false,
            Poll::Ready(Ok(())) => {
                self.pending.judge_unanswered();
                true
            }
            Poll::Ready(Err(_)) => {
                // What the server said before it closed may still be there to be read; the reading side will tell the end.
                if let Some(upstream) = &mut self.upstream {
                    upstream.broken = true;
                }
                false
            }
        }
    }

    /// Counts what has ended and whose last byte has been written.
    fn retire(&mut self, cx: &mut task::Context<'_>) {
        if !self.pending.has_done() || !self.flush_client(cx) {
            return;
        }
        self.count_done();
    }

    /// Counts what is judged and complete.
    pub(super) fn count_done(&mut self) {
        // What is written without having to wait for the socket ends when it came.
        let now = if self.now_is_fresh { self.now } else { self.context.worker.now() };
        let mut none = Tries::new();
        let tries = self.upstream.as_mut().map_or(&mut none, |upstream| &mut upstream.tries);
        let (protocol, session) = (&self.protocol, &mut self.session);
        let shown = self.held.connection();
        self.pending.retire(&self.context, tries, now, |op, ending| {
            shown.ended(ending.request_bytes, ending.reply_bytes);
            protocol.ended(session, op, ending);
        });
        shown.under_way(self.pending.under_way_since());
        if let Some(about) = protocol.news(session) {
            shown.says(about);
        }
    }

    /// Whether an operation waits for an upstream connection to be made.
    pub(super) fn wants_upstream(&mut self) -> bool {
        self.upstream.is_none()
            && (self.opaque.is_some() || self.pending.iter_mut().any(|pending| pending.is_awaited()))
    }

    /// The operation for which the upstream connection is to be made.
    pub(super) fn waiting_operation(&mut self) -> Option<Operation> {
        self.pending.answered_by(None).map(|pending| pending.op.as_ref().clone())
    }

    /// The upstream connection has been made, or not; `None`: the client went away meanwhile.
    pub(super) fn connected(&mut self, made: Option<Made>) {
        self.now = self.context.worker.now();
        self.idle.moved(self.now);
        let Some(Made { result, retries }) = made else {
            self.client_lost(Reason::Closed);
            return;
        };
        let waiting = self.pending.answered_by(None);
        match result {
            Ok((ticket, Connected { io, slot, .. })) => {
                let pick = ticket.pick().clone();
                self.held.connection().goes_to(Some(pick.address()));
                self.pinned = None;
                let tries = Tries::pinned(pick.clone());
                let cut = self.context.cuts.note(pick.address());
                self.upstream = Some(Upstream { io, pick, tries, broken: false, cut, _slot: slot });
                match waiting {
                    Some(waiting) => {
                        waiting.ticket = Some(ticket);
                        waiting.retries = retries;
                        waiting.note_parking();
                    }
                    None => self.settle(ticket),
                }
                // What has come meanwhile for a connection that is bytes both ways.
                if self.opaque.is_some() {
                    self.to_upstream.push(self.from_client.take());
                }
            }
            Err(fault) => {
                if let Some(waiting) = waiting {
                    waiting.retries = retries;
                }
                self.unreachable(fault);
            }
        }
    }

    /// Watches the client while the upstream connection is made; ready when it has gone.
    pub(super) fn poll_client_gone(&mut self, cx: &mut task::Context<'_>) -> Poll<()> {
        let buffers = self.context.worker.buffers();
        let mut room = buffers.take_room();
        let gone = loop {
            match self.from_client.poll_read(&mut self.client, buffers, &mut room, cx) {
                Poll::Pending => break Poll::Pending,
                Poll::Ready(Ok(Read::More)) => {}
                Poll::Ready(Ok(Read::Room)) => self.from_client.keep(&room, buffers),
                // A request that nothing will answer is delivered though its client has gone.
                Poll::Ready(Ok(Read::End)) if self.pending.iter_mut().all(|one| one.is_unanswered()) => {
                    break Poll::Pending;
                }
                Poll::Ready(Ok(Read::End) | Err(_)) => break Poll::Ready(()),
            }
        };
        buffers.give_room(room);
        gone
    }

    /// Whether both directions are between messages, with nothing in hand.
    pub(super) fn is_between_messages(&self) -> bool {
        self.from_client.is_empty()
            && self.to_client.is_empty()
            && self.to_upstream.is_empty()
            && matches!(self.inbound, Inbound::Boundary)
            && matches!(self.outbound, Outbound::Boundary)
    }

    fn moved(&mut self) {
        self.now = self.context.worker.now();
        self.now_is_fresh = true;
        self.held.connection().moved(self.now);
        self.idle.moved(self.now);
    }
}
