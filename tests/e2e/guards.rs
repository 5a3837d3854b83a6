//! What an operation costs the real binary in system calls, in the steady state: counted by strace, in the difference of two runs, so that
//! starting and ending do not count. Exact, whatever else the machine does.

use crate::support::{
    process::{Process, command},
    weir::Weir,
};
use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    process::Stdio,
};

crate::tests!("guards": a_mongo_operation_takes_four_system_calls, an_http1_request_takes_four_system_calls_and_a_look);

/// So many clients keep the proxy busy: each turn of its event loop then serves many.
const CLIENTS: usize = 64;

/// An OP_MSG with one document.
fn message(id: i32, answers: i32, document: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for word in [21 + document.len() as i32, id, answers, 2013, 0] {
        out.extend_from_slice(&word.to_le_bytes());
    }
    out.push(0);
    out.extend_from_slice(document);
    out
}

/// The next message: its id and its size.
fn receive(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<i32> {
    let mut head = [0; 16];
    stream.read_exact(&mut head).ok()?;
    let word = |at: usize| i32::from_le_bytes(head[at..at + 4].try_into().expect("four bytes"));
    buffer.resize(word(0) as usize - 16, 0);
    stream.read_exact(buffer).ok()?;
    Some(word(4))
}

/// A request and its answer on a connection; `None`: it has ended.
type Turn = fn(&mut TcpStream, &mut Vec<u8>, usize) -> Option<()>;

/// A server that does this over and over on each connection.
fn server(turn: impl Fn(&mut TcpStream, &mut Vec<u8>) -> Option<()> + Clone + Send + 'static) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let port = listener.local_addr().expect("bound").port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (mut stream, turn) = (stream, turn.clone());
            std::thread::spawn(move || {
                let mut buffer = Vec::new();
                while turn(&mut stream, &mut buffer).is_some() {}
            });
        }
    });
    port
}

/// All system calls of a Weir that has passed so many operations for each client by a listener of this section.
fn calls(section: &str, server: u16, operation: &str, turn: Turn, each: usize) -> u64 {
    let folder = tempfile::tempdir().expect("a folder");
    let (file, counts) = (folder.path().join("weir.yaml"), folder.path().join("counts"));
    std::fs::write(
        &file,
        format!(
            "admin: \"127.0.0.1:0\"\nworkers: 1\nlog: {{ format: json }}\n\
             listeners: {{ front: {{ bind: \"127.0.0.1:0\", {section}: {{ cluster: up }} }} }}\n\
             clusters: {{ up: {{ endpoints: [\"127.0.0.1:{server}\"] }} }}\n"
        ),
    )
    .expect("ours");
    let mut strace = command("strace");
    strace.args(["-f", "-c", "-U", "name,calls", "-o"]).arg(&counts).arg(env!("CARGO_BIN_EXE_weir"));
    let process = Process::start("strace", strace.arg("run").arg(&file).stderr(Stdio::piped()));
    let tracer = process.id();
    let mut weir = Weir::from(process, folder);
    let port = weir.port("front");
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
                stream.set_nodelay(true).expect("an option");
                let mut buffer = Vec::new();
                for number in 0..each {
                    turn(&mut stream, &mut buffer, number).expect("it answers");
                }
            });
        }
    });
    let passed = (CLIENTS * each) as u64;
    weir.numbers_when("all are counted", |n| {
        n.sum("weir_operations_total", &[("operation", operation), ("result", "ok")]) == passed
    });
    let children =
        std::fs::read_to_string(format!("/proc/{tracer}/task/{tracer}/children")).expect("it traces");
    let child = children.split_whitespace().next().expect("one child");
    let ended = std::process::Command::new("kill").args(["-s", "TERM", child]).status().expect("kill runs");
    assert!(ended.success());
    assert_eq!(weir.process().wait(), Some(0));
    let text = std::fs::read_to_string(&counts).expect("strace has written");
    let kinds =
        ["recvfrom", "sendto", "readv", "writev", "read", "write", "epoll_wait", "epoll_pwait", "futex"];
    let count = |line: &str| {
        let mut words = line.split_whitespace();
        let (first, second) = (words.next()?, words.next()?);
        let (name, calls) = if first.parse::<u64>().is_ok() { (second, first) } else { (first, second) };
        kinds.contains(&name).then(|| calls.parse::<u64>().ok()).flatten()
    };
    text.lines().filter_map(count).sum()
}

/// System calls per operation, in the difference of two runs.
fn assert_calls(expected: f64, section: &str, server: u16, operation: &str, turn: Turn) {
    let (few, many) = (20, 100);
    let of = |each| calls(section, server, operation, turn, each);
    let (before, after) = (of(few), of(many));
    let per_operation = (after - before) as f64 / (CLIENTS * (many - few)) as f64;
    let allowed = expected - 0.1..=expected + 0.3;
    assert!(allowed.contains(&per_operation), "{per_operation} system calls per operation");
}

fn a_mongo_operation_takes_four_system_calls() {
    let reply = bson::doc! { "cursor": { "firstBatch": [], "id": 0_i64, "ns": "shop.orders" }, "ok": 1.0 };
    let reply = reply.to_vec().expect("a document");
    let server = server(move |stream, buffer| {
        let id = receive(stream, buffer)?;
        stream.write_all(&message(1, id, &reply)).ok()
    });
    assert_calls(4.0, "mongo", server, "find", |stream, buffer, number| {
        let find = bson::doc! { "find": "orders", "filter": { "_id": 1 }, "limit": 1, "$db": "shop" };
        let find = find.to_vec().expect("a document");
        stream.write_all(&message(number as i32, 0, &find)).expect("it reads");
        receive(stream, buffer).map(|_| ())
    });
}

/// Reads what ends like that.
fn until(stream: &mut TcpStream, buffer: &mut Vec<u8>, end: &[u8]) -> Option<()> {
    buffer.clear();
    let mut some = [0; 4096];
    while !buffer.ends_with(end) {
        let n = stream.read(&mut some).ok().filter(|n| *n > 0)?;
        buffer.extend_from_slice(&some[..n]);
    }
    Some(())
}

/// The look is into the pooled connection: docs/decisions/a-pooled-connection-is-looked-into.md.
fn an_http1_request_takes_four_system_calls_and_a_look() {
    let server = server(|stream, buffer| {
        until(stream, buffer, b"\r\n\r\n")?;
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello").ok()
    });
    assert_calls(5.0, "http", server, "GET", |stream, buffer, _| {
        stream
            .write_all(b"GET /some/path HTTP/1.1\r\nhost: example.test\r\naccept: */*\r\n\r\n")
            .expect("it reads");
        until(stream, buffer, b"hello")
    });
}
