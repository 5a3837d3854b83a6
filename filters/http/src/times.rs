//! How long things may take where nothing else is said: the keys of listeners and routes.

use std::time::Duration;
use weir_config::{Field, Fields, Kind, Walk, words};

const HOUR: u64 = 3_600_000;

/// How long the parts of an exchange may take, beside the `timeout` of the whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// From the request's end to the reply's head.
    pub reply: Option<Duration>,
    /// How long a body may stand still.
    pub stall: Option<Duration>,
    /// The least bytes a second, over a minute, of a body that waits for its client; 0: none.
    pub least: u32,
}

impl Times {
    /// No limits.
    pub const NONE: Times = Times { reply: None, stall: None, least: 0 };
}

words! {
    /// What a client means that ends its direction after a whole request.
    pub enum HalfClose {
        #[doc = "It says no more: the reply is still for it."]
        Finish = "finish",
        #[doc = "It has left."]
        Abort = "abort",
    }
}

/// The fields of a listener.
pub const REPLY_TIMEOUT: Field = Field::with_default("reply_timeout", TIME, "60s", REPLY_DOC);
/// See [`REPLY_TIMEOUT`].
pub const STREAM_IDLE: Field = Field::with_default("stream_idle", TIME, "5m", STALL_DOC);
/// See [`REPLY_TIMEOUT`].
pub const MIN_RATE: Field = Field::with_default("min_rate", RATE, "50", RATE_DOC);
/// See [`REPLY_TIMEOUT`].
pub const ON_HALF_CLOSE: Field = Field::with_default(
    "on_half_close",
    Kind::OneOf(HalfClose::CHOICES),
    "finish",
    "What becomes of a request whose HTTP/1 client ends its direction after it (`shutdown`, `nc -N`). A reset cancels it either way.",
);

/// The fields of a route.
pub const ROUTES_REPLY_TIMEOUT: Field = Field::optional(
    "reply_timeout",
    TIME,
    "The listener's for this route. Left out: the listener's; where there is a `timeout`, that alone.",
);
/// See [`ROUTES_REPLY_TIMEOUT`].
pub const ROUTES_STREAM_IDLE: Field = Field::optional("stream_idle", TIME, "The listener's for this route.");
/// See [`ROUTES_REPLY_TIMEOUT`].
pub const ROUTES_MIN_RATE: Field = Field::optional("min_rate", RATE, "The listener's for this route.");

const TIME: Kind = Kind::Duration { min: 0, max: 24 * HOUR };
const RATE: Kind = Kind::Integer { min: 0, max: 1_000_000 };
const REPLY_DOC: &str = "How long a server may take from the request's end to the reply's head; `0s`: as long as it likes. Not for gRPC, \
     whose clients say how long they wait.";
const STALL_DOC: &str = "How long a request's or reply's body may stand still, whoever is waited for; `0s`: as long as it likes. Not for \
     gRPC, nor for what has become a tunnel (WebSocket).";
const RATE_DOC: &str = "The least bytes a second that a client has to send of a request, or read of a reply, while it is waited for, over \
     a minute; `0`: any. Not for gRPC and tunnels.";

/// A listener's.
pub fn listeners(walk: &mut Walk<'_>, fields: &Fields<'_>) -> Option<(Times, HalfClose)> {
    let (reply, stall) = (fields.duration(walk, "reply_timeout"), fields.duration(walk, "stream_idle"));
    let least = fields.number(walk, "min_rate");
    let half_closed = fields.word(walk, "on_half_close");
    Some((Times { reply: some(reply?), stall: some(stall?), least: least? }, half_closed?))
}

/// A route's, on a listener that has `usual`.
pub fn routes(walk: &mut Walk<'_>, fields: &Fields<'_>, usual: Times) -> Times {
    let mut own = |key| fields.child(key).and_then(|_| fields.duration(walk, key)).map(some);
    let (reply, stall) = (own("reply_timeout"), own("stream_idle"));
    let least = fields.child("min_rate").and_then(|_| fields.number(walk, "min_rate"));
    // Who says how long the whole may take has said how long the reply may.
    let usual_reply = if fields.child("timeout").is_some() { None } else { usual.reply };
    Times {
        reply: reply.unwrap_or(usual_reply),
        stall: stall.unwrap_or(usual.stall),
        least: least.unwrap_or(usual.least),
    }
}

fn some(time: Duration) -> Option<Duration> {
    Some(time).filter(|time| !time.is_zero())
}
