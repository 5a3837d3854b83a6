//! Idle timeouts: one timer per connection, re-armed only when it fires, so that traffic costs it nothing.

use crate::time;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::Sleep;
use weir_decide::exchange::Now;

/// Fires when nothing has moved for a while.
#[derive(Debug)]
pub(crate) struct Idle {
    /// Boxed: a timer is large, and only connections with a timeout need one.
    timer: Option<Pin<Box<Sleep>>>,
    timeout: Duration,
    moved: Now,
    /// The timer knows whom to wake.
    armed: bool,
}

impl Idle {
    /// Starts now; `None` never fires.
    pub(crate) fn new(timeout: Option<Duration>, now: Now) -> Idle {
        let at = |timeout| time::deadline(now.after(timeout));
        Idle {
            timer: timeout.map(|timeout| Box::pin(tokio::time::sleep_until(at(timeout)))),
            timeout: timeout.unwrap_or_default(),
            moved: now,
            armed: false,
        }
    }

    /// Something has moved.
    pub(crate) fn moved(&mut self, now: Now) {
        self.moved = now;
    }

    /// When something last moved.
    pub(crate) fn moved_at(&self) -> Now {
        self.moved
    }

    /// Ready when nothing has moved for the whole timeout.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(timer) = &mut self.timer else { return Poll::Pending };
        // Once armed it wakes this task when it fires; until then a look at it is enough.
        if self.armed && !timer.is_elapsed() {
            return Poll::Pending;
        }
        while timer.as_mut().poll(cx).is_ready() {
            let due = self.moved.after(self.timeout);
            if time::now() >= due {
                return Poll::Ready(());
            }
            // Timers tick in milliseconds: never sooner than due.
            timer.as_mut().reset(time::deadline(due) + Duration::from_millis(1));
        }
        self.armed = true;
        Poll::Pending
    }
}
