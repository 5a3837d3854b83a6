//! How connections end, and what becomes of the operations under way.

use super::*;

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
    // Who goes leaves what he waited for: nothing has failed.
    let (mut client, mut server) = joined(&house, &upstream).await;
    say(&mut client, 2, b"park").await;
    hear(&mut server).await;
    drop(client);
    assert_eq!(rest(&mut server).await, b"");
    house.becomes(OPERATIONS, &["operation=\"park\""], 1.0).await;
    assert_eq!(house.number("weir_failures_total", &[]), 3.0);
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
async fn a_connection_outlives_its_upstream_where_nothing_is_missing_on_the_next() {
    let upstream = Upstream::new().await;
    let house = toy(upstream.address()).await;
    let (mut client, mut server) = joined(&house, &upstream).await;
    for tag in 2..5 {
        say(&mut client, tag, b"get a").await;
        hear(&mut server).await;
        if tag == 3 {
            reset(server).await
        } else {
            drop(server)
        }
        let told = hear(&mut client).await;
        assert!(told.0 == tag && told.1.ends_with("while waiting (network)"), "{told:?}");
        // It is done anew at once, on the same connection.
        say(&mut client, tag + 10, b"get a").await;
        server = upstream.accept().await;
        assert_eq!(hear(&mut server).await, (tag + 10, "get a".into()));
        say(&mut server, tag + 10, b"here").await;
        assert_eq!(hear(&mut client).await, (tag + 10, "here".into()));
    }
    house.becomes("weir_cluster_attempts_total", &["outcome=\"failed\""], 3.0).await;
    // When the server cannot be reached any more the client is told, and closed: elsewhere it may be better off.
    say(&mut client, 21, b"get b").await;
    hear(&mut server).await;
    drop(upstream);
    drop(server);
    assert_eq!(hear(&mut client).await.0, 21);
    say(&mut client, 22, b"get c").await;
    assert_eq!(hear(&mut client).await, (22, "refused: connect_failed while connecting (network)".into()));
    assert_eq!(rest(&mut client).await, b"");
    // Where something would be missing, the connection ends with the answer.
    let upstream = Upstream::new().await;
    let house = toy(upstream.address()).await;
    let mut strict = house.connect("strict").await;
    say(&mut strict, 1, b"get a").await;
    let mut server = upstream.accept().await;
    hear(&mut server).await;
    drop(server);
    assert_eq!(hear(&mut strict).await, (1, "refused: closed while waiting (network)".into()));
    assert_eq!(rest(&mut strict).await, b"");
}

#[tokio::test]
async fn what_cannot_be_reached_is_answered_operation_by_operation() {
    let house = toy(nobody()).await;
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
    // One endpoint, asked once for each.
    assert_eq!(house.number("weir_operation_retries_total", &[]), 0.0);
    assert_eq!(house.number("weir_cluster_connect_failures_total", &[]), 4.0);
}

#[tokio::test]
async fn another_endpoint_is_tried_while_nothing_has_been_sent() {
    let upstream = Upstream::new().await;
    let house = toy_with(&[nobody(), upstream.address()], "", "").await;
    for _ in 0..4 {
        let (_client, _server) = joined(&house, &upstream).await;
    }
    house.becomes(OPERATIONS, &["result=\"ok\""], 4.0).await;
    assert!(house.number("weir_cluster_repicks_total", &[]) >= 1.0);
    assert_eq!(house.number("weir_operation_retries_total", &[]), 0.0);
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
async fn what_comes_while_the_connection_is_made_goes_on_as_bytes_too() {
    // A backlog that is full: the connection is made some time after there is room.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into()).unwrap();
    socket.listen(0).unwrap();
    socket.set_nonblocking(true).unwrap();
    let upstream = Upstream(tokio::net::TcpListener::from_std(socket.into()).unwrap());
    let fills = TcpStream::connect(upstream.address()).await.unwrap();
    let house = toy(upstream.address()).await;
    let mut client = house.connect("toys").await;
    client.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
    house.becomes("weir_connections_degraded_total", &[], 1.0).await;
    client.write_all(b"Host: weir\r\n").await.unwrap();
    tokio::time::sleep(Duration::from_millis(20)).await;
    client.write_all(b"\r\n").await.unwrap();
    drop(upstream.accept().await);
    let mut server = upstream.accept().await;
    let mut raw = [0; 30];
    soon(server.read_exact(&mut raw)).await.unwrap();
    assert_eq!(&raw, b"GET / HTTP/1.1\r\nHost: weir\r\n\r\n");
    drop((client, fills));
    assert_eq!(rest(&mut server).await, b"");
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
async fn a_drain_waits_for_what_is_open_and_lets_those_that_stay_for_others_go_last() {
    let upstream = Upstream::new().await;
    let house = toy(upstream.address()).await;
    let (mut open, mut open_server) = joined(&house, &upstream).await;
    say(&mut open, 2, b"open").await;
    hear(&mut open_server).await;
    say(&mut open_server, 2, b"a").await;
    hear(&mut open).await;
    let mut stays = Vec::new();
    for _ in 0..2 {
        let (mut stay, mut server) = joined(&house, &upstream).await;
        say(&mut stay, 2, b"stay").await;
        hear(&mut server).await;
        stays.push((stay, server));
    }
    let (mut idle, _idle_server) = joined(&house, &upstream).await;
    let drain = house.server.drain(PATIENCE);
    let client = async {
        assert_eq!(rest(&mut idle).await, b"", "nothing holds it");
        for n in 0..3 {
            // Longer than any quiet, and nothing is turned away before half of the time is over.
            tokio::time::sleep(Duration::from_millis(150)).await;
            say(&mut open, n + 3, b"safe").await;
            assert_eq!(hear(&mut open_server).await.1, "safe");
            say(&mut open_server, n + 3, b"b").await;
            assert_eq!(hear(&mut open).await, (n + 3, "b".into()));
        }
        for (stay, server) in &mut stays {
            // The long poll is answered, and asked anew: it is still there for the others.
            say(server, 2, b"nothing").await;
            assert_eq!(hear(stay).await.1, "nothing");
            say(stay, 3, b"stay").await;
            assert_eq!(hear(server).await.1, "stay");
        }
        say(&mut open, 9, b"done").await;
        hear(&mut open_server).await;
        say(&mut open_server, 9, b"c").await;
        assert_eq!(hear(&mut open).await, (9, "c".into()));
        assert_eq!(rest(&mut open).await, b"");
        for (stay, _) in &mut stays {
            assert_eq!(hear(stay).await.1, "refused: draining while waiting (proxy)");
            assert_eq!(rest(stay).await, b"");
        }
        drop((idle, open, stays));
    };
    let (drained, ()) = tokio::join!(drain, client);
    assert_eq!((drained.finished, drained.cut), (4, 0));
}

#[tokio::test]
async fn in_the_second_half_of_a_drain_what_is_repeated_elsewhere_is_turned_away() {
    let upstream = Upstream::new().await;
    let text = format!(
        "workers: 2\ndrain_timeout: 1s\nlisteners: {{ toys: {{ bind: '127.0.0.1:0', toy: {{ cluster: up }} }} }}\n\
         clusters: {{ up: {{ endpoints: ['{}'] }} }}\n",
        upstream.address()
    );
    let house = House::start_with(&text, FILTERS).await.unwrap();
    let (mut open, mut open_server) = joined(&house, &upstream).await;
    let (mut busy, mut server) = joined(&house, &upstream).await;
    let (mut stay, mut stay_server) = joined(&house, &upstream).await;
    for (client, server, word) in
        [(&mut open, &mut open_server, "open"), (&mut stay, &mut stay_server, "stay")]
    {
        say(client, 2, word.as_bytes()).await;
        hear(server).await;
    }
    say(&mut open_server, 2, b"a").await;
    hear(&mut open).await;
    let drain = house.server.drain(PATIENCE);
    let client = async {
        let mut served = 0;
        for n in 0.. {
            // Never quiet.
            say(&mut busy, n, b"get it").await;
            hear(&mut server).await;
            say(&mut server, n, b"it").await;
            assert_eq!(hear(&mut busy).await.1, "it");
            say(&mut busy, n, b"safe").await;
            if soon(server.read_exact(&mut [0; 12])).await.is_err() {
                assert_eq!(rest(&mut busy).await, b"", "it ends without an answer");
                break;
            }
            say(&mut server, n, b"it").await;
            assert_eq!(hear(&mut busy).await.1, "it");
            served += 1;
        }
        assert!(served > 1, "not before half of the time is over");
        // Those that stay for the others do not wait for the open one any longer.
        assert_eq!(hear(&mut stay).await.1, "refused: draining while waiting (proxy)");
        // What stays for something is served to the end.
        say(&mut open, 7, b"safe").await;
        hear(&mut open_server).await;
        drop((busy, stay, open));
    };
    let (drained, ()) = tokio::join!(drain, client);
    assert_eq!((drained.finished, drained.cut), (3, 0));
    assert_eq!(house.number("weir_refusals_total", &["toys", "up", "toy", "draining"]), 2.0);
}
