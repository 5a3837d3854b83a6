//! How connections end: the client goes, the upstream goes, a message cannot be read, nothing moves.
//!
//! Whatever happens, every operation under way gets an outcome, every operation that is due an answer and has got no part of one
//! gets a refusal in the protocol's words if the client is still there, and the upstream connection is closed as long as anything
//! is under way on it.

use super::exchange::{Event, Exchange, Opaque, State};
use super::pending::{Answering, DELIVERED};
use super::requests::Inbound;
use crate::ground::io::reason;
use crate::shells::relay::{Broken, Half};
use bytes::BytesMut;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{self, Poll};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWrite as _, AsyncWriteExt};
use weir_decide::cluster::{Ticket, Tries};
use weir_decide::exchange::{Class, Fault, NameId, Reason, Side};
use weir_decide::policy::{Known, RetryPolicy};
use weir_decide::protocol::{Malformed, Protocol, Unwritten};
use weir_measure::names;

/// How much later than the others those connections end that only watch a server which is lost.
const WATCHERS_LATER: Duration = Duration::from_millis(100);

/// How long the client may take to read the last words and to close its side.
const FAREWELL: Duration = Duration::from_secs(1);

impl<P: Protocol> Exchange<P> {
    /// Everything under way has failed with this reason. The upstream connection is closed at once; the client gets its
    /// refusals, then is closed as well.
    #[cold]
    pub(super) fn fail(&mut self, side: Side, reason: Reason) {
        self.abandon_delayed();
        let connected = self.drop_upstream();
        // A refusal in the middle of a message would be read as part of it.
        let mut sayable = !self.outbound.has_begun();
        for pending in self.pending.iter_mut() {
            match &mut pending.answer {
                Answering::Judged(_) => {}
                Answering::Local(bytes, outcome) => {
                    let (bytes, outcome) = (std::mem::take(bytes), *outcome);
                    if sayable {
                        pending.reply_bytes = bytes.len() as u64;
                        self.to_client.push(bytes);
                    }
                    pending.answer = Answering::Judged(outcome);
                }
                Answering::Awaited => {
                    let fault = Fault::new(side, pending.phase(connected), reason);
                    let mut out = BytesMut::new();
                    let mut names = self.context.names();
                    let mut outcome = self.protocol.refuse(
                        &mut self.session,
                        &mut names,
                        &mut pending.op,
                        &fault,
                        &mut out,
                    );
                    outcome.fault = Some(fault);
                    // A stream of replies that has begun is told to have ended by the connection's end alone.
                    sayable &= pending.reply_bytes == 0;
                    if sayable {
                        pending.reply_bytes = out.len() as u64;
                        self.to_client.push(out.freeze());
                    }
                    pending.answer = Answering::Judged(outcome);
                }
            }
            pending.complete = true;
        }
        if self.state == State::Open {
            self.state = State::Closing;
        }
    }

    /// One operation has failed, and is not to be answered.
    #[cold]
    pub(super) fn judge_failed(&mut self, number: u64, fault: Fault) {
        let Some(pending) = self.pending.find(number) else { return };
        let mut names = self.context.names();
        let mut unsaid = BytesMut::new();
        let mut outcome =
            self.protocol.refuse(&mut self.session, &mut names, &mut pending.op, &fault, &mut unsaid);
        // What it would have been told is no code that anybody saw.
        (outcome.fault, outcome.code) = (Some(fault), NameId::NONE);
        pending.answer = Answering::Judged(outcome);
        pending.complete = true;
    }

    /// The client is gone: what it had under way is cancelled, by closing the upstream connection.
    #[cold]
    pub(super) fn client_lost(&mut self, reason: Reason) {
        self.state = State::Gone;
        self.abandon_delayed();
        let connected = self.drop_upstream();
        let open: Vec<_> = self
            .pending
            .iter_mut()
            .filter(|pending| !matches!(pending.answer, Answering::Judged(_)))
            .map(|pending| (pending.number, Fault::new(Side::Client, pending.phase(connected), reason)))
            .collect();
        for (number, fault) in open {
            self.judge_failed(number, fault);
            if let Some(pending) = self.pending.find(number)
                && let Answering::Judged(outcome) = &mut pending.answer
            {
                outcome.class = Class::Cancelled;
                // Who closes a connection leaves the long poll that waits on it: nothing has failed.
                if pending.op.as_ref().parked {
                    outcome.fault = None;
                }
            }
        }
        self.pending.iter_mut().for_each(|pending| pending.complete = true);
        self.to_client.clear();
    }

    /// The client has sent its last byte. So is the server told, once it has all that came before, and what it still says goes on: it
    /// decides whether anybody waits for that, as it would without Weir. (A MongoDB server ends what only reads, and the connection.)
    /// What it has not been sent a byte of goes nowhere.
    #[cold]
    pub(super) fn client_ended(&mut self, cx: &mut task::Context<'_>) {
        let passing = matches!(self.inbound, Inbound::Passing { .. }) && self.protocol.half_closes();
        let unsent = !passing && !matches!(self.inbound, Inbound::Boundary);
        let awaits = self.pending.iter_mut().any(|pending| pending.is_awaited() && !pending.is_unanswered());
        // Who only watches the server has nothing to wait for any more, and the server may take its time to see that.
        let alone = !self.protocol.half_closes()
            || self.upstream.is_none()
            || (self.protocol.watches(&self.session) && self.pending.are_parked());
        if unsent || (awaits && alone) {
            return self.client_lost(Reason::Closed);
        }
        if self.pending.is_empty() && self.to_upstream.is_empty() && !passing {
            self.state = State::Closing;
            return;
        }
        if !self.told_end
            && self.protocol.half_closes()
            && self.flush_upstream(cx)
            && let Some(upstream) = &mut self.upstream
        {
            // Where that fails the reading side will tell the end.
            self.told_end = Pin::new(&mut upstream.io).poll_shutdown(cx).is_ready();
        }
    }

    /// The server has closed its side too, after the client had: what it has not answered it has left.
    #[cold]
    fn both_ended(&mut self) {
        let said = std::mem::take(&mut self.to_client);
        self.client_lost(Reason::Closed);
        self.to_client = said;
        self.state = State::Closing;
    }

    /// The upstream connection has ended.
    #[cold]
    pub(super) fn upstream_ended(&mut self, reason: Reason) {
        if self.told_end {
            return self.both_ended();
        }
        self.ends_later = self.protocol.watches(&self.session);
        match self.outlives() {
            Some((number, fault)) => {
                let fault = Fault { reason, ..fault };
                self.pinned = self.upstream.as_ref().map(|upstream| upstream.pick.id());
                self.drop_upstream();
                self.swallow(number, fault, true);
                self.release_local();
            }
            None => self.fail(Side::Network, reason),
        }
    }

    /// Whether the client's connection outlives the upstream one: one operation is under way, no part of its reply has come, and
    /// nothing that was said on the old one is missing on another. What its client is told it then tries anew, at once and on
    /// this connection; it would take the connection's end for the answer. Which operation, and how it failed.
    fn outlives(&mut self) -> Option<(u64, Fault)> {
        let between = self.outbound.is_boundary()
            && self.from_upstream.is_empty()
            && matches!(self.inbound, Inbound::Boundary);
        let survives = self.protocol.survives(&self.session) && !self.ends_later;
        if !between || !survives || self.state != State::Open || self.pending.awaited() != 1 {
            return None;
        }
        let pending = self.pending.oldest_open()?;
        let untouched = pending.first_byte.is_none() && pending.is_awaited() && !pending.is_unanswered();
        let fault = Fault::new(Side::Network, pending.phase(true), Reason::Closed);
        untouched.then_some((pending.number, fault))
    }

    /// No upstream connection could be made. The client's stays: its next operation tries anew.
    #[cold]
    pub(super) fn unreachable(&mut self, fault: Fault) {
        self.to_upstream.clear();
        if self.opaque.is_some() {
            tracing::debug!(peer = %self.from.address, %fault, "no connection for bytes that are no message");
            self.state = State::Closing;
            return;
        }
        if self.pinned.is_some() {
            // The next connection of the client's may go elsewhere.
            self.fail(fault.side, fault.reason);
            return;
        }
        let waiting = self.pending.answered_by(None).map(|pending| (pending.number, pending.complete));
        if let Some((number, complete)) = waiting {
            self.swallow(number, fault, complete);
            self.release_local();
        }
    }

    /// Bytes came that are no message. Where everything is only observed they go on as bytes, and so does all that follows;
    /// otherwise the connection ends.
    #[cold]
    pub(super) fn unreadable(&mut self, side: Side, malformed: Malformed) {
        self.note_malformed(side, malformed);
        let answers_itself =
            self.pending.iter_mut().any(|pending| matches!(pending.answer, Answering::Local(..)))
                || matches!(self.inbound, Inbound::Swallowing { .. } | Inbound::Delayed(_));
        if answers_itself || !self.protocol.degrades(&self.session) {
            self.fail(side, Reason::Malformed);
            return;
        }
        let connected = self.upstream.is_some();
        let open: Vec<_> = self
            .pending
            .iter_mut()
            .filter(|pending| pending.is_awaited())
            .map(|pending| (pending.number, Fault::new(side, pending.phase(connected), Reason::Malformed)))
            .collect();
        // Nobody will be able to tell how they went.
        open.into_iter().for_each(|(number, fault)| self.judge_failed(number, fault));
        self.pending.iter_mut().for_each(|pending| pending.complete = true);
        self.count_done();
        let inbound = std::mem::replace(&mut self.inbound, Inbound::Boundary);
        inbound.into_bytes().into_iter().for_each(|bytes| self.to_upstream.push(bytes));
        let outbound = std::mem::replace(&mut self.outbound, super::replies::Outbound::Boundary);
        outbound.into_bytes().into_iter().for_each(|bytes| self.to_client.push(bytes));
        self.to_upstream.push(self.from_client.take());
        self.to_client.push(self.from_upstream.take());
        let messages = self.context.messages();
        messages.degraded.inc();
        let _counted = messages.degraded_open.hold();
        self.opaque = Some(Box::new(Opaque { up: Half::default(), down: Half::default(), _counted }));
    }

    pub(super) fn note_malformed(&self, side: Side, malformed: Malformed) {
        let context = &self.context;
        let labels = [&*context.listener, P::NAME, side.label(), malformed.label()];
        context.worker.measure().measure().counter(&names::MALFORMED, &labels).inc();
        tracing::info!(
            listener = %context.listener, peer = %self.from.address, side = side.label(), %malformed,
            "bytes came that are no message"
        );
    }

    /// A message of `from` that was to be rewritten is not: whose fault it is, and why.
    pub(super) fn note_unwritten(&self, from: Side, unwritten: Unwritten) -> (Side, Reason) {
        match unwritten {
            Unwritten::Malformed(malformed) => {
                self.note_malformed(from, malformed);
                (from, Reason::Malformed)
            }
            Unwritten::Unready | Unwritten::Later => {
                tracing::info!(
                    listener = %self.context.listener, peer = %self.from.address,
                    "a message could not be rewritten at this moment, so its connection ends"
                );
                (Side::Proxy, Reason::Unready)
            }
        }
    }

    /// The upstream connection that was made for bytes that are no message has no operation to hold its place.
    pub(super) fn settle(&mut self, ticket: Ticket) {
        ticket.finish(&DELIVERED, &RetryPolicy::NONE, &Known::OVER, &mut Tries::new(), self.now);
    }

    /// Bytes both ways.
    #[inline(never)]
    pub(super) fn poll_opaque(&mut self, cx: &mut task::Context<'_>) -> Poll<Event> {
        let (Some(opaque), Some(upstream)) = (&mut self.opaque, &mut self.upstream) else {
            return Poll::Ready(Event::End);
        };
        // Rules may have come since: nothing passes them unread.
        if !self.protocol.degrades(&self.session) {
            self.state = State::Gone;
            return Poll::Ready(Event::End);
        }
        let worker = &self.context.worker;
        let before = opaque.up.bytes + opaque.down.bytes;
        let up = match self.to_upstream.poll_write(&mut upstream.io, cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Err(error)) => Poll::Ready(Err(Broken::Write(error))),
            Poll::Ready(Ok(())) => {
                opaque.up.poll(&mut self.client, &mut upstream.io, opaque.down.closed, worker, cx)
            }
        };
        let down = match self.to_client.poll_write(&mut self.client, cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Err(error)) => Poll::Ready(Err(Broken::Write(error))),
            Poll::Ready(Ok(())) => {
                opaque.down.poll(&mut upstream.io, &mut self.client, opaque.up.closed, worker, cx)
            }
        };
        if opaque.up.bytes + opaque.down.bytes > before {
            self.idle.moved(self.context.worker.now());
        }
        let over = matches!((&up, &down), (Poll::Ready(Ok(())), Poll::Ready(Ok(()))));
        let broken = matches!(up, Poll::Ready(Err(_))) || matches!(down, Poll::Ready(Err(_)));
        if over || broken || self.idle.poll(cx).is_ready() {
            self.state = State::Gone;
            return Poll::Ready(Event::End);
        }
        Poll::Pending
    }

    /// Closes the upstream connection; says whether there was one.
    #[cold]
    pub(super) fn drop_upstream(&mut self) -> bool {
        self.to_upstream.clear();
        self.from_upstream.discard(self.context.worker.buffers());
        self.alarm.let_go();
        let upstream = self.upstream.take();
        if upstream.is_some() {
            self.held.connection().goes_to(None);
        }
        upstream.is_some()
    }

    /// The farewell: the client gets what is queued for it, then the end, and may finish what it is sending; closing with unread
    /// bytes would reset the connection and take the last words with it.
    pub(super) async fn close(&mut self) {
        let mut idle_end = None;
        self.now_is_fresh = false;
        if self.ends_later && self.state == State::Closing {
            tokio::time::sleep(WATCHERS_LATER).await;
        }
        if self.state == State::Closing {
            let said = poll_fn(|cx| self.to_client.poll_write(&mut self.client, cx));
            if let Ok(Err(error)) = tokio::time::timeout(FAREWELL, said).await {
                idle_end = Some(reason(&error));
            }
        }
        self.count_done();
        if let Some(reason) = idle_end {
            tracing::debug!(peer = %self.from.address, reason = reason.label(), "the client went before its last answer");
            return;
        }
        if self.state == State::Closing {
            self.to_upstream.clear();
            self.upstream = None;
            tokio::time::timeout(FAREWELL, self.say_farewell()).await.ok();
        }
    }

    async fn say_farewell(&mut self) {
        if self.client.shutdown().await.is_err() || self.from_client.has_ended() {
            return;
        }
        let buffers = self.context.worker.buffers();
        let mut ignored = buffers.take();
        while self.client.read_buf(&mut ignored).await.is_ok_and(|read| read > 0) {
            ignored.clear();
        }
        buffers.give(ignored);
    }
}
