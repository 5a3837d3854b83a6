//! What owners command: turns by urgency, extended CONNECT, HEAD, trailers beyond the limit, and commands out of turn.

use super::wire::{GET, POST, Writer, feed, fields};
use weir_codecs::http2::frame::Kind;
use weir_codecs::http2::{Connection, Event, OUT_MOST, Role, Settings, StreamRef};

fn heads(events: &[Event]) -> Vec<StreamRef> {
    let head = |event: &Event| match event {
        Event::Head { stream, .. } => Some(*stream),
        _ => None,
    };
    events.iter().filter_map(head).collect()
}

/// Streams of one urgency take turns, those that are not incremental are sent whole, and the urgent go first.
#[test]
fn streams_write_by_urgency_and_in_turns() {
    let mut connection = Connection::new(Role::Server, Settings::default());
    let mut writer = Writer::client();
    // The windows are no limit here.
    writer.frame(Kind::Settings, 0, 0, &[0, 4, 0, 0x10, 0, 0]).word(Kind::WindowUpdate, 0, 1 << 20);
    for (i, priority) in ["", "", "u=1", "u=1"].into_iter().enumerate() {
        let head = [POST[0], POST[1], POST[2], ("priority", priority)];
        writer.head(1 + 2 * i as u32, &head[..if priority.is_empty() { 3 } else { 4 }], true);
    }
    let streams = heads(&feed(&mut connection, &writer.out, 0).events);
    connection.out().clear();
    for &stream in &streams {
        connection.head(stream, fields(&[(":status", "200")]), false, false).unwrap();
    }
    let mut left = [40_000usize; 4];
    let mut order = Vec::new();
    // Each begins with a frame, in the order they came; the rest is written as the connection says.
    for (i, &stream) in streams.iter().enumerate() {
        connection.out().clear();
        left[i] -= connection.data(stream, &[0; 40_000], true).unwrap();
    }
    connection.out().clear();
    while let Some(stream) = connection.writable() {
        let i = streams.iter().position(|&s| s == stream).unwrap();
        left[i] -= connection.data(stream, &vec![0; left[i]], true).unwrap();
        order.push(stream.id);
        assert!(connection.out().len() < OUT_MOST + 20_000);
        connection.out().clear();
    }
    assert_eq!(left, [0; 4]);
    assert_eq!(order, [7, 7, 5, 5, 1, 3, 1, 3]);
    assert_eq!(connection.open_streams(), 0);
}

#[test]
fn a_connection_without_credit_names_its_streams_when_it_comes() {
    let mut connection = Connection::new(Role::Server, Settings::default());
    let mut writer = Writer::client();
    writer.head(1, &GET, true).frame(Kind::Settings, 0, 0, &[0, 4, 0, 0x10, 0, 0]);
    let stream = heads(&feed(&mut connection, &writer.out.split(), 0).events)[0];
    connection.head(stream, fields(&[(":status", "200")]), false, false).unwrap();
    let mut sent = 0;
    loop {
        connection.out().clear();
        let taken = connection.data(stream, &[0; 16_384], false).unwrap();
        sent += taken;
        if taken == 0 {
            break;
        }
    }
    assert_eq!((sent, connection.writable()), (65_535, None));
    writer.word(Kind::WindowUpdate, 0, 10);
    assert_eq!(feed(&mut connection, &writer.out, 0).events, [Event::Credit]);
    assert_eq!(connection.writable(), Some(stream));
    assert_eq!(connection.data(stream, &[0; 100], true), Ok(10));
    assert_eq!(connection.data(stream, b"", true), Ok(0), "the end needs no credit");
    assert!(connection.data(stream, b"", true).is_err() && connection.open_streams() == 0);
}

#[test]
fn extended_connect_is_taken_where_it_was_offered() {
    let offered = Settings { extended_connect: true, ..Settings::default() };
    let mut server = Connection::new(Role::Server, offered);
    let mut client = Connection::new(Role::Client, Settings::default());
    feed(&mut client, &server.out().split(), 0);
    assert!(client.takes_extended_connect());
    let head = [(":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "http"), (":path", "/chat")];
    client.open(fields(&head), false).unwrap();
    let came = feed(&mut server, &client.out().split(), 0);
    let facts = came.events.iter().find_map(|event| match event {
        Event::Head { facts, end: false, .. } => Some(*facts),
        _ => None,
    });
    assert!(facts.unwrap().is_connect);
    assert_eq!(server.fields().value(b":protocol"), Some(&b"websocket"[..]));
}

#[test]
fn a_response_to_head_has_a_length_and_no_content() {
    let mut client = Connection::new(Role::Client, Settings::default());
    let head = [(":method", "HEAD"), (":scheme", "http"), (":path", "/")];
    client.open(fields(&head), true).unwrap();
    let mut writer = Writer::server();
    writer.head(1, &[(":status", "200"), ("content-length", "100")], true);
    let came = feed(&mut client, &writer.out, 0);
    assert!(matches!(came.events[..], [Event::Head { end: true, .. }]), "{came:?}");
}

#[test]
fn trailers_beyond_the_limit_end_their_stream_only() {
    let mut client = Connection::new(Role::Client, Settings { section: 500, ..Settings::default() });
    let streams: Vec<_> = (0..2).map(|_| client.open(fields(&GET), true).unwrap()).collect();
    let mut writer = Writer::server();
    let long = "v".repeat(600);
    writer.head(1, &[(":status", "200")], false).head(1, &[("grpc-status", "0"), ("x-long", &long)], true);
    writer.head(3, &[(":status", "200")], false).head(3, &[("grpc-status", "0")], true);
    let came = feed(&mut client, &writer.out, 0);
    assert!(came.events.contains(&Event::TooLarge { stream: streams[0], end: true, trailers: true }));
    assert!(came.events.contains(&Event::Trailers { stream: streams[1] }));
    assert_eq!((client.open_streams(), came.closed), (0, None));
}

#[test]
fn commands_out_of_turn_are_refused_and_send_nothing() {
    let mut connection = Connection::new(Role::Server, Settings::default());
    let mut writer = Writer::client();
    writer.head(1, &GET, true);
    let stream = heads(&feed(&mut connection, &writer.out, 0).events)[0];
    connection.out().clear();
    let ok = [(":status", "200")];
    assert!(connection.open(fields(&GET), true).is_err(), "a server begins no stream");
    assert!(connection.data(stream, b"x", false).is_err(), "no head yet");
    assert!(connection.trailers(stream, fields(&[])).is_err(), "no head yet");
    assert!(connection.head(stream, fields(&[(":status", "103")]), true, true).is_err(), "an interim end");
    assert!(connection.out().is_empty());
    connection.head(stream, fields(&ok), false, true).unwrap();
    connection.out().clear();
    assert!(connection.head(stream, fields(&ok), false, true).is_err() && !connection.sends(stream));
    connection.reset(stream, weir_codecs::http2::Code::CANCEL);
    connection.consumed(stream, 100);
    assert!(connection.out().is_empty() && connection.is_sound());
}
