//! Both directions of one try, moved as far as they go: what happened is said, and decided elsewhere.

use super::attempt::Attempt;
use super::blame::{Waits, has_all};
use super::clocks::{Clocks, State};
use super::pump::{Down, Downward, Hold, Stuck, Upward};
use crate::fields::Fields;
use crate::seam::{Broken, Downstream, Reply, Upstream};
use crate::timer::{NEVER, Timer};
use crate::times::Times;
use std::task::{Context, Poll};
use std::time::Duration;
use weir_decide::exchange::{Now, Phase, Reason};
use weir_drive::time;

/// The most informational replies to one request; a server that sends more is broken.
const MAX_INTERIM: u32 = 32;

/// The state of both directions.
pub(super) struct Flow {
    pub(super) up: Upward,
    /// Nothing more goes to the server: it was all sent, or the server takes no more.
    pub(super) up_done: bool,
    pub(super) down: Downward,
    /// The final head has come.
    pub(super) head: bool,
    pub(super) hold: Option<Hold>,
    /// Until when it may be held.
    pub(super) hold_until: Now,
    /// The reply has begun to go to the client.
    pub(super) begun: bool,
    pub(super) tunnel: bool,
    pub(super) interim: u32,
    /// Until when something has to move.
    pub(super) idle_at: Now,
    pub(super) idle: Option<Duration>,
    pub(super) moved: u64,
    pub(super) waits: Waits,
    /// It has been said that the client may have left.
    pub(super) left: bool,
    pub(super) clocks: Clocks,
}

/// What a poll of both directions came to.
pub(super) enum Event {
    /// The reply's head.
    Head,
    /// More of the reply has come than may be held back, or it was held for long enough.
    Outgrown,
    /// The reply has come to its end.
    End(Option<Fields>),
    /// The server's side is broken.
    Server(Broken),
    /// The client's side is.
    Client(Broken),
    /// The client may have left, and has not a byte of its reply.
    Left,
    /// Time is over.
    Time(Reason),
}

impl Flow {
    pub(super) fn new(ended: bool, idle: Option<Duration>, times: Times, now: Now) -> Flow {
        Flow {
            up: if ended { Upward::ended() } else { Upward::default() },
            up_done: false,
            down: Downward::default(),
            head: false,
            hold: None,
            hold_until: NEVER,
            begun: false,
            tunnel: false,
            interim: 0,
            idle_at: idle.map_or(NEVER, |idle| now.after(idle)),
            idle,
            // The try may have begun long before it had its connection.
            moved: u64::MAX,
            waits: Waits::default(),
            left: false,
            clocks: Clocks::new(times),
        }
    }

    /// Whether nothing can go on without the client: it is to read, or to say more.
    fn waits_for_client(&self) -> bool {
        self.down.waits_for_client() || (!self.up_done && self.up.waits_for_client())
    }

    /// Whether it is for the client's sake that a try which began then has taken too long.
    pub(super) fn is_clients(&self, reason: Reason, began: Now) -> bool {
        self.clocks.was_slow() || self.waits.blame(reason, began, time::now())
    }

    pub(super) fn phase(&self) -> Phase {
        match (self.head, self.up.is_ended()) {
            (true, _) => Phase::Replying,
            (false, true) => Phase::Waiting,
            (false, false) => Phase::Sending,
        }
    }

    pub(super) fn poll<D: Downstream, U: Upstream>(
        &mut self,
        cx: &mut Context<'_>,
        (d, u): (&mut D, &mut U),
        reply: &mut Reply,
        timer: &mut Timer,
        attempt: &mut Attempt<'_>,
    ) -> Poll<Event> {
        if let Some(broken) = self.poll_up(cx, d, u, attempt) {
            return Poll::Ready(Event::Client(broken));
        }
        // With the whole request in hand, reading from the client can only bring its next request, or its end.
        if attempt.replay.is_ended()
            && !self.tunnel
            && let Poll::Ready(broken) = d.poll_gone(cx)
        {
            return Poll::Ready(Event::Client(broken));
        }
        if self.begun && d.says_no_more() && has_all(&self.down, reply, attempt.watcher) {
            return Poll::Ready(Event::Client(Broken::new(Reason::Closed)));
        }
        if !self.left && d.says_no_more() && self.phase() == Phase::Waiting {
            self.left = true;
            return Poll::Ready(Event::Left);
        }
        while !self.head {
            match u.poll_head(cx, reply) {
                Poll::Pending => return self.poll_time(cx, timer, attempt),
                Poll::Ready(Err(broken)) => return Poll::Ready(Event::Server(broken)),
                Poll::Ready(Ok(())) if reply.is_interim() => {
                    self.interim += 1;
                    if self.interim > MAX_INTERIM {
                        return Poll::Ready(Event::Server(Broken::new(Reason::TooLarge)));
                    }
                    if let Err(broken) = d.inform(reply) {
                        return Poll::Ready(Event::Client(broken));
                    }
                    if let Poll::Ready(Err(broken)) = d.poll_flush(cx) {
                        return Poll::Ready(Event::Client(broken));
                    }
                }
                Poll::Ready(Ok(())) => {
                    self.head = true;
                    return Poll::Ready(Event::Head);
                }
            }
        }
        match self.down.poll(cx, u, d, self.hold.as_mut(), attempt.watcher) {
            Poll::Ready(Ok(Down::End(trailers))) => Poll::Ready(Event::End(trailers)),
            Poll::Ready(Ok(Down::Outgrown)) => {
                attempt.site.numbers.outgrown.inc();
                Poll::Ready(Event::Outgrown)
            }
            Poll::Ready(Err(Stuck::From(broken))) => Poll::Ready(Event::Server(broken)),
            Poll::Ready(Err(Stuck::To(broken))) => Poll::Ready(Event::Client(broken)),
            Poll::Pending => self.poll_time(cx, timer, attempt),
        }
    }

    /// Move the request on. Gives what is wrong with the client's side.
    pub(super) fn poll_up<D: Downstream, U: Upstream>(
        &mut self,
        cx: &mut Context<'_>,
        d: &mut D,
        u: &mut U,
        attempt: &mut Attempt<'_>,
    ) -> Option<Broken> {
        if self.up_done {
            return None;
        }
        let names = &mut attempt.site.names();
        match self.up.poll(cx, d, u, attempt.replay, attempt.watcher, names) {
            Poll::Pending => None,
            Poll::Ready(Ok(())) => {
                self.up_done = true;
                None
            }
            Poll::Ready(Err(Stuck::From(broken))) => Some(broken),
            // The server takes no more, which does not mean that it does not answer: reading will tell.
            Poll::Ready(Err(Stuck::To(_))) => {
                self.up.stop(d);
                self.up_done = true;
                None
            }
        }
    }

    /// When one of the clocks has to be looked at.
    fn clock(&mut self) -> Now {
        self.clocks.next(self.tunnel, self.phase(), self.waits_slowly())
    }

    /// Whether the body that moves now waits for the client. A request that has its reply already may be silent for long.
    fn waits_slowly(&self) -> bool {
        self.down.waits_for_client() || (!self.begun && !self.up_done && self.up.waits_for_client())
    }

    fn state(&self, attempt: &Attempt<'_>) -> State {
        State { phase: self.phase(), up: attempt.replay.bytes, down: self.down.bytes }
    }

    pub(super) fn poll_time(
        &mut self,
        cx: &mut Context<'_>,
        timer: &mut Timer,
        attempt: &Attempt<'_>,
    ) -> Poll<Event> {
        self.waits.note(self.waits_for_client());
        loop {
            let until = attempt.until;
            let per_try = if self.begun { NEVER } else { until.per_try };
            let deadline = if self.tunnel { NEVER } else { until.deadline };
            let clock = self.clock();
            let at = deadline.min(per_try).min(self.idle_at).min(self.hold_until).min(clock);
            let Poll::Ready(now) = timer.poll(cx, at) else { return Poll::Pending };
            if now >= deadline {
                return Poll::Ready(Event::Time(if until.clients {
                    Reason::Deadline
                } else {
                    Reason::Timeout
                }));
            }
            if now >= per_try {
                return Poll::Ready(Event::Time(Reason::TryTimeout));
            }
            if now >= self.hold_until {
                return Poll::Ready(Event::Outgrown);
            }
            if now >= clock {
                if let Some(reason) = self.clocks.over(now, self.state(attempt)) {
                    return Poll::Ready(Event::Time(reason));
                }
                continue;
            }
            // Looked at only now: what moves costs nothing.
            let moved =
                attempt.replay.bytes + self.down.bytes + u64::from(self.head) + u64::from(self.interim);
            if moved == self.moved {
                return Poll::Ready(Event::Time(Reason::Idle));
            }
            self.moved = moved;
            self.idle_at = self.idle.map_or(NEVER, |idle| now.after(idle));
        }
    }
}
