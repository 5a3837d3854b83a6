//! Whether an operation is tried again, where, and how long it waits before: one decision for every protocol, taken when an
//! attempt has ended ([`Ticket::finish`](crate::cluster::Ticket::finish)), with all that is known by then ([`Known`]).
//!
//! 1. *No connection was made*, or no whole head was written on a new one: the server cannot have acted upon it. Another endpoint is
//!    picked, each at most once. That is no retry: no policy is asked, no budget is spent ([`Again::Elsewhere`]).
//! 2. *The server has not processed it*, by its own word (REFUSED_STREAM, a stream above GOAWAY's last), or a kept connection
//!    turned out to be closed: once more on another connection, before the attempt is counted ([`RetryPolicy::once_more`]).
//! 3. *The client tries again by itself* ([`Known::client_repeats`]): nothing that may have reached a server is repeated here, or
//!    the two loops would multiply.
//! 4. *Unasked* ([`RetryPolicy::UNASKED`], where a route has no policy): what is idempotent by its protocol's own definition, when
//!    the connection broke before the reply's head. Statuses never.
//! 5. *Hint*: the outcome meets a condition that the policy names ([`RetryPolicy::on`]), and doing it twice does no harm.
//!
//! 4 and 5 are for [`RetryPolicy::max_retries`] times, within the cluster's limit and its retry budget, after the back-off or what
//! the server asked for. Nothing is repeated that cannot be sent once more ([`Replay`]), or for which no time is left.
//!
//! Doing it twice does no harm when the operation is idempotent; or when the outcome says that the server has not
//! processed it (`connect-failure`, `refused-stream`, `throttled`); or when the policy names one of the gRPC status
//! conditions that the outcome meets, because gRPC's own retry policies go by status alone, whatever the method; or when
//! the policy says [`RetryPolicy::any_method`]. So `5xx`, `gateway-error` and `reset` do not repeat a POST unless asked to.

use crate::exchange::{Fault, Now, Outcome, Phase, Reason, RetryOn, Side};
use std::time::Duration;

/// What a server asks for is minded up to here; if it is more, its reply goes to the client, who is asked for the same.
pub const MAX_ASKED: Duration = Duration::from_secs(10);

/// Whether the request can be sent once more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replay {
    /// All of it is still held, and no byte of a reply has gone to the client.
    Possible,
    /// It went by, or the reply has begun.
    Impossible,
}

/// How much of a request had left Weir towards the server when the attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sent {
    /// No byte.
    Nothing,
    /// A part of its head (of a message protocol: of the message): no server can have acted upon it.
    Part,
    /// Its head: a server may have acted upon it.
    Head,
}

/// What the server asked for in its reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hint {
    /// Nothing.
    Nothing,
    /// To wait so long before the next try.
    Wait(Duration),
    /// Not to try again.
    Never,
}

/// What is known of an attempt when it has ended, besides its outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    /// Whether it can be sent once more.
    pub replay: Replay,
    /// How much of it was sent.
    pub sent: Sent,
    /// Whether doing it twice is the same as doing it once, as far as that can be told by now: the body may have told.
    pub idempotent: bool,
    /// The client tries again by itself: it says that it has before, or how often it will.
    pub client_repeats: bool,
    /// What the server asked for.
    pub asked: Hint,
    /// When the operation's time is over.
    pub deadline: Option<Now>,
}

impl Known {
    /// Of an attempt whose connection could not be made, or on which nothing can be repeated.
    pub const fn unsent(replay: Replay) -> Known {
        Known {
            replay,
            sent: Sent::Nothing,
            idempotent: false,
            client_repeats: false,
            asked: Hint::Nothing,
            deadline: None,
        }
    }

    /// Whether there is time left.
    pub(crate) fn is_in_time(&self, now: Now) -> bool {
        self.deadline.is_none_or(|deadline| now < deadline)
    }

    /// Of an attempt that is not repeated, whatever its outcome.
    pub const OVER: Known = Known::unsent(Replay::Impossible);
}

/// What a finished attempt means for its operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is over: pass on what there is.
    Done,
    /// Another endpoint at once, for there was no connection. Its place is kept, in the operation's
    /// [`Tries`](crate::cluster::Tries).
    Elsewhere,
    /// Try again after this long. The slot for the retry is already reserved, in the operation's
    /// [`Tries`](crate::cluster::Tries); dropping those gives it back.
    Retry {
        /// How long to wait first.
        after: Duration,
    },
}

/// What a policy says of an attempt that has ended, before limits and budget are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Again {
    /// No.
    No,
    /// A new pick, outside of policy and budget.
    Elsewhere,
    /// A retry.
    Retry,
}

/// How a connection was lost before the reply's head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lost {
    /// The server has said that it did not look at the request.
    pub unprocessed: bool,
    /// The connection had served other requests, and not a byte of a reply came: the server may have closed it before it saw this one.
    pub stale: bool,
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
    /// Nobody has asked for anything: see the [module](self).
    pub unasked: bool,
}

impl RetryPolicy {
    /// Never again, but for what never reached a server.
    pub const NONE: RetryPolicy = RetryPolicy {
        on: RetryOn::NONE,
        max_retries: 0,
        base: Duration::from_millis(25),
        max: Duration::from_millis(250),
        any_method: false,
        unasked: false,
    };

    /// What holds where nothing is said: of a few servers two may break off.
    pub const UNASKED: RetryPolicy = RetryPolicy { max_retries: 2, unasked: true, ..RetryPolicy::NONE };

    /// One retry on these conditions, with the usual back-off (25 ms to 250 ms).
    pub const fn on(on: RetryOn) -> RetryPolicy {
        RetryPolicy { on, max_retries: 1, ..RetryPolicy::NONE }
    }

    /// What is to become of an operation after an attempt with this outcome, which `retries` came before.
    pub fn again(&self, outcome: &Outcome, known: &Known, retries: u32) -> Again {
        if known.replay == Replay::Impossible {
            return Again::No;
        }
        if outcome.fault.is_some_and(|fault| known.sent < Sent::Head && never_arrived(&fault)) {
            return Again::Elsewhere;
        }
        self.retries(outcome, known, retries)
    }

    /// As [`RetryPolicy::again`], when there is no other endpoint to go to.
    pub(crate) fn retries(&self, outcome: &Outcome, known: &Known, retries: u32) -> Again {
        let unseen = outcome.retryable.meets(RetryOn::CONNECT_FAILURE.and(RetryOn::REFUSED_STREAM));
        let barred = known.asked == Hint::Never || (known.client_repeats && !unseen);
        let wanted = self.wants(outcome, known.idempotent)
            || (self.unasked
                && known.idempotent
                && outcome.fault.is_some_and(|fault| broke_before_head(&fault)));
        if wanted && !barred && retries < self.max_retries { Again::Retry } else { Again::No }
    }

    /// Whether this outcome is worth a retry by the conditions.
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

    /// Whether a request whose connection is lost goes once more to the same endpoint, on another connection, as part of the same
    /// attempt. `again`: whether it has been there once more before.
    ///
    /// Where the server says that it has not processed it this happens once, and not where the policy sees to it. Where a kept
    /// connection was closed while the request was on its way, it has to be idempotent (RFC 9112 section 9.3.1), unless no server can
    /// have acted upon what was written.
    pub fn once_more(&self, lost: Lost, known: &Known, again: bool) -> bool {
        if again || known.replay == Replay::Impossible {
            return false;
        }
        if lost.unprocessed {
            return !self.on.meets(RetryOn::REFUSED_STREAM);
        }
        let may_repeat = known.idempotent && !known.client_repeats && !self.is_nothing();
        lost.stale && (known.sent < Sent::Head || may_repeat)
    }

    /// Whether a request may be repeated that a server may have seen: only then is its body worth keeping for long.
    pub fn may_repeat(&self, idempotent: bool, client_repeats: bool) -> bool {
        !client_repeats && (idempotent || self.on != RetryOn::NONE) && !self.is_nothing()
    }

    fn is_nothing(&self) -> bool {
        self.on == RetryOn::NONE && !self.unasked
    }

    /// How long to wait before retry number `nth` (from 1), given 64 random bits and what the server asked for; `None`: longer than
    /// there is time.
    pub fn wait(&self, nth: u32, random: u64, known: &Known, now: Now) -> Option<Duration> {
        let own = self.back_off(nth, random);
        let after = match known.asked {
            Hint::Nothing => own,
            Hint::Wait(asked) if asked <= MAX_ASKED => own.max(asked),
            Hint::Wait(_) | Hint::Never => return None,
        };
        let late = known.deadline.is_some_and(|deadline| now.after(after) >= deadline);
        (!late).then_some(after)
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

/// Whether, nothing whole having been written, this says that no server has it: there was no connection, or it was lost.
fn never_arrived(fault: &Fault) -> bool {
    let lost = matches!(
        fault.reason,
        Reason::ConnectFailed
            | Reason::ConnectTimeout
            | Reason::TlsFailed
            | Reason::Reset
            | Reason::Closed
            | Reason::Malformed
    );
    // A try that had no connection in its time has none either.
    let slow = fault.reason == Reason::TryTimeout && fault.phase == Phase::Connecting;
    is_upstream(fault) && fault.phase < Phase::Replying && (lost || slow)
}

/// Whether the connection (or the stream) broke before the head of a reply had come.
fn broke_before_head(fault: &Fault) -> bool {
    let broke = matches!(fault.reason, Reason::Reset | Reason::Closed | Reason::TlsFailed);
    is_upstream(fault) && matches!(fault.phase, Phase::Sending | Phase::Waiting) && broke
}

fn is_upstream(fault: &Fault) -> bool {
    matches!(fault.side, Side::Network | Side::Upstream)
}

impl RetryOn {
    /// The conditions that say that the server has not processed the request.
    pub const UNPROCESSED: RetryOn =
        RetryOn(RetryOn::CONNECT_FAILURE.0 | RetryOn::REFUSED_STREAM.0 | RetryOn::THROTTLED.0);
    /// The conditions that exchanges of plain HTTP may meet.
    pub const HTTP: RetryOn = RetryOn(
        RetryOn::CONNECT_FAILURE.0
            | RetryOn::REFUSED_STREAM.0
            | RetryOn::RESET.0
            | RetryOn::GATEWAY_ERROR.0
            | RetryOn::SERVER_ERROR.0
            | RetryOn::THROTTLED.0,
    );
    /// The conditions that are a gRPC status.
    pub const GRPC_STATUS: RetryOn = RetryOn(
        RetryOn::GRPC_CANCELLED.0
            | RetryOn::GRPC_DEADLINE_EXCEEDED.0
            | RetryOn::GRPC_INTERNAL.0
            | RetryOn::GRPC_RESOURCE_EXHAUSTED.0
            | RetryOn::GRPC_UNAVAILABLE.0,
    );

    /// The conditions that a fault meets, in every protocol, before the head of a reply has come. `seen`: those that it meets besides,
    /// by what the client would be told.
    pub fn of_fault(fault: &Fault, seen: RetryOn) -> RetryOn {
        if !is_upstream(fault) || fault.phase >= Phase::Replying {
            return RetryOn::NONE;
        }
        match fault.reason {
            Reason::RefusedStream | Reason::GoAway => seen.and(RetryOn::REFUSED_STREAM),
            // It was no connection yet, and the try's time is over.
            Reason::TryTimeout if fault.phase == Phase::Connecting => {
                seen.and(RetryOn::CONNECT_FAILURE).and(RetryOn::RESET)
            }
            _ if fault.phase == Phase::Connecting && never_arrived(fault) => {
                seen.and(RetryOn::CONNECT_FAILURE)
            }
            Reason::Reset | Reason::Closed | Reason::TlsFailed | Reason::TryTimeout => {
                seen.and(RetryOn::RESET)
            }
            Reason::Malformed | Reason::TooLarge => seen,
            // There is no time left, or nobody to send it to.
            _ => RetryOn::NONE,
        }
    }
}
