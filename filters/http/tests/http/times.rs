//! How long servers and clients may take where nothing else is said, and clients that say no more.

use crate::house::{House, soon};
use crate::peer::{BOTH, Sent, h1_reply, request};
use bytes::BytesMut;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use weir_codecs::http1::Method;

const ASK: &[u8] = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";

async fn house(upstream: SocketAddr, listener: &str) -> House {
    House::start(&format!(
        "workers: 1
listeners: {{ edge: {{ bind: '127.0.0.1:0', http: {{ {listener} }} }} }}
clusters: {{ up: {{ endpoints: ['{upstream}'] }} }}"
    ))
    .await
}

/// A server that answers the first request of each connection so, and keeps the connection.
async fn server(answer: &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut buf = BytesMut::with_capacity(16 * 1024);
                while !buf.ends_with(b"\r\n\r\n") && stream.read_buf(&mut buf).await.unwrap_or(0) > 0 {}
                stream.write_all(answer).await.ok();
                while stream.read_buf(&mut buf).await.unwrap_or(0) > 0 {}
            });
        }
    });
    address
}

#[tokio::test]
async fn a_reply_that_does_not_begin_in_time_is_given_up() {
    let silent = server(b"").await;
    // What the route says goes before what the listener says; a `timeout` is enough.
    for (listener, reason) in [
        ("cluster: up, reply_timeout: 200ms", "timeout"),
        ("reply_timeout: 1h, routes: [{ cluster: up, reply_timeout: 200ms }]", "timeout"),
        ("reply_timeout: 1h, routes: [{ cluster: up, timeout: 200ms }]", "timeout"),
    ] {
        for version in BOTH {
            let house = house(silent, listener).await;
            let got = soon(request(version, house.address(), "GET", "/", Sent::None)).await;
            assert_eq!(got.status, 504, "{listener}");
            let labels = ["side=\"upstream\"", "phase=\"waiting\"", &format!("reason=\"{reason}\"")];
            house.becomes("weir_failures_total", &labels, 1.0).await;
            house.becomes("weir_endpoint_attempts_total", &["outcome=\"failed\""], 1.0).await;
        }
    }
}

#[tokio::test]
async fn a_reply_that_stands_still_is_broken_off() {
    let stalls = server(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf").await;
    let house = house(stalls, "cluster: up, stream_idle: 200ms, reply_timeout: 0s").await;
    let mut client = TcpStream::connect(house.address()).await.unwrap();
    client.write_all(ASK).await.unwrap();
    let mut all = Vec::new();
    soon(client.read_to_end(&mut all)).await.ok();
    assert!(all.ends_with(b"half"));
    let labels = ["side=\"upstream\"", "phase=\"replying\"", "reason=\"idle_timeout\""];
    house.becomes("weir_failures_total", &labels, 1.0).await;
}

#[tokio::test]
async fn a_request_that_stands_still_is_its_clients_fault() {
    let reads = server(b"").await;
    let house = house(reads, "cluster: up, stream_idle: 200ms").await;
    let mut client = TcpStream::connect(house.address()).await.unwrap();
    client.write_all(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\nx").await.unwrap();
    let got = soon(h1_reply(&mut client, &mut BytesMut::new(), Method::Post)).await;
    assert_eq!(got.status, 408);
    let labels = ["side=\"client\"", "phase=\"sending\"", "reason=\"idle_timeout\""];
    house.becomes("weir_failures_total", &labels, 1.0).await;
    house.becomes("weir_endpoint_attempts_total", &["outcome=\"failed\""], 0.0).await;
}

/// An accepted connection of Weir's, its request read.
async fn accepted(listener: &TcpListener) -> TcpStream {
    let (mut stream, _) = soon(listener.accept()).await.unwrap();
    let mut buf = BytesMut::with_capacity(16 * 1024);
    while !buf.ends_with(b"\r\n\r\n") {
        assert!(soon(stream.read_buf(&mut buf)).await.unwrap() > 0);
    }
    stream
}

#[tokio::test]
async fn who_says_no_more_after_a_whole_request_gets_its_reply() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let house = house(listener.local_addr().unwrap(), "cluster: up").await;
    let mut client = TcpStream::connect(house.address()).await.unwrap();
    client.write_all(&[ASK, ASK].concat()).await.unwrap();
    client.shutdown().await.unwrap();
    let mut upstream = accepted(&listener).await;
    let (mut buf, mut buf_of_server) = (BytesMut::new(), BytesMut::new());
    for number in 0..2 {
        while number > 0 && buf_of_server.is_empty() {
            assert!(soon(upstream.read_buf(&mut buf_of_server)).await.unwrap() > 0);
        }
        upstream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.unwrap();
        assert_eq!(soon(h1_reply(&mut client, &mut buf, Method::Get)).await.text(), "ok");
    }
    assert_eq!(soon(client.read_buf(&mut buf)).await.unwrap(), 0, "and then it is over");
    house.becomes("weir_operations_total", &["result=\"ok\""], 2.0).await;
}

#[tokio::test]
async fn who_is_cut_off_cancels_the_work_and_so_does_who_says_no_more_where_that_is_asked_for() {
    for (more, reset) in [("", true), (", on_half_close: abort", false), (", on_half_close: abort", true)] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let house = house(listener.local_addr().unwrap(), &format!("cluster: up{more}")).await;
        let mut client = TcpStream::connect(house.address()).await.unwrap();
        client.write_all(ASK).await.unwrap();
        let mut upstream = accepted(&listener).await;
        if reset {
            socket2::SockRef::from(&client).set_linger(Some(Duration::ZERO)).unwrap();
        }
        drop(client);
        let mut buf = BytesMut::with_capacity(64);
        assert_eq!(soon(upstream.read_buf(&mut buf)).await.unwrap_or(0), 0, "the server is told at once");
        house.counted("client_gone", "").await;
    }
}

#[tokio::test]
async fn a_connection_is_kept_no_longer_than_its_server_keeps_it() {
    for (said, connections) in [("timeout=0", 3.0), ("max=5", 1.0), ("timeout=600, max=100", 1.0)] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let up = listener.local_addr().unwrap();
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                tokio::spawn(async move {
                    let mut buf = BytesMut::with_capacity(16 * 1024);
                    while stream.read_buf(&mut buf).await.unwrap_or(0) > 0 {
                        if buf.ends_with(b"\r\n\r\n") {
                            buf.clear();
                            let reply = format!(
                                "HTTP/1.1 200 OK\r\nkeep-alive: {said}\r\ncontent-length: 2\r\n\r\nok"
                            );
                            stream.write_all(reply.as_bytes()).await.ok();
                        }
                    }
                });
            }
        });
        let house = house(up, "cluster: up").await;
        for _ in 0..3 {
            assert_eq!(soon(request(BOTH[0], house.address(), "GET", "/", Sent::None)).await.status, 200);
        }
        house.becomes("weir_cluster_connections_total", &[], connections).await;
    }
}
