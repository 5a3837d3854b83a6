//! What strangers may cost: memory for what nobody reads, for what waits, for what is kept.

use crate::support::{
    h2,
    net::{exchange, until},
    weir::Weir,
};
use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

crate::tests!("costs":
    small_pieces_that_nobody_reads_cost_what_they_are,
    what_is_kept_for_retries_has_a_ceiling,
);

/// A server that gives each connection to this; its port.
fn server(serve: impl Fn(TcpStream) + Clone + Send + 'static) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let port = listener.local_addr().expect("bound").port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let serve = serve.clone();
            std::thread::spawn(move || serve(stream));
        }
    });
    port
}

/// Reads a head.
fn head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|n| n > 0) {
        head.push(byte[0]);
    }
    String::from_utf8_lossy(&head).to_ascii_lowercase()
}

fn small_pieces_that_nobody_reads_cost_what_they_are() {
    const STREAMS: u8 = 100;
    let sent = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&sent);
    let port = server(move |mut stream| {
        head(&mut stream);
        let reply = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
        let piece = b"1\r\nx\r\n".repeat(200);
        let mut more = stream.write_all(reply);
        while more.is_ok() {
            more = stream.write_all(&piece);
            counted.fetch_add(piece.len() as u64, Relaxed);
        }
    });
    let mut weir = Weir::start(&format!(
        "workers: 1\nlisteners: {{ edge: {{ bind: \"127.0.0.1:0\", http: {{ cluster: up }} }} }}\n\
         clusters: {{ up: {{ endpoints: [\"127.0.0.1:{port}\"] }} }}\n"
    ));
    let idle = weir.process().size("VmRSS");
    let mut client = TcpStream::connect(("127.0.0.1", weir.port("edge"))).expect("it listens");
    client.write_all(&h2::get("/", true)).expect("it reads");
    for n in 1..STREAMS {
        client.write_all(&h2::headers(1 + 2 * n, 5, "/")).expect("it reads");
    }
    let mut before = 0;
    until("the servers are held back", || {
        std::thread::sleep(std::time::Duration::from_millis(500));
        let now = sent.load(Relaxed);
        std::mem::replace(&mut before, now) == now && now > u64::from(STREAMS) * (128 << 10)
    });
    let took = weir.process().size("VmHWM").saturating_sub(idle);
    assert!(took < 40 << 20, "{} KiB above idle", took >> 10);
}

fn what_is_kept_for_retries_has_a_ceiling() {
    let port = server(|mut stream| {
        let head = head(&mut stream);
        let length =
            head.split_once("content-length: ").and_then(|(_, rest)| rest.split("\r\n").next()?.parse().ok());
        let mut body = vec![0; length.unwrap_or(0)];
        stream.read_exact(&mut body).expect("all of it");
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").ok();
    });
    let weir = Weir::start(&format!(
        "workers: 1\nlimits: {{ replay_memory: 64KiB }}\n\
         listeners: {{ edge: {{ bind: \"127.0.0.1:0\", http: {{ routes: [{{ cluster: up, \
         retry: {{ retry_on: [5xx], max_retries: 1, buffer: 1MiB }} }}] }} }} }}\n\
         clusters: {{ up: {{ endpoints: [\"127.0.0.1:{port}\"] }} }}\n"
    ));
    let address = ([127, 0, 0, 1], weir.port("edge")).into();
    let met = || weir.numbers().sum("weir_caps_met_total", &[("cap", "replay_memory")]);
    for (size, times) in [(60 << 10, 0), (100 << 10, 1), (60 << 10, 1)] {
        let body = "x".repeat(size);
        let request =
            format!("PUT / HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: {size}\r\n\r\n{body}");
        assert_eq!(exchange(address, &request), (200, "ok".into()), "it goes on all the same");
        until("it is counted", || met() == times);
    }
}
