//! HTTP/1 connections byte by byte: what is refused, what is kept alive, what is forwarded exactly.

use crate::house::{House, nobody, soon};
use crate::peer::{Got, Sent, Version, h1_bytes, h1_reply, origin};
use bytes::BytesMut;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use weir_codecs::http1::Method;

async fn get(stream: &mut TcpStream, buf: &mut BytesMut, bytes: &[u8]) -> Got {
    stream.write_all(bytes).await.unwrap();
    soon(h1_reply(stream, buf, Method::Get)).await
}

/// Reads to the end; a reset counts as the end.
async fn rest(stream: &mut TcpStream) -> Vec<u8> {
    let mut all = Vec::new();
    soon(async { while let Ok(1..) = stream.read_buf(&mut all).await {} }).await;
    all
}

#[tokio::test]
async fn what_breaks_a_rule_is_refused_closed_and_counted() {
    let table: &[(&str, u16, &str)] = &[
        ("GET / HTTP/1.1\r\n\r\n", 400, "host_missing"),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400, "host_repeated"),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
            "transfer_encoding_content_length",
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc",
            400,
            "content_length_conflict",
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n",
            501,
            "transfer_encoding_unsupported",
        ),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +3\r\n\r\nabc", 400, "content_length_invalid"),
        ("GET / HTTP/1.1\nHost: a\n\n", 400, "bare_lf"),
        ("GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400, "field_name_space"),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n", 400, "obs_fold"),
        ("GET /%00 HTTP/1.1\r\nHost: a\r\n\r\n", 400, "path_nul"),
        ("GET / HTTP/1.2\r\nHost: a\r\n\r\n", 505, "version_unsupported"),
        ("GET /#x HTTP/1.1\r\nHost: a\r\n\r\n", 400, "target_fragment"),
    ];
    let house = House::simple(nobody(), "http1").await;
    for (n, (bytes, status, rule)) in table.iter().enumerate() {
        let mut stream = TcpStream::connect(house.address()).await.unwrap();
        // What follows must never be taken for a request.
        stream
            .write_all(format!("{bytes}GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes())
            .await
            .unwrap();
        let reply = String::from_utf8(rest(&mut stream).await).unwrap();
        assert!(reply.starts_with(&format!("HTTP/1.1 {status} ")), "{rule}: {reply}");
        assert!(reply.contains(&format!("x-weir-reason: {rule}\r\n")), "{rule}: {reply}");
        assert_eq!(reply.matches("HTTP/1.1").count(), 1, "{rule}: {reply}");
        house.becomes("weir_http_rejects_total", &[&format!("rule=\"{rule}\"")], 1.0).await;
        house.becomes("weir_operations_total", &["result=\"rejected\""], n as f64 + 1.0).await;
    }
    house.becomes("weir_operations_total", &[], table.len() as f64).await;
}

#[tokio::test]
async fn a_broken_body_ends_both_connections() {
    for up in [Version::H1, Version::H2] {
        let house = House::simple(origin(up).await, up.protocol()).await;
        let mut stream = TcpStream::connect(house.address()).await.unwrap();
        stream
            .write_all(
                b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nxyz\r\n",
            )
            .await
            .unwrap();
        let reply = String::from_utf8(rest(&mut stream).await).unwrap();
        assert!(reply.starts_with("HTTP/1.1 400 "), "{reply}");
        house.counted("rejected", "400").await;
        house.becomes("weir_http_rejects_total", &["rule=\"chunk_size_invalid\""], 1.0).await;
    }
}

#[tokio::test]
async fn a_reply_that_breaks_a_rule_becomes_a_502() {
    let house = House::simple(origin(Version::H1).await, "http1").await;
    let mut stream = TcpStream::connect(house.address()).await.unwrap();
    let got = get(&mut stream, &mut BytesMut::new(), b"GET /garbage HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!((got.status, got.field("x-weir-reason")), (502, Some("malformed")));
    house.counted("upstream_lost", "502").await;
    house.becomes("weir_http_rejects_total", &["rule=\"content_length_conflict\""], 1.0).await;
}

#[tokio::test]
async fn connections_are_kept_and_requests_answered_in_order() {
    let house = House::simple(origin(Version::H1).await, "http1").await;
    let mut stream = TcpStream::connect(house.address()).await.unwrap();
    let mut buf = BytesMut::new();
    for _ in 0..5 {
        let got = get(&mut stream, &mut buf, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        assert_eq!((got.status, &*got.text()), (200, "hello"));
    }
    // Pipelined, with a body in between.
    let mut many = h1_bytes("GET", "/", &[], &Sent::None);
    many.extend(h1_bytes("POST", "/echo", &[], &Sent::Chunked(vec![b'z'; 3000])));
    many.extend(h1_bytes("POST", "/echo", &[], &Sent::Length(b"last".to_vec())));
    stream.write_all(&many).await.unwrap();
    for text in ["hello".to_string(), "z".repeat(3000), "last".into()] {
        assert_eq!(soon(h1_reply(&mut stream, &mut buf, Method::Get)).await.text(), text);
    }
    house.becomes("weir_operations_total", &["result=\"ok\""], 8.0).await;
    house.becomes("weir_cluster_connections_total", &[], 1.0).await;
}

#[tokio::test]
async fn old_clients_and_closing_ones_are_understood() {
    let house = House::simple(origin(Version::H1).await, "http1").await;
    let table: &[(&str, &str, bool)] = &[
        ("GET /trailers HTTP/1.0\r\n\r\n", "\r\n\r\nhello", true),
        ("GET / HTTP/1.0\r\n\r\n", "content-length: 5\r\n", true),
        ("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", "connection: close\r\n", true),
        ("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", "connection: keep-alive\r\n", false),
    ];
    for (bytes, part, closed) in table {
        let mut stream = TcpStream::connect(house.address()).await.unwrap();
        stream.write_all(bytes.as_bytes()).await.unwrap();
        if *closed {
            let reply = String::from_utf8(rest(&mut stream).await).unwrap();
            assert!(reply.contains(part) && reply.ends_with("hello"), "{bytes}: {reply}");
            assert!(!reply.contains("chunked"), "{bytes}: {reply}");
        } else {
            let got = soon(h1_reply(&mut stream, &mut BytesMut::new(), Method::Get)).await;
            assert_eq!(got.field("connection"), Some("keep-alive"));
        }
    }
}

#[tokio::test]
async fn heads_are_forwarded_exactly_but_for_what_must_change() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let house = House::start(&format!(
        "workers: 1
listeners: {{ edge: {{ bind: '127.0.0.1:0', via: true, http: {{ cluster: up, keep_request_id: true }} }} }}
clusters: {{ up: {{ endpoints: ['{}'] }} }}",
        listener.local_addr().unwrap()
    ))
    .await;
    let mut client = TcpStream::connect(house.address()).await.unwrap();
    client
        .write_all(
            b"POST http://Shop.example:80/a/../b%7e?q=%2e HTTP/1.1\r\nHost: shop.example\r\nX-Odd-CASE:  v  \r\n\
              Connection: x-gone, keep-alive\r\nX-Gone: 1\r\nKeep-Alive: 5\r\nProxy-Authorization: secret\r\n\
              TE: trailers, deflate\r\nX-Forwarded-For: 10.0.0.9\r\nX-Real-IP: 10.0.0.9\r\nX-Request-Id: mine\r\nVia: 1.0 x\r\n\
              Content-Length: 003, 3\r\nupgrade: h2c\r\n\r\nabc",
        )
        .await
        .unwrap();
    let (mut upstream, _) = soon(listener.accept()).await.unwrap();
    let mut seen = vec![0; 4096];
    let n = soon(upstream.read(&mut seen)).await.unwrap();
    assert_eq!(
        std::str::from_utf8(&seen[..n]).unwrap(),
        "POST /b~?q=%2e HTTP/1.1\r\nX-Odd-CASE:  v  \r\nProxy-Authorization: secret\r\nX-Request-Id: mine\r\nhost: Shop.example:80\r\n\
         te: trailers\r\nx-forwarded-for: 127.0.0.1\r\nx-forwarded-proto: http\r\nx-forwarded-host: Shop.example:80\r\n\
         Via: 1.0 x, 1.1 weir\r\ncontent-length: 3\r\nconnection: te\r\n\r\nabc"
    );
    upstream
        .write_all(b"HTTP/1.1 299 Odd Phrase\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nX-Back:  1 \r\nConnection: x-hop\r\nX-Hop: 1\r\ncontent-length: 2\r\n\r\nok")
        .await
        .unwrap();
    let mut back = vec![0; 4096];
    let n = soon(client.read(&mut back)).await.unwrap();
    assert_eq!(
        std::str::from_utf8(&back[..n]).unwrap(),
        "HTTP/1.1 299 Odd Phrase\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nX-Back:  1 \r\ncontent-length: 2\r\n\r\nok"
    );
}

#[tokio::test]
async fn expect_is_forwarded_and_answered_by_the_server() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let house = House::simple(listener.local_addr().unwrap(), "http1").await;
    for early in [false, true] {
        let mut client = TcpStream::connect(house.address()).await.unwrap();
        client
            .write_all(b"PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n")
            .await
            .unwrap();
        let (mut upstream, _) = soon(listener.accept()).await.unwrap();
        let mut seen = BytesMut::new();
        while !seen.ends_with(b"\r\n\r\n") {
            soon(upstream.read_buf(&mut seen)).await.unwrap();
        }
        assert!(String::from_utf8_lossy(&seen).contains("Expect: 100-continue"));
        let mut buf = BytesMut::new();
        if early {
            upstream.write_all(b"HTTP/1.1 417 No\r\ncontent-length: 0\r\n\r\n").await.unwrap();
            let got = soon(h1_reply(&mut client, &mut buf, Method::Put)).await;
            // Nobody knows whether the body still comes.
            assert_eq!((got.status, got.field("connection")), (417, Some("close")));
            continue;
        }
        upstream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await.unwrap();
        let mut interim = vec![0; 25];
        soon(client.read_exact(&mut interim)).await.unwrap();
        assert_eq!(interim, b"HTTP/1.1 100 Continue\r\n\r\n");
        client.write_all(b"body").await.unwrap();
        seen.clear();
        soon(upstream.read_buf(&mut seen)).await.unwrap();
        assert_eq!(&seen[..], b"body");
        upstream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
        assert_eq!(soon(h1_reply(&mut client, &mut buf, Method::Put)).await.status, 200);
    }
}

#[tokio::test]
async fn a_kept_connection_that_the_server_closed_costs_no_request() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let house = House::simple(listener.local_addr().unwrap(), "http1").await;
    let mut client = TcpStream::connect(house.address()).await.unwrap();
    let mut buf = BytesMut::new();
    let mut head = BytesMut::with_capacity(16 * 1024);
    let serve = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
    let ask = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";

    client.write_all(ask).await.unwrap();
    let (mut first, _) = soon(listener.accept()).await.unwrap();
    soon(first.read_buf(&mut head)).await.unwrap();
    first.write_all(serve).await.unwrap();
    assert_eq!(soon(h1_reply(&mut client, &mut buf, Method::Get)).await.status, 200);

    // It takes the next request, and closes without a word: the request goes to a fresh connection.
    client.write_all(ask).await.unwrap();
    soon(first.read_buf(&mut head)).await.unwrap();
    drop(first);
    let (mut second, _) = soon(listener.accept()).await.unwrap();
    soon(second.read_buf(&mut head)).await.unwrap();
    // What nobody asked for makes the connection useless.
    second.write_all(&[&serve[..], b"HTTP/1.1 200 OK\r\n"].concat()).await.unwrap();
    assert_eq!(soon(h1_reply(&mut client, &mut buf, Method::Get)).await.status, 200);
    house.becomes("weir_http_stale_connections_total", &[], 1.0).await;

    client.write_all(ask).await.unwrap();
    let (mut third, _) = soon(listener.accept()).await.unwrap();
    third.write_all(serve).await.unwrap();
    assert_eq!(soon(h1_reply(&mut client, &mut buf, Method::Get)).await.status, 200);
    house.becomes("weir_operations_total", &["result=\"ok\""], 3.0).await;
    house.becomes("weir_failures_total", &[], 0.0).await;
}

#[tokio::test]
async fn clients_that_leave_cancel_the_work() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let house = House::simple(listener.local_addr().unwrap(), "http1").await;
    let mut client = TcpStream::connect(house.address()).await.unwrap();
    client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    let (mut upstream, _) = soon(listener.accept()).await.unwrap();
    let mut head = BytesMut::with_capacity(16 * 1024);
    soon(upstream.read_buf(&mut head)).await.unwrap();
    // A reset: who merely says no more may wait for the reply (see `times`).
    socket2::SockRef::from(&client).set_linger(Some(std::time::Duration::ZERO)).unwrap();
    drop(client);
    assert_eq!(soon(upstream.read_buf(&mut head)).await.unwrap_or(0), 0, "the server is told at once");
    house.counted("client_gone", "").await;
    house.becomes("weir_failures_total", &["side=\"client\"", "phase=\"waiting\""], 1.0).await;
    house.becomes("weir_cluster_attempts_total", &["outcome=\"cancelled\""], 1.0).await;
}

#[tokio::test]
async fn slow_readers_hold_the_server_back() {
    for up in [Version::H1, Version::H2] {
        let house = House::simple(origin(up).await, up.protocol()).await;
        let mut client = TcpStream::connect(house.address()).await.unwrap();
        let socket = socket2::SockRef::from(&client);
        socket.set_recv_buffer_size(256 * 1024).unwrap();
        client.write_all(b"GET /big HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        let mut got = 0;
        let mut piece = vec![0; 64 * 1024];
        while got < 8 << 20 {
            tokio::time::sleep(Duration::from_micros(200)).await;
            let n = soon(client.read(&mut piece)).await.unwrap();
            assert!(n > 0);
            got += n;
        }
        house.counted("ok", "200").await;
    }
}

#[tokio::test]
async fn websockets_pass_and_half_close() {
    for up in [Version::H1, Version::H2] {
        let house = House::simple(origin(up).await, up.protocol()).await;
        let mut client = TcpStream::connect(house.address()).await.unwrap();
        client
            .write_all(
                b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                  Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\nearly ",
            )
            .await
            .unwrap();
        let mut buf = BytesMut::new();
        let got = soon(h1_reply(&mut client, &mut buf, Method::Get)).await;
        assert_eq!((got.status, got.field("upgrade")), (101, Some("websocket")), "{up:?}");
        if up == Version::H2 {
            assert_eq!(got.field("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
        }
        client.write_all(b"late").await.unwrap();
        client.shutdown().await.unwrap();
        let mut all = buf.to_vec();
        all.extend(rest(&mut client).await);
        assert_eq!(std::str::from_utf8(&all).unwrap(), "early latebye", "{up:?}");
        house.counted("ok", "101").await;
    }
}

#[tokio::test]
async fn websockets_pass_over_http2() {
    for up in [Version::H1, Version::H2] {
        let house = House::simple(origin(up).await, up.protocol()).await;
        let stream = TcpStream::connect(house.address()).await.unwrap();
        let (send, connection) = h2::client::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        // The server has said that it takes extended CONNECT once something has been answered.
        let got = soon(crate::peer::h2_on(send.clone(), "GET", "/", &[], Sent::None)).await;
        assert_eq!(got.status, 200);
        let mut send = send.ready().await.unwrap();
        let mut request = http::Request::builder().method("CONNECT").uri("http://a/ws").body(()).unwrap();
        request.extensions_mut().insert(h2::ext::Protocol::from_static("websocket"));
        let (response, mut out) = send.send_request(request, false).unwrap();
        let reply = soon(response).await.unwrap();
        assert_eq!(reply.status(), 200, "{up:?}");
        assert!(!reply.headers().contains_key("sec-websocket-accept"));
        out.send_data("one two".into(), true).unwrap();
        let mut body = reply.into_body();
        let mut all = Vec::new();
        while let Some(data) = soon(body.data()).await {
            all.extend_from_slice(&data.unwrap());
        }
        assert_eq!(std::str::from_utf8(&all).unwrap(), "one twobye", "{up:?}");
        house.becomes("weir_operations_total", &["result=\"ok\"", "code=\"101\""], 1.0).await;
    }
}
