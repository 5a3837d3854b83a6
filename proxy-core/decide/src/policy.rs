//! When an operation is tried again, and how long it waits before.
//!
//! An attempt is tried again when all of this holds:
//! 1. its outcome meets a condition that the policy names ([`RetryPolicy::on`]);
//! 2. the request can be sent once more ([`Replay::Possible`]) and fewer than [`RetryPolicy::max_retries`] retries were made;
//! 3. doing it twice does no harm (below);
//! 4. the cluster's `max_retries` and retry budget have room.
//!
//! Doing it twice does no harm when the operation is idempotent; or when the outcome says that the server has not
//! processed it (`connect-failure`, `refused-stream`, `throttled`); or when the policy names one of the gRPC status
//! conditions that the outcome meets, because gRPC's own retry policies go by status alone, whatever the method; or when
//! the policy says [`RetryPolicy::any_method`]. So `5xx`, `gateway-error` and `reset` do not repeat a POST unless asked to.

use crate::exchange::{Outcome, RetryOn};
use std::time::Duration;

/// Whether the request can be sent once more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replay {
    /// All of it is still held, and no byte of a reply has gone to the client.
    Possible,
    /// It went by, or the reply has begun.
    Impossible,
}

/// What a finished attempt means for its operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is over: pass on what there is.
    Done,
    /// Try again after this long. The slot for the retry is already reserved, in the operation's
    /// [`Tries`](crate::cluster::Tries); dropping those gives it back.
    Retry {
        /// How long to wait first.
        after: Duration,
    },
}

/// When, and how often, an operation is tried again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetryPolicy {
    /// The conditions that make it worth another try.
    pub on: RetryOn,
    /// How many tries may follow the first.
    pub max_retries: u32,
    /// The scale of the back-off: the n-th retry waits a random time below `base * (2^n - 1)`.
    pub base: Duration,
    /// No wait is longer than this.
    pub max: Duration,
    /// Also repeat operations that are not idempotent, on every named condition.
    pub any_method: bool,
}

impl RetryPolicy {
    /// Never again.
    pub const NONE: RetryPolicy = RetryPolicy {
        on: RetryOn::NONE,
        max_retries: 0,
        base: Duration::from_millis(25),
        max: Duration::from_millis(250),
        any_method: false,
    };

    /// One retry on these conditions, with the usual back-off (25 ms to 250 ms).
    pub const fn on(on: RetryOn) -> RetryPolicy {
        RetryPolicy { on, max_retries: 1, ..RetryPolicy::NONE }
    }

    /// Whether this outcome is worth a retry under rules 1 and 3 of the [module](self).
    pub fn wants(&self, outcome: &Outcome, idempotent: bool) -> bool {
        let met = RetryOn(self.on.0 & outcome.retryable.0);
        if met == RetryOn::NONE {
            return false;
        }
        idempotent
            || self.any_method
            || outcome.retryable.meets(RetryOn::UNPROCESSED)
            || met.meets(RetryOn::GRPC_STATUS)
    }

    /// How long to wait before retry number `nth` (from 1), given 64 random bits: full jitter, evenly spread over
    /// `0..min(max, base * (2^nth - 1))`.
    pub fn back_off(&self, nth: u32, random: u64) -> Duration {
        let factor = 1u64.checked_shl(nth).map_or(u64::MAX, |power| power - 1);
        let nanos = |d: Duration| u64::try_from(d.as_nanos()).unwrap_or(u64::MAX);
        let ceiling = nanos(self.base).saturating_mul(factor).min(nanos(self.max));
        // The high half of a 128-bit product spreads the random bits evenly below the ceiling.
        Duration::from_nanos(((u128::from(random) * u128::from(ceiling)) >> 64) as u64)
    }
}

impl RetryOn {
    /// The conditions that say that the server has not processed the request.
    pub const UNPROCESSED: RetryOn =
        RetryOn(RetryOn::CONNECT_FAILURE.0 | RetryOn::REFUSED_STREAM.0 | RetryOn::THROTTLED.0);
    /// The conditions that are a gRPC status.
    pub const GRPC_STATUS: RetryOn = RetryOn(
        RetryOn::GRPC_CANCELLED.0
            | RetryOn::GRPC_DEADLINE_EXCEEDED.0
            | RetryOn::GRPC_INTERNAL.0
            | RetryOn::GRPC_RESOURCE_EXHAUSTED.0
            | RetryOn::GRPC_UNAVAILABLE.0,
    );
}
