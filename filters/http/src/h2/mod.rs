//! HTTP/2 on both sides of an exchange, on the `h2` crate driven directly.
//!
//! [`serve`] accepts a client's streams and runs the exchange loop for each; [`down`] and [`up`] are the two sides as that loop
//! sees them; [`head`] is the only place that knows `http`'s types; [`out`] gives h2 what goes out; [`pool`] shares connections to servers; [`cork`] gathers what
//! h2 writes; [`frames`] watches what a client leaves unfinished; [`alive`] asks a silent peer whether it is there.
//!
//! An early reply is ended by dropping the stream's handles, never by a reset, which would discard it; flow control is given
//! back when the other side has taken the bytes, never before.

mod alive;
mod cork;
pub mod down;
mod frames;
pub mod head;
mod out;
pub mod pool;
pub mod serve;
pub mod up;

pub use down::Down;
pub use out::Out;
pub use pool::Pool;

use crate::fields::Fields;
use crate::seam::{Broken, Length, Part, Result};
use h2::{Reason as Code, RecvStream};
use std::task::{Context, Poll, ready};
use weir_decide::exchange::Reason;

/// The most streams that a client may have open, where nothing else is said.
pub const MAX_STREAMS: u32 = 100;
/// The same where clients of a dialect keep streams open for long: watches, subscriptions.
pub const MAX_CALLS: u32 = 1000;
/// The most bytes of a request's head, as RFC 9113 section 6.5.2 counts them: what has more is refused, in the words of its dialect.
pub const MAX_HEAD: usize = 64 * 1024;
/// The same of a reply's head, and of trailers.
pub const MAX_REPLY_HEAD: usize = 192 * 1024;
/// What the crate itself takes of them. It answers a request's head of more with a 431 of its own, and leaves out of trailers what is
/// beyond.
pub const MAX_HEADER_LIST: u32 = 256 * 1024;
/// The same of what a server sends: it is further away from what we take, since what is left out of trailers is not seen.
pub const UPSTREAM_HEADER_LIST: u32 = 1024 * 1024;
/// How much may come on one stream before it has been passed on. Small, because every stalled stream may hold so much.
pub const STREAM_WINDOW: u32 = 64 * 1024;
/// The same for all streams of a client's connection together: what all of them may hold, so that those which are stalled
/// leave the others their share.
pub const CONNECTION_WINDOW: u32 = MAX_STREAMS * STREAM_WINDOW;
/// The most streams that are opened on one connection to a server where nothing else is said, whatever it would take.
pub const UPSTREAM_STREAMS: u32 = 128;
/// The same as `CONNECTION_WINDOW` for a server's connection, where the streams are those of many clients.
pub const UPSTREAM_WINDOW: u32 = UPSTREAM_STREAMS * STREAM_WINDOW;
/// How much may wait to be sent on one stream.
pub const SEND_BUFFER: usize = 64 * 1024;
/// What buffered small frames may cost beyond their payload. The crate's own default ends a connection with 2,251 unread
/// messages of 20 bytes on one stream.
pub const FRAME_BUDGET: usize = 8 * 1024 * 1024;
/// The same for a server's connection, which is not to end because some clients do not read: enough for every stream to hold its
/// window in messages of 25 bytes.
pub const UPSTREAM_FRAME_BUDGET: usize = 96 * 1024 * 1024;

/// What comes on a stream.
pub struct In {
    stream: Option<RecvStream>,
    /// Taken already, and to be given out first.
    first: Option<Result<Option<Part>>>,
    data_done: bool,
    done: bool,
}

impl In {
    /// Nothing yet.
    pub fn none() -> In {
        In { stream: None, first: None, data_done: false, done: false }
    }

    /// What comes on this stream.
    pub fn new(stream: RecvStream) -> In {
        In { stream: Some(stream), first: None, data_done: false, done: false }
    }

    /// Whether it ends with nothing having come. What comes is kept.
    pub fn poll_ends(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        let part = ready!(self.poll_part(cx));
        let ends = matches!(part, Ok(None));
        self.first = (!ends).then_some(part);
        Poll::Ready(ends)
    }

    pub fn poll_part(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Part>>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(first);
        }
        let Some(stream) = &mut self.stream else { return Poll::Pending };
        if self.done {
            return Poll::Ready(Ok(None));
        }
        while !self.data_done {
            match ready!(stream.poll_data(cx)) {
                // An empty frame that does not end anything says nothing.
                Some(Ok(data)) if data.is_empty() => {}
                Some(Ok(data)) => return Poll::Ready(Ok(Some(Part::Data(data)))),
                Some(Err(e)) => return Poll::Ready(Err(broken(&e))),
                None => self.data_done = true,
            }
        }
        let trailers = ready!(stream.poll_trailers(cx)).map_err(|e| broken(&e))?;
        self.done = true;
        // A limit refuses, it never cuts: a part of them would be read as if it were all.
        if let Some(rule) = trailers.as_ref().and_then(head::trailers_too_large) {
            return Poll::Ready(Err(Broken { rule: Some(rule.name()), ..Broken::new(Reason::TooLarge) }));
        }
        Poll::Ready(Ok(trailers.map(|map| {
            let mut fields = Fields::new();
            head::take_fields(&map, &mut fields);
            Part::Trailers(fields)
        })))
    }

    pub fn consumed(&mut self, n: usize) {
        if let Some(stream) = &mut self.stream {
            // Fails only for more than was received.
            stream.flow_control().release_capacity(n).ok();
        }
    }
}

/// How much of a body is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// Nobody has announced it.
    Unknown,
    /// So many bytes of those that were announced.
    Bytes(u64),
    /// It has ended, with all that was announced.
    Ended,
    /// It had less or more than was announced: for ever.
    Broken,
}

impl Due {
    /// What the head announces.
    pub fn of(length: Length) -> Due {
        match length {
            Length::Exact(n) => Due::Bytes(n),
            Length::None | Length::Unknown => Due::Unknown,
        }
    }

    /// So many more bytes go.
    pub fn send(&mut self, bytes: u64) -> Result<()> {
        *self = match *self {
            Due::Bytes(due) => due.checked_sub(bytes).map_or(Due::Broken, Due::Bytes),
            Due::Ended if bytes > 0 => Due::Broken,
            same => same,
        };
        self.check(Reason::Malformed)
    }

    /// The body ends.
    pub fn end(&mut self) -> Result<()> {
        *self = match *self {
            Due::Bytes(1..) | Due::Broken => Due::Broken,
            _ => Due::Ended,
        };
        self.check(Reason::Closed)
    }

    fn check(self, reason: Reason) -> Result<()> {
        if self == Due::Broken { Err(Broken::new(reason)) } else { Ok(()) }
    }
}

/// What h2 says, as the seam says it.
pub fn broken(e: &h2::Error) -> Broken {
    if let Some(io) = e.get_io() {
        return Broken::io(io);
    }
    let code = e.reason();
    let (reason, unprocessed) = match code {
        _ if e.is_go_away() && e.is_remote() => (Reason::GoAway, true),
        Some(Code::REFUSED_STREAM) if e.is_remote() => (Reason::RefusedStream, true),
        Some(Code::ENHANCE_YOUR_CALM) if e.is_library() => (Reason::TooLarge, false),
        _ if e.is_library() => (Reason::Malformed, false),
        _ => (Reason::Reset, false),
    };
    Broken { reason, code: code.map(u32::from), unprocessed, rule: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever is sent in whatever order: ended is only what had all that it announced, and what was broken once stays so.
    #[test]
    fn a_body_that_lacks_what_it_announced_is_broken_for_ever() {
        let mut seed = 0x9E37_79B9_7F4A_7C15_u64;
        let mut random = |below: u64| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            seed % below
        };
        for case in 0..20_000 {
            let announced = random(6);
            let mut due = Due::of(Length::Exact(announced));
            let (mut sent, mut ended, mut broken) = (0, false, false);
            for _ in 0..random(8) {
                let went = if random(3) == 0 {
                    broken |= sent < announced;
                    ended = true;
                    due.end()
                } else {
                    let bytes = random(4);
                    broken |= sent + bytes > announced;
                    sent += bytes;
                    due.send(bytes)
                };
                assert_eq!((due == Due::Broken, went.is_err()), (broken, broken), "case {case}: {due:?}");
                assert!(due != Due::Ended || (ended && sent == announced), "case {case}: {due:?}");
            }
        }
    }
}
