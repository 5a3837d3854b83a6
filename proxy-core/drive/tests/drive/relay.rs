//! The `tcp` filter.

use crate::house::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

async fn relay(upstream: std::net::SocketAddr, extra: &str) -> House {
    House::start(&format!(
        "workers: 1
listeners:
  raw: {{ bind: '127.0.0.1:0', {extra} tcp: {{ cluster: up }} }}
clusters:
  up: {{ endpoints: ['{upstream}'] }}
"
    ))
    .await
}

#[tokio::test]
async fn bytes_go_both_ways_and_are_counted() {
    let house = relay(Upstream::new().await.echo(), "").await;
    let mut client = house.connect("raw").await;
    ping(&mut client, b"one").await;
    ping(&mut client, &vec![7; 1 << 20]).await;
    drop(client);
    house
        .becomes(
            "weir_operations_total",
            &["result=\"ok\"", "operation=\"connection\"", "protocol=\"tcp\""],
            1.0,
        )
        .await;
    for family in ["weir_operation_request_bytes_total", "weir_operation_reply_bytes_total"] {
        assert_eq!(house.number(family, &[]), f64::from(3 + (1 << 20)), "{family}");
    }
    house.becomes("weir_operations_in_flight", &[], 0.0).await;
}

#[tokio::test]
async fn each_direction_ends_by_itself() {
    let upstream = Upstream::new().await;
    let house = relay(upstream.address(), "").await;
    let mut client = house.connect("raw").await;
    let mut server = upstream.accept().await;
    client.write_all(b"question").await.unwrap();
    client.shutdown().await.unwrap();
    assert_eq!(rest(&mut server).await, b"question");
    // The client has ended; the answer still comes through.
    server.write_all(b"answer").await.unwrap();
    let mut answer = [0; 6];
    soon(client.read_exact(&mut answer)).await.unwrap();
    assert_eq!(&answer, b"answer");
    assert_eq!(house.number("weir_operations_in_flight", &[]), 1.0);
    drop(server);
    assert_eq!(rest(&mut client).await, b"");
    house.becomes("weir_operations_total", &["result=\"ok\""], 1.0).await;
}

#[tokio::test]
async fn the_server_may_speak_and_end_first() {
    let upstream = Upstream::new().await;
    let house = relay(upstream.address(), "").await;
    let mut client = house.connect("raw").await;
    let mut server = upstream.accept().await;
    server.write_all(b"220 ready").await.unwrap();
    server.shutdown().await.unwrap();
    assert_eq!(rest(&mut client).await, b"220 ready");
    client.write_all(b"QUIT").await.unwrap();
    client.shutdown().await.unwrap();
    assert_eq!(rest(&mut server).await, b"QUIT");
    house.becomes("weir_operations_total", &["result=\"ok\""], 1.0).await;
}

#[tokio::test]
async fn a_reset_reaches_the_other_side() {
    let upstream = Upstream::new().await;
    let house = relay(upstream.address(), "").await;
    for (side, label) in [(0, "client"), (1, "network")] {
        let mut client = house.connect("raw").await;
        let mut server = upstream.accept().await;
        client.write_all(b"x").await.unwrap();
        soon(server.read_u8()).await.unwrap();
        if side == 0 {
            socket2::SockRef::from(&client).set_linger(Some(std::time::Duration::ZERO)).unwrap();
            drop(client);
            assert_eq!(rest(&mut server).await, b"");
        } else {
            socket2::SockRef::from(&server).set_linger(Some(std::time::Duration::ZERO)).unwrap();
            drop(server);
            assert_eq!(rest(&mut client).await, b"");
        }
        house
            .becomes(
                "weir_failures_total",
                &[&format!("side=\"{label}\""), "reason=\"reset\"", "phase=\"waiting\""],
                1.0,
            )
            .await;
    }
    assert_eq!(house.number("weir_operations_total", &["result=\"reset\""]), 2.0);
}

#[tokio::test]
async fn a_slow_reader_holds_up_its_own_direction_within_bounds() {
    let upstream = Upstream::new().await;
    let house = relay(upstream.address(), "").await;
    let mut client = house.connect("raw").await;
    let mut server = upstream.accept().await;
    // The client does not read: what the server can send is what the sockets and one buffer hold.
    let chunk = vec![1u8; 64 * 1024];
    let mut sent = 0;
    while let Ok(written) =
        tokio::time::timeout(std::time::Duration::from_millis(300), server.write(&chunk)).await
    {
        sent += written.unwrap();
        assert!(sent < 64 << 20, "nothing holds the sender back");
    }
    // The other direction is free.
    client.write_all(b"still here").await.unwrap();
    let mut word = [0; 10];
    soon(server.read_exact(&mut word)).await.unwrap();
    // And everything arrives when the client reads again.
    server.shutdown().await.unwrap();
    assert_eq!(rest(&mut client).await.len(), sent);
}

#[tokio::test]
async fn an_idle_connection_is_closed() {
    let upstream = Upstream::new().await;
    let house = relay(upstream.address(), "idle_timeout: 200ms,").await;
    let mut client = house.connect("raw").await;
    let mut server = upstream.accept().await;
    client.write_all(b"x").await.unwrap();
    assert_eq!(rest(&mut client).await, b"");
    assert_eq!(rest(&mut server).await, b"x");
    house.becomes("weir_failures_total", &["reason=\"idle_timeout\"", "side=\"proxy\""], 1.0).await;
}

#[tokio::test]
async fn a_connection_goes_to_another_endpoint_when_one_is_down() {
    let (down, up) = (nobody(), Upstream::new().await.echo());
    let house = House::start(&format!(
        "workers: 1
listeners: {{ raw: {{ bind: '127.0.0.1:0', tcp: {{ cluster: up }} }} }}
clusters: {{ up: {{ endpoints: ['{down}', '{up}'] }} }}"
    ))
    .await;
    for _ in 0..6 {
        ping(&mut house.connect("raw").await, b"hello").await;
    }
    house.becomes("weir_operations_total", &["result=\"ok\""], 6.0).await;
    let repicks = house.number("weir_cluster_repicks_total", &[]);
    assert!((1.0..=6.0).contains(&repicks), "some went elsewhere: {repicks}");
    assert_eq!(house.number("weir_operation_retries_total", &[]), 0.0);
    assert_eq!(house.number("weir_failures_total", &[]), 0.0);
}

#[tokio::test]
async fn what_cannot_be_reached_is_a_counted_failure() {
    let house = relay(nobody(), "").await;
    let mut client = house.connect("raw").await;
    assert_eq!(rest(&mut client).await, b"");
    house
        .becomes(
            "weir_failures_total",
            &["side=\"network\"", "phase=\"connecting\"", "reason=\"connect_failed\""],
            1.0,
        )
        .await;
    assert_eq!(house.number("weir_operations_total", &["result=\"connect_failed\""]), 1.0);
    assert_eq!(house.number("weir_cluster_connect_failures_total", &["cluster=\"up\""]), 1.0, "asked once");
}
