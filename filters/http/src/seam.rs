//! The seam between the exchange loop and the two versions of HTTP: what a request and a reply are, and how their bodies
//! come and go. None of `http`'s or `h2`'s types are here, so that HTTP/1 to HTTP/1 stays byte-exact and a version of our
//! own can take h2's place.
//!
//! Nothing here waits. `poll_*` follow the rules of `Future::poll`; everything else takes effect in memory and reaches the
//! peer with the next [`Sink::poll_flush`].

use crate::fields::Fields;
use bytes::Bytes;
use std::net::IpAddr;
use std::task::{Context, Poll};
use weir_codecs::http1::{Method, ResponseHead};
use weir_decide::exchange::Reason;
use weir_decide::policy::Sent;

/// What is said about the length of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Length {
    /// There is no body, and nothing announces one.
    None,
    /// So many bytes, possibly none.
    Exact(u64),
    /// It ends where it ends.
    Unknown,
}

/// The versions of HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// HTTP/1.0
    Http10,
    /// HTTP/1.1
    Http11,
    /// HTTP/2
    Http2,
}

impl Version {
    /// As `Via` says it.
    pub fn via(self) -> &'static [u8] {
        match self {
            Version::Http10 => b"1.0 weir",
            Version::Http11 => b"1.1 weir",
            Version::Http2 => b"2.0 weir",
        }
    }

    /// As a dialect is told it.
    pub fn number(self) -> u8 {
        match self {
            Version::Http10 | Version::Http11 => 11,
            Version::Http2 => 20,
        }
    }
}

/// A request's head: validated, hop-by-hop fields removed. Reused from request to request.
#[derive(Debug)]
pub struct Request {
    /// The version in which it came.
    pub version: Version,
    /// The method, if it is a usual one.
    pub method: Method,
    /// The method's bytes.
    pub method_text: Vec<u8>,
    /// Whether the client spoke TLS with Weir, or with a proxy in front that may say so.
    pub secure: bool,
    /// Who the client is, as far as that is known: an address that is not trusted.
    pub client: Option<IpAddr>,
    /// There are fields that say who the client is.
    pub tells_client: bool,
    /// There are names that a server may read as others.
    pub ambiguous: bool,
    /// What the field says by which this process knows its own requests again.
    pub hop: Vec<u8>,
    /// How often it has come from this process.
    pub hops: u8,
    /// The path was not in its normal form.
    pub normalized: bool,
    /// It has a signature, on a route that minds it.
    pub is_signed: bool,
    /// The names that the signature covers, as its client wrote them.
    pub signed: Vec<u8>,
    /// Host and port as given; empty where there is none (1.0).
    pub authority: Vec<u8>,
    /// The path, normalised, and the query with its `?`.
    pub target: Vec<u8>,
    /// How much of `target` is the path.
    pub path_len: usize,
    /// The fields. Has a `host` equal to `authority` exactly where there is one; has no framing.
    pub fields: Fields,
    /// What is announced about the body.
    pub length: Length,
    /// No body and no trailers follow.
    pub end: bool,
    /// The client waits for a 100 before it sends the body.
    pub expects_continue: bool,
    /// The protocol that the client would switch to (`Upgrade`, or `:protocol` of an extended CONNECT); empty: none.
    pub upgrade: Vec<u8>,
    /// How many bytes the head had (in HTTP/2: would have had as lines).
    pub head_bytes: u64,
}

impl Default for Request {
    fn default() -> Request {
        Request {
            version: Version::Http11,
            method: Method::Other,
            method_text: Vec::new(),
            secure: false,
            client: None,
            tells_client: false,
            ambiguous: false,
            hop: Vec::new(),
            hops: 0,
            normalized: false,
            is_signed: false,
            signed: Vec::new(),
            authority: Vec::new(),
            target: Vec::new(),
            path_len: 0,
            fields: Fields::new(),
            length: Length::None,
            end: true,
            expects_continue: false,
            upgrade: Vec::new(),
            head_bytes: 0,
        }
    }
}

impl Request {
    /// Forget everything, keep the buffers.
    pub fn clear(&mut self) {
        let Request { method_text, authority, target, mut fields, upgrade, hop, signed, .. } =
            std::mem::take(self);
        let [method_text, authority, target, upgrade, hop, signed] =
            [method_text, authority, target, upgrade, hop, signed].map(|mut buffer| {
                buffer.clear();
                buffer
            });
        fields.clear();
        *self =
            Request { method_text, authority, target, fields, upgrade, hop, signed, ..Request::default() };
    }

    /// The path without the query.
    pub fn path(&self) -> &[u8] {
        self.target.get(..self.path_len).unwrap_or_default()
    }

    /// What follows the `?`.
    pub fn query(&self) -> Option<&[u8]> {
        self.target.get(self.path_len + 1..)
    }
}

/// A reply's head: validated, hop-by-hop fields removed. Reused from reply to reply.
#[derive(Debug)]
pub struct Reply {
    /// The status, 100 to 999.
    pub status: u16,
    /// HTTP/1's reason phrase; empty: the usual one.
    pub phrase: Vec<u8>,
    /// The fields, without framing.
    pub fields: Fields,
    /// What is announced about the body; for HEAD and 304 about a body that does not come.
    pub length: Length,
    /// No body and no trailers follow.
    pub end: bool,
    /// The protocol that a 101 switches to.
    pub upgrade: Vec<u8>,
    /// How many bytes the head had.
    pub head_bytes: u64,
    /// Where HTTP/1 parses into.
    pub(crate) parsed: ResponseHead,
}

impl Default for Reply {
    fn default() -> Reply {
        Reply {
            status: 0,
            phrase: Vec::new(),
            fields: Fields::new(),
            length: Length::None,
            end: true,
            upgrade: Vec::new(),
            head_bytes: 0,
            parsed: ResponseHead::new(),
        }
    }
}

impl Reply {
    /// Forget everything, keep the buffers.
    pub fn clear(&mut self) {
        let Reply { mut phrase, mut fields, mut upgrade, mut parsed, .. } = std::mem::take(self);
        phrase.clear();
        fields.clear();
        upgrade.clear();
        parsed.clear();
        *self = Reply { phrase, fields, upgrade, parsed, ..Reply::default() };
    }

    /// Whether another reply to the same request follows.
    pub fn is_interim(&self) -> bool {
        self.status < 200 && self.status != 101
    }
}

/// A part of a message after its head.
#[derive(Debug)]
pub enum Part {
    /// A run of the body, not empty.
    Data(Bytes),
    /// The trailers; the message ends with them.
    Trailers(Fields),
}

/// One side of an exchange cannot go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Broken {
    /// Why.
    pub reason: Reason,
    /// The HTTP/2 error code that the peer gave.
    pub code: Option<u32>,
    /// The peer has said, or it is certain, that it did not look at the request.
    pub unprocessed: bool,
    /// The rule that the peer's bytes broke.
    pub rule: Option<&'static str>,
}

impl Broken {
    /// Of this reason, and nothing more is known.
    pub fn new(reason: Reason) -> Broken {
        Broken { reason, code: None, unprocessed: false, rule: None }
    }

    /// From an IO error.
    pub fn io(e: &std::io::Error) -> Broken {
        Broken::new(weir_drive::io::reason(e))
    }
}

/// The result of everything on the seam.
pub type Result<T> = std::result::Result<T, Broken>;

/// One direction in.
pub trait Recv {
    /// The next part; `None` after the last, the message having ended cleanly.
    fn poll_part(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Part>>>;

    /// The other side has taken `n` bytes of body: flow control for so many may be given back.
    fn consumed(&mut self, n: usize);
}

/// One direction out.
pub trait Sink {
    /// How many bytes may be sent now, at least one, where `wanted` are there: the back-pressure. Pushes on what waits.
    fn poll_ready(&mut self, cx: &mut Context<'_>, wanted: usize) -> Poll<Result<usize>>;

    /// Send a run of the body, no more than `poll_ready` gave.
    fn send(&mut self, data: Bytes) -> Result<()>;

    /// The message ends, with these trailers.
    fn end(&mut self, trailers: Option<&Fields>) -> Result<()>;

    /// Get everything sent so far on its way. Ready when nothing waits for the peer to read.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>>;
}

/// The client's side of one exchange; its request's head was given with it.
pub trait Downstream: Recv + Sink {
    /// Send a 1xx.
    fn inform(&mut self, head: &Reply) -> Result<()>;

    /// Send the final head; gives its length. `head.end`: no body and no trailers follow, and the reply has ended.
    fn respond(&mut self, head: &Reply) -> Result<usize>;

    /// What is left of the request will not be read. To be said before `respond`.
    fn abandon(&mut self);

    /// Both directions stop being HTTP after the head just sent.
    fn tunnel(&mut self);

    /// Ready when the client has gone, or has given the exchange up. Never takes anything that `poll_part` would give.
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<Broken>;

    /// The client has ended its direction after a whole request: it may be gone, or may wait for the reply all the same.
    fn says_no_more(&self) -> bool {
        false
    }

    /// The reply cannot be completed: let the client see it, by this HTTP/2 error code where there is one. What was sent
    /// before gets its chance with the flush that follows.
    fn abort(&mut self, code: Option<u32>);
}

/// One try on a server.
pub trait Upstream: Recv + Sink {
    /// Each 1xx, then the final head, while the request may still be being sent.
    fn poll_head(&mut self, cx: &mut Context<'_>, head: &mut Reply) -> Poll<Result<()>>;

    /// Both directions stop being HTTP.
    fn tunnel(&mut self);

    /// Whether it may be that the server closed the connection without having seen this request: it had served
    /// another before, and not a byte of a reply came.
    fn stale(&self) -> bool;

    /// The try took too long: whoever keeps the connection may want to know whether the server is there at all.
    fn suspect(&mut self) {}

    /// How much of the request has left for the server. What cannot be told has been sent.
    fn sent(&self) -> Sent;

    /// The exchange has ended, cleanly in both directions if `clean`: the connection may serve another if it can. Not
    /// called: the try is cancelled.
    fn release(self, clean: bool);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_that_are_used_again_are_as_new() {
        let mut fields = Fields::new();
        fields.push(b"a", b"b");
        let mut request = Request {
            version: Version::Http2,
            method: Method::Post,
            method_text: b"POST".to_vec(),
            secure: true,
            client: Some([127, 0, 0, 1].into()),
            tells_client: true,
            ambiguous: true,
            hop: b"x-1".to_vec(),
            hops: 1,
            normalized: true,
            is_signed: true,
            signed: b"host".to_vec(),
            authority: b"a".to_vec(),
            target: b"/a?b".to_vec(),
            path_len: 2,
            fields: fields.clone(),
            length: Length::Exact(7),
            end: false,
            expects_continue: true,
            upgrade: b"websocket".to_vec(),
            head_bytes: 9,
        };
        request.clear();
        assert_eq!(format!("{request:?}"), format!("{:?}", Request::default()));
        let mut reply = Reply {
            status: 200,
            phrase: b"Fine".to_vec(),
            fields,
            length: Length::Unknown,
            end: false,
            upgrade: b"websocket".to_vec(),
            head_bytes: 9,
            parsed: ResponseHead::new(),
        };
        let head = b"HTTP/1.1 200 OK\r\na: b\r\n\r\n";
        let asked = weir_codecs::http1::Asked::plain(Method::Get);
        let limits = weir_codecs::http1::Limits::default();
        let _read = weir_codecs::http1::parse_response(head, &limits, asked, &mut reply.parsed).unwrap();
        reply.clear();
        assert_eq!(format!("{reply:?}"), format!("{:?}", Reply::default()));
    }
}
