//! HTTP/2 connections whose peer is silent, takes no streams, or is too old; and how many streams a client may have.

use crate::house::{House, soon};
use crate::peer::{Sent, Version, origin, request};
use bytes::Bytes;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use tokio::net::{TcpListener, TcpStream};

/// How a server treats each of its connections.
#[derive(Clone, Copy)]
enum Kind {
    /// It takes the first stream, and from then on neither reads nor writes.
    Freezes,
    /// It takes no streams.
    TakesNone,
    /// It says at once that it is going away.
    Goes,
}

async fn server(kind: Kind) -> (SocketAddr, Arc<AtomicU32>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let count = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&count);
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            counted.fetch_add(1, Ordering::Relaxed);
            tokio::spawn(async move {
                let mut builder = h2::server::Builder::new();
                builder.max_concurrent_streams(if let Kind::TakesNone = kind { 0 } else { 10 });
                let Ok(mut connection) = builder.handshake::<_, Bytes>(stream).await else { return };
                if let Kind::Goes = kind {
                    connection.abrupt_shutdown(h2::Reason::NO_ERROR);
                }
                let _stream = connection.accept().await;
                match kind {
                    Kind::Freezes => std::future::pending().await,
                    Kind::TakesNone | Kind::Goes => while connection.accept().await.is_some() {},
                }
            });
        }
    });
    (address, count)
}

async fn house(upstream: SocketAddr, listener: &str, cluster: &str) -> House {
    House::start(&format!(
        "workers: 1
listeners: {{ edge: {{ bind: '127.0.0.1:0', http: {{ cluster: up, {listener} }} }} }}
clusters: {{ up: {{ endpoints: ['{upstream}'], protocol: http2, {cluster} }} }}"
    ))
    .await
}

#[tokio::test]
async fn a_server_that_answers_no_ping_loses_its_streams() {
    let (upstream, connections) = server(Kind::Freezes).await;
    let house = house(upstream, "", "http2: { keepalive: 200ms }").await;
    let got = soon(request(Version::H1, house.address(), "GET", "/", Sent::None)).await;
    assert_eq!(got.status, 502);
    let connections = connections.load(Ordering::Relaxed);
    house.becomes("weir_http_dead_connections_total", &["side=\"upstream\""], connections.into()).await;
    house.becomes("weir_cluster_connections_active", &[], 0.0).await;
}

#[tokio::test]
async fn connections_that_do_not_help_do_not_lead_to_more() {
    for kind in [Kind::TakesNone, Kind::Goes] {
        let (upstream, connections) = server(kind).await;
        let house = house(upstream, "", "connect_timeout: 300ms").await;
        let got = soon(request(Version::H1, house.address(), "POST", "/", Sent::None)).await;
        assert!(got.status >= 500, "{}", got.status);
        assert!(connections.load(Ordering::Relaxed) <= 2, "{connections:?}");
    }
}

#[tokio::test]
async fn a_client_is_told_how_many_streams_it_may_have() {
    for (listener, most) in [("", 100), ("http2: { max_streams: 7 }", 7)] {
        let upstream = origin(Version::H2).await;
        let house = house(upstream, listener, "").await;
        let stream = TcpStream::connect(house.address()).await.unwrap();
        let (send, connection) = h2::client::handshake(stream).await.unwrap();
        tokio::spawn(async move { connection.await.ok() });
        let mut send = soon(send.ready()).await.unwrap();
        let ask = http::Request::builder().uri("http://a/").body(()).unwrap();
        let (response, _) = send.send_request(ask, true).unwrap();
        assert_eq!(soon(response).await.unwrap().status(), 200);
        assert_eq!(send.current_max_send_streams(), most);
    }
}

#[tokio::test]
async fn connections_that_are_old_enough_take_nothing_new() {
    let upstream = origin(Version::H2).await;
    let house = house(upstream, "http2: { max_age: 100ms }", "http2: { max_age: 100ms }").await;
    let stream = TcpStream::connect(house.address()).await.unwrap();
    let (mut send, connection) = h2::client::handshake(stream).await.unwrap();
    let ask = http::Request::builder().uri("http://a/").body(()).unwrap();
    let (response, _) = send.send_request(ask, true).unwrap();
    let connection = tokio::spawn(connection);
    assert_eq!(soon(response).await.unwrap().status(), 200);
    soon(connection).await.unwrap().unwrap();
    house.becomes("weir_cluster_connections_active", &[], 0.0).await;
}
