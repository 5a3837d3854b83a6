//! What a protocol that travels in HTTP (gRPC, DynamoDB) is to the HTTP filter: it names the operation, watches heads and
//! bodies as they pass, judges how the exchange went, and words Weir's own replies. It never sees a socket, a clock or
//! a random number, and never alters a body, so its tests are tables.
//!
//! The life of an exchange, as a [`Watch`] sees it:
//!
//! ```text
//! Dialect::watch(head)            None: not of the dialect, goes on as plain HTTP and counts as such
//!   Watch::timeout                how long the whole exchange may take
//!   per try:
//!     Watch::attempt              forget what was learnt of an earlier reply; touch up the fields to be sent
//!     Watch::request_data*, request_end      what the client sends: once per exchange, not once per try
//!     Watch::reply_head           Pass | Hold | Judged
//!     Watch::reply_data*
//!     Watch::judge                exactly once per try that reached an endpoint (or failed to), and once for an exchange
//!                                 that was refused without one
//!     Watch::asked                what the server asked for; and what else the decision about another try goes by:
//!                                 Watch::operation (idempotent by now?), Watch::client_repeats
//!   Watch::refuse | Watch::abort  Weir answers itself, or breaks off a reply that has begun
//! Watch::finished                 exactly once, with the outcome that was counted
//! ```
//!
//! Request and reply interleave freely: the reply may begin, and end, before the request has.

use crate::fields::Fields;
use bytes::Bytes;
use std::borrow::Cow;
use std::time::Duration;
use weir_decide::exchange::{Fault, NameId, Names, Now, Operation, Outcome};
use weir_decide::policy::Hint;

/// A request's head as a dialect sees it: validated, normalised, and as it will go on.
#[derive(Debug, Clone, Copy)]
pub struct RequestHead<'a> {
    /// 11 for HTTP/1.1 (and 1.0), 20 for HTTP/2.
    pub version: u8,
    /// The method, exact.
    pub method: &'a [u8],
    /// `https` or `http`: how the client spoke to Weir.
    pub scheme: &'a [u8],
    /// Host and port as the client gave them.
    pub authority: &'a [u8],
    /// The path, normalised, without the query. Begins with `/` (or is `*`).
    pub path: &'a [u8],
    /// What follows the `?`, without it.
    pub query: Option<&'a [u8]>,
    /// The fields, hop-by-hop ones removed (`te: trailers` stays).
    pub fields: &'a Fields,
    /// The route's label value: the `resource` of plain HTTP.
    pub route: NameId,
    /// When the first byte of the request arrived.
    pub began: Now,
}

/// What is to be done with a reply whose head has arrived.
#[derive(Debug)]
pub enum AtHead {
    /// Forward it at once.
    Pass,
    /// Hold head and body back until the reply ends or more than `limit` bytes of body have come (0: until its first
    /// byte). A reply that ends while held can still be replaced by another try; one that outgrows the limit is forwarded.
    /// The most the loop grants is 64 KiB.
    Hold {
        /// The most bytes of body to hold.
        limit: usize,
    },
    /// It is known already to have failed, like this. Where the retry policy allows it is replaced by another try;
    /// otherwise it is forwarded and judged at its end.
    Judged(Outcome),
}

/// How a try, or an exchange without one, ended.
#[derive(Debug, Clone, Copy)]
pub enum End<'a> {
    /// The reply is complete; these are its trailers. A reply without body and trailers ended with its head.
    Complete {
        /// The trailers, where there were any.
        trailers: Option<&'a Fields>,
    },
    /// It failed, was refused, or was cancelled: by whom, how far it had got and why, the fault says.
    /// A client that went away is `Side::Client` with `Reason::Cancelled`, `Reset` or `Closed`.
    Failed {
        /// Whose fault, when, why.
        fault: &'a Fault,
        /// The HTTP/2 error code of the peer's RST_STREAM or GOAWAY, where there was one (RFC 9113 section 7).
        code: Option<u32>,
        /// The moment of it: what lies at or past a deadline is told by it.
        now: Now,
    },
}

/// An answer of Weir's own, to be put in the dialect's words.
#[derive(Debug, Clone, Copy)]
pub struct Refusal<'a> {
    /// Why there is no reply of a server.
    pub fault: &'a Fault,
    /// The status that plain HTTP answers with.
    pub status: u16,
    /// A short sentence for people, safe to show.
    pub text: &'a str,
}

/// A reply of Weir's own. `x-weir-reason`, `date`, and where `body` is not empty `content-length`, are added by the loop.
#[derive(Debug, Clone)]
pub struct LocalReply {
    /// The HTTP status.
    pub status: u16,
    /// The fields beyond those that the loop adds; names in lower case.
    pub fields: Fields,
    /// The body. Empty: the reply ends with its head (gRPC's trailers-only).
    pub body: Cow<'static, [u8]>,
}

/// A protocol that travels in HTTP. One instance lives in each worker for each listener that uses it.
pub trait Dialect {
    /// The `protocol` label value.
    fn name(&self) -> &'static str;

    /// Whether a route's `direct_response` that is an error is put into the dialect's words: its clients understand no other.
    fn words_denials(&self) -> bool {
        false
    }

    /// Whether a request of this version with these fields is one whose servers take names exactly, so that none can be read as
    /// another.
    fn takes_names_exactly(&self, version: u8, fields: &Fields) -> bool {
        let _ = (version, fields);
        false
    }

    /// Look at a request: `None` when it is not of this dialect.
    fn watch(&self, names: &mut dyn Names, head: &RequestHead<'_>) -> Option<Box<dyn Watch>>;
}

/// One exchange in the eyes of its dialect. Every method but the required ones has a default that does nothing.
pub trait Watch {
    /// What is known of the operation by now; it may grow more exact as the request's body passes (DynamoDB's table). Read
    /// when a try is admitted and once more when the exchange is counted.
    fn operation(&self) -> &Operation;

    /// Why the request cannot be served, by its head alone, for people: it goes to no server.
    fn refused(&self) -> Option<&'static str> {
        None
    }

    /// How long the whole exchange may take from the request's first byte, given the route's own `timeout`.
    fn timeout(&self, route: Option<Duration>) -> Option<Duration> {
        route
    }

    /// Whether an exchange on which nothing has moved for a while may be ended (`false` for long-lived streams).
    fn may_idle_out(&self) -> bool {
        true
    }

    /// Whether the operation is idempotent, or may turn out to be when more of the request's body is known.
    fn may_be_idempotent(&self) -> bool {
        self.operation().idempotent
    }

    /// Whether the client tries again by itself, as far as the dialect's own fields say.
    fn client_repeats(&self) -> bool {
        false
    }

    /// Try `number` (0: the first) is about to be sent, at `now`. Everything learnt of an earlier reply is to be forgotten.
    /// `fields` are the request's, as they will be sent; what is set here stays for later tries.
    fn attempt(&mut self, number: u32, now: Now, fields: &mut Fields) {
        let _ = (number, now, fields);
    }

    /// A run of the request's body passes.
    fn request_data(&mut self, names: &mut dyn Names, data: &[u8]) {
        let _ = (names, data);
    }

    /// Goes on with what it has been shown of the request's body, as far as is work for one turn. Says whether there is more: then
    /// nothing more of the body is shown, and not its end, until others have had their turn.
    fn request_work(&mut self) -> bool {
        false
    }

    /// The same for the reply's.
    fn reply_work(&mut self) -> bool {
        false
    }

    /// Whether the rest of the request's body would tell more of the operation. Hint when Weir is about to answer by itself
    /// with part of it unread.
    fn wants_body(&self) -> bool {
        false
    }

    /// The request is complete.
    fn request_end(&mut self, names: &mut dyn Names, trailers: Option<&Fields>) {
        let _ = (names, trailers);
    }

    /// A final reply head (never a 1xx) has arrived. `end`: no body and no trailers follow.
    fn reply_head(&mut self, names: &mut dyn Names, status: u16, fields: &Fields, end: bool) -> AtHead;

    /// Whether the trailer of this name goes on to the client. (RFC 9110 section 6.5.1 has a list of those that must not.)
    fn keeps_trailer(&self, name: &[u8]) -> bool {
        !crate::h2::head::is_forbidden_trailer(name)
    }

    /// The longest that a reply is held back; then it is forwarded, so that a client which waits for the head alone gets
    /// it. `None`: until it ends or outgrows its limit.
    fn hold_for(&self) -> Option<Duration> {
        None
    }

    /// A run of the reply's body passes (or is being held).
    fn reply_data(&mut self, data: &[u8]) {
        let _ = data;
    }

    /// The try has ended: how did it go? `latency` is filled in by the loop, and `fault` where the end has one.
    fn judge(&mut self, names: &mut dyn Names, end: End<'_>) -> Outcome;

    /// What the server asked for in its reply to the last try.
    fn asked(&self) -> Hint {
        Hint::Nothing
    }

    /// Weir answers itself, no reply having begun: in which words?
    fn refuse(&mut self, refusal: &Refusal<'_>) -> LocalReply {
        LocalReply::plain(refusal)
    }

    /// The reply has begun and cannot be completed: the trailers to end it with, or `None` to break it off.
    fn abort(&mut self, fault: &Fault) -> Option<Fields> {
        let _ = fault;
        None
    }

    /// The exchange is over and has been counted as `outcome`.
    fn finished(&mut self, outcome: &Outcome) {
        let _ = outcome;
    }
}

impl LocalReply {
    /// A short plain text, as plain HTTP answers.
    pub fn plain(refusal: &Refusal<'_>) -> LocalReply {
        let mut fields = Fields::new();
        fields.push(b"content-type", b"text/plain; charset=utf-8");
        if refusal.fault.is_shed() {
            fields.push(b"retry-after", b"1");
        }
        let mut body = Vec::with_capacity(refusal.text.len() + 1);
        body.extend_from_slice(refusal.text.as_bytes());
        body.push(b'\n');
        LocalReply { status: refusal.status, fields, body: Cow::Owned(body) }
    }

    /// The body as shared bytes.
    pub fn into_body(self) -> Bytes {
        match self.body {
            Cow::Borrowed(body) => Bytes::from_static(body),
            Cow::Owned(body) => Bytes::from(body),
        }
    }
}
