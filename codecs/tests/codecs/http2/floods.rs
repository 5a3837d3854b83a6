//! What brings nothing is ended; what is useful is not, however much of it comes.

use super::wire::{GET, POST, Writer, feed, fields};
use weir_codecs::http2::frame::{self, Kind};
use weir_codecs::http2::{Code, Connection, Event, Next, Role, Settings, TURN_BYTES, TURN_FRAMES, Waste};

type Flood = (&'static str, fn(&mut Writer, u32));

const FLOODS: &[Flood] = &[
    ("settings", |w, _| _ = w.frame(Kind::Settings, 0, 0, b"")),
    ("ping", |w, _| _ = w.frame(Kind::Ping, 0, 0, &[0; 8])),
    ("ping", |w, _| _ = w.frame(Kind::Ping, frame::ACK, 0, b"weir-xyz")),
    ("priority", |w, i| _ = w.frame(Kind::Priority, 0, i | 1, &[0; 5])),
    ("priority", |w, _| _ = w.frame(Kind::PriorityUpdate, 0, 0, b"\0\0\0\x01u=1")),
    ("window_update", |w, _| _ = w.word(Kind::WindowUpdate, 0, 1)),
    ("window_update", |w, _| _ = w.word(Kind::WindowUpdate, 1, 1)),
    ("unknown", |w, _| _ = w.frame(Kind::Unknown(200), 0, 1, b"")),
    ("empty_data", |w, _| _ = w.data(1, b"", false)),
    ("empty_data", |w, _| _ = w.frame(Kind::Data, frame::PADDED, 1, &[1, 0])),
    ("tiny_data", |w, _| _ = w.data(1, b"x", false)),
    ("reset", |w, i| _ = w.head(3 + 2 * i, &GET, true).word(Kind::RstStream, 3 + 2 * i, 8)),
    ("reset", |w, i| _ = w.head(3 + 2 * i, &GET, false).word(Kind::WindowUpdate, 3 + 2 * i, 0)),
    ("reset", |w, i| _ = w.head(3 + 2 * i, &[("x", "malformed")], true)),
    ("late", |w, _| _ = w.word(Kind::RstStream, 1, 8)),
    ("too_large", |w, i| {
        let long = "v".repeat(2000);
        w.head(3 + 2 * i, &[GET[0], GET[1], GET[2], ("x", &long)], true).word(Kind::RstStream, 3 + 2 * i, 8);
    }),
];

#[test]
fn every_flood_is_ended_and_counted() {
    // A hundred thousand frames a second.
    for (number, (name, write)) in FLOODS.iter().enumerate() {
        let settings = Settings { section: 1000, ..Settings::default() };
        let mut connection = Connection::new(Role::Server, settings);
        let mut writer = Writer::client();
        writer.head(1, &POST, false);
        let mut ended = None;
        for i in 0..40_000 {
            write(&mut writer, i);
            let bytes = writer.out.split();
            let came = feed(&mut connection, &bytes, u64::from(i) * 10_000);
            connection.out().clear();
            if let Some(violation) = came.closed {
                ended = Some((i, violation));
                break;
            }
        }
        let (after, violation) = ended.unwrap_or_else(|| panic!("{name} ({number}) is never ended"));
        assert_eq!(violation.code, Code::ENHANCE_YOUR_CALM, "{name} ({number})");
        let kind = Waste::ALL.iter().position(|waste| waste.name() == *name).unwrap();
        let count = connection.wasted()[kind];
        assert!(count >= 100 && count <= u64::from(after) + 2, "{name} ({number}): {count} of {after}");
    }
}

#[test]
fn continuation_is_ended() {
    let mut connection = Connection::new(Role::Server, Settings::default());
    let mut writer = Writer::client();
    writer.frame(Kind::Headers, 0, 1, b"");
    (0..5000).for_each(|_| _ = writer.frame(Kind::Continuation, 0, 1, b""));
    let came = feed(&mut connection, &writer.out, 0);
    assert_eq!(came.closed.unwrap().code, Code::ENHANCE_YOUR_CALM);
}

#[test]
fn interim_responses_without_end_are_ended() {
    let mut connection = Connection::new(Role::Client, Settings::default());
    connection.open(fields(&GET), true).unwrap();
    let mut writer = Writer::server();
    (0..5000).for_each(|_| _ = writer.head(1, &[(":status", "103")], false));
    let came = feed(&mut connection, &writer.out, 0);
    assert_eq!(came.closed.unwrap().code, Code::ENHANCE_YOUR_CALM);
}

/// Answered calls, each with what clients send beside them, all at one moment.
#[test]
fn useful_traffic_is_never_ended() {
    let mut connection = Connection::new(Role::Server, Settings::default());
    let mut writer = Writer::client();
    for i in 0..20_000 {
        let id = 1 + 2 * i;
        writer.head(id, &POST, false).data(id, &[7; 100], false).data(id, b"", true);
        writer.word(Kind::WindowUpdate, 0, 200).word(Kind::WindowUpdate, id, 200).frame(
            Kind::Ping,
            0,
            0,
            &[0; 8],
        );
        // Half of the calls are cancelled while they are answered.
        let came = feed(&mut connection, &writer.out.split(), 0);
        assert!(came.closed.is_none(), "{i}");
        let head = came.events.iter().find_map(|event| match event {
            Event::Head { stream, .. } => Some(*stream),
            _ => None,
        });
        let stream = head.unwrap();
        connection.head(stream, fields(&[(":status", "200")]), false, false).unwrap();
        connection.data(stream, &[7; 200], false).unwrap();
        if i % 2 == 0 {
            writer.word(Kind::RstStream, id, 8);
        } else {
            connection.trailers(stream, fields(&[("grpc-status", "0")])).unwrap();
        }
        connection.out().clear();
    }
}

/// A stream of small messages, as a chat has them, lasts as long as it keeps to eight thousand a second.
#[test]
fn small_messages_in_their_time_are_no_flood() {
    let mut connection = Connection::new(Role::Server, Settings::default());
    let mut writer = Writer::client();
    writer.head(1, &POST, false);
    for i in 0..100_000u64 {
        writer.data(1, b"1234567", false);
        let came = feed(&mut connection, &writer.out.split(), i * 1_000_000 / 8);
        connection.out().clear();
        assert!(came.closed.is_none(), "{i}");
    }
}

#[test]
fn a_turn_has_an_end() {
    for (write, frames, bytes) in [
        ((|w| _ = w.data(1, &[0; 16_384], false)) as fn(&mut Writer), 4, TURN_BYTES),
        (|w| _ = w.data(1, &[0; 100], false), TURN_FRAMES as usize, 0),
    ] {
        let settings = Settings { connection_window: 1 << 24, window: 1 << 24, ..Settings::default() };
        let mut connection = Connection::new(Role::Server, settings);
        let mut writer = Writer::client();
        writer.head(1, &POST, false);
        feed(&mut connection, &writer.out.split(), 0);
        connection.begin_turn();
        (0..600).for_each(|_| write(&mut writer));
        let (mut used, mut data) = (0, 0);
        loop {
            let step = connection.receive(&writer.out[used..], 0);
            used += step.used;
            match step.next {
                Next::Event(Event::Data { .. }) => data += 1,
                Next::Turn => break,
                other => panic!("{other:?}"),
            }
        }
        assert!(data <= frames && used >= bytes && data > 2, "{data} {used}");
        connection.begin_turn();
        assert!(matches!(connection.receive(&writer.out[used..], 0).next, Next::Event(_)));
    }
}

/// A peer that never reads what we answer gets no more answers.
#[test]
fn what_waits_to_be_written_is_bounded() {
    let mut connection = Connection::new(Role::Server, Settings::default());
    let mut writer = Writer::client();
    (0..1000).for_each(|i| _ = writer.head(1 + 2 * i, &[("x", "malformed")], true));
    let mut used = 0;
    for _ in 0..100_000 {
        let step = connection.receive(&writer.out[used..], 0);
        used += step.used;
        match step.next {
            Next::Turn => connection.begin_turn(),
            Next::Flush | Next::Closed(_) | Next::More(_) => break,
            Next::Event(_) => {}
        }
    }
    assert!(connection.out().len() < weir_codecs::http2::OUT_MOST + 100);
}
