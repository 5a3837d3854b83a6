//! Helpers of the tests that speak to a connection: frames by hand, and a reader that collects events.

use bytes::{BufMut, BytesMut};
use weir_codecs::http2::frame::{self, Head, Kind};
use weir_codecs::http2::hpack::{Class, Encoder};
use weir_codecs::http2::{Connection, Event, Field, Next, PREFACE, Violation};

pub const GET: [(&str, &str); 4] =
    [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "shop")];
pub const POST: [(&str, &str); 4] =
    [(":method", "POST"), (":scheme", "http"), (":path", "/shop.Cart/Add"), (":authority", "shop")];

pub fn fields<'a>(list: &'a [(&'a str, &'a str)]) -> impl Iterator<Item = Field<'a>> {
    list.iter().map(|(name, value)| Field { name: name.as_bytes(), value: value.as_bytes(), secret: false })
}

/// Writes frames, right and wrong ones.
pub struct Writer {
    pub out: BytesMut,
    encoder: Encoder,
}

impl Writer {
    /// Behind a client's preface and its SETTINGS.
    pub fn client() -> Self {
        let mut out = BytesMut::from(&PREFACE[..]);
        frame::put_settings(&mut out, &[]);
        Self { out, encoder: Encoder::new() }
    }

    /// Behind a server's SETTINGS.
    pub fn server() -> Self {
        let mut out = BytesMut::new();
        frame::put_settings(&mut out, &[]);
        Self { out, encoder: Encoder::new() }
    }

    pub fn frame(&mut self, kind: Kind, flags: u8, stream: u32, payload: &[u8]) -> &mut Self {
        Head { len: payload.len() as u32, kind, flags, stream }.put(&mut self.out);
        self.out.put_slice(payload);
        self
    }

    pub fn block(&mut self, list: &[(&str, &str)]) -> BytesMut {
        let mut block = BytesMut::new();
        self.encoder.begin(&mut block);
        for (name, value) in list {
            self.encoder.field(&mut block, name.as_bytes(), value.as_bytes(), Class::Indexed);
        }
        block
    }

    pub fn head(&mut self, stream: u32, list: &[(&str, &str)], end: bool) -> &mut Self {
        let block = self.block(list);
        let flags = frame::END_HEADERS | if end { frame::END_STREAM } else { 0 };
        self.frame(Kind::Headers, flags, stream, &block)
    }

    pub fn data(&mut self, stream: u32, data: &[u8], end: bool) -> &mut Self {
        self.frame(Kind::Data, if end { frame::END_STREAM } else { 0 }, stream, data)
    }

    pub fn word(&mut self, kind: Kind, stream: u32, word: u32) -> &mut Self {
        self.frame(kind, 0, stream, &word.to_be_bytes())
    }
}

/// What a connection made of some bytes.
#[derive(Debug, Default)]
pub struct Came {
    pub events: Vec<Event>,
    pub data: Vec<u8>,
    pub closed: Option<Violation>,
    pub used: usize,
}

/// Feeds all of `bytes`, consumes what comes.
pub fn feed(connection: &mut Connection, bytes: &[u8], now: u64) -> Came {
    let mut came = Came::default();
    loop {
        let rest = &bytes[came.used..];
        let step = connection.receive(rest, now);
        assert!(connection.is_sound());
        match step.next {
            Next::Event(event) => {
                if let Event::Data { stream, range, .. } = &event {
                    came.data.extend_from_slice(&rest[range.clone()]);
                    connection.consumed(*stream, range.len());
                }
                came.events.push(event);
            }
            Next::More(_) => {
                came.used += step.used;
                return came;
            }
            Next::Turn => connection.begin_turn(),
            Next::Flush => connection.out().clear(),
            Next::Closed(violation) => {
                came.closed = Some(violation);
                return came;
            }
        }
        came.used += step.used;
    }
}

/// The frames in what a connection wants written: head and payload.
pub fn frames(mut out: &[u8]) -> Vec<(Head, Vec<u8>)> {
    out = out.strip_prefix(&PREFACE[..]).unwrap_or(out);
    let mut all = Vec::new();
    while let Some(head) = Head::parse(out) {
        let (payload, rest) = out[frame::HEAD..].split_at(head.len as usize);
        all.push((head, payload.to_vec()));
        out = rest;
    }
    assert!(out.is_empty(), "half a frame");
    all
}
