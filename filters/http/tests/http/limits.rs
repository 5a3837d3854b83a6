//! The limits of a cluster that is reached by HTTP/2: exact, though operations share connections.

use crate::house::{House, soon};
use crate::peer::{Got, Sent, Version, request};
use bytes::Bytes;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

/// Takes one stream at a time on each connection, gives a permit for each, and answers it when it gets one.
async fn one_at_a_time() -> (SocketAddr, Arc<Semaphore>, Arc<Semaphore>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let permits = Arc::new(Semaphore::new(0));
    let taken = Arc::new(Semaphore::new(0));
    let (given, take) = (Arc::clone(&permits), Arc::clone(&taken));
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (given, take) = (Arc::clone(&given), Arc::clone(&take));
            tokio::spawn(async move {
                let mut builder = h2::server::Builder::new();
                builder.max_concurrent_streams(1);
                let mut connection = builder.handshake::<_, Bytes>(stream).await.unwrap();
                while let Some(Ok((_, mut respond))) = connection.accept().await {
                    take.add_permits(1);
                    let given = Arc::clone(&given);
                    tokio::spawn(async move {
                        given.acquire().await.unwrap().forget();
                        respond.send_response(http::Response::new(()), true).ok();
                    });
                }
            });
        }
    });
    (address, taken, permits)
}

async fn house(upstream: SocketAddr, pending: u32) -> House {
    House::start(&format!(
        "workers: 1
listeners: {{ edge: {{ bind: '127.0.0.1:0', http: {{ cluster: up }} }} }}
clusters:
  up:
    endpoints: ['{upstream}']
    protocol: http2
    circuit_breaker: {{ max_connections: 1, max_pending: {pending} }}"
    ))
    .await
}

fn ask(house: &House) -> JoinHandle<Got> {
    let address = house.address();
    tokio::spawn(async move { request(Version::H1, address, "GET", "/", Sent::None).await })
}

async fn status(asked: JoinHandle<Got>) -> u16 {
    soon(asked).await.unwrap().status
}

#[tokio::test]
async fn an_operation_that_waits_takes_one_place_and_meets_the_limit_once() {
    let (upstream, taken, permits) = one_at_a_time().await;
    let house = house(upstream, 2).await;
    let met = |limit: &str| house.number("weir_cluster_overflows_total", &[limit]);
    let first = ask(&house);
    soon(taken.acquire()).await.unwrap().forget();
    let (second, third) = (ask(&house), ask(&house));
    house.becomes("weir_cluster_pending_active", &[], 2.0).await;
    assert_eq!((met("limit=\"max_connections\""), met("limit=\"max_pending\"")), (2.0, 0.0));
    assert_eq!(status(ask(&house)).await, 503);
    // As with HTTP/1: it has met both.
    assert_eq!((met("limit=\"max_connections\""), met("limit=\"max_pending\"")), (3.0, 1.0));
    permits.add_permits(3);
    for asked in [first, second, third] {
        assert_eq!(status(asked).await, 200);
    }
    house.becomes("weir_cluster_pending_active", &[], 0.0).await;
    assert_eq!((met("limit=\"max_connections\""), met("limit=\"max_pending\"")), (3.0, 1.0));
    assert_eq!(house.number("weir_cluster_connections_total", &[]), 1.0);
    // Nobody waits, and nothing does on anybody's behalf: the next one finds the connection idle.
    permits.add_permits(1);
    assert_eq!(status(ask(&house)).await, 200);
    assert_eq!(met("limit=\"max_connections\""), 3.0);
}

#[tokio::test]
async fn where_nobody_may_wait_there_is_still_a_connection_to_be_had() {
    let (upstream, taken, permits) = one_at_a_time().await;
    let house = house(upstream, 0).await;
    let first = ask(&house);
    soon(taken.acquire()).await.unwrap().forget();
    assert_eq!(status(ask(&house)).await, 503);
    permits.add_permits(1);
    assert_eq!(status(first).await, 200);
}

#[tokio::test]
async fn who_waits_for_a_connection_that_is_being_made_takes_a_place() {
    // It accepts, and says nothing.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let house = house(listener.local_addr().unwrap(), 2).await;
    let asked = [ask(&house), ask(&house), ask(&house)];
    house.becomes("weir_cluster_pending_active", &[], 2.0).await;
    assert_eq!(status(ask(&house)).await, 503);
    let met = |limit: &str| house.number("weir_cluster_overflows_total", &[limit]);
    assert_eq!((met("limit=\"max_connections\""), met("limit=\"max_pending\"")), (0.0, 1.0));
    drop(listener);
    for asked in asked {
        assert!(status(asked).await >= 500);
    }
    house.becomes("weir_cluster_pending_active", &[], 0.0).await;
}
