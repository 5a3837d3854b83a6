//! Upstream to client: what becomes of a reply's pieces.

use super::exchange::{Exchange, State};
use super::limits::MAX_HELD_REPLY;
use super::pending::Answering;
use super::requests::put_off;
use bytes::{Bytes, BytesMut};
use std::task::Context;
use std::time::Duration;
use weir_codecs::Piece;
use weir_decide::exchange::{Fault, Now, Phase, Reason, Side};
use weir_decide::protocol::{Answer, Decode, Ending, Protocol, Unwritten};

pub(super) type ReplyHead<P> = <<P as Protocol>::Reply as Decode>::Head;

/// How often a reply that waits for what it should say is looked at again.
const LATER: Duration = Duration::from_millis(20);

/// The reply message that is coming in.
pub(super) enum Outbound<P: Protocol> {
    /// None: the next byte begins one.
    Boundary,
    /// Its head is not known yet.
    Undecided { before: BytesMut },
    /// Its pieces go on as they come.
    Relaying(Known<P>),
    /// It is held back until it has been judged.
    Holding { known: Known<P>, whole: BytesMut },
    /// It is collected, to be rewritten.
    Collecting { known: Known<P>, whole: BytesMut, limit: usize },
    /// It is there whole, since then, and waits for what it should say to be known.
    Late { known: Known<P>, whole: BytesMut, since: Now },
    /// It answers nothing that is under way, and goes on all the same.
    Unmatched,
}

/// What is known of a reply.
pub(super) struct Known<P: Protocol> {
    number: u64,
    head: ReplyHead<P>,
    /// More replies to the same operation follow.
    more: bool,
}

impl<P: Protocol> Outbound<P> {
    pub(super) fn is_boundary(&self) -> bool {
        matches!(self, Outbound::Boundary)
    }

    /// Whether the client has got a part of it.
    pub(super) fn has_begun(&self) -> bool {
        matches!(self, Outbound::Relaying(_) | Outbound::Unmatched)
    }

    /// What has been held or collected, as it came.
    pub(super) fn into_bytes(self) -> Vec<Bytes> {
        match self {
            Outbound::Undecided { before: whole }
            | Outbound::Holding { whole, .. }
            | Outbound::Collecting { whole, .. }
            | Outbound::Late { whole, .. } => vec![whole.freeze()],
            Outbound::Boundary | Outbound::Relaying(_) | Outbound::Unmatched => Vec::new(),
        }
    }
}

impl<P: Protocol> Exchange<P> {
    /// Cuts what is in hand into pieces and passes them on. Says whether the task may go on; if not, the rest is for its next turn.
    pub(super) fn take_replies(&mut self, cx: &mut Context<'_>) -> bool {
        let mut in_turn = true;
        while self.state == State::Open && self.opaque.is_none() && !self.alarm.holds() {
            let Some(buffer) = self.from_upstream.fresh() else { break };
            if buffer.is_empty() && !self.replies.has_failed() {
                self.from_upstream.starve();
                break;
            }
            match self.replies.decode(buffer) {
                Ok(Some(piece)) => self.reply_piece(piece),
                Ok(None) => self.from_upstream.starve(),
                Err(malformed) => self.unreadable(Side::Upstream, malformed),
            }
            if self.replies.has_toiled() {
                put_off(cx);
                self.turn_over = true;
                in_turn = false;
                break;
            }
        }
        self.release_local();
        in_turn
    }

    fn reply_piece(&mut self, piece: Piece<ReplyHead<P>>) {
        let Piece { bytes, head, last } = piece;
        if self.outbound.is_boundary() {
            self.begin_reply(BytesMut::new(), bytes, head, last);
        } else {
            self.further_reply_piece(Piece { bytes, head, last });
        }
    }

    /// Another piece of the message that is coming in.
    #[inline(never)]
    fn further_reply_piece(&mut self, piece: Piece<ReplyHead<P>>) {
        let Piece { bytes, head, last } = piece;
        match std::mem::replace(&mut self.outbound, Outbound::Boundary) {
            Outbound::Boundary => {}
            // What is held back is copied: each piece would keep all of the buffer alive that it was read into.
            Outbound::Undecided { mut before } => {
                if head.is_some() || last || before.len() + bytes.len() > MAX_HELD_REPLY {
                    self.begin_reply(before, bytes, head, last);
                } else {
                    before.extend_from_slice(&bytes);
                    self.outbound = Outbound::Undecided { before };
                }
            }
            Outbound::Relaying(mut known) => {
                self.relay(known.number, bytes);
                known.learn(head);
                if last {
                    self.judge(known);
                } else {
                    self.outbound = Outbound::Relaying(known);
                }
            }
            Outbound::Holding { mut known, mut whole } => {
                known.learn(head);
                whole.extend_from_slice(&bytes);
                self.hold(known, whole, last);
            }
            Outbound::Collecting { mut known, mut whole, limit } => {
                known.learn(head);
                whole.extend_from_slice(&bytes);
                self.collect_reply(known, whole, limit, last);
            }
            // Nothing is read while it waits.
            late @ Outbound::Late { .. } => self.outbound = late,
            Outbound::Unmatched => {
                self.to_client.push(bytes);
                if !last {
                    self.outbound = Outbound::Unmatched;
                }
            }
        }
    }

    /// A reply of which the head is known (or will not be): finds its operation, and asks the protocol what to do with it.
    fn begin_reply(&mut self, mut before: BytesMut, bytes: Bytes, head: Option<ReplyHead<P>>, last: bool) {
        if head.is_none() && !last && before.is_empty() {
            self.outbound = Outbound::Undecided { before: bytes.into() };
            return;
        }
        let asked = head.as_ref().and_then(|head| self.ask(head));
        let (Some(head), Some((number, answer))) = (head, asked) else {
            self.context.messages().unmatched.inc();
            self.to_client.push(before.freeze());
            self.to_client.push(bytes);
            if !last {
                self.outbound = Outbound::Unmatched;
            }
            return;
        };
        match answer {
            Answer::Relay { more, hold: false } => {
                self.relay(number, before.freeze());
                self.relay(number, bytes);
                let known = Known { number, head, more };
                if last {
                    self.judge(known);
                } else {
                    self.outbound = Outbound::Relaying(known);
                }
            }
            Answer::Relay { more, hold: true } => {
                before.extend_from_slice(&bytes);
                self.hold(Known { number, head, more }, before, last);
            }
            Answer::Rewrite { limit, more } => {
                before.extend_from_slice(&bytes);
                self.collect_reply(Known { number, head, more }, before, limit, last);
            }
        }
    }

    /// Asks the protocol what to do with a reply that has this head, and whose it is.
    fn ask(&mut self, head: &ReplyHead<P>) -> Option<(u64, Answer)> {
        let tag = self.protocol.answers(&self.session, head);
        let (Some(pending), Some(upstream)) = (self.pending.answered_by(tag), &self.upstream) else {
            return None;
        };
        pending.first_byte.get_or_insert(self.now);
        let answer = self.protocol.reply(&mut self.session, &mut pending.op, upstream.pick.id(), head);
        pending.note_parking();
        Some((pending.number, answer))
    }

    /// A reply came alone and whole. Says whether the caller is to send on what is in `room`.
    pub(super) fn whole_reply(&mut self, head: ReplyHead<P>, room: &[u8]) -> bool {
        let Some((number, answer)) = self.ask(&head) else {
            self.context.messages().unmatched.inc();
            return true;
        };
        match answer {
            // There is nothing to hold back: it is judged before any of it goes.
            Answer::Relay { more, .. } => {
                if let Some(pending) = self.pending.find(number) {
                    pending.reply_bytes += room.len() as u64;
                }
                self.judge(Known { number, head, more });
                true
            }
            Answer::Rewrite { limit, more } => {
                self.collect_reply(Known { number, head, more }, room.into(), limit, true);
                false
            }
        }
    }

    /// A piece of the reply to operation `number` goes to the client.
    fn relay(&mut self, number: u64, bytes: Bytes) {
        if let Some(pending) = self.pending.find(number) {
            pending.reply_bytes += bytes.len() as u64;
        }
        self.to_client.push(bytes);
    }

    /// A reply has ended: how did its operation go?
    fn judge(&mut self, known: Known<P>) {
        let Some(pending) = self.pending.find(known.number) else { return };
        let mut names = self.context.names();
        let outcome = self.protocol.judge(&mut self.session, &mut names, &mut pending.op, &known.head);
        pending.note_parking();
        if known.more {
            let (protocol, session) = (&self.protocol, &mut self.session);
            let shown = self.held.connection();
            let tell = |op: &mut P::Op, ending: &Ending<'_>| {
                shown.ended(ending.request_bytes, ending.reply_bytes);
                protocol.ended(session, op, ending);
            };
            pending.turn(outcome, &self.context, self.now, tell);
            if let Some(until) = self.protocol.further(&mut self.session, &mut pending.op, self.now) {
                // Its time begins when it may be read.
                pending.due = pending.limit.map(|limit| until.after(limit));
                self.alarm.hold(until);
            }
            if let Some(due) = pending.due {
                self.alarm.set(due);
            }
            shown.under_way(self.pending.under_way_since());
        } else {
            pending.answer = Answering::Judged(outcome);
        }
    }

    /// Holds a reply back until it has been judged, or has grown too large for that.
    #[inline(never)]
    fn hold(&mut self, known: Known<P>, whole: BytesMut, last: bool) {
        if !last && whole.len() <= MAX_HELD_REPLY {
            self.outbound = Outbound::Holding { known, whole };
            return;
        }
        self.relay(known.number, whole.freeze());
        if last {
            self.judge(known);
        } else {
            self.context.messages().limit_held.inc();
            self.outbound = Outbound::Relaying(known);
        }
    }

    /// Collects a reply to be rewritten; with its last piece rewrites it and sends it on. One that cannot be rewritten must not
    /// go on as it is, so it ends the connection.
    #[inline(never)]
    fn collect_reply(&mut self, known: Known<P>, whole: BytesMut, limit: usize, last: bool) {
        if whole.len() > limit {
            self.context.messages().limit_rewrite.inc();
            let fault = Fault::new(Side::Proxy, Phase::Replying, Reason::TooLarge);
            self.judge_failed(known.number, fault);
            self.fail(fault.side, fault.reason);
            return;
        }
        if !last {
            self.outbound = Outbound::Collecting { known, whole, limit };
            return;
        }
        self.rewrite_reply(known, whole, self.now);
    }

    /// A reply that waited for what it should say is looked at again.
    #[cold]
    pub(super) fn retry_late(&mut self) {
        match std::mem::replace(&mut self.outbound, Outbound::Boundary) {
            Outbound::Late { known, whole, since } => self.rewrite_reply(known, whole, since),
            other => self.outbound = other,
        }
    }

    fn rewrite_reply(&mut self, known: Known<P>, whole: BytesMut, since: Now) {
        let Some(pending) = self.pending.find(known.number) else { return };
        let mut out = BytesMut::with_capacity(whole.len());
        let waited = Duration::from_nanos(self.now.since(since));
        match self.protocol.rewrite(&mut self.session, &pending.op, &whole, waited, &mut out) {
            Ok(()) => {
                self.relay(known.number, out.freeze());
                self.judge(known);
            }
            Err(Unwritten::Later) => {
                let until = self.now.after(LATER);
                self.alarm.hold(until);
                self.outbound = Outbound::Late { known, whole, since };
            }
            Err(unwritten) => {
                let (side, reason) = self.note_unwritten(Side::Upstream, unwritten);
                let fault = Fault::new(side, Phase::Replying, reason);
                self.judge_failed(known.number, fault);
                self.fail(fault.side, fault.reason);
            }
        }
    }
}

impl<P: Protocol> Known<P> {
    fn learn(&mut self, head: Option<ReplyHead<P>>) {
        if let Some(head) = head {
            self.head = head;
        }
    }
}
