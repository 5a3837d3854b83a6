//! An owner of HTTP/2 connections that does the same whatever way the bytes are cut.

use std::collections::BTreeMap;

use weir_codecs::http2::{Code, Connection, Event, Field, Next, OUT_MOST, Settings, StreamRef};

pub fn settings() -> Settings {
    Settings { max_streams: 8, section: 2000, section_most: 100_000, ..Settings::default() }
}

pub fn fields<'a>(list: &'a [(&'a str, &'a str)]) -> impl Iterator<Item = Field<'a>> {
    list.iter().map(|(name, value)| Field { name: name.as_bytes(), value: value.as_bytes(), secret: false })
}

/// What came on a stream.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Seen {
    pub heads: usize,
    pub data: Vec<u8>,
    /// How often the stream ended, by the peer's end, a reset or a fault.
    pub ends: usize,
}

/// Feeds `data` in pieces of `step`. Gives what came, and why the connection ended.
pub fn feed(connection: &mut Connection, data: &[u8], step: usize) -> (BTreeMap<u32, Seen>, Option<Code>) {
    let (mut seen, mut buffer) = (BTreeMap::new(), Vec::new());
    for piece in data.chunks(step.max(1)) {
        buffer.extend_from_slice(piece);
        let mut used = 0;
        loop {
            let rest = &buffer[used..];
            let step = connection.receive(rest, 0);
            assert!(connection.is_sound() && step.used <= rest.len());
            // One look adds a reset and an answer at most to what is bounded.
            assert!(connection.out().len() < OUT_MOST + 20_000);
            match step.next {
                Next::Event(event) => take(connection, &mut seen, event, rest),
                Next::More(needs) => {
                    assert!(needs > rest.len() - step.used && needs <= 9 + 16_384);
                    used += step.used;
                    break;
                }
                Next::Turn => connection.begin_turn(),
                Next::Flush => connection.out().clear(),
                Next::Closed(violation) => return (seen, Some(violation.code)),
            }
            used += step.used;
        }
        buffer.drain(..used);
    }
    (seen, None)
}

fn take(connection: &mut Connection, all: &mut BTreeMap<u32, Seen>, event: Event, bytes: &[u8]) {
    match event {
        Event::Head { stream, end, .. } => {
            let seen = of(all, stream);
            seen.heads += 1;
            seen.ends += usize::from(end);
            // A server answers; a client's stream refuses that.
            let _ = connection.head(stream, fields(&[(":status", "200")]), false, false);
        }
        Event::TooLarge { stream, end, .. } => of(all, stream).ends += usize::from(end),
        Event::Data { stream, range, end } => {
            let data = &bytes[range];
            let seen = of(all, stream);
            assert!(seen.ends == 0, "data behind the end");
            seen.data.extend_from_slice(data);
            seen.ends += usize::from(end);
            connection.consumed(stream, data.len());
            if end {
                let _ = connection.data(stream, b"answer", true);
            }
        }
        Event::Trailers { stream } => of(all, stream).ends += 1,
        Event::Reset { .. } | Event::Broken { .. } => {}
        _ => {}
    }
    assert!(all.values().all(|seen| seen.ends <= 1), "a stream ends twice");
}

fn of(all: &mut BTreeMap<u32, Seen>, stream: StreamRef) -> &mut Seen {
    all.entry(stream.id).or_default()
}
