//! What rules do with time: requests that are held back, and operations that may take only so long.
//!
//! An overdue operation is answered in the protocol's words, and the upstream connection is closed so that the server stops. The
//! client's connection goes on where nothing is under way on it besides, no part of a reply has gone out, and the protocol says
//! that nothing is missing on another upstream connection (nobody authenticated on this one); that goes to the same endpoint.
//! Otherwise it is closed once the answer is written.

use super::exchange::Exchange;
use super::requests::Inbound;
use crate::ground::time;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::Sleep;
use weir_decide::exchange::{EndpointId, Fault, Now, Phase, Reason, Side};
use weir_decide::protocol::Protocol;

/// One timer for all that is waited for; made when first needed, as most connections never do, and set anew only when it fires or
/// something is due sooner.
#[derive(Debug, Default)]
pub(super) struct Alarm(Option<Box<Armed>>);

#[derive(Debug)]
struct Armed {
    timer: Pin<Box<Sleep>>,
    /// When it fires; none while nothing is waited for.
    at: Option<Now>,
    /// Nothing more is read from the upstream before that.
    unread_until: Option<Now>,
}

impl Alarm {
    /// Something is due then. Says whether the timer has been set for it, so that it has to be polled.
    pub(super) fn set(&mut self, due: Now) -> bool {
        if self.at().is_some_and(|at| at <= due) {
            return false;
        }
        // Timers tick in milliseconds: never sooner than due.
        let at = time::deadline(due) + Duration::from_millis(1);
        match &mut self.0 {
            Some(armed) => {
                armed.at = Some(due);
                armed.timer.as_mut().reset(at);
            }
            None => {
                let timer = Box::pin(tokio::time::sleep_until(at));
                self.0 = Some(Box::new(Armed { timer, at: Some(due), unread_until: None }));
            }
        }
        true
    }

    fn at(&self) -> Option<Now> {
        self.0.as_ref().and_then(|armed| armed.at)
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(armed) = self.0.as_mut().filter(|armed| armed.at.is_some()) else { return false };
        let fired = armed.timer.as_mut().poll(cx).is_ready();
        if fired {
            armed.at = None;
        }
        fired
    }

    /// Nothing more is to be read from the upstream before then.
    pub(super) fn hold(&mut self, until: Now) {
        self.set(until);
        if let Some(armed) = &mut self.0 {
            armed.unread_until = Some(until);
        }
    }

    /// Whether nothing is to be read from the upstream yet.
    pub(super) fn holds(&self) -> bool {
        self.0.as_ref().is_some_and(|armed| armed.unread_until.is_some())
    }

    /// There is nothing to be read any more that could be held back.
    pub(super) fn let_go(&mut self) {
        if let Some(armed) = &mut self.0 {
            armed.unread_until = None;
        }
    }

    /// Lets go of what is due; says whether that was so, and sees to it that it fires for what is not.
    fn release(&mut self, now: Now) -> bool {
        match self.0.as_ref().and_then(|armed| armed.unread_until) {
            Some(until) if until <= now => {
                self.let_go();
                true
            }
            Some(until) => {
                self.set(until);
                false
            }
            None => false,
        }
    }
}

impl<P: Protocol> Exchange<P> {
    /// Does what is due. Says whether anything was done.
    pub(super) fn poll_alarm(&mut self, cx: &mut Context<'_>) -> bool {
        self.alarm.at().is_some() && self.poll_due(cx)
    }

    #[inline(never)]
    fn poll_due(&mut self, cx: &mut Context<'_>) -> bool {
        let mut done = false;
        while self.alarm.poll(cx) {
            self.now = self.context.worker.now();
            done |= self.resume_due() | self.end_overdue() | self.end_slow();
            if self.alarm.release(self.now) {
                self.retry_late();
                done = true;
            }
            if let Some(due) = self.pending.first_due() {
                self.alarm.set(due);
            }
            if let Inbound::Delayed(delayed) = &self.inbound {
                self.alarm.set(delayed.until);
            }
            if let Some(due) = self.pace_due() {
                self.alarm.set(due);
            }
        }
        done
    }

    fn resume_due(&mut self) -> bool {
        match std::mem::replace(&mut self.inbound, Inbound::Boundary) {
            Inbound::Delayed(delayed) if delayed.until <= self.now => {
                self.resume(*delayed);
                true
            }
            inbound => {
                self.inbound = inbound;
                false
            }
        }
    }

    fn end_overdue(&mut self) -> bool {
        let Some(pending) = self.pending.overdue(self.now) else { return false };
        let (number, untouched) = (pending.number, pending.first_byte.is_none() && pending.complete);
        let fault = Fault::new(Side::Proxy, pending.phase(self.upstream.is_some()), Reason::Timeout);
        let goes_on = untouched
            && self.pending.awaited() == 1
            && self.outbound.is_boundary()
            && self.from_upstream.is_empty()
            && matches!(self.inbound, Inbound::Boundary)
            && self.protocol.survives(&self.session);
        if goes_on {
            self.pinned = self.upstream.as_ref().map(|upstream| upstream.pick.id());
            self.drop_upstream();
            self.swallow(number, fault, true);
            self.release_local();
        } else {
            // The others have lost their connection, and nothing else.
            self.refuse(number, fault);
            self.fail(Side::Proxy, Reason::Closed);
        }
        true
    }

    /// Watches, while the upstream connection is made, whether the operation that waits for it is overdue.
    pub(super) fn poll_overdue_connect(&mut self, cx: &mut Context<'_>) -> Poll<Fault> {
        if !self.alarm.poll(cx) {
            return Poll::Pending;
        }
        match self.pending.first_due() {
            Some(due) if due > self.context.worker.now() => {
                self.alarm.set(due);
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Some(_) => Poll::Ready(Fault::new(Side::Proxy, Phase::Connecting, Reason::Timeout)),
            None => Poll::Pending,
        }
    }

    /// Where the next upstream connection has to go.
    pub(super) fn pinned(&self) -> Option<EndpointId> {
        self.pinned
    }
}
