//! The message loop, with the toy protocol.

use crate::house::*;
use crate::toy::{FILTERS, frame};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

mod ends;
mod limits;
mod pace;

async fn toy(upstream: SocketAddr) -> House {
    toy_with(&[upstream], "", "").await
}

/// The same, where a message may take so long to come.
async fn toy_timed(upstream: SocketAddr, message_timeout: &str) -> House {
    let text = format!(
        "workers: 1
listeners: {{ toys: {{ bind: '127.0.0.1:0', toy: {{ cluster: up, message_timeout: {message_timeout} }} }} }}
clusters: {{ up: {{ endpoints: ['{upstream}'] }} }}
"
    );
    House::start_with(&text, FILTERS).await.unwrap()
}

async fn toy_with(upstreams: &[SocketAddr], listener: &str, cluster: &str) -> House {
    let endpoints: Vec<_> = upstreams.iter().map(|address| format!("'{address}'")).collect();
    let endpoints = endpoints.join(", ");
    let text = format!(
        "workers: 1
listeners:
  toys: {{ bind: '127.0.0.1:0', {listener} toy: {{ cluster: up }} }}
  strict: {{ bind: '127.0.0.1:0', {listener} toy: {{ cluster: up, strict: true }} }}
clusters:
  up: {{ endpoints: [{endpoints}], {cluster} }}
"
    );
    House::start_with(&text, FILTERS).await.unwrap()
}

async fn say(stream: &mut TcpStream, tag: u32, text: &[u8]) {
    soon(stream.write_all(&frame(tag, text))).await.unwrap();
}

async fn hear(stream: &mut TcpStream) -> (u32, String) {
    let length = soon(stream.read_u32()).await.unwrap() as usize;
    let tag = soon(stream.read_u32()).await.unwrap();
    let mut text = vec![0; length - 4];
    soon(stream.read_exact(&mut text)).await.unwrap();
    (tag, String::from_utf8(text).unwrap())
}

/// Client and server, joined through the toy listener by one exchange.
async fn joined(house: &House, upstream: &Upstream) -> (TcpStream, TcpStream) {
    let mut client = house.connect("toys").await;
    say(&mut client, 1, b"get ready").await;
    let mut server = upstream.accept().await;
    assert_eq!(hear(&mut server).await, (1, "get ready".into()));
    say(&mut server, 1, b"here").await;
    assert_eq!(hear(&mut client).await, (1, "here".into()));
    (client, server)
}

async fn reset(stream: TcpStream) {
    socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    drop(stream);
}

const OPERATIONS: &str = "weir_operations_total";

#[tokio::test]
async fn operations_are_passed_on_judged_and_counted() {
    let upstream = Upstream::new().await;
    let house = toy(upstream.address()).await;
    let (mut client, mut server) = joined(&house, &upstream).await;
    say(&mut client, 2, b"get nothing").await;
    hear(&mut server).await;
    say(&mut server, 2, b"err none").await;
    assert_eq!(hear(&mut client).await.1, "err none");
    drop(client);
    assert_eq!(rest(&mut server).await, b"");
    house.becomes(OPERATIONS, &["operation=\"get\"", "result=\"ok\"", "protocol=\"toy\""], 1.0).await;
    house.becomes(OPERATIONS, &["operation=\"get\"", "result=\"error\"", "code=\"E42\""], 1.0).await;
    assert_eq!(house.number("weir_operation_request_bytes_total", &[]), f64::from(8 + 9 + 8 + 11));
    assert_eq!(house.number("weir_operation_reply_bytes_total", &[]), f64::from(8 + 4 + 8 + 8));
    assert_eq!(house.number("weir_operation_duration_seconds_count", &[]), 2.0);
    assert_eq!(house.number("weir_operation_first_byte_seconds_count", &[]), 2.0);
    assert_eq!(house.number("weir_failures_total", &[]), 0.0);
    house.becomes("weir_operations_in_flight", &[], 0.0).await;
    house.becomes("weir_cluster_requests_active", &[], 0.0).await;
    house.becomes("weir_cluster_connections_open", &[], 0.0).await;
}

#[tokio::test]
async fn messages_may_come_in_any_pieces() {
    let upstream = Upstream::new().await;
    let house = toy(upstream.address()).await;
    let mut client = house.connect("toys").await;
    client.set_nodelay(true).unwrap();
    for byte in frame(7, b"get byte by byte").iter() {
        client.write_u8(*byte).await.unwrap();
        tokio::task::yield_now().await;
    }
    let mut server = upstream.accept().await;
    server.set_nodelay(true).unwrap();
    assert_eq!(hear(&mut server).await, (7, "get byte by byte".into()));
    for byte in frame(7, b"one at a time").iter() {
        server.write_u8(*byte).await.unwrap();
        tokio::task::yield_now().await;
    }
    assert_eq!(hear(&mut client).await, (7, "one at a time".into()));
}

#[tokio::test]
async fn large_messages_stream() {
    let upstream = Upstream::new().await;
    let house = toy(upstream.address()).await;
    let (mut client, mut server) = joined(&house, &upstream).await;
    let mut large = b"get ".to_vec();
    large.resize(5 << 20, b'x');
    let request = frame(2, &large);
    let (mut read, mut write) = client.split();
    let asking = async {
        write.write_all(&request).await.unwrap();
        let mut back = vec![0; request.len()];
        read.read_exact(&mut back).await.unwrap();
        back
    };
    let answering = async {
        // The beginning arrives long before the end has been sent.
        let mut first = vec![0; 1000];
        server.read_exact(&mut first).await.unwrap();
        let mut others = vec![0; request.len() - 1000];
        server.read_exact(&mut others).await.unwrap();
        server.write_all(&first).await.unwrap();
        server.write_all(&others).await.unwrap();
    };
    let (back, ()) = soon(async { tokio::join!(asking, answering) }).await;
    assert_eq!(back, request);
    house.becomes("weir_operation_reply_bytes_total", &[], (12 + request.len()) as f64).await;
}

#[tokio::test]
async fn pipelined_requests_are_matched_by_tag_or_else_in_order() {
    let upstream = Upstream::new().await;
    let house = toy(upstream.address()).await;
    let (mut client, mut server) = joined(&house, &upstream).await;
    let three = [frame(2, b"get a"), frame(3, b"watch b"), frame(4, b"get c")].concat();
    client.write_all(&three).await.unwrap();
    for _ in 0..3 {
        hear(&mut server).await;
    }
    house.becomes("weir_operations_in_flight", &[], 3.0).await;
    // The third is answered first, by its tag; then two to the second, then one without a tag to the oldest.
    for (tag, text) in [(4, &b"err"[..]), (3, b"+1"), (3, b"+2"), (3, b"end"), (0, b"a")] {
        say(&mut server, tag, text).await;
        assert_eq!(hear(&mut client).await.0, tag);
    }
    house.becomes(OPERATIONS, &["result=\"ok\"", "operation=\"get\""], 2.0).await;
    // Each reply of a stream counts.
    house.becomes(OPERATIONS, &["result=\"ok\"", "operation=\"watch\""], 3.0).await;
    house.becomes(OPERATIONS, &["result=\"error\"", "operation=\"get\""], 1.0).await;
    // One that answers nothing goes on all the same.
    say(&mut server, 99, b"surprise").await;
    assert_eq!(hear(&mut client).await, (99, "surprise".into()));
    house.becomes("weir_replies_unmatched_total", &[], 1.0).await;
}

#[tokio::test]
async fn what_nothing_answers_is_delivered_though_the_client_goes_at_once() {
    let upstream = Upstream::new().await;
    let house = toy(upstream.address()).await;
    for _ in 0..20 {
        let mut client = house.connect("toys").await;
        say(&mut client, 1, b"fire and forget").await;
        drop(client);
        let mut server = upstream.accept().await;
        assert_eq!(rest(&mut server).await, frame(1, b"fire and forget"));
    }
    house.becomes(OPERATIONS, &["operation=\"fire\"", "result=\"ok\""], 20.0).await;
}

#[tokio::test]
async fn weir_answers_by_itself_in_its_turn() {
    let upstream = Upstream::new().await;
    let house = toy(upstream.address()).await;
    // Without any upstream connection.
    let mut alone = house.connect("toys").await;
    say(&mut alone, 5, b"local").await;
    assert_eq!(hear(&mut alone).await, (5, "from weir".into()));
    assert_eq!(house.number("weir_cluster_connections_total", &[]), 0.0);
    // After what was asked before; with a request that is swallowed.
    let (mut client, mut server) = joined(&house, &upstream).await;
    let mut swallowed = b"local ".to_vec();
    swallowed.resize(1 << 20, b'.');
    let both = [frame(2, b"get a"), frame(3, &swallowed), frame(4, b"get b")].concat();
    soon(client.write_all(&both)).await.unwrap();
    assert_eq!(hear(&mut server).await.0, 2);
    assert_eq!(hear(&mut server).await.0, 4);
    say(&mut server, 4, b"b").await;
    assert_eq!(hear(&mut client).await, (4, "b".into()));
    say(&mut server, 2, b"a").await;
    assert_eq!(hear(&mut client).await, (2, "a".into()));
    assert_eq!(hear(&mut client).await, (3, "from weir".into()));
    house.becomes(OPERATIONS, &["result=\"local\""], 2.0).await;
    assert_eq!(
        house.number("weir_operation_request_bytes_total", &["operation=\"local\""]),
        f64::from(8 + 5 + 8 + (1 << 20))
    );
}

#[tokio::test]
async fn requests_and_replies_are_held_and_rewritten_as_asked() {
    let upstream = Upstream::new().await;
    let house = toy(upstream.address()).await;
    let (mut client, mut server) = joined(&house, &upstream).await;
    client.set_nodelay(true).unwrap();
    server.set_nodelay(true).unwrap();

    // Held until whole: the server sees nothing of the first half.
    let ask = frame(2, b"ask nicely");
    client.write_all(&ask[..17]).await.unwrap();
    say(&mut server, 98, b"to be sure").await;
    assert_eq!(hear(&mut client).await.0, 98, "the loop has been through");
    assert!(server.try_read(&mut [0; 1]).is_err());
    client.write_all(&ask[17..]).await.unwrap();
    assert_eq!(hear(&mut server).await.1, "ask nicely");
    say(&mut server, 2, b"yes").await;
    hear(&mut client).await;
    // Beyond its limit it goes on.
    say(&mut client, 3, b"ask for much more than sixteen bytes").await;
    assert_eq!(hear(&mut server).await.1, "ask for much more than sixteen bytes");
    say(&mut server, 3, b"yes").await;
    hear(&mut client).await;

    say(&mut client, 4, b"swap this").await;
    assert_eq!(hear(&mut server).await, (4, "SWAP THIS".into()));
    say(&mut server, 4, b"done").await;
    hear(&mut client).await;
    // Too long to be rewritten: refused, and nothing of it is sent.
    say(&mut client, 5, b"swap what does not fit into the limit").await;
    assert_eq!(hear(&mut client).await, (5, "refused: too_large while admitted (proxy)".into()));
    say(&mut client, 6, b"swap not!").await;
    assert_eq!(hear(&mut client).await, (6, "refused: malformed while admitted (client)".into()));
    say(&mut client, 6, b"swap what?").await;
    assert_eq!(hear(&mut client).await, (6, "refused: unready while admitted (proxy)".into()));
    house.becomes("weir_message_limits_total", &["limit=\"rewrite\""], 1.0).await;

    // A reply held back: the client sees nothing of the first half.
    say(&mut client, 7, b"hold it").await;
    assert_eq!(hear(&mut server).await.0, 7);
    let reply = frame(7, b"err no such thing");
    server.write_all(&reply[..20]).await.unwrap();
    assert!(client.try_read(&mut [0; 1]).is_err());
    server.write_all(&reply[20..]).await.unwrap();
    assert_eq!(hear(&mut client).await.1, "err no such thing");
    // Too large to be held: it streams.
    say(&mut client, 8, b"hold much").await;
    hear(&mut server).await;
    let much = frame(8, &vec![b'm'; 1 << 20]);
    let (sent, heard) = tokio::join!(server.write_all(&much), hear(&mut client));
    sent.unwrap();
    assert_eq!(heard.1.len(), 1 << 20);
    house.becomes("weir_message_limits_total", &["limit=\"held_reply\""], 1.0).await;

    say(&mut client, 9, b"edit").await;
    hear(&mut server).await;
    say(&mut server, 9, b"quiet").await;
    assert_eq!(hear(&mut client).await, (9, "QUIET".into()));
    // A reply that should be rewritten and cannot be ends the connection.
    say(&mut client, 10, b"edit").await;
    hear(&mut server).await;
    say(&mut server, 10, b"what does not fit into the limit").await;
    assert_eq!(rest(&mut client).await, b"");
    assert_eq!(rest(&mut server).await, b"");
    house.becomes("weir_refusals_total", &["reason=\"too_large\""], 2.0).await;
}
