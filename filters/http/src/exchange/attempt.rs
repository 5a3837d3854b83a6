//! One try: the request goes up, the reply comes down, and what has to be decided is decided on the way.

use super::account::Account;
use super::blame::{self, has_all, side_of};
use super::flow::{Event, Flow};
use super::pump::{Hold, Upward, release_now};
use super::replay::Replay;
use super::{End, Exchange, Open, Opening, RetryPolicy, Until, gone};
use crate::dialect::AtHead;
use crate::fields::Fields;
use crate::h2::head;
use crate::plain;
use crate::seam::{Broken, Downstream, Upstream, Version};
use crate::site::{Route, Site};
use crate::timer::NEVER;
use crate::times::Times;
use crate::watcher::Watcher;
use std::future::poll_fn;
use std::task::{Context, Poll};
use std::time::Duration;
use weir_codecs::http1::{Method, Rule};
use weir_decide::cluster::{Ticket, Tries};
use weir_decide::exchange::{Class, Fault, Now, Outcome, Phase, Reason, Side};
use weir_decide::policy::Sent;
use weir_drive::time;

/// The most of a reply that is held back, whatever a dialect asks for; beyond it the reply goes on, and
/// `weir_caps_met_total{cap="held_reply"}` moves.
const MAX_HOLD: usize = 64 * 1024;

/// The rule that is broken for a client which has to switch by a server which need not.
const UPGRADE_IGNORED: &str = "upgrade_ignored";

/// What comes after a try.
pub enum Step {
    /// The exchange is over.
    Over(Outcome),
    /// Another try, after this long. Its place is reserved.
    Again {
        /// How long to wait first.
        after: Duration,
    },
}

/// What a try works with.
pub struct Attempt<'a> {
    pub site: &'a Site,
    pub route: &'a Route,
    pub policy: &'a RetryPolicy,
    /// How much of the request has left for the server.
    pub sent: Sent,
    pub watcher: &'a mut Watcher,
    pub replay: &'a mut Replay,
    pub tries: &'a mut Tries,
    pub account: &'a mut Account,
    pub until: Until,
    /// Of the reply and the bodies.
    pub times: Times,
    /// When this try began.
    pub began: Now,
    /// It took too long for its client's sake, or would have: that is not the endpoint's failure, whatever the protocol calls it.
    pub clients: bool,
    /// It is a CONNECT.
    pub connect: bool,
}

impl Attempt<'_> {
    fn judge(&mut self, end: End<'_>, now: Now) -> Outcome {
        let names = &mut self.site.names();
        let mut outcome = self.watcher.judge(names, &self.site.words, end);
        outcome.latency = now.since(self.began);
        if outcome.class == Class::Failed && blame::is_of_the_client(&outcome, self.connect) {
            outcome.class = Class::Cancelled;
        }
        outcome
    }

    fn failed(&mut self, fault: &Fault, code: Option<u32>) -> Outcome {
        let now = time::now();
        let mut outcome = self.judge(End::Failed { fault, code, now }, now);
        if self.clients && outcome.class == Class::Failed {
            outcome.class = Class::Cancelled;
            // As of a timer of Weir's own that runs out while the client is waited for.
            if let Some(fault) = outcome.fault.as_mut().filter(|fault| fault.reason == Reason::Deadline) {
                fault.side = Side::Client;
            }
        }
        outcome
    }

    /// The client may have left, and has not a byte of its reply.
    fn left(&self, ticket: Option<&mut Ticket>) {
        let now = time::now();
        if let Some(ticket) = ticket {
            ticket.left(now.since(self.began), now);
        }
    }
}

impl<D: Downstream> Exchange<'_, D> {
    /// Make one try. Gives the connection a second chance where the server cannot have seen the request.
    pub(super) async fn attempt<O: Open>(
        &mut self,
        attempt: &mut Attempt<'_>,
        open: &O,
        ticket: Ticket,
    ) -> Step {
        let pick = ticket.pick().clone();
        let mut ticket = Some(ticket);
        let mut fresh = false;
        if self.request.authority.is_empty() && self.request.fields.value(b"host").is_none() {
            // The path of a Unix socket is no host.
            let address = pick.address();
            let host = if address.starts_with("unix:") { "localhost" } else { address };
            self.request.fields.push(b"host", host.as_bytes());
        }
        loop {
            attempt.account.reach(Phase::Connecting);
            attempt.sent = Sent::Nothing;
            let opened = match self.open(open, &pick, fresh, attempt.until).await {
                Err(fault) => return self.failed(attempt, &mut ticket, fault, None).await,
                Ok(opened) => opened,
            };
            let up = match opened {
                Ok(up) => up,
                Err(Opening::Failed(fault)) => return self.failed(attempt, &mut ticket, fault, None).await,
                Err(Opening::Unfit(fault)) => {
                    attempt.clients = true;
                    return self.failed(attempt, &mut ticket, fault, None).await;
                }
                Err(Opening::Broken(broken)) => {
                    if broken.unprocessed && !fresh {
                        fresh = true;
                        continue;
                    }
                    let fault = Fault::new(Side::Network, Phase::Connecting, broken.reason);
                    return self.failed(attempt, &mut ticket, fault, broken.code).await;
                }
            };
            match self.flow(attempt, &mut ticket, up, fresh).await {
                Some(step) => return step,
                None => {
                    attempt.site.numbers.stale.inc();
                    fresh = true;
                }
            }
        }
    }

    /// `None`: once more on a fresh connection, the server has not seen it.
    async fn flow<U: Upstream>(
        &mut self,
        attempt: &mut Attempt<'_>,
        ticket: &mut Option<Ticket>,
        mut up: U,
        fresh: bool,
    ) -> Option<Step> {
        let idle = attempt.site.idle_timeout.filter(|_| attempt.watcher.may_idle_out());
        let times = if attempt.watcher.may_idle_out() { attempt.times } else { Times::NONE };
        let mut flow = Flow::new(self.request.end, idle, times, attempt.began);
        attempt.account.reach(Phase::Sending);
        loop {
            let (down, reply, timer) = (&mut *self.down, &mut *self.reply, &mut *self.timer);
            let event = poll_fn(|cx| flow.poll(cx, (down, &mut up), reply, timer, attempt)).await;
            let broken = match event {
                Event::Head if let Some(rule) = self.switched_wrongly() => {
                    Event::Server(Broken { rule: Some(rule), ..Broken::new(Reason::Malformed) })
                }
                Event::Head => match self.head(attempt, ticket, &mut flow, &mut up) {
                    Ok(None) => continue,
                    Ok(Some(step)) => {
                        flow.up.stop(self.down);
                        release_now(up, MAX_HOLD);
                        return Some(step);
                    }
                    Err(broken) => Event::Client(broken),
                },
                Event::Left => {
                    attempt.left(ticket.as_mut());
                    continue;
                }
                Event::Outgrown => match self.let_go(attempt, &mut flow) {
                    Ok(()) => continue,
                    Err(broken) => Event::Client(broken),
                },
                Event::End(trailers) => {
                    return Some(self.end(attempt, ticket, flow, up, trailers).await);
                }
                Event::Client(_) if flow.begun && has_all(&flow.down, self.reply, attempt.watcher) => {
                    flow.up.stop(self.down);
                    release_now(up, 0);
                    return Some(self.taken(attempt, ticket, &flow));
                }
                other => other,
            };
            if matches!(broken, Event::Time(_)) {
                up.suspect();
            }
            attempt.clients = match &broken {
                Event::Time(reason) => flow.is_clients(*reason, attempt.began),
                Event::Client(_) => flow.is_clients(Reason::Timeout, attempt.began),
                // Nobody has to switch (RFC 9110 section 7.8): it was the client who cannot go on without.
                Event::Server(broken) => broken.rule == Some(UPGRADE_IGNORED),
                _ => false,
            };
            flow.up.stop(self.down);
            attempt.sent = up.sent();
            let fault = match &broken {
                Event::Server(broken) => {
                    if !flow.head && self.goes_once_more(attempt, &up, broken, fresh) {
                        return None;
                    }
                    Fault::new(side_of(broken), flow.phase(), broken.reason)
                }
                Event::Client(broken) => Fault::new(Side::Client, flow.phase(), gone(broken)),
                Event::Time(reason) => {
                    let side = if attempt.clients { Side::Client } else { Side::Upstream };
                    Fault::new(side, flow.phase(), *reason)
                }
                Event::Head | Event::Outgrown | Event::Left | Event::End(_) => return None,
            };
            let code = match &broken {
                Event::Server(broken) | Event::Client(broken) => {
                    if let Some(rule) = broken.rule {
                        attempt.site.numbers.rejected(rule);
                    }
                    broken.code
                }
                _ => None,
            };
            // Dropped before anything else: the server's work is cancelled at once.
            drop(up);
            return Some(if flow.begun {
                self.broken_off(attempt, ticket, &flow, fault, code).await
            } else {
                self.failed(attempt, ticket, fault, code).await
            });
        }
    }

    /// The rule that the reply's head breaks if the server switched to what it was not asked for (RFC 9110 section 7.8), or
    /// took an extended CONNECT for an ordinary request: to a client that speaks HTTP/2 any 2xx says that the tunnel is
    /// open (RFC 8441 section 5).
    fn switched_wrongly(&self) -> Option<&'static str> {
        let (asked, status) = (&self.request.upgrade, self.reply.status);
        let tunnel = self.request.version == Version::Http2 && !asked.is_empty();
        match status {
            101 if asked.is_empty() || !self.reply.upgrade.eq_ignore_ascii_case(asked) => {
                Some(Rule::UpgradeUnasked.name())
            }
            200..300 if tunnel => Some(UPGRADE_IGNORED),
            _ => None,
        }
    }

    /// The reply's head has come. Gives a step where another try takes its place.
    fn head<U: Upstream>(
        &mut self,
        attempt: &mut Attempt<'_>,
        ticket: &mut Option<Ticket>,
        flow: &mut Flow,
        up: &mut U,
    ) -> crate::seam::Result<Option<Step>> {
        let status = self.reply.status;
        attempt.account.first_byte(time::now());
        attempt.account.reach(Phase::Replying);
        if let Some(ticket) = ticket.as_ref().filter(|_| status < 500) {
            ticket.answered();
        }
        attempt.sent = Sent::Head;
        let connect = self.request.method == Method::Connect && (200..300).contains(&status);
        let names = &mut attempt.site.names();
        let words = &attempt.site.words;
        let end = self.reply.end;
        let at_head = attempt.watcher.reply_head(names, words, status, &self.reply.fields, end);
        if status == 101 || connect {
            self.begin_reply(attempt, flow)?;
            self.down.tunnel();
            up.tunnel();
            flow.tunnel = true;
            flow.up = Upward::default();
            flow.up_done = false;
            attempt.replay.reopen();
            return Ok(None);
        }
        match at_head {
            AtHead::Hold { limit } if self.may_be_replaced(attempt) => {
                flow.hold = Some(Hold::new(limit.min(MAX_HOLD)));
                flow.hold_until = attempt.watcher.hold_for().map_or(NEVER, |limit| time::now().after(limit));
                return Ok(None);
            }
            AtHead::Judged(mut outcome) if self.is_worth_another(attempt, &outcome) => {
                outcome.latency = time::now().since(attempt.began);
                if let Some(step) = self.finish(attempt, ticket, &outcome, false) {
                    return Ok(Some(step));
                }
            }
            AtHead::Pass | AtHead::Hold { .. } | AtHead::Judged(_) => {}
        }
        self.begin_reply(attempt, flow)?;
        Ok(None)
    }

    /// The head goes to the client: from here on there is no other try.
    fn begin_reply(&mut self, attempt: &mut Attempt<'_>, flow: &mut Flow) -> crate::seam::Result<()> {
        flow.begun = true;
        self.date();
        let bytes = self.down.respond(self.reply)?;
        attempt.account.replied(bytes as u64);
        Ok(())
    }

    /// What was held back goes to the client.
    fn let_go(&mut self, attempt: &mut Attempt<'_>, flow: &mut Flow) -> crate::seam::Result<()> {
        flow.hold_until = NEVER;
        if let Some(hold) = flow.hold.take() {
            self.begin_reply(attempt, flow)?;
            flow.down.first(hold.into_parts());
        }
        Ok(())
    }

    /// The reply has come to its end.
    async fn end<U: Upstream>(
        &mut self,
        attempt: &mut Attempt<'_>,
        ticket: &mut Option<Ticket>,
        mut flow: Flow,
        up: U,
        mut trailers: Option<Fields>,
    ) -> Step {
        flow.up.stop(self.down);
        // HTTP/1's have been refused already. Those of HTTP/2 may hold a call's status beside what must not go on.
        if let Some(trailers) = &mut trailers {
            let came = trailers.len();
            trailers.retain(|name, _| attempt.watcher.keeps_trailer(name));
            if trailers.len() < came {
                attempt.site.numbers.rejected(head::trailer_forbidden());
            }
        }
        let mut outcome = attempt.judge(End::Complete { trailers: trailers.as_ref() }, time::now());
        if let Some(step) = self.finish(attempt, ticket, &outcome, flow.begun) {
            up.release(flow.up_done && flow.up.is_ended());
            return step;
        }
        if !flow.tunnel {
            up.release(flow.up_done && flow.up.is_ended());
            if !attempt.replay.is_ended() {
                self.down.abandon();
            }
            if let Err(broken) = self.complete(attempt, &mut flow, trailers.as_ref()).await {
                let fault = Fault::new(Side::Client, Phase::Replying, gone(&broken));
                outcome = attempt.failed(&fault, broken.code);
            }
        } else if let Err(broken) = self.finish_tunnel(attempt, &mut flow, up).await {
            let fault = Fault::new(Side::Client, Phase::Replying, gone(&broken));
            outcome = attempt.failed(&fault, broken.code);
        }
        attempt.account.replied(flow.down.bytes);
        Step::Over(outcome)
    }

    /// The rest of the reply goes to the client.
    async fn complete(
        &mut self,
        attempt: &mut Attempt<'_>,
        flow: &mut Flow,
        trailers: Option<&Fields>,
    ) -> crate::seam::Result<()> {
        self.let_go(attempt, flow)?;
        let mut ended = false;
        poll_fn(|cx| {
            if !ended {
                match flow.down.poll_first(cx, self.down) {
                    Poll::Pending => return self.poll_slow(cx, flow, attempt),
                    Poll::Ready(done) => done?,
                }
                self.down.end(trailers)?;
                ended = true;
            }
            match self.down.poll_flush(cx) {
                Poll::Pending => self.poll_slow(cx, flow, attempt),
                ready => ready,
            }
        })
        .await
    }

    /// The client has to take something now and then.
    fn poll_slow(
        &mut self,
        cx: &mut Context<'_>,
        flow: &mut Flow,
        attempt: &Attempt<'_>,
    ) -> Poll<crate::seam::Result<()>> {
        match flow.poll_time(cx, self.timer, attempt) {
            Poll::Ready(Event::Time(reason)) => Poll::Ready(Err(Broken::new(reason))),
            _ => Poll::Pending,
        }
    }

    /// The server has ended its direction of a tunnel: so do we towards the client, and the other direction goes on.
    async fn finish_tunnel<U: Upstream>(
        &mut self,
        attempt: &mut Attempt<'_>,
        flow: &mut Flow,
        mut up: U,
    ) -> crate::seam::Result<()> {
        self.down.end(None)?;
        poll_fn(|cx| {
            if let Poll::Ready(Err(broken)) = self.down.poll_flush(cx) {
                return Poll::Ready(Err(broken));
            }
            if let Some(broken) = flow.poll_up(cx, self.down, &mut up, attempt) {
                return Poll::Ready(Err(broken));
            }
            if flow.up_done {
                return self.down.poll_flush(cx);
            }
            self.poll_slow(cx, flow, attempt)
        })
        .await?;
        up.release(false);
        Ok(())
    }

    /// The client has taken all that there was for it.
    fn taken(&mut self, attempt: &mut Attempt<'_>, ticket: &mut Option<Ticket>, flow: &Flow) -> Step {
        let outcome = attempt.judge(End::Complete { trailers: None }, time::now());
        self.finish(attempt, ticket, &outcome, true);
        attempt.account.replied(flow.down.bytes);
        self.down.abort(None);
        Step::Over(outcome)
    }

    /// The try failed, and nothing of a reply has gone to the client.
    async fn failed(
        &mut self,
        attempt: &mut Attempt<'_>,
        ticket: &mut Option<Ticket>,
        fault: Fault,
        code: Option<u32>,
    ) -> Step {
        let outcome = attempt.failed(&fault, code);
        if let Some(step) = self.finish(attempt, ticket, &outcome, false) {
            return step;
        }
        self.read_rest(attempt.site, attempt.watcher, attempt.replay, &fault).await;
        Step::Over(self.answer_fault(attempt.site, attempt.watcher, attempt.account, &fault, outcome).await)
    }

    /// The reply has begun and cannot be completed.
    async fn broken_off(
        &mut self,
        attempt: &mut Attempt<'_>,
        ticket: &mut Option<Ticket>,
        flow: &Flow,
        fault: Fault,
        code: Option<u32>,
    ) -> Step {
        let outcome = attempt.failed(&fault, code);
        self.finish(attempt, ticket, &outcome, true);
        attempt.account.replied(flow.down.bytes);
        let trailers = if plain::has_gone(&fault) { None } else { attempt.watcher.abort(&fault) };
        let ended = trailers.is_some_and(|trailers| self.down.end(Some(&trailers)).is_ok());
        if !ended {
            self.down.abort(code);
        }
        // A client that does not read would be waited for in vain.
        if !(attempt.clients && flow.down.waits_for_client()) {
            self.flush().await;
        }
        Step::Over(outcome)
    }
}
