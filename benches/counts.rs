//! Instructions per operation in the codecs, counted by callgrind: figures that the machine's other work does not change.
//!
//! `cargo bench --package weir-codecs --bench counts` (or `cargo xtask test --full`) prints one line per case. Each case runs
//! itself twice under valgrind, with different numbers of rounds; the difference is what the rounds cost.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::print_stdout)] // a program for the developer's terminal

use bson::{Bson, Document, doc};
use bytes::BytesMut;
use std::hint::black_box;
use std::process::{Command, ExitCode, Stdio};
use weir_codecs::http2::{self, Event, Field, Next, frame};
use weir_codecs::{dynamodb, grpc, http1, mongo};

const FEW: u64 = 1000;
const MANY: u64 = 3000;

/// What is counted: a name, and what one round of it is.
type Case = (&'static str, fn(rounds: u64));

const CASES: [Case; 7] = [
    ("mongo: a find", mongo_find),
    ("mongo: its reply", mongo_reply),
    ("http1: a GET of 10 fields, parsed", http1_request),
    ("dynamodb: a GetItem", dynamodb_request),
    ("dynamodb: its reply", dynamodb_reply),
    ("grpc: a message of 100 bytes", grpc_message),
    ("http2: a unary call of gRPC, through a server's and a client's connection", http2_call),
];

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().collect();
    if let [_, case, rounds] = args.as_slice()
        && let (Ok(case), Ok(rounds)) = (case.parse::<usize>(), rounds.parse())
    {
        CASES[case].1(rounds);
        return ExitCode::SUCCESS;
    }
    for (case, (name, _)) in CASES.iter().enumerate() {
        let (Some(few), Some(many)) = (instructions(case, FEW), instructions(case, MANY)) else {
            println!("valgrind is not installed, or does not run here: nothing is counted");
            return ExitCode::SUCCESS;
        };
        println!("{:>8} instructions  {name}", many.saturating_sub(few) / (MANY - FEW));
    }
    ExitCode::SUCCESS
}

/// How many instructions a run of so many rounds takes.
fn instructions(case: usize, rounds: u64) -> Option<u64> {
    let run = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(std::env::current_exe().ok()?)
        .args([case.to_string(), rounds.to_string()])
        .stdout(Stdio::null())
        .output()
        .ok()?;
    let said = String::from_utf8_lossy(&run.stderr);
    let (_, count) = said.rsplit_once("Collected :")?;
    count.split_whitespace().next()?.parse().ok()
}

fn message(body: &Document) -> Vec<u8> {
    let body = body.to_vec().expect("a document");
    let length = i32::try_from(16 + 5 + body.len()).expect("a short message");
    let mut message = length.to_le_bytes().to_vec();
    message.extend([0; 8]);
    message.extend(mongo::OpCode::MSG.0.to_le_bytes());
    message.extend([0; 5]);
    message.extend(body);
    message
}

fn decode<H: mongo::Head>(body: &Document, rounds: u64) {
    let message = message(body);
    let mut decoder = mongo::Decoder::<H>::default();
    let mut inflate = mongo::Inflate::new(mongo::Budget::new(1 << 20));
    let mut buffer = BytesMut::with_capacity(64 << 10);
    for _ in 0..rounds {
        buffer.clear();
        buffer.reserve(message.len());
        buffer.extend_from_slice(&message);
        let piece = decoder.decode(&mut buffer, &mut inflate).expect("a message").expect("a whole one");
        assert!(black_box(piece).last);
    }
}

fn mongo_find(rounds: u64) {
    let session = Bson::Binary(bson::Binary { subtype: bson::spec::BinarySubtype::Uuid, bytes: vec![7; 16] });
    let find = doc! {
        "find": "orders", "filter": { "_id": 1 }, "limit": 1, "singleBatch": true,
        "lsid": { "id": session }, "$db": "shop",
    };
    decode::<mongo::RequestHead>(&find, rounds);
}

fn mongo_reply(rounds: u64) {
    let order = doc! { "_id": 1, "name": "user-0001", "data": "x".repeat(160), "n": 42_i64 };
    let reply = doc! { "cursor": { "firstBatch": [order], "id": 0_i64, "ns": "shop.orders" }, "ok": 1.0 };
    decode::<mongo::ReplyHead>(&reply, rounds);
}

fn http1_request(rounds: u64) {
    let mut bytes =
        b"GET /orders/7?limit=50 HTTP/1.1\r\nHost: shop.example\r\nUser-Agent: bench\r\nAccept: */*\r\n"
            .to_vec();
    for i in 0..7 {
        bytes.extend(format!("X-Field-{i}: some value\r\n").bytes());
    }
    bytes.extend(b"\r\n");
    let (limits, mut head) = (http1::Limits::default(), http1::RequestHead::new());
    for _ in 0..rounds {
        let parsed = http1::parse_request(black_box(&bytes), &limits, &mut head);
        assert_eq!(parsed, Ok(http1::Parsed::Complete { len: bytes.len() }));
    }
}

fn dynamodb_request(rounds: u64) {
    let body = br#"{"TableName":"orders","Key":{"id":{"S":"order-0001"}},"ConsistentRead":true,"ReturnConsumedCapacity":"TOTAL"}"#;
    let target = dynamodb::Target::parse(b"DynamoDB_20120810.GetItem").expect("an operation");
    let mut scanner = dynamodb::RequestScanner::new();
    for _ in 0..rounds {
        scanner.begin(target);
        scanner.feed(black_box(body));
        assert!(scanner.finish().expect("JSON").is_some());
    }
}

fn dynamodb_reply(rounds: u64) {
    let body = br#"{"ConsumedCapacity":{"CapacityUnits":1.0,"TableName":"orders"},"Item":{"id":{"S":"order-0001"},"total":{"N":"42"}}}"#;
    let mut scanner = dynamodb::ReplyScanner::new();
    for _ in 0..rounds {
        scanner.begin();
        scanner.feed(black_box(body));
        assert!(scanner.finish().expect("JSON").is_some());
    }
}

fn grpc_message(rounds: u64) {
    let mut wire = vec![0, 0, 0, 0, 100];
    wire.extend([7; 100]);
    for _ in 0..rounds {
        let mut counter = grpc::MessageCounter::new(4 << 20);
        counter.feed(black_box(&wire)).expect("a message");
        assert_eq!(counter.messages(), 1);
    }
}

const HTTP2_HEAD: [(&str, &str); 9] = [
    (":method", "POST"),
    (":scheme", "http"),
    (":path", "/shop.Cart/Add"),
    (":authority", "shop.example.com"),
    ("content-type", "application/grpc"),
    ("te", "trailers"),
    ("user-agent", "grpc-go/1.76.0"),
    ("grpc-timeout", "999m"),
    ("x-request-id", "6f2d1c9e-7f0b-4a51-9f57-1c8de1a0c4aa"),
];

fn http2_fields<'a>(list: &'a [(&'a str, &'a str)]) -> impl Iterator<Item = Field<'a>> {
    list.iter().map(|(name, value)| Field { name: name.as_bytes(), value: value.as_bytes(), secret: false })
}

/// Feeds whole frames to a connection, for the stream with this id in place of the one that they were recorded with.
fn http2_feed(
    connection: &mut http2::Connection,
    bytes: &mut [u8],
    id: u32,
    mut take: impl FnMut(&mut http2::Connection, Event, &[u8]),
) {
    let mut at = 0;
    while let Some(head) = frame::Head::parse(&bytes[at..]) {
        if head.stream != 0 {
            bytes[at + 5..at + 9].copy_from_slice(&id.to_be_bytes());
        }
        at += frame::HEAD + head.len as usize;
    }
    let mut rest = &*bytes;
    connection.begin_turn();
    loop {
        let step = connection.receive(rest, 0);
        match step.next {
            Next::Event(event) => take(connection, event, rest),
            _ => return assert_eq!(step.used, rest.len()),
        }
        rest = &rest[step.used..];
    }
}

/// What a client and a server send for a call: the first time, and when their tables know its fields.
fn http2_script() -> [Vec<u8>; 4] {
    let mut client = http2::Connection::new(http2::Role::Client, http2::Settings::default());
    let mut server = http2::Connection::new(http2::Role::Server, http2::Settings::default());
    let mut script = [const { Vec::new() }; 4];
    for round in 0..2 {
        let stream = client.open(http2_fields(&HTTP2_HEAD), false).expect("room");
        client.data(stream, &[7; 100], true).expect("a stream");
        frame::put_window_update(client.out(), 0, 200);
        let asked = client.out().split();
        let mut begun = None;
        let mut rest = &asked[..];
        loop {
            let step = server.receive(rest, 0);
            match step.next {
                Next::Event(Event::Head { stream, .. }) => begun = Some(stream),
                Next::Event(_) => {}
                _ => break,
            }
            rest = &rest[step.used..];
        }
        let stream = begun.expect("a head");
        let head = [(":status", "200"), ("content-type", "application/grpc"), ("server", "shop")];
        server.head(stream, http2_fields(&head), false, false).expect("a stream");
        server.data(stream, &[9; 200], false).expect("a stream");
        let trailers = [("grpc-status", "0"), ("grpc-message", "")];
        server.trailers(stream, http2_fields(&trailers)).expect("a stream");
        frame::put_window_update(server.out(), 0, 100);
        script[round] = asked.to_vec();
        script[2 + round] = server.out().split().to_vec();
    }
    script
}

fn http2_call(rounds: u64) {
    let [mut ask_first, mut ask, mut answer_first, mut answer] = http2_script();
    // The preface is no frame.
    let preface: Vec<u8> = ask_first.drain(..http2::PREFACE.len()).collect();
    let mut down = http2::Connection::new(http2::Role::Server, http2::Settings::default());
    let mut up = http2::Connection::new(http2::Role::Client, http2::Settings::default());
    let _ = down.receive(&preface, 0);
    let mut copy = http2::Fields::new();
    for round in 0..rounds {
        let id = 1 + 2 * u32::try_from(round).expect("few");
        let (asked, answered) =
            if round == 0 { (&mut ask_first, &mut answer_first) } else { (&mut ask, &mut answer) };
        let mut begun = None;
        http2_feed(&mut down, asked, id, |down, event, bytes| match event {
            Event::Head { stream, .. } => {
                copy.clear(4096);
                down.fields().iter().for_each(|f| copy.push(f.name, f.value, f.secret));
                begun = Some((stream, up.open(copy.iter(), false).expect("room")));
            }
            Event::Data { stream, range, end } => {
                let (_, to) = begun.expect("a head");
                up.data(to, &bytes[range.clone()], end).expect("a stream");
                down.consumed(stream, range.len());
            }
            _ => {}
        });
        black_box(up.out()).clear();
        let (below, _) = begun.expect("a call");
        http2_feed(&mut up, answered, id, |up, event, bytes| match event {
            Event::Head { .. } => down.head(below, up.fields().iter(), false, false).expect("a stream"),
            Event::Data { stream, range, .. } => {
                down.data(below, &bytes[range.clone()], false).expect("a stream");
                up.consumed(stream, range.len());
            }
            Event::Trailers { .. } => down.trailers(below, up.fields().iter()).expect("a stream"),
            _ => {}
        });
        black_box(down.out()).clear();
    }
    assert_eq!((down.open_streams(), up.open_streams()), (0, 0));
}
