//! Bodies: which bytes of the stream are data, and where the message ends (RFC 9112 sections 6 and 7).
//!
//! A [`Body`] is fed the unread part of the buffer and says what to do with its front. There are two ways to read it,
//! and a caller may change between them at any call:
//!
//! - [`Body::decode`] finds the runs of data, for a receiver with framing of its own (HTTP/2, a rule that looks in).
//! - [`Body::relay`] finds the runs that may go on exactly as they are, chunk lines and all, for an HTTP/1.1 receiver.
//!   A chunk line that is not canonical (an extension, zeros in front) is handed out to be written anew.
//!
//! Either consumes only whole lines: a partial chunk line (at most 274 bytes) or trailer section
//! ([`Limits::trailers`]) stays in the caller's buffer and is passed again with more behind it.

use bytes::{Bytes, BytesMut};

use super::client::says_of_client;
use super::fields::{Fields, Span};
use super::framing::Framing;
use super::known::Known;
use super::reject::{Reject, Rule};
use super::scan::{self, Scan};
use super::token::is_tchar;
use super::{Limits, MAX_BODY};

/// The state of one body. Small, and free of allocations.
#[derive(Debug, Clone)]
pub struct Body {
    state: State,
    extensions: u32,
    limits: Limits,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Length(u64),
    UntilClose,
    /// At the first byte of a chunk line.
    ChunkLine,
    ChunkData(u64),
    ChunkEnd,
    Trailers(Scan),
    Done,
    /// A rule has been broken: nothing that follows means anything.
    Broken(Rule),
}

/// What [`Body::decode`] found at the front of the buffer. The decoder has moved past all of it: the caller drops or
/// takes exactly `skip` bytes, then `len`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Decoded {
    /// `skip` bytes of framing; the body goes on with bytes that are not here yet.
    More {
        /// Bytes of framing to drop.
        skip: usize,
    },
    /// `skip` bytes of framing, then `len` bytes of data, at least one.
    Data {
        /// Bytes of framing to drop.
        skip: usize,
        /// Bytes of data to take.
        len: usize,
        /// Whether the body ends with them. A chunked body never says so here, as its end is a line of its own.
        last: bool,
    },
    /// `skip` bytes of framing, then a trailer section of `len` bytes, its empty line included, which ends the body.
    /// It has been checked; [`trailers`] takes it apart.
    Trailers {
        /// Bytes of framing to drop.
        skip: usize,
        /// Bytes of the section to take.
        len: usize,
    },
    /// `skip` bytes of framing, and the body has ended.
    End {
        /// Bytes of framing to drop.
        skip: usize,
    },
}

/// What [`Body::relay`] found at the front of the buffer: `len` bytes to forward exactly as they are, then [`Then`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub struct Relayed {
    /// Bytes to take and forward as they are.
    pub len: usize,
    /// How many of them are data, to be counted.
    pub data: u64,
    /// What comes after them.
    pub then: Then,
}

/// What comes after a run of bytes that may be forwarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// Bytes that are not here yet.
    More,
    /// A chunk line of `skip` bytes to be dropped; [`chunk_head`](super::encode::chunk_head) of `size` goes in its
    /// place. Call again behind it.
    Line {
        /// Bytes to drop.
        skip: usize,
        /// The size of the chunk, 0 if it is the last.
        size: u64,
    },
    /// A trailer section of `len` bytes that ends the body, its empty line included. The last chunk's line has been
    /// forwarded; the trailers that pass the proxy and [`end`](super::encode::end) are due.
    Trailers {
        /// Bytes of the section to take.
        len: usize,
    },
    /// Nothing: the body has ended, and what ends it has been forwarded.
    End,
}

enum Token {
    Need,
    Data { len: usize, end: bool },
    Line(Line),
    ChunkEnd,
    Empty,
    Section(usize),
    Done,
}

impl Body {
    /// The decoder of a body with this framing.
    #[must_use]
    pub fn new(framing: Framing, limits: &Limits) -> Self {
        let state = match framing {
            Framing::None | Framing::Length(0) => State::Done,
            Framing::Length(n) => State::Length(n),
            Framing::Chunked => State::ChunkLine,
            Framing::UntilClose | Framing::Tunnel => State::UntilClose,
        };
        Self { state, extensions: 0, limits: *limits }
    }

    /// Whether the body has ended. A body that ends with its connection never says so; see [`Body::eof`].
    #[must_use]
    pub const fn is_done(&self) -> bool {
        matches!(self.state, State::Done)
    }

    /// How many bytes are still due, where that is known: a body with a length.
    #[must_use]
    pub const fn remaining(&self) -> Option<u64> {
        match self.state {
            State::Length(n) => Some(n),
            State::Done => Some(0),
            _ => None,
        }
    }

    /// Finds the next run of data. Bytes after the end of the body are not looked at.
    ///
    /// # Errors
    /// The rule that the first offending byte breaks, with its offset in `buf`. Data handed out before stays good; what
    /// follows is never looked at.
    pub fn decode(&mut self, buf: &[u8]) -> Result<Decoded, Reject> {
        let mut skip = 0;
        loop {
            let rest = buf.get(skip..).unwrap_or_default();
            match self.advance(rest).map_err(|r| shift(r, skip))? {
                Token::Need => return Ok(Decoded::More { skip }),
                Token::Data { len, end } => return Ok(Decoded::Data { skip, len, last: end }),
                Token::Line(line) => skip += line.len,
                Token::ChunkEnd => skip += 2,
                Token::Empty => return Ok(Decoded::End { skip: skip + 2 }),
                Token::Section(len) => return Ok(Decoded::Trailers { skip, len }),
                Token::Done => return Ok(Decoded::End { skip }),
            }
        }
    }

    /// Finds the run of bytes that may be forwarded exactly as they are. Bytes after the end of the body are not looked
    /// at.
    ///
    /// # Errors
    /// As for [`Body::decode`]. What came before the offending byte in this call is not forwarded then; the message is
    /// broken either way.
    pub fn relay(&mut self, buf: &[u8]) -> Result<Relayed, Reject> {
        let (mut at, mut data) = (0, 0);
        let done = |len, data, then| Ok(Relayed { len, data, then });
        loop {
            let rest = buf.get(at..).unwrap_or_default();
            match self.advance(rest).map_err(|r| shift(r, at))? {
                Token::Need => return done(at, data, Then::More),
                Token::Data { len, end } => {
                    at += len;
                    data += len as u64;
                    if end {
                        return done(at, data, Then::End);
                    }
                }
                Token::Line(line) if line.canonical => at += line.len,
                Token::Line(line) => {
                    return done(at, data, Then::Line { skip: line.len, size: line.size });
                }
                Token::ChunkEnd => at += 2,
                Token::Empty => return done(at + 2, data, Then::End),
                Token::Section(len) => return done(at, data, Then::Trailers { len }),
                Token::Done => return done(at, data, Then::End),
            }
        }
    }

    /// Takes the next piece of data out of `buf`, dropping the framing around it; the trailer section, if one comes, as
    /// it is. For callers that do not mind a reference count for each piece.
    ///
    /// # Errors
    /// As for [`Body::decode`].
    pub fn take(&mut self, buf: &mut BytesMut) -> Result<Part, Reject> {
        let (skip, len, part): (usize, usize, fn(Bytes) -> Part) = match self.decode(buf)? {
            Decoded::More { skip } => (skip, 0, |_| Part::More),
            Decoded::Data { skip, len, .. } => (skip, len, Part::Data),
            Decoded::Trailers { skip, len } => (skip, len, Part::Trailers),
            Decoded::End { skip } => (skip, 0, |_| Part::End),
        };
        bytes::Buf::advance(buf, skip.min(buf.len()));
        let piece = if len == 0 { Bytes::new() } else { buf.split_to(len.min(buf.len())).freeze() };
        Ok(part(piece))
    }

    /// The connection has ended.
    ///
    /// # Errors
    /// [`Rule::BodyTruncated`] if the body has not.
    pub fn eof(&mut self) -> Result<(), Reject> {
        match self.state {
            State::Done | State::UntilClose => {
                self.state = State::Done;
                Ok(())
            }
            _ => Err(Reject::whole(Rule::BodyTruncated)),
        }
    }

    fn advance(&mut self, buf: &[u8]) -> Result<Token, Reject> {
        let next = self.next(buf);
        if let Err(reject) = &next {
            self.state = State::Broken(reject.rule);
        }
        next
    }

    fn next(&mut self, buf: &[u8]) -> Result<Token, Reject> {
        match self.state {
            State::Done => Ok(Token::Done),
            State::Broken(rule) => Err(Reject::whole(rule)),
            _ if buf.is_empty() => Ok(Token::Need),
            State::UntilClose => Ok(Token::Data { len: buf.len(), end: false }),
            State::Length(remaining) => {
                let len = fit(remaining, buf);
                let rest = remaining - len as u64;
                self.state = if rest == 0 { State::Done } else { State::Length(rest) };
                Ok(Token::Data { len, end: rest == 0 })
            }
            State::ChunkData(remaining) => {
                let len = fit(remaining, buf);
                let rest = remaining - len as u64;
                self.state = if rest == 0 { State::ChunkEnd } else { State::ChunkData(rest) };
                Ok(Token::Data { len, end: false })
            }
            State::ChunkEnd => match buf {
                [b'\r', b'\n', ..] => {
                    self.state = State::ChunkLine;
                    Ok(Token::ChunkEnd)
                }
                [b'\r'] => Ok(Token::Need),
                [b'\r', ..] => Err(Reject::at(Rule::ChunkDataEnd, 1)),
                _ => Err(Reject::at(Rule::ChunkDataEnd, 0)),
            },
            State::ChunkLine => {
                let left = self.limits.chunk_extensions.saturating_sub(self.extensions);
                let Some(line) = chunk_line(buf, self.limits.chunk_extension.min(left))? else {
                    return Ok(Token::Need);
                };
                self.extensions += line.extension;
                self.state = match line.size {
                    0 => State::Trailers(Scan::trailers()),
                    n => State::ChunkData(n),
                };
                Ok(Token::Line(line))
            }
            State::Trailers(mut scan) => {
                let found = scan.run(buf, &self.limits)?;
                self.state = State::Trailers(scan);
                let Some(len) = found else { return Ok(Token::Need) };
                if len > 2 {
                    forbidden(buf.get(..len).unwrap_or_default())?;
                }
                self.state = State::Done;
                Ok(if len > 2 { Token::Section(len) } else { Token::Empty })
            }
        }
    }
}

/// A piece of a body, from [`Body::take`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// The body goes on with bytes that are not in the buffer yet.
    More,
    /// Data, at least one byte.
    Data(Bytes),
    /// The trailer section, which ends the body; [`trailers`] takes it apart.
    Trailers(Bytes),
    /// The body has ended.
    End,
}

/// Takes a trailer section that [`Body`] has handed out apart, into `fields`, by offsets into it.
pub fn trailers(section: &[u8], fields: &mut Fields) {
    fields.clear();
    for (name, value) in scan::lines(section, 0) {
        fields.push(section, name, value);
    }
    fields.finish(section.len().saturating_sub(2));
}

fn fit(remaining: u64, buf: &[u8]) -> usize {
    usize::try_from(remaining).map_or(buf.len(), |n| n.min(buf.len()))
}

fn shift(reject: Reject, by: usize) -> Reject {
    match reject.offset {
        Some(at) => Reject::at(reject.rule, at as usize + by),
        None => reject,
    }
}

fn forbidden(section: &[u8]) -> Result<(), Reject> {
    let bad = |name: &Span| {
        let name = name.of(section);
        Known::of(name).is_some_and(Known::is_forbidden_in_trailers) || says_of_client(name)
    };
    match scan::lines(section, 0).find(|(name, _)| bad(name)) {
        Some((name, _)) => Err(Reject::at(Rule::TrailerForbidden, name.start as usize)),
        None => Ok(()),
    }
}

#[derive(Debug, Clone, Copy)]
struct Line {
    /// Bytes of the line, its CRLF included.
    len: usize,
    size: u64,
    /// Bytes of its extensions, the first `;` included.
    extension: u32,
    /// No extension and no zeros in front.
    canonical: bool,
}

/// Parses a chunk line; none if it goes on. `extension` caps the bytes between the size and CRLF.
fn chunk_line(buf: &[u8], extension: u32) -> Result<Option<Line>, Reject> {
    let mut size: u64 = 0;
    let mut at = 0;
    let end = loop {
        let Some(&byte) = buf.get(at) else { return Ok(None) };
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            b'A'..=b'F' => byte - b'A' + 10,
            b if at > 0 => break b,
            _ => return Err(Reject::at(Rule::ChunkSizeInvalid, at)),
        };
        // At the 17th digit the size may still be small, by zeros in front; peers differ on how many they count.
        if at >= 16 || size > MAX_BODY >> 4 {
            return Err(Reject::at(Rule::ChunkSizeTooLarge, at));
        }
        size = size << 4 | u64::from(digit);
        at += 1;
    };
    let canonical = end == b'\r' && (at == 1 || buf.first() != Some(&b'0'));
    let digits = at;
    if end == b';' {
        match extensions(buf, at, extension)? {
            Some(after) => at = after,
            None => return Ok(None),
        }
    }
    match (buf.get(at), buf.get(at + 1)) {
        (Some(b'\r'), Some(b'\n')) => {
            let extension = u32::try_from(at - digits).unwrap_or(u32::MAX);
            Ok(Some(Line { len: at + 2, size, extension, canonical }))
        }
        (Some(b'\r'), Some(_)) => Err(Reject::at(Rule::BareCr, at + 1)),
        (Some(b'\r'), None) | (None, _) => Ok(None),
        (Some(b'\n'), _) => Err(Reject::at(Rule::BareLf, at)),
        (Some(_), _) => Err(Reject::at(Rule::ChunkSizeInvalid, at)),
    }
}

/// `*( ";" name [ "=" ( token / quoted-string ) ] )` without white space (RFC 9112 section 7.1.1); gives the offset of
/// the CR, or none if the line goes on.
fn extensions(buf: &[u8], start: usize, cap: u32) -> Result<Option<usize>, Reject> {
    #[derive(Clone, Copy, PartialEq)]
    enum At {
        NameStart,
        Name,
        ValueStart,
        Value,
        Quoted,
        Escaped,
        QuoteEnd,
    }
    let mut state = At::NameStart;
    for (at, &byte) in buf.iter().enumerate().skip(start + 1) {
        let closed = matches!(state, At::Name | At::Value | At::QuoteEnd);
        if closed && byte == b'\r' {
            return Ok(Some(at));
        }
        if at - start >= cap as usize {
            return Err(Reject::at(Rule::ChunkExtensionTooLarge, at));
        }
        state = match (state, byte) {
            (At::Name | At::Value | At::QuoteEnd, b';') => At::NameStart,
            (At::NameStart | At::Name, b) if is_tchar(b) => At::Name,
            (At::Name, b'=') => At::ValueStart,
            (At::ValueStart, b'"') => At::Quoted,
            (At::ValueStart | At::Value, b) if is_tchar(b) => At::Value,
            (At::Quoted, b'"') => At::QuoteEnd,
            (At::Quoted, b'\\') => At::Escaped,
            (At::Quoted | At::Escaped, b) if super::token::is_value_byte(b) => At::Quoted,
            (_, b'\n') => return Err(Reject::at(Rule::BareLf, at)),
            _ => return Err(Reject::at(Rule::ChunkExtensionMalformed, at)),
        };
    }
    Ok(None)
}
