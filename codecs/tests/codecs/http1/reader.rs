//! What a server or a client does with a stream of bytes, by this codec: message after message until the stream is used up,
//! refused, closed or no longer HTTP.

use bytes::{Buf, BytesMut};
use std::fmt;
use weir_codecs::http1::{
    Asked, Body, Decoded, Fields, Framing, Limits, Method, Parsed, RequestHead, ResponseHead, Rule, Then,
    body, encode, parse_request, parse_response,
};

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Message {
    /// The method, or the status.
    pub start: String,
    /// The target, or the reason phrase.
    pub target: Vec<u8>,
    pub fields: Vec<(Vec<u8>, Vec<u8>)>,
    pub body: Vec<u8>,
    pub trailers: Vec<(Vec<u8>, Vec<u8>)>,
    /// Whether the body has ended.
    pub whole: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Between messages, with nothing left over.
    Clean,
    /// The last message asked for no further one; what came after it has not been looked at.
    Closed,
    /// In the middle of a message.
    Partial,
    /// The connection is no longer HTTP.
    Tunnel,
    /// A rule was broken by this byte of the stream.
    Refused(Rule, Option<usize>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    pub messages: Vec<Message>,
    pub end: End,
}

impl Reading {
    pub fn whole(&self) -> usize {
        self.messages.iter().filter(|m| m.whole).count()
    }
}

/// `2 clean`, `0 host_missing`, `1 bare_lf@12`: how many messages ended, and what came then.
impl fmt::Display for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.whole())?;
        match self.end {
            End::Clean => write!(f, "clean"),
            End::Closed => write!(f, "closed"),
            End::Partial => write!(f, "partial"),
            End::Tunnel => write!(f, "tunnel"),
            End::Refused(rule, None) => write!(f, "{}", rule.name()),
            End::Refused(rule, Some(at)) => write!(f, "{}@{at}", rule.name()),
        }
    }
}

/// How bodies are read: by [`Body::decode`], or by [`Body::relay`] with what was relayed decoded again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    Decode,
    Relay,
}

enum Head {
    Request(RequestHead),
    Response(ResponseHead, Asked),
}

struct Reader {
    limits: Limits,
    how: How,
    buf: BytesMut,
    /// Bytes of the stream before `buf`.
    before: usize,
    head: Head,
    body: Option<Body>,
    keep_alive: bool,
    relayed: BytesMut,
    messages: Vec<Message>,
    end: Option<End>,
}

pub fn requests(bytes: &[u8], cuts: &[usize], how: How) -> Reading {
    read(bytes, cuts, how, Head::Request(RequestHead::new()))
}

pub fn responses(bytes: &[u8], cuts: &[usize], how: How, asked: Asked) -> Reading {
    read(bytes, cuts, how, Head::Response(ResponseHead::new(), asked))
}

/// Feeds `bytes` in the pieces between `cuts`.
fn read(bytes: &[u8], cuts: &[usize], how: How, head: Head) -> Reading {
    let mut reader = Reader {
        // The tables' cases are cut at every byte: short ones meet the limit.
        limits: Limits { fields: 100, ..Limits::default() },
        how,
        buf: BytesMut::new(),
        before: 0,
        head,
        body: None,
        keep_alive: true,
        relayed: BytesMut::new(),
        messages: Vec::new(),
        end: None,
    };
    let mut from = 0;
    for &to in cuts.iter().chain([&bytes.len()]) {
        reader.buf.extend_from_slice(&bytes[from..to]);
        from = to;
        reader.run();
    }
    reader.eof()
}

impl Reader {
    fn run(&mut self) {
        while self.end.is_none() {
            let step = if self.body.is_some() { self.body() } else { self.head() };
            match step {
                Ok(true) => {}
                Ok(false) => return,
                Err(reject) => {
                    let at = reject.offset.map(|at| self.before + at as usize);
                    self.end = Some(End::Refused(reject.rule, at));
                }
            }
        }
    }

    fn eof(mut self) -> Reading {
        let end = self.end.unwrap_or_else(|| match &mut self.body {
            None if self.buf.is_empty() => End::Clean,
            None => End::Partial,
            Some(body) => match body.eof() {
                Ok(()) => {
                    self.messages.last_mut().unwrap().whole = true;
                    End::Closed
                }
                Err(reject) => {
                    assert_eq!(reject.rule, Rule::BodyTruncated);
                    End::Partial
                }
            },
        });
        Reading { messages: self.messages, end }
    }

    fn take(&mut self, n: usize) -> BytesMut {
        self.before += n;
        self.buf.split_to(n)
    }

    /// True if there may be more to do with what is in the buffer.
    fn head(&mut self) -> Result<bool, weir_codecs::http1::Reject> {
        let parsed = match &mut self.head {
            Head::Request(head) => parse_request(&self.buf, &self.limits, head)?,
            Head::Response(head, asked) => parse_response(&self.buf, &self.limits, *asked, head)?,
        };
        let Parsed::Complete { len } = parsed else { return Ok(false) };
        let bytes = self.take(len);
        let mut message = Message::default();
        let (framing, interim) = match &self.head {
            Head::Request(head) => {
                let view = head.view(&bytes);
                message.start = String::from_utf8(view.method().to_vec()).unwrap();
                message.target = view.target().to_vec();
                message.fields = pairs(head.fields(), &bytes);
                self.keep_alive = head.keep_alive();
                (if head.method() == Method::Connect { Framing::Tunnel } else { head.framing() }, false)
            }
            Head::Response(head, _) => {
                let view = head.view(&bytes);
                message.start = head.status().to_string();
                message.target = view.reason().to_vec();
                message.fields = pairs(head.fields(), &bytes);
                self.keep_alive = head.keep_alive();
                (head.framing(), head.is_interim())
            }
        };
        self.messages.push(message);
        match framing {
            Framing::Tunnel => {
                self.done();
                self.end = Some(End::Tunnel);
            }
            _ => {
                let body = Body::new(framing, &self.limits);
                if body.is_done() {
                    self.done();
                    if interim {
                        self.end = None;
                    }
                } else {
                    self.body = Some(body);
                }
            }
        }
        Ok(true)
    }

    fn body(&mut self) -> Result<bool, weir_codecs::http1::Reject> {
        match self.how {
            How::Decode => self.decode(),
            How::Relay => self.relay(),
        }
    }

    fn decode(&mut self) -> Result<bool, weir_codecs::http1::Reject> {
        let body = self.body.as_mut().unwrap();
        match body.decode(&self.buf)? {
            Decoded::More { skip } => {
                self.take(skip);
                return Ok(false);
            }
            Decoded::Data { skip, len, last } => {
                self.take(skip);
                assert!(len > 0);
                let data = self.take(len);
                self.messages.last_mut().unwrap().body.extend_from_slice(&data);
                if last {
                    self.done();
                }
            }
            Decoded::Trailers { skip, len } => {
                self.take(skip);
                let section = self.take(len);
                self.trailers(&section);
                self.done();
            }
            Decoded::End { skip } => {
                self.take(skip);
                self.done();
            }
        }
        Ok(true)
    }

    /// Relays, and keeps what the next hop would see.
    fn relay(&mut self) -> Result<bool, weir_codecs::http1::Reject> {
        let body = self.body.as_mut().unwrap();
        let run = match body.relay(&self.buf) {
            Ok(run) => run,
            Err(reject) => {
                self.reread();
                return Err(reject);
            }
        };
        let bytes = self.take(run.len);
        self.relayed.extend_from_slice(&bytes);
        match run.then {
            Then::More => {
                self.reread();
                return Ok(false);
            }
            Then::Line { skip, size } => {
                self.take(skip);
                encode::chunk_head(&mut self.relayed, size);
            }
            Then::Trailers { len } => {
                let section = self.take(len);
                self.relayed.extend_from_slice(&section);
                self.reread();
                self.trailers(&section);
                self.done();
            }
            Then::End => {
                self.reread();
                self.done();
            }
        }
        Ok(true)
    }

    /// Reads what has been relayed of this body from its start: it must be canonical and hold the same data.
    fn reread(&mut self) {
        let framing = match &self.head {
            Head::Request(head) => head.framing(),
            Head::Response(head, _) => head.framing(),
        };
        let mut body = Body::new(framing, &self.limits);
        let mut rest = self.relayed.clone();
        let mut data = Vec::new();
        while let Decoded::Data { skip, len, last } = body.decode(&rest).expect("what was relayed is sound") {
            rest.advance(skip);
            data.extend_from_slice(&rest.split_to(len));
            if last {
                break;
            }
        }
        self.messages.last_mut().unwrap().body = data;
    }

    fn trailers(&mut self, section: &[u8]) {
        let mut fields = Fields::default();
        body::trailers(section, &mut fields);
        self.messages.last_mut().unwrap().trailers = pairs(&fields, section);
    }

    fn done(&mut self) {
        self.messages.last_mut().unwrap().whole = true;
        self.relayed.clear();
        self.body = None;
        if !self.keep_alive {
            self.end = Some(End::Closed);
        }
    }
}

fn pairs(fields: &Fields, bytes: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    fields.view(bytes).iter().map(|(_, name, value)| (name.to_vec(), value.to_vec())).collect()
}
