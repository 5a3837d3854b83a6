//! Idle timeouts: one timer per connection, re-armed only when it fires, so that traffic costs it nothing.

use crate::ground::time;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::task::unconstrained;
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
        // Outside of the task's budget: a timer that was not polled for want of it would wake nobody.
        while pin!(unconstrained(timer.as_mut())).poll(cx).is_ready() {
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use tokio::task::coop;

    #[tokio::test]
    async fn it_fires_though_the_task_was_out_of_budget_when_it_was_armed() {
        let mut idle = Idle::new(Some(Duration::from_millis(20)), time::now());
        let mut looks = 0;
        // A task of its own, so that somebody else can tell that it hangs.
        let fires = tokio::spawn(poll_fn(move |cx| {
            looks += 1;
            while let Poll::Ready(turn) = coop::poll_proceed(cx)
                && looks == 1
            {
                turn.made_progress();
            }
            idle.poll(cx)
        }));
        tokio::time::timeout(Duration::from_secs(10), fires).await.expect("it never fires").unwrap();
    }
}
