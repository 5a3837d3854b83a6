//! The body of an HTTP/1 message in each direction: what the decoder gives as parts, and how parts are framed.

use super::wire::Wire;
use crate::fields::Fields;
use crate::seam::{Broken, Length, Part, Result};
use bytes::Bytes;
use std::task::{Context, Poll, ready};
use weir_codecs::http1::{self, Body, Decoded, Framing, Limits, encode};
use weir_decide::exchange::Reason;

/// A body that is being read.
pub struct Incoming {
    body: Body,
    /// Everything has been given out.
    done: bool,
    /// It could not be read to its end: it never will be.
    broken: Option<Broken>,
}

impl Incoming {
    /// The body with this framing.
    pub fn new(framing: Framing, limits: &Limits) -> Incoming {
        Incoming { body: Body::new(framing, limits), done: framing.is_empty(), broken: None }
    }

    /// No body.
    pub fn none(limits: &Limits) -> Incoming {
        Incoming::new(Framing::None, limits)
    }

    /// From here on everything is data.
    pub fn tunnel(&mut self, limits: &Limits) {
        *self = Incoming { body: Body::new(Framing::Tunnel, limits), done: false, broken: None };
    }

    /// Whether everything has been given out.
    pub fn is_done(&self) -> bool {
        self.done
    }

    /// The next part of what is in the buffer or comes.
    pub fn poll_part(&mut self, cx: &mut Context<'_>, wire: &mut Wire) -> Poll<Result<Option<Part>>> {
        if let Some(broken) = self.broken {
            return Poll::Ready(Err(broken));
        }
        let part = ready!(self.poll_next(cx, wire));
        self.broken = part.as_ref().err().copied();
        Poll::Ready(part)
    }

    fn poll_next(&mut self, cx: &mut Context<'_>, wire: &mut Wire) -> Poll<Result<Option<Part>>> {
        loop {
            if self.done {
                return Poll::Ready(Ok(None));
            }
            match self.body.decode(&wire.buf).map_err(malformed)? {
                Decoded::Data { skip, len, last } => {
                    wire.skip(skip);
                    self.done = last;
                    return Poll::Ready(Ok(Some(Part::Data(wire.take(len)))));
                }
                Decoded::Trailers { skip, len } => {
                    wire.skip(skip);
                    let section = wire.take(len);
                    self.done = true;
                    return Poll::Ready(Ok(Some(Part::Trailers(trailers(&section)))));
                }
                Decoded::End { skip } => {
                    wire.skip(skip);
                    self.done = true;
                }
                Decoded::More { skip } => {
                    wire.skip(skip);
                    if ready!(wire.fill(cx))? == 0 {
                        self.body.eof().map_err(|_| Broken::new(Reason::Closed))?;
                        self.done = true;
                    }
                }
            }
        }
    }
}

fn trailers(section: &Bytes) -> Fields {
    let mut parsed = http1::Fields::default();
    http1::body::trailers(section, &mut parsed);
    let mut fields = Fields::new();
    fields.import(&parsed, section, |f| f.class == http1::Class::EndToEnd);
    fields
}

/// What the codec refused, as the seam says it.
pub fn malformed(reject: http1::Reject) -> Broken {
    use http1::Rule;
    let reason = match reject.rule {
        Rule::HeadTooLarge
        | Rule::TooManyFields
        | Rule::TrailersTooLarge
        | Rule::ChunkExtensionTooLarge
        | Rule::ChunkSizeTooLarge => Reason::TooLarge,
        _ => Reason::Malformed,
    };
    Broken { rule: Some(reject.rule()), ..Broken::new(reason) }
}

/// How a body that is being written is framed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outgoing {
    /// The message has ended.
    Done,
    /// So many bytes are due.
    Length(u64),
    /// In chunks.
    Chunked,
    /// Up to the end of the connection.
    Close,
    /// Not HTTP any more; its end is the end of our direction.
    Tunnel,
    /// It has less or more than was announced: nothing that follows on this connection would be read for what it is. For ever.
    Broken,
}

impl Outgoing {
    /// The framing of a message with a body of this length; `chunks`: the peer understands them.
    pub fn of(length: Length, end: bool, chunks: bool) -> Outgoing {
        match length {
            _ if end => Outgoing::Done,
            Length::None | Length::Exact(0) => Outgoing::Done,
            Length::Exact(n) => Outgoing::Length(n),
            Length::Unknown if chunks => Outgoing::Chunked,
            Length::Unknown => Outgoing::Close,
        }
    }

    /// Whether the message has ended.
    pub fn is_done(&self) -> bool {
        *self == Outgoing::Done
    }

    /// Send a run of the body.
    pub fn send(&mut self, wire: &mut Wire, data: Bytes) -> Result<()> {
        *self = self.after(data.len() as u64);
        match self {
            Outgoing::Broken => return Err(Broken::new(Reason::Malformed)),
            _ if data.is_empty() => {}
            Outgoing::Chunked => {
                encode::chunk_head(wire.out(), data.len() as u64);
                wire.push(data);
                encode::chunk_end(wire.out());
            }
            Outgoing::Length(_) | Outgoing::Close | Outgoing::Tunnel | Outgoing::Done => wire.push(data),
        }
        Ok(())
    }

    /// What it is once so many more bytes have been sent.
    fn after(self, bytes: u64) -> Outgoing {
        match self {
            Outgoing::Length(due) => due.checked_sub(bytes).map_or(Outgoing::Broken, Outgoing::Length),
            Outgoing::Done if bytes > 0 => Outgoing::Broken,
            same => same,
        }
    }

    /// What it is once the body has ended.
    fn ended(self) -> Outgoing {
        match self {
            Outgoing::Length(1..) | Outgoing::Broken => Outgoing::Broken,
            _ => Outgoing::Done,
        }
    }

    /// The body ends. Trailers go on where the framing has room for them, and are dropped where it has not
    /// (RFC 9110 section 6.5.1).
    pub fn end(&mut self, wire: &mut Wire, trailers: Option<&Fields>) -> Result<()> {
        let was = *self;
        *self = was.ended();
        match (was, trailers) {
            _ if *self == Outgoing::Broken => return Err(Broken::new(Reason::Closed)),
            (Outgoing::Chunked, Some(fields)) => {
                encode::chunk_head(wire.out(), 0);
                fields.write_lines(wire.out());
                encode::end(wire.out());
            }
            (Outgoing::Chunked, None) => encode::last_chunk(wire.out()),
            (Outgoing::Tunnel, _) => wire.shutdown(),
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever is sent in whatever order: done is only what had all that it announced, and what was broken once stays so.
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
            let mut body = Outgoing::of(Length::Exact(announced), false, true);
            let (mut sent, mut ended, mut broken) = (0, announced == 0, false);
            for _ in 0..random(8) {
                if random(3) == 0 {
                    broken |= !ended && sent < announced;
                    ended = true;
                    body = body.ended();
                } else {
                    let bytes = random(4);
                    broken |= sent + bytes > announced || (ended && bytes > 0);
                    sent += bytes;
                    body = body.after(bytes);
                }
                assert_eq!(body == Outgoing::Broken, broken, "case {case}: {body:?}");
                assert!(!body.is_done() || (ended && sent == announced), "case {case}: {body:?}");
            }
        }
    }
}
