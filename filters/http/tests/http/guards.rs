//! What one request costs in the steady state, exactly: allocations and system calls of the worker, HTTP/1 to HTTP/1, and
//! system calls HTTP/2 to HTTP/2. The measured program is this binary itself, run once more for the one ignored test below.

use crate::house::House;
use bytes::BytesMut;
use std::collections::BTreeMap;
use std::process::Command;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

#[path = "../../../../proxy-core/drive/tests/shared/allocations.rs"]
mod allocations;
#[path = "../../../../proxy-core/drive/tests/shared/syscalls.rs"]
mod syscalls;

const GET: &[u8] =
    b"GET /some/path?q=1 HTTP/1.1\r\nHost: test.local\r\nUser-Agent: guard\r\nAccept: */*\r\n\r\n";

fn post() -> Vec<u8> {
    let head = "POST /some/path HTTP/1.1\r\nHost: test.local\r\nContent-Length: 10240\r\n\r\n";
    [head.as_bytes(), &[b'x'; 10240]].concat()
}

/// Run by the tests: so many requests; says how many allocations the last half of them made.
#[test]
#[ignore = "not a test: the program that is measured"]
fn measured() {
    allocations::leave_out_this_thread();
    let requests: usize = std::env::var("REQUESTS").unwrap().parse().unwrap();
    if std::env::var("KIND").unwrap() == "h2" {
        return measured_h2(requests);
    }
    let request = if std::env::var("KIND").unwrap() == "post" { post() } else { GET.to_vec() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let house = House::simple(listener.local_addr().unwrap(), "http1").await;
        tokio::spawn(async move {
            let reply = [&b"HTTP/1.1 200 OK\r\nContent-Length: 1024\r\n\r\n"[..], &[b'y'; 1024]].concat();
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut buf = BytesMut::with_capacity(64 * 1024);
            while stream.read_buf(&mut buf).await.unwrap_or(0) > 0 {
                let ended =
                    if buf.starts_with(b"POST") { buf.len() > 10240 } else { buf.ends_with(b"\r\n\r\n") };
                if ended {
                    buf.clear();
                    stream.write_all(&reply).await.unwrap();
                }
            }
        });
        let mut client = TcpStream::connect(house.address()).await.unwrap();
        let mut back = BytesMut::with_capacity(64 * 1024);
        let mut before = 0;
        for n in 0..requests {
            if n == requests / 2 {
                before = allocations::counted();
            }
            client.write_all(&request).await.unwrap();
            back.clear();
            while back.len() < 1024 + 40 {
                client.read_buf(&mut back).await.unwrap();
            }
        }
        println!("\nallocations={}", allocations::counted() - before);
    });
}

/// So many requests of HTTP/2 come and are answered together.
const STREAMS: usize = 32;

/// A frame of HTTP/2 (RFC 9113 section 4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const WINDOW_UPDATE: u8 = 8;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const ACK: u8 = 1;

/// Reads frames until `STREAMS` of them have ended a stream; which ones. Settings are acknowledged.
async fn ended(stream: &mut TcpStream, buf: &mut BytesMut) -> Vec<u32> {
    let mut ended = Vec::new();
    while ended.len() < STREAMS {
        while buf.len() < 9 || buf.len() < 9 + u32::from_be_bytes([0, buf[0], buf[1], buf[2]]) as usize {
            assert!(stream.read_buf(buf).await.unwrap() > 0);
        }
        let length = u32::from_be_bytes([0, buf[0], buf[1], buf[2]]) as usize;
        let frame_read = buf.split_to(9 + length);
        let (kind, flags) = (frame_read[3], frame_read[4]);
        if kind == SETTINGS && flags & ACK == 0 {
            stream.write_all(&frame(SETTINGS, ACK, 0, &[])).await.unwrap();
        }
        if matches!(kind, DATA | HEADERS) && flags & END_STREAM != 0 {
            ended.push(u32::from_be_bytes(frame_read[5..9].try_into().unwrap()));
        }
    }
    ended
}

/// The same with HTTP/2 on both sides; the peers write a round of messages at once.
fn measured_h2(requests: usize) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let house = House::simple(listener.local_addr().unwrap(), "http2").await;
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut buf = BytesMut::with_capacity(64 * 1024);
            let mut preface = [0; 24];
            stream.read_exact(&mut preface).await.unwrap();
            stream.write_all(&frame(SETTINGS, 0, 0, &[])).await.unwrap();
            loop {
                let asked = ended(&mut stream, &mut buf).await;
                let reply = |id: &u32| {
                    // `:status: 200` of the static table (RFC 7541 appendix A).
                    [frame(HEADERS, END_HEADERS, *id, &[0x88]), frame(DATA, END_STREAM, *id, &[b'y'; 1024])]
                        .concat()
                };
                let replies: Vec<u8> = asked.iter().flat_map(reply).collect();
                stream.write_all(&replies).await.unwrap();
            }
        });
        let mut client = TcpStream::connect(house.address()).await.unwrap();
        let mut buf = BytesMut::with_capacity(64 * 1024);
        client.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
        client.write_all(&frame(SETTINGS, 0, 0, &[])).await.unwrap();
        let ids: Vec<u32> = (0..).map(|n| 2 * n + 1).take(requests).collect();
        for round in ids.chunks(STREAMS) {
            // GET, http, /, `:authority: a`.
            let head = [0x82, 0x86, 0x84, 0x01, 1, b'a'];
            let request = |id: &u32| frame(HEADERS, END_HEADERS | END_STREAM, *id, &head);
            let more = (STREAMS as u32 * 1024).to_be_bytes();
            let mut written = frame(WINDOW_UPDATE, 0, 0, &more);
            round.iter().for_each(|id| written.extend(request(id)));
            client.write_all(&written).await.unwrap();
            ended(&mut client, &mut buf).await;
        }
    });
}

fn program(kind: &str, requests: usize, trace: Option<&std::path::Path>) -> String {
    let own = std::env::current_exe().unwrap();
    let mut command = match trace {
        Some(log) => {
            let mut strace = Command::new("strace");
            strace.args(["-f", "-qq", "-o"]).arg(log).arg(own);
            strace
        }
        None => Command::new(own),
    };
    let output = command
        .args(["--exact", "guards::measured", "--ignored", "--nocapture"])
        .env("REQUESTS", requests.to_string())
        .env("KIND", kind)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    said
}

#[test]
fn a_request_allocates_nothing() {
    for kind in ["get", "post"] {
        let said = program(kind, 4000, None);
        let line = said.lines().find_map(|line| line.strip_prefix("allocations=")).unwrap();
        let allocations: u64 = line.parse().unwrap();
        // What a worker does now and then (its tick, a timer armed anew) is not a request's.
        assert!(allocations < 100, "{kind}: {allocations} allocations for 2000 requests");
    }
}

/// The worker's system calls, by name.
fn trace(kind: &str, requests: usize) -> BTreeMap<String, usize> {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("trace");
    program(kind, requests, Some(&log));
    syscalls::of_the_worker(&std::fs::read_to_string(log).unwrap())
}

/// The worker's system calls for one request of this kind, and what they are made of.
fn calls(kind: &str, few: usize, many: usize) -> (f64, String) {
    let (fewer, more) = (trace(kind, few), trace(kind, many));
    let mut total = 0.0;
    for (call, count) in &more {
        let per_request = count.saturating_sub(*fewer.get(call).unwrap_or(&0)) as f64 / (many - few) as f64;
        // Each wait is one request's (or round's) own here, which many connections share.
        if !call.starts_with("epoll") {
            total += per_request;
        }
    }
    (total, format!("{kind}: {total} calls per request; {fewer:?} {more:?}"))
}

/// The look is what keeps one client's reply from another: docs/decisions/a-pooled-connection-is-looked-into.md.
#[test]
fn a_request_is_two_reads_two_writes_and_a_look() {
    for kind in ["get", "post"] {
        let (calls, why) = calls(kind, 200, 1200);
        assert!((4.9..5.3).contains(&calls), "{why}");
    }
}

#[test]
fn streams_of_http2_that_move_together_are_read_and_written_together() {
    let (calls, why) = calls("h2", 10 * STREAMS, 60 * STREAMS);
    assert!(calls <= 0.25, "{why}");
}
