//! What one request costs in the steady state, exactly: allocations and system calls of the worker, HTTP/1 to HTTP/1. The
//! measured program is this binary itself, run once more for the one ignored test below.
#![allow(unsafe_code)] // a global allocator cannot be had otherwise; this one forwards every call

use crate::house::House;
use bytes::BytesMut;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

struct Counting;

/// Allocations of all threads that did not say that they are not to be counted.
static COUNT: AtomicU64 = AtomicU64::new(0);

thread_local! {
    static UNCOUNTED: Cell<bool> = const { Cell::new(false) };
}

fn count() {
    if !UNCOUNTED.try_with(Cell::get).unwrap_or(true) {
        COUNT.fetch_add(1, Ordering::Relaxed);
    }
}

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

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
    UNCOUNTED.with(|uncounted| uncounted.set(true));
    let requests: usize = std::env::var("REQUESTS").unwrap().parse().unwrap();
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
                before = COUNT.load(Ordering::Relaxed);
            }
            client.write_all(&request).await.unwrap();
            back.clear();
            while back.len() < 1024 + 40 {
                client.read_buf(&mut back).await.unwrap();
            }
        }
        println!("\nallocations={}", COUNT.load(Ordering::Relaxed) - before);
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
    let log = std::fs::read_to_string(log).unwrap();
    // The worker is the thread that sets its name.
    let named = log.lines().find(|line| line.contains("PR_SET_NAME, \"weir-worker-0\"")).unwrap();
    let worker = named.split_whitespace().next().unwrap();
    let mut calls = BTreeMap::new();
    for line in log.lines() {
        let mut words = line.split_whitespace();
        if words.next() == Some(worker)
            && let Some((call, _)) = words.next().and_then(|call| call.split_once('('))
        {
            *calls.entry(call.to_owned()).or_default() += 1;
        }
    }
    calls
}

#[test]
fn a_request_is_two_reads_and_two_writes() {
    for kind in ["get", "post"] {
        let (few, many) = (trace(kind, 200), trace(kind, 1200));
        let mut total = 0.0;
        for (call, count) in &many {
            let per_request = (count - few.get(call).unwrap_or(&0).min(count)) as f64 / 1000.0;
            // One request at a time: each wait is one of its own, which many connections share.
            if per_request > 0.0 && !call.starts_with("epoll") {
                total += per_request;
            }
        }
        assert!((3.9..4.3).contains(&total), "{kind}: {total} calls per request; {few:?} {many:?}");
    }
}
