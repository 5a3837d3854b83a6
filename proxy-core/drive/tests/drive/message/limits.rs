//! Limits: of operations, of time, of what is in hand.

use super::*;

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
async fn much_at_once_is_done_in_turns() {
    let upstream = Upstream::new().await;
    let house = toy(upstream.address()).await;
    let mut client = house.connect("toys").await;
    let many: Vec<u8> = (0..1000).flat_map(|tag| frame(tag, b"count")).collect();
    soon(client.write_all(&many)).await.unwrap();
    let mut longest = 0;
    for tag in 0..1000 {
        let (answered, decided) = hear(&mut client).await;
        assert_eq!(answered, tag);
        longest = longest.max(decided.parse().unwrap());
    }
    assert!((2..=200).contains(&longest), "{longest} at one go");
}

#[tokio::test]
async fn much_work_ends_the_turn() {
    let upstream = Upstream::new().await;
    let house = toy(upstream.address()).await;
    let mut client = house.connect("toys").await;
    let many: Vec<u8> = (0..50).flat_map(|tag| frame(tag, b"count toil")).collect();
    soon(client.write_all(&many)).await.unwrap();
    for tag in 0..50 {
        assert_eq!(hear(&mut client).await, (tag, "1".into()), "one in each turn");
    }
}

#[tokio::test]
async fn what_waits_for_room_goes_on_when_a_slow_reader_has_read() {
    let upstream = Upstream::new().await;
    let house = toy(upstream.address()).await;
    // What the client has not read fills its connection soon.
    let client = tokio::net::TcpSocket::new_v4().unwrap();
    client.set_recv_buffer_size(4096).unwrap();
    let mut client = client.connect(house.address("toys")).await.unwrap();
    say(&mut client, 1, b"get ready").await;
    let mut server = upstream.accept().await;
    hear(&mut server).await;
    say(&mut server, 1, b"here").await;
    hear(&mut client).await;
    let (mut read, mut write) = client.into_split();
    // As many as there may be, one of them with a long answer, and some more behind them.
    let get = |tag| frame(tag, b"get one");
    let first = [frame(2, b"watch"), (3..1026).flat_map(get).collect()].concat();
    let more: Vec<u8> = (1026..1100).flat_map(get).collect();
    soon(write.write_all(&[&first[..], &more].concat())).await.unwrap();
    let mut seen = vec![0; first.len()];
    soon(server.read_exact(&mut seen)).await.unwrap();
    let chunk = frame(2, &[b'+'; 64 * 1024]);
    let ends = [frame(2, b"end"), (3..1026).flat_map(|tag| frame(tag, b"1")).collect()].concat();
    let size = 10 * chunk.len() + ends.len();
    let answers = tokio::spawn(async move {
        for _ in 0..10 {
            server.write_all(&chunk).await.unwrap();
        }
        server.write_all(&ends).await.unwrap();
        server
    });
    let (mut heard, mut buffer) = (0, vec![0; 4096]);
    while heard < size {
        tokio::time::sleep(Duration::from_millis(1)).await;
        heard += soon(read.read(&mut buffer)).await.unwrap();
    }
    let mut server = answers.await.unwrap();
    let mut seen = vec![0; more.len()];
    soon(server.read_exact(&mut seen)).await.unwrap();
    assert_eq!(seen, more);
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
async fn a_long_poll_is_no_idleness() {
    let upstream = Upstream::new().await;
    let house = toy_with(&[upstream.address()], "idle_timeout: 200ms,", "").await;
    let (mut client, mut server) = joined(&house, &upstream).await;
    say(&mut client, 2, b"park").await;
    hear(&mut server).await;
    let longer = Duration::from_millis(700);
    assert!(tokio::time::timeout(longer, hear(&mut client)).await.is_err(), "it was ended");
    say(&mut server, 2, b"news").await;
    assert_eq!(hear(&mut client).await, (2, "news".into()));
    // Once it is answered the connection is as idle as any other.
    assert_eq!(rest(&mut client).await, b"");
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

#[tokio::test]
async fn what_is_under_way_besides_is_not_overdue() {
    let upstream = Upstream::new().await;
    let house = toy(upstream.address()).await;
    let (mut client, mut server) = joined(&house, &upstream).await;
    for (first, second) in [("limit x", "get y"), ("get x", "limit y")] {
        let both = [frame(2, first.as_bytes()), frame(3, second.as_bytes())].concat();
        client.write_all(&both).await.unwrap();
        hear(&mut server).await;
        hear(&mut server).await;
        let told = |asked: &str| {
            let reason = if asked.starts_with("limit") { "timeout" } else { "closed" };
            format!("refused: {reason} while waiting (proxy)")
        };
        assert_eq!(hear(&mut client).await, (2, told(first)));
        assert_eq!(hear(&mut client).await, (3, told(second)));
        assert_eq!(rest(&mut client).await, b"");
        assert_eq!(rest(&mut server).await, b"");
        (client, server) = joined(&house, &upstream).await;
    }
}
