//! One timer for everything that a task may be waiting for. It is armed for the earliest moment that was asked for and left
//! alone while later ones are: a connection that serves a thousand requests a second arms it about once a second.

use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::Sleep;
use weir_decide::exchange::Now;
use weir_drive::{Drain, time};

/// Never.
pub const NEVER: Now = Now(u64::MAX);

/// After the last reply of a connection that is closed with bytes still coming: how long and how much of it is read, so that
/// the client gets to see the reply before a reset.
pub const LINGER: Duration = Duration::from_secs(1);
/// See [`LINGER`].
pub const LINGER_BYTES: usize = 256 * 1024;

/// A connection that is to end closes once nothing has come for so long: closed earlier, it would cost a client that has just
/// sent its next request that request.
pub const QUIET: Duration = Duration::from_secs(1);

/// Ends at `until`; when a drain begins, as soon as it has been quiet since `since` for [`QUIET`].
pub async fn given_up(drain: &Drain, since: Now, until: Now) {
    let mut sleep = pin!(tokio::time::sleep_until(time::deadline(until)));
    tokio::select! {
        () = &mut sleep => return,
        () = drain.wait() => {}
    }
    sleep.as_mut().reset(time::deadline(since.after(QUIET).min(until)));
    sleep.await;
}

/// A lazily armed timer. To be polled by one task only, or by one after another ([`Timer::moved`]).
#[derive(Default)]
pub struct Timer {
    sleep: Option<Pin<Box<Sleep>>>,
    armed: u64,
    /// Another task polls it from now on, whom it does not wake yet.
    moved: bool,
}

impl Timer {
    /// It goes to another task.
    pub fn moved(&mut self) {
        self.moved = true;
    }

    /// Ready when it is `at` or later.
    pub fn poll(&mut self, cx: &mut Context<'_>, at: Now) -> Poll<Now> {
        if at == NEVER {
            return Poll::Pending;
        }
        if let Some(sleep) = &mut self.sleep
            && self.armed <= at.0
            && !sleep.is_elapsed()
        {
            let known = !std::mem::take(&mut self.moved);
            if known || pin!(tokio::task::unconstrained(sleep.as_mut())).poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
        self.moved = false;
        let now = time::now();
        if now >= at {
            return Poll::Ready(now);
        }
        self.armed = at.0;
        let deadline = time::deadline(at);
        let sleep = match &mut self.sleep {
            Some(sleep) => {
                sleep.as_mut().reset(deadline);
                sleep
            }
            None => self.sleep.insert(Box::pin(tokio::time::sleep_until(deadline))),
        };
        // Outside of the task's budget: a timer that was not polled for want of it would never wake anybody.
        match pin!(tokio::task::unconstrained(sleep.as_mut())).poll(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(()) => Poll::Ready(time::now()),
        }
    }
}
