//! Instructions per operation in the codecs, counted by callgrind: figures that the machine's other work does not change.
//!
//! `cargo bench --package weir-codecs --bench counts` (or `cargo xtask test --full`) prints one line per case. Each case runs
//! itself twice under valgrind, with different numbers of rounds; the difference is what the rounds cost.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::print_stdout)] // a program for the developer's terminal

use bson::{Bson, Document, doc};
use bytes::BytesMut;
use std::hint::black_box;
use std::process::{Command, ExitCode, Stdio};
use weir_codecs::{dynamodb, grpc, http1, mongo};

const FEW: u64 = 1000;
const MANY: u64 = 3000;

/// What is counted: a name, and what one round of it is.
type Case = (&'static str, fn(rounds: u64));

const CASES: [Case; 6] = [
    ("mongo: a find", mongo_find),
    ("mongo: its reply", mongo_reply),
    ("http1: a GET of 10 fields, parsed", http1_request),
    ("dynamodb: a GetItem", dynamodb_request),
    ("dynamodb: its reply", dynamodb_reply),
    ("grpc: a message of 100 bytes", grpc_message),
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
