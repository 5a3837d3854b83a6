//! The message loop, with the toy protocol.

use crate::house::*;
use crate::toy::{FILTERS, frame};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

async fn toy(upstream: SocketAddr) -> House {
    toy_with(&[upstream], "", "").await
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

#[tokio::test]
async fn a_protocol_may_close_the_connection() {
    let upstream = Upstream::new().await;
    let house = toy(upstream.address()).await;
    let (mut client, mut server) = joined(&house, &upstream).await;
    say(&mut client, 2, b"quit").await;
    assert_eq!(rest(&mut client).await, b"");
    assert_eq!(rest(&mut server).await, b"");
    house.becomes("weir_failures_total", &["reason=\"denied\"", "side=\"client\""], 1.0).await;
}

#[tokio::test]
async fn when_the_client_goes_the_upstream_connection_is_closed_at_once() {
    let upstream = Upstream::new().await;
    let house = toy(upstream.address()).await;
    // While the server thinks; while it streams; with a reset.
    for (nth, how) in ["wait", "stream", "reset"].into_iter().enumerate() {
        let (mut client, mut server) = joined(&house, &upstream).await;
        say(&mut client, 2, b"watch").await;
        hear(&mut server).await;
        if how == "stream" {
            say(&mut server, 2, b"+1").await;
            hear(&mut client).await;
        }
        if how == "reset" {
            reset(client).await;
        } else {
            drop(client);
        }
        assert_eq!(rest(&mut server).await, b"", "{how}");
        house.becomes(OPERATIONS, &["operation=\"watch\"", "result=\"client_gone\""], (nth + 1) as f64).await;
    }
    let failures = |labels: &[&str]| house.number("weir_failures_total", labels);
    // Between two replies of a stream the next one is waited for.
    assert_eq!(failures(&["side=\"client\"", "phase=\"waiting\"", "reason=\"closed\""]), 2.0);
    assert_eq!(failures(&["side=\"client\"", "phase=\"waiting\"", "reason=\"reset\""]), 1.0);
    assert_eq!(house.number("weir_cluster_attempts_total", &["outcome=\"cancelled\""]), 3.0);
}

#[tokio::test]
async fn a_client_that_goes_in_mid_request_is_counted() {
    let upstream = Upstream::new().await;
    let house = toy(upstream.address()).await;
    let (mut client, mut server) = joined(&house, &upstream).await;
    client.write_all(&frame(2, b"get something longer")[..20]).await.unwrap();
    let mut part = [0; 20];
    soon(server.read_exact(&mut part)).await.unwrap();
    drop(client);
    assert_eq!(rest(&mut server).await, b"");
    house
        .becomes("weir_failures_total", &["side=\"client\"", "phase=\"sending\"", "reason=\"closed\""], 1.0)
        .await;
}

#[tokio::test]
async fn when_the_upstream_goes_every_operation_is_answered() {
    let upstream = Upstream::new().await;
    let house = toy(upstream.address()).await;
    // Waiting, two of them, one that is due no answer.
    let (mut client, mut server) = joined(&house, &upstream).await;
    client.write_all(&[frame(2, b"get a"), frame(3, b"get b")].concat()).await.unwrap();
    hear(&mut server).await;
    hear(&mut server).await;
    drop(server);
    assert_eq!(hear(&mut client).await, (2, "refused: closed while waiting (network)".into()));
    assert_eq!(hear(&mut client).await, (3, "refused: closed while waiting (network)".into()));
    assert_eq!(rest(&mut client).await, b"");
    // In mid-reply nothing can be said any more.
    let (mut client, mut server) = joined(&house, &upstream).await;
    say(&mut client, 2, b"get a").await;
    hear(&mut server).await;
    server.write_all(&frame(2, b"half of a reply")[..16]).await.unwrap();
    let mut half = [0; 16];
    soon(client.read_exact(&mut half)).await.unwrap();
    reset(server).await;
    assert_eq!(rest(&mut client).await, b"");
    // A reply that is held back can still be taken back.
    let (mut client, mut server) = joined(&house, &upstream).await;
    say(&mut client, 2, b"hold a").await;
    hear(&mut server).await;
    server.write_all(&frame(2, b"half of a reply")[..16]).await.unwrap();
    drop(server);
    assert_eq!(hear(&mut client).await, (2, "refused: closed while replying (network)".into()));
    // Sending: the server goes while the request is still coming.
    let (mut client, mut server) = joined(&house, &upstream).await;
    client.write_all(&frame(2, b"get something longer")[..20]).await.unwrap();
    let mut part = [0; 20];
    soon(server.read_exact(&mut part)).await.unwrap();
    drop(server);
    assert_eq!(hear(&mut client).await, (2, "refused: closed while sending (network)".into()));
    assert_eq!(rest(&mut client).await, b"");
    // Between operations the client is simply closed.
    let (mut client, server) = joined(&house, &upstream).await;
    drop(server);
    assert_eq!(rest(&mut client).await, b"");

    house.becomes(OPERATIONS, &["result=\"upstream_lost\""], 5.0).await;
    house.becomes("weir_failures_total", &["side=\"network\""], 5.0).await;
    house.becomes("weir_operations_in_flight", &[], 0.0).await;
}

#[tokio::test]
async fn what_cannot_be_reached_is_answered_operation_by_operation() {
    let house = toy(nobody().await).await;
    let mut client = house.connect("toys").await;
    for tag in 1..=3 {
        say(&mut client, tag, b"get there").await;
        let refused = "refused: connect_failed while connecting (network)";
        assert_eq!(hear(&mut client).await, (tag, refused.into()));
    }
    // Part of the request is still to come: it is swallowed, and the connection goes on.
    let mut large = b"get ".to_vec();
    large.resize(1 << 20, b'x');
    soon(client.write_all(&frame(4, &large))).await.unwrap();
    assert_eq!(hear(&mut client).await.0, 4);
    say(&mut client, 5, b"local").await;
    assert_eq!(hear(&mut client).await.1, "from weir");
    house.becomes(OPERATIONS, &["result=\"upstream_lost\""], 4.0).await;
    assert_eq!(house.number("weir_operation_retries_total", &[]), 8.0);
}

#[tokio::test]
async fn another_endpoint_is_tried_while_nothing_has_been_sent() {
    let upstream = Upstream::new().await;
    let house = toy_with(&[nobody().await, upstream.address()], "", "").await;
    for _ in 0..4 {
        let (_client, _server) = joined(&house, &upstream).await;
    }
    house.becomes(OPERATIONS, &["result=\"ok\""], 4.0).await;
    assert!(house.number("weir_operation_retries_total", &[]) >= 1.0);
}

#[tokio::test]
async fn a_limit_refuses_operations_and_keeps_the_connection() {
    let upstream = Upstream::new().await;
    let house = toy_with(&[upstream.address()], "", "circuit_breaker: { max_requests: 1 }").await;
    let (mut one, mut server) = joined(&house, &upstream).await;
    let (mut other, mut other_server) = joined(&house, &upstream).await;
    say(&mut one, 2, b"get a").await;
    hear(&mut server).await;
    say(&mut other, 2, b"get b").await;
    assert_eq!(hear(&mut other).await, (2, "refused: max_requests while admitted (proxy)".into()));
    say(&mut server, 2, b"a").await;
    hear(&mut one).await;
    house.becomes("weir_cluster_requests_active", &[], 0.0).await;
    say(&mut other, 3, b"get b").await;
    assert_eq!(hear(&mut other_server).await.0, 3);
    house.becomes("weir_refusals_total", &["reason=\"max_requests\""], 1.0).await;
}

#[tokio::test]
async fn long_polls_are_outside_the_limit_and_the_latencies() {
    let upstream = Upstream::new().await;
    let house = toy_with(&[upstream.address()], "", "circuit_breaker: { max_requests: 1 }").await;
    let (mut one, mut server) = joined(&house, &upstream).await;
    let (mut other, mut other_server) = joined(&house, &upstream).await;
    say(&mut one, 2, b"park").await;
    hear(&mut server).await;
    house.becomes("weir_operations_parked", &[], 1.0).await;
    say(&mut other, 2, b"get b").await;
    hear(&mut other_server).await;
    say(&mut other_server, 2, b"b").await;
    hear(&mut other).await;
    say(&mut server, 2, b"end").await;
    hear(&mut one).await;
    house.becomes(OPERATIONS, &["operation=\"park\""], 1.0).await;
    house.becomes("weir_operations_parked", &[], 0.0).await;
    assert_eq!(house.number("weir_operation_duration_seconds_count", &["operation=\"park\""]), 0.0);
}

#[tokio::test]
async fn what_cannot_be_read_goes_on_as_bytes_where_all_is_only_observed() {
    let upstream = Upstream::new().await;
    let house = toy(upstream.address()).await;
    // From the client, in the middle of a conversation.
    let (mut client, mut server) = joined(&house, &upstream).await;
    client.write_all(&[&frame(2, b"get a")[..], b"\xff\xff\xff\xffwhat is this"].concat()).await.unwrap();
    assert_eq!(hear(&mut server).await.0, 2);
    let mut raw = [0; 16];
    soon(server.read_exact(&mut raw)).await.unwrap();
    assert_eq!(&raw[4..], b"what is this");
    server.write_all(b"no message either").await.unwrap();
    let mut raw = [0; 17];
    soon(client.read_exact(&mut raw)).await.unwrap();
    assert_eq!(&raw, b"no message either");
    house.becomes("weir_connections_degraded_open", &[], 1.0).await;
    client.shutdown().await.unwrap();
    assert_eq!(rest(&mut server).await, b"");
    server.write_all(b"bye").await.unwrap();
    drop(server);
    assert_eq!(rest(&mut client).await, b"bye");
    house.becomes("weir_connections_degraded_open", &[], 0.0).await;
    // From the server.
    let (mut client, mut server) = joined(&house, &upstream).await;
    server.write_all(b"\0\0\0\x01?and so on").await.unwrap();
    let mut raw = [0; 14];
    soon(client.read_exact(&mut raw)).await.unwrap();
    assert_eq!(&raw, b"\0\0\0\x01?and so on");
    // From the very first byte.
    let mut client = house.connect("toys").await;
    client.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let mut server = upstream.accept().await;
    let mut raw = [0; 18];
    soon(server.read_exact(&mut raw)).await.unwrap();
    assert_eq!(&raw, b"GET / HTTP/1.1\r\n\r\n");
    house.becomes("weir_connections_degraded_total", &[], 3.0).await;
    assert_eq!(house.number("weir_malformed_total", &["side=\"client\"", "reason=\"message\""]), 2.0);
    assert_eq!(house.number("weir_malformed_total", &["side=\"upstream\"", "reason=\"length\""]), 1.0);
    house.becomes("weir_operations_in_flight", &[], 0.0).await;
    house.becomes("weir_failures_total", &["reason=\"malformed\"", "side=\"client\""], 1.0).await;
}

#[tokio::test]
async fn what_cannot_be_read_ends_the_connection_where_a_rule_is_in_force() {
    let upstream = Upstream::new().await;
    let house = toy(upstream.address()).await;
    let mut client = house.connect("strict").await;
    client.write_all(&[&frame(2, b"get a")[..], b"\xff\xff\xff\xffwhat is this"].concat()).await.unwrap();
    let mut server = upstream.accept().await;
    assert_eq!(rest(&mut server).await, frame(2, b"get a"));
    assert_eq!(hear(&mut client).await, (2, "refused: malformed while waiting (client)".into()));
    assert_eq!(rest(&mut client).await, b"");
    house.becomes("weir_malformed_total", &["side=\"client\""], 1.0).await;
    assert_eq!(house.number("weir_connections_degraded_total", &[]), 0.0);
}

#[tokio::test]
async fn an_idle_connection_is_closed_and_a_stalled_operation_answered() {
    let upstream = Upstream::new().await;
    let house = toy_with(&[upstream.address()], "idle_timeout: 200ms,", "").await;
    let (mut client, mut server) = joined(&house, &upstream).await;
    assert_eq!(rest(&mut client).await, b"");
    assert_eq!(rest(&mut server).await, b"");
    let (mut client, mut server) = joined(&house, &upstream).await;
    say(&mut client, 2, b"get stuck").await;
    hear(&mut server).await;
    assert_eq!(hear(&mut client).await, (2, "refused: idle_timeout while waiting (proxy)".into()));
    assert_eq!(rest(&mut server).await, b"");
}

#[tokio::test]
async fn a_drain_ends_connections_between_operations() {
    let upstream = Upstream::new().await;
    let house = toy(upstream.address()).await;
    let (mut idle, _idle_server) = joined(&house, &upstream).await;
    let (mut parked, mut parked_server) = joined(&house, &upstream).await;
    say(&mut parked, 2, b"park").await;
    hear(&mut parked_server).await;
    let (mut busy, mut server) = joined(&house, &upstream).await;
    say(&mut busy, 2, b"get a").await;
    hear(&mut server).await;
    let drain = house.server.drain(PATIENCE);
    let client = async {
        assert_eq!(rest(&mut idle).await, b"");
        assert_eq!(hear(&mut parked).await.1, "refused: draining while waiting (proxy)");
        assert_eq!(rest(&mut parked).await, b"");
        say(&mut server, 2, b"a").await;
        assert_eq!(hear(&mut busy).await, (2, "a".into()));
        assert_eq!(rest(&mut busy).await, b"");
        drop((idle, parked, busy));
    };
    let (drained, ()) = tokio::join!(drain, client);
    assert_eq!((drained.finished, drained.cut), (3, 0));
}

#[tokio::test]
async fn a_slow_reader_bounds_what_is_in_hand() {
    let upstream = Upstream::new().await;
    let house = toy(upstream.address()).await;
    // The client does not read its replies: the server is held back.
    let (mut client, mut server) = joined(&house, &upstream).await;
    say(&mut client, 2, b"watch").await;
    hear(&mut server).await;
    let chunk = frame(2, &[&b"+"[..], &vec![b'x'; 64 * 1024]].concat());
    let mut sent = 0;
    while let Ok(written) =
        tokio::time::timeout(Duration::from_millis(300), server.write(&chunk[sent % chunk.len()..])).await
    {
        sent += written.unwrap();
        assert!(sent < 64 << 20, "nothing holds the server back");
    }
    drop((client, server));
    // The server does not read requests: the client is held back.
    let (mut client, server) = joined(&house, &upstream).await;
    let chunk = frame(2, &[&b"fire"[..], &vec![b' '; 64 * 1024]].concat());
    let mut sent = 0;
    while let Ok(written) =
        tokio::time::timeout(Duration::from_millis(300), client.write(&chunk[sent % chunk.len()..])).await
    {
        sent += written.unwrap();
        assert!(sent < 64 << 20, "nothing holds the client back");
    }
    drop((client, server));
    house.becomes("weir_operations_in_flight", &["protocol=\"toy\""], 0.0).await;
}

#[tokio::test]
async fn too_many_operations_under_way_wait_unread() {
    let upstream = Upstream::new().await;
    let house = toy_with(&[upstream.address()], "", "circuit_breaker: { max_requests: 100000 }").await;
    let (mut client, mut server) = joined(&house, &upstream).await;
    let most = weir_drive::message::MAX_PENDING as u32;
    let all: Vec<u8> = (0..most + 10).flat_map(|tag| frame(tag + 2, b"get").to_vec()).collect();
    client.write_all(&all).await.unwrap();
    for _ in 0..most {
        hear(&mut server).await;
    }
    house.becomes("weir_message_limits_total", &["limit=\"pending\""], 1.0).await;
    assert_eq!(house.number("weir_operations_in_flight", &[]), f64::from(most));
    for tag in 0..most {
        say(&mut server, tag + 2, b"ok").await;
    }
    for _ in 0..10 {
        hear(&mut server).await;
    }
    for tag in most..most + 10 {
        say(&mut server, tag + 2, b"ok").await;
    }
    for tag in 0..most + 10 {
        assert_eq!(hear(&mut client).await.0, tag + 2);
    }
}

#[tokio::test]
async fn a_request_may_be_held_back_and_what_follows_waits_too() {
    let upstream = Upstream::new().await;
    let house = toy(upstream.address()).await;
    let (mut client, mut server) = joined(&house, &upstream).await;
    client.write_all(&[frame(2, b"later x"), frame(3, b"get y")].concat()).await.unwrap();
    assert_eq!(hear(&mut server).await, (2, "later x".into()));
    assert_eq!(hear(&mut server).await, (3, "get y".into()));
    say(&mut server, 2, b"a").await;
    say(&mut server, 3, b"b").await;
    assert_eq!(hear(&mut client).await, (2, "a".into()));
    assert_eq!(hear(&mut client).await, (3, "b".into()));
    let later = ["operation=\"later\""];
    house.becomes("weir_operation_duration_seconds_count", &later, 1.0).await;
    assert!(house.number("weir_operation_duration_seconds_sum", &later) >= 0.02);
    // A client that goes meanwhile is noticed, and what it asked for is counted.
    say(&mut client, 4, b"later z").await;
    drop(client);
    assert_eq!(rest(&mut server).await, b"");
    house.becomes(OPERATIONS, &["operation=\"later\"", "result=\"client_gone\""], 1.0).await;
    house.becomes("weir_operations_in_flight", &[], 0.0).await;
}

#[tokio::test]
async fn an_overdue_operation_takes_the_upstream_connection_with_it() {
    let upstream = Upstream::new().await;
    let house = toy(upstream.address()).await;
    let (mut client, mut server) = joined(&house, &upstream).await;
    say(&mut client, 2, b"limit x").await;
    hear(&mut server).await;
    let refusal = "refused: timeout while waiting (proxy)";
    assert_eq!(hear(&mut client).await, (2, refusal.into()));
    assert_eq!(rest(&mut server).await, b"");
    // The client's connection goes on over another one.
    say(&mut client, 3, b"get y").await;
    let mut server = upstream.accept().await;
    assert_eq!(hear(&mut server).await, (3, "get y".into()));
    say(&mut server, 3, b"yes").await;
    assert_eq!(hear(&mut client).await, (3, "yes".into()));
    // Answered in time, nothing happens later either.
    say(&mut client, 4, b"limit z").await;
    hear(&mut server).await;
    say(&mut server, 4, b"in time").await;
    assert_eq!(hear(&mut client).await, (4, "in time".into()));
    tokio::time::sleep(Duration::from_millis(60)).await;
    say(&mut client, 5, b"get").await;
    assert_eq!(hear(&mut server).await, (5, "get".into()));
}

#[tokio::test]
async fn an_overdue_operation_ends_a_connection_that_cannot_go_on() {
    let upstream = Upstream::new().await;
    let house = toy(upstream.address()).await;
    let mut client = house.connect("strict").await;
    say(&mut client, 2, b"limit x").await;
    let mut server = upstream.accept().await;
    hear(&mut server).await;
    assert_eq!(hear(&mut client).await, (2, "refused: timeout while waiting (proxy)".into()));
    assert_eq!(rest(&mut client).await, b"");
    assert_eq!(rest(&mut server).await, b"");
    // One that has begun to be answered cannot be refused any more.
    let (mut client, mut server) = joined(&house, &upstream).await;
    say(&mut client, 2, b"limit x").await;
    hear(&mut server).await;
    server.write_all(&frame(2, b"a long reply")[..18]).await.unwrap();
    assert_eq!(rest(&mut server).await, b"");
    assert_eq!(rest(&mut client).await, frame(2, b"a long reply")[..18]);
}
