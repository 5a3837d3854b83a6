//! Tries: another endpoint, another connection, another time; and what is never tried again.

use crate::house::{House, nobody, soon};
use crate::peer::{BOTH, Got, Sent, Version, h1_reply, h2_on, origin, request};
use bytes::{Bytes, BytesMut};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Barrier;
use weir_codecs::http1::Method;

/// An HTTP/1 server that reads a request and answers all of them so.
async fn always(answer: &'static [u8]) -> (SocketAddr, Arc<AtomicU32>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let count = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&count);
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let counted = Arc::clone(&counted);
            tokio::spawn(async move {
                let mut buf = BytesMut::with_capacity(16 * 1024);
                while stream.read_buf(&mut buf).await.unwrap_or(0) > 0 {
                    if buf.ends_with(b"\r\n\r\n") || buf.ends_with(b"body") {
                        buf.clear();
                        counted.fetch_add(1, Ordering::Relaxed);
                        if answer.is_empty() || stream.write_all(answer).await.is_err() {
                            return;
                        }
                    }
                }
            });
        }
    });
    (address, count)
}

const DOWN: &[u8] = b"HTTP/1.1 503 Down\r\ncontent-length: 4\r\n\r\ndown";
const FINE: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nfine";

async fn house(endpoints: &[SocketAddr], route: &str) -> House {
    let endpoints: Vec<_> = endpoints.iter().map(|address| format!("'{address}'")).collect();
    House::start(&format!(
        "workers: 1
listeners: {{ edge: {{ bind: '127.0.0.1:0', http: {{ routes: [{{ cluster: up, {route} }}] }} }} }}
clusters: {{ up: {{ endpoints: [{}], circuit_breaker: {{ max_retries: 100, retry_budget: {{ min_retries: 100 }} }} }} }}",
        endpoints.join(", ")
    ))
    .await
}

#[tokio::test]
async fn one_sick_and_one_dead_of_three_cost_no_request() {
    for version in BOTH {
        let (sick, sick_count) = always(DOWN).await;
        let (well, well_count) = always(FINE).await;
        let retry = "retry: { retry_on: [5xx, reset, connect-failure], max_retries: 3, back_off: 1ms }";
        let house = house(&[sick, nobody(), well], retry).await;
        for n in 0..60 {
            let (method, body) =
                if n % 3 == 0 { ("PUT", Sent::Length(b"body".to_vec())) } else { ("GET", Sent::None) };
            let got = request(version, house.address(), method, "/", body).await;
            assert_eq!((got.status, &*got.text()), (200, "fine"), "request {n}: {got:?}");
        }
        assert_eq!(well_count.load(Ordering::Relaxed), 60);
        assert!(sick_count.load(Ordering::Relaxed) > 0);
        house.becomes("weir_operations_total", &["result=\"ok\""], 60.0).await;
        assert_eq!(house.number("weir_operations_total", &[]), 60.0);
        let retries = house.number("weir_operation_retries_total", &[]);
        let repicks = house.number("weir_cluster_repicks_total", &[]);
        assert!(repicks > 0.0);
        assert_eq!(house.number("weir_cluster_attempts_total", &[]), 60.0 + retries + repicks);
    }
}

#[tokio::test]
async fn without_a_policy_the_failure_is_the_answer() {
    let (sick, count) = always(DOWN).await;
    let house = house(&[sick, sick_twin().await], "name: all").await;
    let got = request(Version::H1, house.address(), "GET", "/", Sent::None).await;
    assert_eq!((got.status, &*got.text()), (503, "down"));
    assert!(count.load(Ordering::Relaxed) <= 1);
    house.counted("server_error", "503").await;
}

async fn sick_twin() -> SocketAddr {
    always(DOWN).await.0
}

#[tokio::test]
async fn when_all_fail_the_last_failure_is_the_answer() {
    let house =
        house(&[sick_twin().await, sick_twin().await], "retry: { retry_on: [5xx], back_off: 1ms }").await;
    let got = request(Version::H1, house.address(), "GET", "/", Sent::None).await;
    assert_eq!((got.status, &*got.text()), (503, "down"));
    house.becomes("weir_operation_retries_total", &[], 1.0).await;
    house.counted("server_error", "503").await;
}

#[tokio::test]
async fn what_must_not_be_repeated_is_not() {
    // A POST that may have been acted upon; a body larger than what is kept; a reply that has begun.
    let lost = always(b"").await;
    let house_ = house(&[lost.0], "retry: { retry_on: [reset, 5xx], max_retries: 5, back_off: 1ms }").await;
    let got = request(Version::H1, house_.address(), "POST", "/", Sent::Length(b"body".to_vec())).await;
    assert_eq!((got.status, lost.1.load(Ordering::Relaxed)), (502, 1));

    let house_ =
        house(&[lost.0], "retry: { retry_on: [reset], buffer: 16, max_retries: 5, back_off: 1ms }").await;
    let large = [vec![b'x'; 100], b"body".to_vec()].concat();
    let got = request(Version::H1, house_.address(), "PUT", "/", Sent::Length(large)).await;
    assert_eq!((got.status, lost.1.load(Ordering::Relaxed)), (502, 2));
    house_.becomes("weir_http_replay_exceeded_total", &[], 1.0).await;

    let (half, count) = always(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\nconnection: close\r\n\r\nha").await;
    let house_ = house(&[half], "retry: { retry_on: [reset, 5xx], max_retries: 5, back_off: 1ms }").await;
    let mut client = TcpStream::connect(house_.address()).await.unwrap();
    client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    let mut seen = Vec::new();
    while !seen.ends_with(b"ha") {
        soon(client.read_buf(&mut seen)).await.unwrap();
    }
    socket2::SockRef::from(&client).set_linger(Some(Duration::ZERO)).unwrap();
    drop(client);
    house_.counted("client_gone", "200").await;
    assert_eq!(count.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_posts_connection_failure_is_tried_again() {
    let (well, _) = always(FINE).await;
    let dead = nobody();
    let house = house(&[dead, well], "retry: { retry_on: [connect-failure], back_off: 1ms }").await;
    for _ in 0..6 {
        let got = request(Version::H1, house.address(), "POST", "/", Sent::Length(b"body".to_vec())).await;
        assert_eq!((got.status, &*got.text()), (200, "fine"));
    }
}

#[tokio::test]
async fn timeouts_end_tries_and_exchanges() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap();
    let (well, _) = always(FINE).await;
    let route = "retry: { retry_on: [reset], per_try_timeout: 30ms, back_off: 1ms }";
    let house_ = house(&[address, well], route).await;
    for _ in 0..4 {
        let got = request(Version::H1, house_.address(), "GET", "/", Sent::None).await;
        assert_eq!((got.status, &*got.text()), (200, "fine"));
    }
    for version in BOTH {
        let house_ = house(&[address], "timeout: 40ms").await;
        let got = request(version, house_.address(), "GET", "/", Sent::None).await;
        assert_eq!((got.status, got.field("x-weir-reason")), (504, Some("timeout")));
        house_.counted("timeout", "504").await;
    }
}

#[tokio::test]
async fn refusals_say_why() {
    for version in BOTH {
        let house_ = house(&[nobody()], "name: all").await;
        let got = request(version, house_.address(), "GET", "/", Sent::None).await;
        assert_eq!((got.status, got.field("x-weir-reason")), (502, Some("connect_failed")), "{got:?}");
        assert!(got.field("date").is_some());
        house_.counted("upstream_lost", "502").await;

        let house_ = house(&[nobody()], "path: /only").await;
        let got = request(version, house_.address(), "GET", "/other", Sent::None).await;
        assert_eq!((got.status, got.field("x-weir-reason")), (404, Some("no_route")));
        house_.counted("refused", "404").await;
        house_.becomes("weir_refusals_total", &["reason=\"no_route\""], 1.0).await;
    }
}

#[tokio::test]
async fn http2_streams_share_connections_and_survive_goaway() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let refused = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&refused);
    // Every connection serves three streams, refuses the fourth, and says GOAWAY.
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let count = Arc::clone(&count);
            tokio::spawn(async move {
                let mut connection = h2::server::Builder::new().handshake::<_, Bytes>(stream).await.unwrap();
                let mut served = 0;
                while let Some(Ok((_, mut respond))) = connection.accept().await {
                    served += 1;
                    if served > 3 {
                        count.fetch_add(1, Ordering::Relaxed);
                        respond.send_reset(h2::Reason::REFUSED_STREAM);
                        connection.graceful_shutdown();
                        continue;
                    }
                    let mut out = respond.send_response(http::Response::new(()), false).unwrap();
                    out.send_data(Bytes::from_static(b"fine"), true).unwrap();
                }
            });
        }
    });
    let house = House::simple(address, "http2").await;
    for n in 0..20 {
        let got = request(Version::H1, house.address(), "POST", "/", Sent::None).await;
        assert_eq!((got.status, &*got.text()), (200, "fine"), "request {n}");
    }
    assert!(refused.load(Ordering::Relaxed) >= 5);
    let connections = house.number("weir_cluster_connections_total", &[]);
    assert!((6.0..=8.0).contains(&connections), "{connections}");
    house.becomes("weir_operations_total", &["result=\"ok\""], 20.0).await;
}

#[tokio::test]
async fn no_more_streams_than_the_server_takes() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let most = Arc::new(AtomicU32::new(0));
    let seen = Arc::clone(&most);
    tokio::spawn(async move {
        let (any, all) = (Arc::new(AtomicBool::new(false)), Arc::new(Barrier::new(30)));
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (seen, any, all) = (Arc::clone(&seen), Arc::clone(&any), Arc::clone(&all));
            tokio::spawn(async move {
                let mut builder = h2::server::Builder::new();
                builder.max_concurrent_streams(3);
                let mut connection = builder.handshake::<_, Bytes>(stream).await.unwrap();
                let open = Arc::new(AtomicU32::new(0));
                while let Some(Ok((_, mut respond))) = connection.accept().await {
                    let now = open.fetch_add(1, Ordering::Relaxed) + 1;
                    seen.fetch_max(now, Ordering::Relaxed);
                    let (open, all) = (Arc::clone(&open), Arc::clone(&all));
                    let is_first = !any.swap(true, Ordering::Relaxed);
                    tokio::spawn(async move {
                        // All but the first are answered once all of them are under way.
                        if !is_first {
                            all.wait().await;
                        }
                        open.fetch_sub(1, Ordering::Relaxed);
                        let mut out = respond.send_response(http::Response::new(()), false).unwrap();
                        out.send_data(Bytes::from_static(b"fine"), true).ok();
                    });
                }
            });
        }
    });
    let house = House::simple(address, "http2").await;
    // The first learns the server's limit.
    let first = request(Version::H1, house.address(), "GET", "/", Sent::None).await;
    assert_eq!(first.status, 200);
    let stream = TcpStream::connect(house.address()).await.unwrap();
    let (send, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let all = (0..30).map(|_| tokio::spawn(h2_on(send.clone(), "GET", "/", &[], Sent::None)));
    for one in all.collect::<Vec<_>>() {
        let got: Got = soon(one).await.unwrap();
        assert_eq!((got.status, &*got.text()), (200, "fine"));
    }
    assert_eq!(most.load(Ordering::Relaxed), 3);
    assert!(house.number("weir_cluster_connections_total", &[]) >= 10.0);
}

#[tokio::test]
async fn an_idle_connection_makes_room_for_one_to_another_server() {
    let (one, two) = (origin(Version::H2).await, origin(Version::H2).await);
    let house = House::start(&format!(
        "workers: 1
listeners: {{ edge: {{ bind: '127.0.0.1:0', http: {{ cluster: up }} }} }}
clusters:
  up: {{ endpoints: ['{one}', '{two}'], protocol: http2, balance: round_robin, circuit_breaker: {{ max_connections: 1 }} }}"
    ))
    .await;
    for version in BOTH {
        for _ in 0..4 {
            assert_eq!(request(version, house.address(), "GET", "/", Sent::None).await.status, 200);
        }
    }
    house.becomes("weir_operations_total", &["result=\"ok\""], 8.0).await;
    assert!(house.number("weir_cluster_connections_total", &[]) >= 8.0, "{}", house.metrics());
}

#[tokio::test]
async fn refused_streams_are_tried_again_as_often_as_the_policy_says() {
    let once =
        [("timeout: 10s", 2), ("retry: { retry_on: [refused-stream], max_retries: 2, back_off: 1ms }", 3)];
    for (route, tries) in once {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let count = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&count);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let mut connection = h2::server::handshake(stream).await.unwrap();
                while let Some(Ok((_, mut respond))) = connection.accept().await {
                    counted.fetch_add(1, Ordering::Relaxed);
                    respond.send_reset(h2::Reason::REFUSED_STREAM);
                }
            }
        });
        let house = House::start(&format!(
            "workers: 1
listeners: {{ edge: {{ bind: '127.0.0.1:0', http: {{ routes: [{{ cluster: up, {route} }}] }} }} }}
clusters: {{ up: {{ endpoints: ['{address}'], protocol: http2 }} }}"
        ))
        .await;
        assert_eq!(request(Version::H1, house.address(), "GET", "/", Sent::None).await.status, 502);
        assert_eq!(count.load(Ordering::Relaxed), tries, "{route}");
    }
}

#[tokio::test]
async fn clients_that_do_not_go_are_left() {
    let up = nobody();
    for (settings, preface) in [
        (
            "http: { keep_alive: 50ms, cluster: up }",
            &b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0"[..],
        ),
        ("idle_timeout: 50ms, http: { cluster: up }", b""),
    ] {
        let house = House::start(&format!(
            "workers: 1
listeners: {{ edge: {{ bind: '127.0.0.1:0', {settings} }} }}
clusters: {{ up: {{ endpoints: ['{up}'] }} }}"
        ))
        .await;
        let mut stream = TcpStream::connect(house.address()).await.unwrap();
        stream.write_all(preface).await.unwrap();
        let mut all = Vec::new();
        soon(async { while let Ok(1..) = stream.read_buf(&mut all).await {} }).await;
    }
}

#[tokio::test]
async fn a_client_that_stalls_in_its_body_is_to_blame() {
    let silent = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let up = silent.local_addr().unwrap();
    let held = tokio::spawn(async move {
        let mut all = Vec::new();
        while let Ok(one) = silent.accept().await {
            all.push(one);
        }
    });
    let house = House::start(&format!(
        "workers: 1
listeners: {{ edge: {{ bind: '127.0.0.1:0', idle_timeout: 50ms, http: {{ cluster: up }} }} }}
clusters: {{ up: {{ endpoints: ['{up}'] }} }}"
    ))
    .await;
    for (body, status) in [("abc", "408"), ("abcdefghij", "504")] {
        let mut stream = TcpStream::connect(house.address()).await.unwrap();
        let request = format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\n{body}");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut all = Vec::new();
        soon(async { while let Ok(1..) = stream.read_buf(&mut all).await {} }).await;
        let text = String::from_utf8_lossy(&all);
        assert!(text.starts_with(&format!("HTTP/1.1 {status} ")), "{body}: {text}");
    }
    held.abort();
}

#[tokio::test]
async fn dialects_name_hold_judge_and_refuse() {
    let good = always(b"HTTP/1.1 200 OK\r\nx-toy-status: fine\r\ncontent-length: 0\r\n\r\n").await;
    let late =
        always(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\nx-toy-status: later\r\n\r\n")
            .await;
    let route = "dialect: toy, retry: { retry_on: [unavailable], max_retries: 2, back_off: 1ms }";
    let house_ = house(&[good.0, late.0], route).await;
    for _ in 0..4 {
        let got = crate::peer::h1_request(
            house_.address(),
            "POST",
            "/",
            &[("X-Toy", "spin")],
            Sent::Length(b"body".to_vec()),
        )
        .await;
        assert_eq!(got.field("x-toy-status"), Some("fine"), "{got:?}");
    }
    let labels =
        ["protocol=\"toy\"", "operation=\"spin\"", "resource=\"toys:4\"", "result=\"ok\"", "code=\"fine\""];
    house_.becomes("weir_operations_total", &labels, 4.0).await;
    assert!(late.1.load(Ordering::Relaxed) > 0);
    // Not of the dialect: plain HTTP.
    let got = request(Version::H1, house_.address(), "GET", "/", Sent::None).await;
    assert_eq!(got.status, 200);
    house_.becomes("weir_operations_total", &["protocol=\"http\""], 1.0).await;

    // In the dialect's words, head and trailers.
    let house_ = house(&[nobody()], "dialect: toy").await;
    let got = crate::peer::h2_request(house_.address(), "GET", "/", &[("x-toy", "spin")], Sent::None).await;
    assert_eq!((got.status, got.field("x-toy-status")), (200, Some("connect_failed")));
    house_.counted("bad", "connect_failed").await;

    let (half, _) = always(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nha\r\n").await;
    let house_ = house(&[half], "dialect: toy").await;
    let fields = [("x-toy", "spin"), ("x-toy-timeout", "1")];
    let got = crate::peer::h2_request(house_.address(), "GET", "/", &fields, Sent::None).await;
    assert_eq!((&*got.text(), got.broken), ("ha", false), "{got:?}");
    assert_eq!(got.trailers, [("x-toy-status".into(), "deadline".into())]);
    house_.counted("bad", "deadline").await;
}

#[tokio::test]
async fn redirects_and_direct_responses() {
    let house = House::start(
        "workers: 1
listeners:
  edge:
    bind: '127.0.0.1:0'
    http:
      routes:
        - { path: /old, redirect: { path: /new, status: 308 } }
        - { path_prefix: /tls, redirect: { scheme: https } }
        - { method: [POST], path: /say, direct_response: { status: 201, body: said } }
        - { headers: [{ name: X-Who, prefix: me }], direct_response: { status: 202 } }
",
    )
    .await;
    for version in BOTH {
        let ask = |method, path| request(version, house.address(), method, path, Sent::None);
        let got = ask("GET", "/old?x=1").await;
        assert_eq!((got.status, got.field("location")), (308, Some("/new")));
        let got = ask("GET", "/tls/a?b=c").await;
        assert_eq!((got.status, got.field("location")), (301, Some("https://test.local/tls/a?b=c")));
        let got = ask("POST", "/say").await;
        assert_eq!((got.status, &*got.text()), (201, "said"));
        assert_eq!(ask("GET", "/say").await.status, 404);
    }
    house
        .becomes("weir_operations_total", &["resource=\"POST /say\"", "result=\"ok\"", "code=\"201\""], 2.0)
        .await;
    let got = crate::peer::h1_request(house.address(), "GET", "/", &[("x-who", "me too")], Sent::None).await;
    assert_eq!(got.status, 202);
}

#[tokio::test]
async fn draining_finishes_what_is_under_way() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let house = House::simple(listener.local_addr().unwrap(), "http1").await;
    let mut idle = TcpStream::connect(house.address()).await.unwrap();
    let mut busy = TcpStream::connect(house.address()).await.unwrap();
    busy.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    let (mut upstream, _) = soon(listener.accept()).await.unwrap();
    let other = TcpStream::connect(house.address()).await.unwrap();
    let (send, connection) = h2::client::handshake(other).await.unwrap();
    let h2 = tokio::spawn(connection);
    let second = tokio::spawn(h2_on(send, "GET", "/", &[], Sent::None));
    let (mut upstream_2, _) = soon(listener.accept()).await.unwrap();

    let drained = house.server.drain(Duration::from_secs(10));
    let finish = async {
        assert_eq!(soon(idle.read(&mut [0; 8])).await.unwrap(), 0, "an idle connection is closed");
        upstream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.unwrap();
        let got = soon(h1_reply(&mut busy, &mut BytesMut::new(), Method::Get)).await;
        assert_eq!((got.field("connection"), &*got.text()), (Some("close"), "ok"));
        upstream_2.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.unwrap();
        assert_eq!(soon(second).await.unwrap().text(), "ok");
        soon(h2).await.unwrap().ok();
    };
    let (_, ()) = soon(async { tokio::join!(drained, finish) }).await;
    house.becomes("weir_operations_total", &["result=\"ok\""], 2.0).await;
}

#[tokio::test]
async fn draining_answers_what_was_on_its_way() {
    let (server, _) = always(FINE).await;
    let house = house(&[server], "timeout: 10s").await;
    let mut busy = TcpStream::connect(house.address()).await.unwrap();
    let mut fresh = TcpStream::connect(house.address()).await.unwrap();
    let mut buf = BytesMut::new();
    busy.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    assert_eq!(soon(h1_reply(&mut busy, &mut buf, Method::Get)).await.field("connection"), None);
    let address = house.address();
    let late = async {
        // Nobody listens any more once the drain has begun.
        while TcpStream::connect(address).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        for stream in [&mut busy, &mut fresh] {
            stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
            let got = soon(h1_reply(stream, &mut buf, Method::Get)).await;
            assert_eq!((got.status, got.field("connection"), &*got.text()), (200, Some("close"), "fine"));
        }
    };
    let (_, ()) = soon(async { tokio::join!(house.server.drain(Duration::from_secs(10)), late) }).await;
}

#[tokio::test]
async fn small_bodies_are_read_before_weir_answers_by_itself() {
    // The body of each request comes after its head has been looked at, and the connection goes on.
    let ask = async |stream: &mut TcpStream, fields: &str| {
        let head = format!("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n{fields}\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
        stream.write_all(b"body").await.unwrap();
        let got = soon(h1_reply(stream, &mut BytesMut::new(), Method::Post)).await;
        assert_eq!(got.field("connection"), None, "{got:?}");
        got.status
    };
    let house = house(&[nobody()], "path: /x, dialect: toy").await;
    let mut stream = TcpStream::connect(house.address()).await.unwrap();
    assert_eq!(ask(&mut stream, "").await, 502);
    assert_eq!(ask(&mut stream, "X-Toy: spin\r\n").await, 200);
    let known = ["operation=\"spin\"", "resource=\"toys:4\"", "code=\"connect_failed\""];
    house.becomes("weir_operations_total", &known, 1.0).await;
    stream.write_all(b"POST /y HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody").await.unwrap();
    let got = soon(h1_reply(&mut stream, &mut BytesMut::new(), Method::Post)).await;
    assert_eq!((got.status, got.field("connection")), (404, None));
    // In HTTP/2 too, where only the dialect wants to know.
    let fields = [("x-toy", "spin")];
    let got =
        crate::peer::h2_request(house.address(), "POST", "/x", &fields, Sent::Length(b"bodies".to_vec()))
            .await;
    assert_eq!(got.field("x-toy-status"), Some("connect_failed"));
    house.becomes("weir_operations_total", &["resource=\"toys:6\"", "code=\"connect_failed\""], 1.0).await;
}

#[tokio::test]
async fn clients_that_reset_too_much_are_sent_away() {
    let house = House::simple(origin(Version::H1).await, "http1").await;
    let stream = TcpStream::connect(house.address()).await.unwrap();
    let (mut send, connection) = h2::client::handshake(stream).await.unwrap();
    let ended = tokio::spawn(connection);
    for _ in 0..2000 {
        let Ok(ready) = send.clone().ready().await else { break };
        send = ready;
        let request = http::Request::builder().uri("http://a/").body(()).unwrap();
        let Ok((response, mut stream)) = send.send_request(request, false) else { break };
        stream.send_reset(h2::Reason::CANCEL);
        drop(response);
        tokio::task::yield_now().await;
    }
    // GOAWAY, or a reset where the client was still writing.
    let error = soon(ended).await.unwrap().unwrap_err();
    assert!(error.is_io() || error.reason() == Some(h2::Reason::ENHANCE_YOUR_CALM), "{error}");
    house.becomes("weir_http_floods_total", &[], 1.0).await;
    house.becomes("weir_operations_in_flight", &[], 0.0).await;
}
