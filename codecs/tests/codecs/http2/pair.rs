//! Two connections joined by a transport that delays, cuts and stalls, from a seed: what one side sends, the other gets,
//! each stream ends once, windows stay in range, and what waits stays within bounds.

use super::dice::Dice;
use super::wire::{POST, fields};
use std::collections::BTreeMap;
use weir_codecs::http2::{Code, Connection, Event, Next, OUT_MOST, Role, Settings, StreamRef};

const MS: u64 = 1_000_000;

/// What one side has to send on a stream, and what it got.
struct Flow {
    at: StreamRef,
    body: usize,
    sent: usize,
    trailers: bool,
    /// Whether its data was not taken whole, so that it waits for its turn.
    waits: bool,
    finished: bool,
    got: usize,
    held: usize,
    ended: u32,
    reset: bool,
}

fn octet(id: u32, at: usize, role: Role) -> u8 {
    (id as usize * 31 + at * 7 + at / 251 + usize::from(role == Role::Client)) as u8
}

struct Side {
    role: Role,
    connection: Connection,
    flows: BTreeMap<u32, Flow>,
    inbox: Vec<u8>,
    most: usize,
}

impl Side {
    fn new(role: Role, settings: Settings, most: usize) -> Self {
        Self {
            role,
            connection: Connection::new(role, settings),
            flows: BTreeMap::new(),
            inbox: Vec::new(),
            most,
        }
    }

    fn flow(&self, at: StreamRef, dice: &mut Dice) -> Flow {
        let body = match dice.below(4) {
            0 => 0,
            1 => dice.below(100),
            2 => dice.below(20_000),
            _ => dice.below(self.most),
        };
        let trailers = dice.one_in(2);
        Flow {
            at,
            body,
            sent: 0,
            trailers,
            waits: false,
            finished: false,
            got: 0,
            held: 0,
            ended: 0,
            reset: false,
        }
    }

    fn read(&mut self, now: u64, dice: &mut Dice) {
        loop {
            let step = self.connection.receive(&self.inbox, now);
            assert!(self.connection.is_sound());
            match step.next {
                Next::Event(event) => self.take(event, dice),
                Next::Turn => {
                    self.connection.begin_turn();
                    self.inbox.drain(..step.used);
                    return;
                }
                Next::More(_) | Next::Flush => {
                    self.inbox.drain(..step.used);
                    return;
                }
                Next::Closed(violation) => panic!("{violation}"),
            }
            self.inbox.drain(..step.used);
        }
    }

    fn take(&mut self, event: Event, dice: &mut Dice) {
        let other = if self.role == Role::Client { Role::Server } else { Role::Client };
        match event {
            Event::Head { stream, end, .. } if self.role == Role::Server => {
                let mut flow = self.flow(stream, dice);
                flow.ended += u32::from(end);
                let response = [(":status", "200"), ("content-type", "application/grpc")];
                let alone = flow.body == 0 && !flow.trailers;
                self.connection.head(stream, fields(&response), false, alone).unwrap();
                flow.finished = alone;
                assert!(self.flows.insert(stream.id, flow).is_none());
            }
            Event::Head { stream, end, .. } => {
                self.flows.get_mut(&stream.id).unwrap().ended += u32::from(end)
            }
            Event::Data { stream, range, end } => {
                let flow = self.flows.get_mut(&stream.id).unwrap();
                assert!(!flow.reset);
                for &byte in &self.inbox[range.clone()] {
                    assert_eq!(byte, octet(stream.id, flow.got, other));
                    flow.got += 1;
                }
                flow.held += range.len();
                flow.ended += u32::from(end);
            }
            Event::Trailers { stream } => {
                assert_eq!(self.connection.fields().value(b"x-sum"), Some(&b"1"[..]));
                self.flows.get_mut(&stream.id).unwrap().ended += 1;
            }
            Event::Reset { stream, code } => {
                assert_eq!(code, Code::CANCEL);
                // A stream may be reset before its head was seen.
                if let Some(flow) = self.flows.get_mut(&stream.id) {
                    flow.reset = true;
                }
            }
            Event::Credit | Event::Settled => {}
            other => panic!("{other:?}"),
        }
    }

    /// Sends what can be sent: new data of those that do not wait, and of those whose turn it is.
    fn write(&mut self, dice: &mut Dice) {
        let fresh: Vec<_> =
            self.flows.values().filter(|f| !f.waits && !f.finished && !f.reset).map(|f| f.at).collect();
        for at in fresh {
            if dice.one_in(2) {
                self.push(at);
            }
        }
        while let Some(at) = self.connection.writable() {
            self.push(at);
        }
    }

    fn push(&mut self, at: StreamRef) {
        let role = self.role;
        let flow = self.flows.get_mut(&at.id).unwrap();
        assert!(!flow.finished && !flow.reset);
        let rest: Vec<u8> =
            (flow.sent..flow.body.min(flow.sent + 40_000)).map(|i| octet(at.id, i, role)).collect();
        let whole = flow.sent + rest.len() == flow.body;
        let taken = self.connection.data(at, &rest, whole && !flow.trailers).unwrap();
        flow.sent += taken;
        flow.waits = taken < rest.len();
        if whole && !flow.waits {
            flow.finished = true;
            if flow.trailers {
                self.connection.trailers(at, fields(&[("x-sum", "1")])).unwrap();
            }
        }
    }

    fn consume(&mut self, dice: &mut Dice) {
        for flow in self.flows.values_mut() {
            if flow.held > 0 && dice.one_in(3) {
                let len = if dice.one_in(3) { 1 + dice.below(flow.held) } else { flow.held };
                flow.held -= len;
                self.connection.consumed(flow.at, len);
            }
        }
    }
}

fn run(seed: u64) -> (usize, usize) {
    let mut dice = Dice::new(seed);
    let small = Settings { max_streams: 5, ..Settings::default() };
    let long = Settings { connection_window: 65_535, window_budget: 100_000, ..Settings::default() };
    let most = *dice.pick(&[1000, 60_000, 400_000]);
    let mut client = Side::new(Role::Client, *dice.pick(&[small, long]), most);
    let mut server = Side::new(Role::Server, *dice.pick(&[small, long]), most);
    let (mut now, mut begun, mut up, mut down) = (0, 0, Vec::new(), Vec::new());
    let streams = 5 + dice.below(40);
    for step in 0.. {
        assert!(step < 200_000, "seed {seed} does not come to an end");
        now += dice.below(20) as u64 * MS;
        if begun < streams && client.connection.room() > 0 && begun - done(&client) < 5 {
            let at = client.connection.open(fields(&POST), false).unwrap();
            let flow = client.flow(at, &mut dice);
            client.flows.insert(at.id, flow);
            begun += 1;
        }
        for side in [&mut client, &mut server] {
            side.write(&mut dice);
            side.consume(&mut dice);
            if dice.one_in(200) {
                let living: Vec<_> =
                    side.flows.values().filter(|f| !f.reset && f.ended == 0).map(|f| f.at).collect();
                if !living.is_empty() {
                    let at = *dice.pick(&living);
                    side.connection.reset(at, Code::CANCEL);
                    let flow = side.flows.get_mut(&at.id).unwrap();
                    (flow.reset, flow.held) = (true, 0);
                }
            }
            assert!(side.connection.is_sound());
            assert!(side.connection.out().len() < OUT_MOST + 70_000);
        }
        carry(&mut client, &mut server, &mut up, now, &mut dice);
        carry(&mut server, &mut client, &mut down, now, &mut dice);
        if begun == streams && done(&client) == streams && done(&server) >= server.flows.len() {
            break;
        }
    }
    let mut whole = 0;
    for (id, mine) in &client.flows {
        let Some(theirs) = server.flows.get(id) else {
            assert!(mine.reset);
            continue;
        };
        if mine.reset || theirs.reset {
            continue;
        }
        assert_eq!((mine.got, theirs.got), (theirs.body, mine.body), "seed {seed} stream {id}");
        assert_eq!((mine.ended, theirs.ended), (1, 1), "seed {seed} stream {id}");
        whole += 1;
    }
    assert_eq!((client.connection.open_streams(), server.connection.open_streams()), (0, 0));
    (whole, client.flows.len())
}

/// Moves what the transport lets through.
fn carry(from: &mut Side, to: &mut Side, wire: &mut Vec<u8>, now: u64, dice: &mut Dice) {
    if !dice.one_in(4) {
        wire.extend_from_slice(&from.connection.out().split());
    }
    let len = if dice.one_in(3) { dice.below(20) } else { dice.below(30_000) };
    to.inbox.extend(wire.drain(..len.min(wire.len())));
    to.read(now, dice);
}

fn done(side: &Side) -> usize {
    side.flows.values().filter(|f| f.reset || (f.finished && f.ended == 1 && f.held == 0)).count()
}

#[test]
fn what_one_side_sends_the_other_gets() {
    let (mut whole, mut all) = (0, 0);
    for seed in 0..25 {
        let (w, a) = run(seed);
        whole += w;
        all += a;
    }
    assert!(whole * 2 > all, "{whole} of {all} came whole");
}
