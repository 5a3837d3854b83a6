//! A message that has begun has to come on: who sends the half of one and then nothing holds a connection, an upstream connection, and
//! perhaps memory that all share.
//!
//! The time counts only while it is the client that is waited for. What the server is slow to take is nobody's fault here.

use super::exchange::Exchange;
use super::requests::Inbound;
use std::time::Duration;
use weir_decide::exchange::{Now, Reason, Side};
use weir_decide::protocol::Protocol;

/// How many bytes a second have to come beyond that: each second's worth gives it a second more.
pub const LEAST_RATE: u64 = 1024;

/// When the message under way has to have come; never, where none is, or it is not the client that is waited for.
#[derive(Debug)]
pub(super) struct Pace(Now);

const NEVER: Now = Now(u64::MAX);

impl Default for Pace {
    fn default() -> Pace {
        Pace(NEVER)
    }
}

impl Pace {
    /// More of the message has come.
    pub(super) fn brings(&mut self, bytes: usize) {
        if self.0 != NEVER {
            let earned = (bytes as u64).saturating_mul(1_000_000_000 / LEAST_RATE);
            self.0 = self.0.after(Duration::from_nanos(earned));
        }
    }
}

impl<P: Protocol> Exchange<P> {
    /// Minds that what is under way comes on. Says whether the alarm is to be looked at.
    #[inline]
    pub(super) fn mind_pace(&mut self, waits_for_client: bool) -> bool {
        let is_between = matches!(self.inbound, Inbound::Boundary) && self.from_client.is_empty();
        if is_between || !waits_for_client {
            self.pace = Pace::default();
            return false;
        }
        self.begin_pace()
    }

    #[inline(never)]
    fn begin_pace(&mut self) -> bool {
        if self.pace.0 == NEVER
            && let Some(timeout) = self.context.message_timeout
        {
            self.pace = Pace(self.context.worker.now().after(timeout));
        }
        self.pace_due().is_some_and(|due| self.alarm.set(due))
    }

    /// When the message under way has to have come.
    pub(super) fn pace_due(&self) -> Option<Now> {
        Some(self.pace.0).filter(|due| *due != NEVER)
    }

    /// Ends a connection whose message does not come on.
    pub(super) fn end_slow(&mut self) -> bool {
        let late = self.pace_due().is_some_and(|due| due <= self.now);
        if late {
            self.pace = Pace::default();
            self.context.messages().limit_slow.inc();
            self.fail(Side::Client, Reason::Timeout);
        }
        late
    }
}
