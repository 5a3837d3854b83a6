//! A client and a server of ours, joined; the bytes say what their owners do and how much the transport lets through. Neither
//! finds a fault with the other, windows stay in range, what waits to be written stays within bounds.
#![no_main]

#[allow(dead_code)] // each target uses its part
#[path = "shared/http2.rs"]
mod shared;

use libfuzzer_sys::fuzz_target;
use weir_codecs::http2::{Code, Connection, Event, Next, OUT_MOST, Role, StreamRef};

struct Side {
    connection: Connection,
    streams: Vec<StreamRef>,
    held: Vec<(StreamRef, usize)>,
    inbox: Vec<u8>,
}

impl Side {
    fn new(role: Role) -> Self {
        let connection = Connection::new(role, shared::settings());
        Self { connection, streams: Vec::new(), held: Vec::new(), inbox: Vec::new() }
    }

    fn act(&mut self, what: u8, which: usize, len: usize) {
        let at = self.streams.get(which % self.streams.len().max(1)).copied();
        let connection = &mut self.connection;
        match (what, at) {
            (0, _) => {
                let head = [(":method", "POST"), (":scheme", "http"), (":path", "/a"), ("x-id", "1")];
                if let Ok(at) = connection.open(shared::fields(&head), len == 0) {
                    self.streams.push(at);
                }
            }
            (1, Some(at)) => {
                let (status, interim) = if len == 1 { ("103", true) } else { ("200", false) };
                _ = connection.head(at, shared::fields(&[(":status", status)]), interim, len == 0);
            }
            (2, Some(at)) => _ = connection.data(at, &vec![7; len * 100], which == 0),
            (3, Some(at)) => _ = connection.trailers(at, shared::fields(&[("x-sum", "1")])),
            (4, Some(at)) if len < 8 => connection.reset(at, Code::CANCEL),
            (5, _) => {
                if let Some((at, len)) = self.held.pop() {
                    connection.consumed(at, len);
                }
            }
            (6, _) => {
                if let Some(at) = connection.writable() {
                    _ = connection.data(at, &vec![7; len * 100], which == 0);
                }
            }
            (7, _) if len == 9 => connection.goaway(),
            _ => {}
        }
        assert!(connection.is_sound() && connection.out().len() <= OUT_MOST + 70_000);
    }

    fn read(&mut self, now: u64) -> bool {
        let mut used = 0;
        let alive = loop {
            let rest = &self.inbox[used..];
            let step = self.connection.receive(rest, now);
            assert!(self.connection.is_sound());
            match step.next {
                Next::Event(Event::Head { stream, .. }) => self.streams.push(stream),
                Next::Event(Event::Data { stream, range, .. }) => self.held.push((stream, range.len())),
                Next::Event(Event::Broken { violation, .. }) => panic!("{violation}"),
                Next::Event(_) => {}
                Next::Turn => self.connection.begin_turn(),
                Next::More(_) | Next::Flush => {
                    used += step.used;
                    break true;
                }
                // Resets without end are the one fault that an owner can make us commit.
                Next::Closed(violation) => {
                    assert_eq!(violation.code, Code::ENHANCE_YOUR_CALM, "{violation}");
                    break false;
                }
            }
            used += step.used;
        };
        self.inbox.drain(..used);
        alive
    }
}

fuzz_target!(|data: &[u8]| {
    let (mut client, mut server) = (Side::new(Role::Client), Side::new(Role::Server));
    for (i, op) in data.chunks_exact(2).enumerate() {
        let &[what, len] = op else { return };
        let len = usize::from(len);
        let (mine, theirs) =
            if what & 0x80 == 0 { (&mut client, &mut server) } else { (&mut server, &mut client) };
        if what & 0x40 == 0 {
            mine.act(what & 7, usize::from(what >> 3 & 7), len);
            continue;
        }
        let out = mine.connection.out();
        let n = out.len().min((len * len).max(1));
        theirs.inbox.extend_from_slice(&out.split_to(n));
        if !theirs.read(i as u64 * 1_000_000) {
            return;
        }
    }
});
