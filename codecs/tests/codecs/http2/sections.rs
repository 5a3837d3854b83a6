//! RFC 9113 as a table, section by section: frames that a client sends, and what has to come of them.

use super::wire::{GET, POST, Writer, feed, fields, frames};
use weir_codecs::http2::frame::{self, Kind};
use weir_codecs::http2::{Code, Connection, Event, Role, Settings};

/// What has to come of a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expect {
    /// All is well.
    Fine,
    /// This stream is reset, and the connection goes on.
    Reset(u32, Code),
    /// The connection ends.
    Close(Code),
}

type Case = (&'static str, &'static str, fn(&mut Writer), Expect);

use Expect::{Close, Fine, Reset};
const PROTOCOL: Expect = Close(Code::PROTOCOL_ERROR);
const SIZE: Expect = Close(Code::FRAME_SIZE_ERROR);
const MALFORMED: Expect = Reset(1, Code::PROTOCOL_ERROR);

fn with(w: &mut Writer, more: &[(&str, &str)], end: bool) {
    let all: Vec<_> = POST.iter().chain(more).copied().collect();
    w.head(1, &all, end);
}

const CASES: &[Case] = &[
    ("3.4", "a request", |w| _ = w.head(1, &GET, true), Fine),
    (
        "3.4",
        "PING before SETTINGS",
        |w| {
            w.out.truncate(24);
            w.frame(Kind::Ping, 0, 0, &[0; 8]);
        },
        PROTOCOL,
    ),
    (
        "3.4",
        "an HTTP/1 request",
        |w| {
            w.out.clear();
            w.out.extend_from_slice(b"GET / HTTP/1.1\r\n\r\n");
        },
        PROTOCOL,
    ),
    (
        "3.4",
        "a broken preface",
        |w| {
            w.out.clear();
            w.out.extend_from_slice(b"PRI * HTTP/2.0\r\n\r\nSX\r\n\r\n");
        },
        PROTOCOL,
    ),
    (
        "4.1",
        "an unknown kind",
        |w| _ = w.frame(Kind::Unknown(0x99), 0xff, 5, b"what").head(1, &GET, true),
        Fine,
    ),
    ("4.1", "undefined flags", |w| _ = w.frame(Kind::Ping, 0xfe, 0, &[0; 8]), Fine),
    (
        "4.2",
        "DATA beyond the largest frame",
        |w| _ = w.head(1, &POST, false).data(1, &[0; 16_385], false),
        SIZE,
    ),
    ("4.2", "HEADERS beyond the largest frame", |w| _ = w.frame(Kind::Headers, 5, 1, &[0; 16_385]), SIZE),
    (
        "4.3",
        "a broken section",
        |w| _ = w.frame(Kind::Headers, 5, 1, &[0xff; 9]),
        Close(Code::COMPRESSION_ERROR),
    ),
    (
        "4.3",
        "a section in a stream that was reset keeps the table",
        |w| {
            w.head(1, &POST, false).word(Kind::RstStream, 1, 8);
            w.head(3, &[("x-new", "1")], true).head(5, &GET, true);
        },
        Reset(3, Code::PROTOCOL_ERROR),
    ),
    ("5.1", "idle: DATA", |w| _ = w.data(1, b"x", true), PROTOCOL),
    ("5.1", "idle: RST_STREAM", |w| _ = w.word(Kind::RstStream, 1, 8), PROTOCOL),
    ("5.1", "idle: WINDOW_UPDATE", |w| _ = w.word(Kind::WindowUpdate, 1, 100), PROTOCOL),
    ("5.1", "idle: CONTINUATION", |w| _ = w.frame(Kind::Continuation, 4, 1, &[0x82]), PROTOCOL),
    (
        "5.1",
        "half closed: DATA",
        |w| _ = w.head(1, &GET, true).data(1, b"x", true),
        Reset(1, Code::STREAM_CLOSED),
    ),
    (
        "5.1",
        "half closed: HEADERS",
        |w| _ = w.head(1, &GET, true).head(1, &GET, true),
        Reset(1, Code::STREAM_CLOSED),
    ),
    (
        "5.1",
        "half closed: WINDOW_UPDATE, PRIORITY, RST_STREAM",
        |w| {
            w.head(1, &GET, true).word(Kind::WindowUpdate, 1, 9).frame(Kind::Priority, 0, 1, &[0; 5]);
            w.word(Kind::RstStream, 1, 8);
        },
        Fine,
    ),
    (
        "5.1",
        "closed: DATA",
        |w| {
            w.head(1, &POST, false).word(Kind::RstStream, 1, 8).data(1, b"x", true);
        },
        Reset(1, Code::STREAM_CLOSED),
    ),
    (
        "5.1",
        "closed: HEADERS",
        |w| {
            w.head(1, &POST, false).word(Kind::RstStream, 1, 8).head(1, &GET, true);
        },
        Close(Code::STREAM_CLOSED),
    ),
    (
        "5.1",
        "closed: WINDOW_UPDATE, PRIORITY, RST_STREAM",
        |w| {
            w.head(1, &GET, true).word(Kind::RstStream, 1, 8).word(Kind::WindowUpdate, 1, 9);
            w.frame(Kind::Priority, 0, 1, &[0; 5]).word(Kind::RstStream, 1, 8);
        },
        Fine,
    ),
    ("5.1.1", "an even stream", |w| _ = w.head(2, &GET, true), PROTOCOL),
    ("5.1.1", "a lower stream", |w| _ = w.head(5, &GET, true).head(3, &GET, true), PROTOCOL),
    (
        "5.1.2",
        "a stream too many",
        |w| {
            w.head(1, &POST, false).head(3, &POST, false).head(5, &POST, false).head(7, &POST, false);
        },
        Reset(7, Code::REFUSED_STREAM),
    ),
    (
        "5.3",
        "HEADERS that depend on themselves",
        |w| {
            let block = w.block(&GET);
            w.frame(Kind::Headers, 0x25, 1, &[&[0, 0, 0, 1, 9], &block[..]].concat());
        },
        MALFORMED,
    ),
    (
        "5.3",
        "PRIORITY that depends on itself",
        |w| {
            w.head(1, &POST, false).frame(Kind::Priority, 0, 1, &[0, 0, 0, 1, 9]);
        },
        MALFORMED,
    ),
    ("6.1", "DATA on stream 0", |w| _ = w.data(0, b"x", false), PROTOCOL),
    ("6.1", "padded", |w| _ = w.head(1, &POST, false).frame(Kind::Data, 9, 1, b"\x02ok\0\0"), Fine),
    ("6.1", "padding alone", |w| _ = w.head(1, &POST, false).frame(Kind::Data, 9, 1, b"\x02\0\0"), Fine),
    (
        "6.1",
        "padding beyond the frame",
        |w| _ = w.head(1, &POST, false).frame(Kind::Data, 9, 1, b"\x05ok\0\0"),
        PROTOCOL,
    ),
    ("6.1", "no length of the padding", |w| _ = w.head(1, &POST, false).frame(Kind::Data, 9, 1, b""), SIZE),
    ("6.2", "HEADERS on stream 0", |w| _ = w.head(0, &GET, true), PROTOCOL),
    ("6.2", "padding beyond the frame", |w| _ = w.frame(Kind::Headers, 0xd, 1, b"\x08\x82\x86"), PROTOCOL),
    (
        "6.2",
        "a section that waits, and DATA",
        |w| {
            let block = w.block(&GET);
            w.frame(Kind::Headers, 1, 1, &block).data(1, b"x", true);
        },
        PROTOCOL,
    ),
    (
        "6.2",
        "a section that waits, and another's HEADERS",
        |w| {
            let block = w.block(&GET);
            w.frame(Kind::Headers, 1, 1, &block).head(3, &GET, true);
        },
        PROTOCOL,
    ),
    (
        "6.2",
        "a section that waits, and an unknown kind",
        |w| {
            let block = w.block(&GET);
            w.frame(Kind::Headers, 1, 1, &block).frame(Kind::Unknown(77), 0, 1, b"");
        },
        PROTOCOL,
    ),
    ("6.3", "PRIORITY on stream 0", |w| _ = w.frame(Kind::Priority, 0, 0, &[0; 5]), PROTOCOL),
    (
        "6.3",
        "PRIORITY of 4",
        |w| _ = w.head(1, &POST, false).frame(Kind::Priority, 0, 1, &[0; 4]),
        Reset(1, Code::FRAME_SIZE_ERROR),
    ),
    ("6.4", "RST_STREAM on stream 0", |w| _ = w.word(Kind::RstStream, 0, 8), PROTOCOL),
    ("6.4", "RST_STREAM of 3", |w| _ = w.head(1, &POST, false).frame(Kind::RstStream, 0, 1, &[0; 3]), SIZE),
    ("6.5", "SETTINGS on a stream", |w| _ = w.frame(Kind::Settings, 0, 1, b""), PROTOCOL),
    ("6.5", "an acknowledgement with a payload", |w| _ = w.frame(Kind::Settings, 1, 0, &[0; 6]), SIZE),
    ("6.5", "SETTINGS of 3", |w| _ = w.frame(Kind::Settings, 0, 0, &[0; 3]), SIZE),
    ("6.5.2", "ENABLE_PUSH 2", |w| _ = w.frame(Kind::Settings, 0, 0, &[0, 2, 0, 0, 0, 2]), PROTOCOL),
    (
        "6.5.2",
        "INITIAL_WINDOW_SIZE 2^31",
        |w| {
            w.frame(Kind::Settings, 0, 0, &[0, 4, 0x80, 0, 0, 0]);
        },
        Close(Code::FLOW_CONTROL_ERROR),
    ),
    (
        "6.5.2",
        "MAX_FRAME_SIZE 16383",
        |w| _ = w.frame(Kind::Settings, 0, 0, &[0, 5, 0, 0, 0x3f, 0xff]),
        PROTOCOL,
    ),
    ("6.5.2", "MAX_FRAME_SIZE 2^24", |w| _ = w.frame(Kind::Settings, 0, 0, &[0, 5, 1, 0, 0, 0]), PROTOCOL),
    ("6.5.2", "an unknown setting", |w| _ = w.frame(Kind::Settings, 0, 0, &[0, 0xff, 0, 0, 0, 1]), Fine),
    (
        "6.6",
        "PUSH_PROMISE",
        |w| _ = w.head(1, &POST, false).frame(Kind::PushPromise, 4, 1, &[0, 0, 0, 2, 0x82]),
        PROTOCOL,
    ),
    ("6.7", "PING on a stream", |w| _ = w.frame(Kind::Ping, 0, 1, &[0; 8]), PROTOCOL),
    ("6.7", "PING of 6", |w| _ = w.frame(Kind::Ping, 0, 0, &[0; 6]), SIZE),
    ("6.7", "an answer that was not asked for", |w| _ = w.frame(Kind::Ping, 1, 0, &[0; 8]), Fine),
    ("6.8", "GOAWAY on a stream", |w| _ = w.frame(Kind::GoAway, 0, 1, &[0; 8]), PROTOCOL),
    (
        "6.8",
        "GOAWAY that goes up",
        |w| _ = w.frame(Kind::GoAway, 0, 0, &[0; 8]).frame(Kind::GoAway, 0, 0, &[0, 0, 0, 9, 0, 0, 0, 0]),
        PROTOCOL,
    ),
    ("6.9", "WINDOW_UPDATE of 0", |w| _ = w.word(Kind::WindowUpdate, 0, 0), PROTOCOL),
    (
        "6.9",
        "WINDOW_UPDATE of 0 on a stream",
        |w| _ = w.head(1, &POST, false).word(Kind::WindowUpdate, 1, 0),
        MALFORMED,
    ),
    ("6.9", "WINDOW_UPDATE of 3 octets", |w| _ = w.frame(Kind::WindowUpdate, 0, 0, &[0; 3]), SIZE),
    (
        "6.9.1",
        "a window beyond 2^31-1",
        |w| {
            w.word(Kind::WindowUpdate, 0, 0x7fff_ffff);
        },
        Close(Code::FLOW_CONTROL_ERROR),
    ),
    (
        "6.9.1",
        "a stream's window beyond 2^31-1",
        |w| {
            w.head(1, &POST, false).word(Kind::WindowUpdate, 1, 0x7fff_ffff);
        },
        Reset(1, Code::FLOW_CONTROL_ERROR),
    ),
    (
        "6.9.2",
        "a stream's window beyond 2^31-1 by SETTINGS",
        |w| {
            w.head(1, &POST, false).word(Kind::WindowUpdate, 1, 0x7fff_0000);
            w.frame(Kind::Settings, 0, 0, &[0, 4, 0x7f, 0xff, 0xff, 0xff]);
        },
        Close(Code::FLOW_CONTROL_ERROR),
    ),
    (
        "6.10",
        "many CONTINUATIONs",
        |w| {
            let block = w.block(&POST);
            w.frame(Kind::Headers, 0, 1, &block[..1]);
            for byte in &block[1..] {
                w.frame(Kind::Continuation, 0, 1, &[*byte]);
            }
            w.frame(Kind::Continuation, 4, 1, b"");
        },
        Fine,
    ),
    (
        "6.10",
        "CONTINUATION on another stream",
        |w| {
            let block = w.block(&GET);
            w.frame(Kind::Headers, 1, 1, &block).frame(Kind::Continuation, 4, 3, b"");
        },
        PROTOCOL,
    ),
    (
        "6.10",
        "CONTINUATION behind the end",
        |w| _ = w.head(1, &POST, false).frame(Kind::Continuation, 4, 1, b""),
        PROTOCOL,
    ),
    (
        "8.1",
        "trailers",
        |w| _ = w.head(1, &POST, false).data(1, b"ok", false).head(1, &[("x-sum", "1")], true),
        Fine,
    ),
    (
        "8.1",
        "trailers that end nothing",
        |w| _ = w.head(1, &POST, false).head(1, &[("x-sum", "1")], false),
        MALFORMED,
    ),
    (
        "8.1",
        "a pseudo-header field in trailers",
        |w| _ = w.head(1, &POST, false).head(1, &[(":method", "GET")], true),
        MALFORMED,
    ),
    (
        "8.1.1",
        "less than content-length",
        |w| {
            with(w, &[("content-length", "3")], false);
            w.data(1, b"ok", true);
        },
        MALFORMED,
    ),
    (
        "8.1.1",
        "more than content-length",
        |w| {
            with(w, &[("content-length", "1")], false);
            w.data(1, b"o", false).data(1, b"k", true);
        },
        MALFORMED,
    ),
    ("8.1.1", "content-length and no content", |w| with(w, &[("content-length", "1")], true), MALFORMED),
    (
        "8.1.1",
        "content-length that holds",
        |w| {
            with(w, &[("content-length", "2"), ("content-length", "2")], false);
            w.data(1, b"o", false).data(1, b"k", true);
        },
        Fine,
    ),
    (
        "8.1.1",
        "less than content-length before trailers",
        |w| {
            with(w, &[("content-length", "3")], false);
            w.data(1, b"ok", false).head(1, &[("x-sum", "1")], true);
        },
        MALFORMED,
    ),
    ("8.2.1", "upper case", |w| with(w, &[("X-Upper", "1")], true), MALFORMED),
    ("8.2.1", "a line break in a value", |w| with(w, &[("x", "a\r\nb: c")], true), MALFORMED),
    ("8.2.1", "a space before a value", |w| with(w, &[("x", " a")], true), MALFORMED),
    ("8.2.1", "a space in a name", |w| with(w, &[("x y", "a")], true), MALFORMED),
    ("8.2.2", "connection", |w| with(w, &[("connection", "close")], true), MALFORMED),
    ("8.2.2", "transfer-encoding", |w| with(w, &[("transfer-encoding", "chunked")], true), MALFORMED),
    ("8.2.2", "te: trailers", |w| with(w, &[("te", "trailers")], true), Fine),
    ("8.2.2", "te: gzip", |w| with(w, &[("te", "trailers, gzip")], true), MALFORMED),
    ("8.3", "an unknown pseudo-header field", |w| _ = w.head(1, &[(":what", "1")], true), MALFORMED),
    ("8.3", ":status in a request", |w| _ = w.head(1, &[(":status", "200")], true), MALFORMED),
    (
        "8.3",
        "a pseudo-header field behind others",
        |w| with(w, &[("x", "1"), (":authority", "a")], true),
        MALFORMED,
    ),
    ("8.3.1", "twice", |w| with(w, &[(":path", "/b")], true), MALFORMED),
    ("8.3.1", "no :method", |w| _ = w.head(1, &GET[1..], true), MALFORMED),
    ("8.3.1", "no :path", |w| _ = w.head(1, &GET[..2], true), MALFORMED),
    (
        "8.3.1",
        "an empty :path",
        |w| _ = w.head(1, &[(":method", "GET"), (":scheme", "http"), (":path", "")], true),
        MALFORMED,
    ),
    (
        "8.3.1",
        ":path *",
        |w| _ = w.head(1, &[(":method", "OPTIONS"), (":scheme", "http"), (":path", "*")], true),
        Fine,
    ),
    ("8.5", "CONNECT", |w| _ = w.head(1, &[(":method", "CONNECT"), (":authority", "a:1")], false), Fine),
    (
        "8.5",
        "CONNECT with :path",
        |w| {
            w.head(1, &[(":method", "CONNECT"), (":authority", "a:1"), (":path", "/")], false);
        },
        MALFORMED,
    ),
    (
        "RFC 8441",
        ":protocol that was not offered",
        |w| {
            w.head(
                1,
                &[(":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "http"), (":path", "/")],
                false,
            );
        },
        MALFORMED,
    ),
    (
        "RFC 9218",
        "PRIORITY_UPDATE",
        |w| _ = w.frame(Kind::PriorityUpdate, 0, 0, b"\0\0\0\x01u=1").head(1, &GET, true),
        Fine,
    ),
    (
        "RFC 9218",
        "PRIORITY_UPDATE of stream 0",
        |w| _ = w.frame(Kind::PriorityUpdate, 0, 0, b"\0\0\0\0u=1"),
        PROTOCOL,
    ),
];

fn run(bytes: &[u8], cuts: usize) -> (Expect, Vec<u8>) {
    let mut connection = Connection::new(Role::Server, Settings { max_streams: 3, ..Settings::default() });
    let (mut closed, mut data, mut buffer) = (None, Vec::new(), Vec::new());
    for piece in bytes.chunks(cuts) {
        buffer.extend_from_slice(piece);
        let came = feed(&mut connection, &buffer, 0);
        data.extend(came.data);
        closed = closed.or(came.closed);
        buffer.drain(..came.used);
    }
    let written = frames(connection.out());
    let resets: Vec<_> = written
        .iter()
        .filter(|(head, _)| head.kind == Kind::RstStream)
        .map(|(head, code)| Reset(head.stream, Code(frame::word(code))))
        .collect();
    let got = match (closed, &resets[..]) {
        (Some(violation), _) => {
            let (head, payload) = written.last().unwrap();
            assert_eq!(head.kind, Kind::GoAway);
            assert_eq!(Code(frame::word(&payload[4..])), violation.code);
            Close(violation.code)
        }
        (None, []) => Fine,
        (None, [one]) => *one,
        (None, more) => panic!("{more:?}"),
    };
    (got, data)
}

#[test]
fn every_section_whole_and_byte_by_byte() {
    for (section, what, write, expected) in CASES {
        let mut writer = Writer::client();
        write(&mut writer);
        let whole = run(&writer.out, usize::MAX);
        assert_eq!(whole.0, *expected, "{section}: {what}");
        assert_eq!(run(&writer.out, 1), whole, "{section}: {what}, byte by byte");
        assert_eq!(run(&writer.out, 7), whole, "{section}: {what}, in sevens");
    }
}

/// The same from the other side: what a server may not do to a client.
#[test]
fn responses_are_held_to_the_rules() {
    let ok = [(":status", "200")];
    type Reply<'a> = Box<dyn Fn(&mut Writer) + 'a>;
    let cases: Vec<(&str, Reply<'_>, Expect)> = vec![
        ("a response", Box::new(|w| _ = w.head(1, &ok, false).data(1, b"ok", true)), Fine),
        (
            "interim, head, trailers",
            Box::new(|w| {
                w.head(1, &[(":status", "103"), ("link", "x")], false).head(1, &ok, false);
                w.data(1, b"ok", false).head(1, &[("grpc-status", "0")], true);
            }),
            Fine,
        ),
        ("an interim end", Box::new(|w| _ = w.head(1, &[(":status", "103")], true)), MALFORMED),
        ("101", Box::new(|w| _ = w.head(1, &[(":status", "101")], false)), MALFORMED),
        ("no status", Box::new(|w| _ = w.head(1, &[("x", "1")], true)), MALFORMED),
        ("status 20", Box::new(|w| _ = w.head(1, &[(":status", "20")], true)), MALFORMED),
        ("DATA first", Box::new(|w| _ = w.data(1, b"x", true)), MALFORMED),
        ("a stream that we did not begin", Box::new(|w| _ = w.head(3, &ok, true)), PROTOCOL),
        ("a pushed stream", Box::new(|w| _ = w.head(2, &ok, true)), PROTOCOL),
        ("ENABLE_PUSH", Box::new(|w| _ = w.frame(Kind::Settings, 0, 0, &[0, 2, 0, 0, 0, 1])), PROTOCOL),
        ("PUSH_PROMISE", Box::new(|w| _ = w.frame(Kind::PushPromise, 4, 1, &[0, 0, 0, 2])), PROTOCOL),
        (
            "too short",
            Box::new(|w| {
                w.head(1, &[(":status", "200"), ("content-length", "3")], false).data(1, b"ok", true);
            }),
            MALFORMED,
        ),
        (
            "beyond the window",
            Box::new(|w| {
                w.head(1, &ok, false);
                (0..5).for_each(|_| _ = w.data(1, &[0; 16_384], false));
            }),
            Reset(1, Code::FLOW_CONTROL_ERROR),
        ),
    ];
    for (what, write, expected) in cases {
        let mut connection = Connection::new(Role::Client, Settings::default());
        let stream = connection.open(fields(&GET), true).unwrap();
        assert_eq!(stream.id, 1);
        connection.out().clear();
        let mut writer = Writer::server();
        write(&mut writer);
        let (mut closed, mut rest) = (None, &writer.out[..]);
        // Nothing is consumed, so that the window stays what it is.
        loop {
            let step = connection.receive(rest, 0);
            rest = &rest[step.used..];
            match step.next {
                weir_codecs::http2::Next::Closed(violation) => break closed = Some(violation.code),
                weir_codecs::http2::Next::More(_) => break,
                weir_codecs::http2::Next::Turn => connection.begin_turn(),
                _ => assert!(connection.is_sound()),
            }
        }
        let resets: Vec<_> = frames(connection.out())
            .iter()
            .filter(|(head, _)| head.kind == Kind::RstStream)
            .map(|(head, code)| Reset(head.stream, Code(frame::word(code))))
            .collect();
        let got = closed.map_or(resets.first().copied().unwrap_or(Fine), Close);
        assert_eq!(got, expected, "{what}");
    }
}

#[test]
fn a_head_beyond_the_limit_is_its_streams_fault() {
    let mut connection = Connection::new(Role::Server, Settings { section: 1000, ..Settings::default() });
    let mut writer = Writer::client();
    let long = "v".repeat(3000);
    with(&mut writer, &[("x-long", &long), ("x-new", "in step")], true);
    writer.head(3, &[GET[0], GET[1], GET[2], ("x-new", "in step")], true);
    let came = feed(&mut connection, &writer.out, 0);
    let [Event::TooLarge { stream, end: true, trailers: false }, Event::Head { .. }] = came.events[..] else {
        panic!("{:?}", came.events)
    };
    assert_eq!(connection.fields().value(b"x-new"), Some(&b"in step"[..]));
    connection.head(stream, fields(&[(":status", "431")]), false, true).unwrap();
    assert!(came.closed.is_none() && connection.is_sound());
    // Far beyond, the connection ends.
    let mut writer = Writer::client();
    let block = writer.block(&[("x", &"v".repeat(4000))]);
    writer.frame(Kind::Headers, 0, 1, &block);
    (0..100).for_each(|_| _ = writer.frame(Kind::Continuation, 0, 1, &[0xbe; 1024]));
    let mut connection = Connection::new(Role::Server, Settings::default());
    let came = feed(&mut connection, &writer.out, 0);
    assert_eq!(came.closed.unwrap().code, Code::ENHANCE_YOUR_CALM);
}

#[test]
fn leaving_takes_two_steps() {
    let mut connection = Connection::new(Role::Server, Settings::default());
    connection.goaway();
    let mut writer = Writer::client();
    writer.head(1, &GET, true);
    assert_eq!(feed(&mut connection, &writer.out, 0).events.len(), 1, "on its way, so it is taken");
    let written = frames(connection.out());
    let ping = written.iter().find(|(head, _)| head.kind == Kind::Ping).unwrap().1.clone();
    writer.out.clear();
    writer.frame(Kind::Ping, frame::ACK, 0, &ping).head(3, &GET, true).data(3, b"", true);
    let came = feed(&mut connection, &writer.out, 0);
    assert!(came.events.is_empty() && came.closed.is_none(), "{came:?}");
    let last: Vec<_> = frames(connection.out())
        .iter()
        .filter(|(head, _)| head.kind == Kind::GoAway)
        .map(|(_, payload)| frame::word(payload))
        .collect();
    assert_eq!(last, [0x7fff_ffff, 1]);
}

#[test]
fn what_a_client_is_refused_by_goaway_may_be_tried_again() {
    let mut connection = Connection::new(Role::Client, Settings::default());
    let streams: Vec<_> = (0..3).map(|_| connection.open(fields(&GET), true).unwrap()).collect();
    let mut writer = Writer::server();
    writer.frame(Kind::GoAway, 0, 0, &[0, 0, 0, 3, 0, 0, 0, 0]).head(3, &[(":status", "200")], true);
    let came = feed(&mut connection, &writer.out, 0);
    assert!(came.events.contains(&Event::Reset { stream: streams[2], code: Code::REFUSED_STREAM }));
    assert!(came.events.iter().any(|e| matches!(e, Event::Head { stream, .. } if *stream == streams[1])));
    assert_eq!((connection.room(), connection.open_streams()), (0, 1));
    assert!(connection.open(fields(&GET), true).is_err());
}
