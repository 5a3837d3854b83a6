//! What the steady state costs: nothing on the heap for a call that passes through two connections, little for an idle one,
//! and no round trips lost to windows that are too small.

use super::wire::{POST, Writer, feed, fields};
use crate::alloc::allocations;
use bytes::BytesMut;
use std::collections::VecDeque;
use weir_codecs::http2::{Connection, Event, Fields, Next, Role, Settings, StreamRef};

const MS: u64 = 1_000_000;
const HEAD: [(&str, &str); 8] = [
    (":method", "POST"),
    (":scheme", "http"),
    (":path", "/shop.Cart/Add"),
    (":authority", "shop.example.com"),
    ("content-type", "application/grpc"),
    ("te", "trailers"),
    ("user-agent", "grpc-rust/1.0"),
    ("grpc-timeout", "1S"),
];

/// A client, the proxy's two connections, and a server.
struct Chain {
    client: Connection,
    down: Connection,
    up: Connection,
    server: Connection,
    wire: BytesMut,
    copy: Fields,
    asked: Option<StreamRef>,
    finished: u32,
}

impl Chain {
    fn new() -> Self {
        let make = |role| Connection::new(role, Settings::default());
        Self {
            client: make(Role::Client),
            down: make(Role::Server),
            up: make(Role::Client),
            server: make(Role::Server),
            wire: BytesMut::with_capacity(64 << 10),
            copy: Fields::new(),
            asked: None,
            finished: 0,
        }
    }

    /// Takes what `from` wants written.
    fn take(wire: &mut BytesMut, from: &mut Connection) {
        wire.clear();
        wire.extend_from_slice(from.out());
        from.out().clear();
    }

    fn call(&mut self) {
        let stream = self.client.open(fields(&HEAD), false).unwrap();
        self.client.data(stream, &[7; 100], true).unwrap();
        let mut begun = None;
        // Client to proxy, proxy to server.
        Self::take(&mut self.wire, &mut self.client);
        each(&mut self.down, &self.wire, |down, event, bytes| match event {
            Event::Head { stream, .. } => {
                self.copy.clear(4096);
                down.fields().iter().for_each(|f| self.copy.push(f.name, f.value, f.secret));
                begun = Some((stream, self.up.open(self.copy.iter(), false).unwrap()));
            }
            Event::Data { stream, range, end } => {
                let (_, up) = begun.unwrap();
                assert_eq!(self.up.data(up, &bytes[range.clone()], end), Ok(range.len()));
                down.consumed(stream, range.len());
            }
            _ => {}
        });
        let (below, _) = begun.unwrap();
        Self::take(&mut self.wire, &mut self.up);
        each(&mut self.server, &self.wire, |server, event, _| match event {
            Event::Head { stream, .. } => self.asked = Some(stream),
            Event::Data { stream, range, .. } => server.consumed(stream, range.len()),
            _ => {}
        });
        // And back.
        let asked = self.asked.take().unwrap();
        let ok = [(":status", "200"), ("content-type", "application/grpc")];
        self.server.head(asked, fields(&ok), false, false).unwrap();
        self.server.data(asked, &[9; 200], false).unwrap();
        self.server.trailers(asked, fields(&[("grpc-status", "0")])).unwrap();
        Self::take(&mut self.wire, &mut self.server);
        each(&mut self.up, &self.wire, |up, event, bytes| match event {
            Event::Head { .. } => self.down.head(below, up.fields().iter(), false, false).unwrap(),
            Event::Data { stream, range, .. } => {
                self.down.data(below, &bytes[range.clone()], false).unwrap();
                up.consumed(stream, range.len());
            }
            Event::Trailers { .. } => self.down.trailers(below, up.fields().iter()).unwrap(),
            _ => {}
        });
        Self::take(&mut self.wire, &mut self.down);
        each(&mut self.client, &self.wire, |client, event, _| match event {
            Event::Data { stream, range, .. } => client.consumed(stream, range.len()),
            Event::Trailers { .. } => self.finished += 1,
            _ => {}
        });
    }
}

fn each(connection: &mut Connection, bytes: &[u8], mut take: impl FnMut(&mut Connection, Event, &[u8])) {
    let mut rest = bytes;
    connection.begin_turn();
    loop {
        let step = connection.receive(rest, 0);
        match step.next {
            Next::Event(event) => take(connection, event, rest),
            Next::More(_) => return,
            other => panic!("{other:?}"),
        }
        rest = &rest[step.used..];
    }
}

#[test]
fn a_call_through_two_connections_costs_no_allocation() {
    let mut chain = Chain::new();
    (0..1000).for_each(|_| chain.call());
    assert_eq!(allocations(|| (0..1000).for_each(|_| chain.call())), 0);
    assert_eq!(chain.finished, 2000);
    for connection in [&mut chain.client, &mut chain.down, &mut chain.up, &mut chain.server] {
        assert!(connection.is_sound() && connection.open_streams() == 0);
    }
}

#[test]
fn an_idle_connection_is_small() {
    let mut connection = Connection::new(Role::Server, Settings::default());
    let mut writer = Writer::client();
    writer.head(1, &POST, false).data(1, b"ok", true);
    let came = feed(&mut connection, &writer.out, 0);
    let Event::Head { stream, .. } = came.events[0] else { panic!("{:?}", came.events) };
    connection.head(stream, fields(&[(":status", "200")]), false, true).unwrap();
    // The buffer that is written belongs to the shell.
    drop(std::mem::take(connection.out()));
    assert!(connection.capacity() <= 4096, "{} bytes", connection.capacity());
}

/// Bytes that arrive 25 ms after they were sent.
#[derive(Default)]
struct Line(VecDeque<(u64, BytesMut)>, BytesMut);

impl Line {
    fn send(&mut self, now: u64, bytes: BytesMut) {
        if !bytes.is_empty() {
            self.0.push_back((now + 25 * MS, bytes));
        }
    }

    fn arrive(&mut self, now: u64) {
        while self.0.front().is_some_and(|(at, _)| *at <= now) {
            let (_, bytes) = self.0.pop_front().unwrap();
            self.1.extend_from_slice(&bytes);
        }
    }
}

/// How many milliseconds eight MiB take at 50 ms of round trip, if the receiver keeps up or reads nothing.
fn transfer(settings: Settings) -> u64 {
    let (mut client, mut server) =
        (Connection::new(Role::Client, settings), Connection::new(Role::Server, settings));
    let (mut up, mut down) = (Line::default(), Line::default());
    client.open(fields(&POST), true).unwrap();
    let (mut begun, mut left, mut got) = (None, 8usize << 20, 0);
    for ms in 0..100_000 {
        let now = ms * MS;
        up.arrive(now);
        down.arrive(now);
        let bytes = up.1.split();
        each_turn(&mut server, &bytes, now, |server, event, _| {
            if let Event::Head { stream, .. } = event {
                server.head(stream, fields(&[(":status", "200")]), false, false).unwrap();
                begun = Some(stream);
            }
        });
        if let Some(stream) = begun {
            // As much as the windows allow; the line itself is not what limits.
            while left > 0 {
                let taken = server.data(stream, &vec![1; left.min(16_384)], left <= 16_384).unwrap();
                left -= taken;
                down.send(now, server.out().split());
                if taken == 0 {
                    break;
                }
            }
        }
        let bytes = down.1.split();
        let mut ended = false;
        each_turn(&mut client, &bytes, now, |client, event, _| {
            if let Event::Data { stream, range, end } = event {
                got += range.len();
                client.consumed(stream, range.len());
                ended |= end;
            }
        });
        assert!(client.is_sound() && server.is_sound());
        if ended {
            assert_eq!(got, 8 << 20);
            return ms;
        }
        up.send(now, client.out().split());
        down.send(now, server.out().split());
    }
    panic!("{got} bytes came");
}

fn each_turn(
    connection: &mut Connection,
    mut rest: &[u8],
    now: u64,
    mut take: impl FnMut(&mut Connection, Event, &[u8]),
) {
    loop {
        let step = connection.receive(rest, now);
        match step.next {
            Next::Event(event) => take(connection, event, rest),
            Next::Turn => connection.begin_turn(),
            Next::More(_) => return assert_eq!(step.used, rest.len()),
            other => panic!("{other:?}"),
        }
        rest = &rest[step.used..];
    }
}

#[test]
fn windows_grow_with_the_distance() {
    let fixed = Settings { window_most: 65_535, ..Settings::default() };
    let (slow, fast) = (transfer(fixed), transfer(Settings::default()));
    assert!(slow > 5000, "64 KiB a round trip: {slow} ms");
    assert!(fast * 8 < slow, "{fast} ms beside {slow} ms");
}

#[test]
fn a_stream_that_is_not_read_keeps_its_first_window() {
    let mut connection = Connection::new(Role::Server, Settings::default());
    let mut writer = Writer::client();
    writer.head(1, &POST, false);
    (0..3).for_each(|_| _ = writer.data(1, &[1; 16_384], false));
    let (mut rest, mut now) = (&writer.out[..], 0);
    loop {
        let step = connection.receive(rest, now);
        rest = &rest[step.used..];
        now += MS;
        match step.next {
            Next::More(_) => break,
            Next::Turn => connection.begin_turn(),
            _ => {}
        }
    }
    assert!(connection.is_sound());
    let credit = super::wire::frames(connection.out());
    let on_stream = credit.iter().any(|(head, _)| head.stream == 1);
    assert!(!on_stream, "credit for what was not consumed");
}
