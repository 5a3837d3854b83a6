//! What must not pass from one version of HTTP into the other, or from one message into the next.

use crate::house::{House, soon};
use crate::peer::{Version, origin};
use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use weir_codecs::http1::Method;

/// A client's connection, over which something has been answered already: it knows the server's settings by then.
async fn client(house: &House) -> h2::client::SendRequest<Bytes> {
    let stream = TcpStream::connect(house.address()).await.unwrap();
    let (send, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let got = soon(crate::peer::h2_on(send.clone(), "GET", "/", &[], crate::peer::Sent::None)).await;
    assert_eq!(got.status, 200);
    send.ready().await.unwrap()
}

fn connect(protocol: &str) -> http::Request<()> {
    let mut request = http::Request::builder().method("CONNECT").uri("http://a/ws").body(()).unwrap();
    request.extensions_mut().insert(h2::ext::Protocol::from(protocol));
    request
}

const PLAIN: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// An HTTP/1 server that answers every head so.
async fn always(answer: &'static str) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut all = Vec::new();
                while stream.read_buf(&mut all).await.unwrap_or(0) > 0 {
                    if all.ends_with(b"\r\n\r\n") {
                        all.clear();
                        stream.write_all(answer.as_bytes()).await.unwrap();
                    }
                }
            });
        }
    });
    address
}

#[tokio::test]
async fn a_protocol_that_is_none_is_refused() {
    for up in [Version::H1, Version::H2] {
        let house = House::simple(origin(up).await, up.protocol()).await;
        let mut send = client(&house).await;
        let bad = [
            "websocket\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: x\r\nx: y",
            "a\r\ncontent-length: 5",
            "h2c",
            "web socket",
            "",
        ];
        for protocol in bad {
            let (response, _out) = send.send_request(connect(protocol), false).unwrap();
            assert_eq!(soon(response).await.unwrap().status(), 400, "{protocol:?}");
        }
        let rule = ["rule=\"protocol_invalid\""];
        house.becomes("weir_http_rejects_total", &rule, bad.len() as f64).await;
        house.becomes("weir_operations_total", &[], bad.len() as f64 + 1.0).await;
    }
}

#[tokio::test]
async fn an_upgrade_that_a_server_ignored_is_not_an_open_tunnel() {
    let house = House::simple(always(PLAIN).await, "http1").await;
    let mut send = client(&house).await;
    let (response, _out) = send.send_request(connect("websocket"), false).unwrap();
    let reply = soon(response).await.unwrap();
    assert_eq!(
        (reply.status().as_u16(), &reply.headers()["x-weir-reason"]),
        (502, &"malformed".parse().unwrap())
    );
    house.becomes("weir_http_rejects_total", &["rule=\"upgrade_ignored\""], 1.0).await;
    house.becomes("weir_operations_total", &["result=\"upstream_lost\""], 1.0).await;
}

#[tokio::test]
async fn trailers_that_frame_or_route_are_refused_in_requests() {
    for name in ["content-length", "host", "authorization", "x-forwarded-for", "x-real-ip"] {
        for up in [Version::H1, Version::H2] {
            let house = House::simple(origin(up).await, up.protocol()).await;
            let mut send = client(&house).await;
            let request = http::Request::builder().method("POST").uri("http://a/echo").body(()).unwrap();
            let (response, mut out) = send.send_request(request, false).unwrap();
            out.send_data("body".into(), false).unwrap();
            let mut trailers = http::HeaderMap::new();
            trailers.insert(name, "1".parse().unwrap());
            out.send_trailers(trailers).unwrap();
            // Early replies may have begun: then the body does not come to its end.
            match soon(response).await {
                Ok(reply) if reply.status() == 400 => {}
                Ok(reply) => {
                    let mut body = reply.into_body();
                    while let Some(Ok(_)) = soon(body.data()).await {}
                    assert!(!body.is_end_stream(), "{name}");
                }
                Err(error) => assert!(error.is_reset(), "{error}"),
            }
            house.becomes("weir_http_rejects_total", &["rule=\"trailer_forbidden\""], 1.0).await;
            house.becomes("weir_operations_total", &["result=\"rejected\""], 1.0).await;
        }
    }
}

#[tokio::test]
async fn trailers_that_frame_or_route_are_dropped_from_replies() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let house = House::simple(listener.local_addr().unwrap(), "http2").await;
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut connection = h2::server::handshake(stream).await.unwrap();
        while let Some(Ok((_, mut respond))) = connection.accept().await {
            let mut out = respond.send_response(http::Response::new(()), false).unwrap();
            out.send_data("hi".into(), false).unwrap();
            let mut trailers = http::HeaderMap::new();
            trailers.insert("content-length", "9".parse().unwrap());
            trailers.insert("x-status", "0".parse().unwrap());
            out.send_trailers(trailers).unwrap();
        }
    });
    for version in crate::peer::BOTH {
        let got = crate::peer::request(version, house.address(), "GET", "/", crate::peer::Sent::None).await;
        assert_eq!((&*got.text(), got.broken), ("hi", false), "{got:?}");
        assert_eq!(got.trailers, [("x-status".into(), "0".into())]);
    }
    house.becomes("weir_http_rejects_total", &["rule=\"trailer_forbidden\""], 2.0).await;
}

#[tokio::test]
async fn nothing_after_a_refused_trailer_section_is_a_request() {
    for field in ["Transfer-Encoding: chunked", "Content-Length: 3", "Host: b"] {
        let house = House::simple(origin(Version::H1).await, "http1").await;
        let mut stream = TcpStream::connect(house.address()).await.unwrap();
        let head = "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n";
        let bytes = format!("{head}{field}\r\n\r\nGET /next HTTP/1.1\r\nHost: a\r\n\r\n");
        stream.write_all(bytes.as_bytes()).await.unwrap();
        let mut all = Vec::new();
        soon(async { while let Ok(1..) = stream.read_buf(&mut all).await {} }).await;
        let reply = String::from_utf8(all).unwrap();
        assert!(reply.starts_with("HTTP/1.1 400 ") && reply.contains("connection: close\r\n"), "{reply}");
        assert_eq!(reply.matches("HTTP/1.1").count(), 1, "{reply}");
        house.counted("rejected", "400").await;
    }
}

#[tokio::test]
async fn a_server_may_only_switch_to_what_it_was_asked_for() {
    for field in ["Upgrade: h2c\r\n", "Upgrade: other\r\n", ""] {
        let answer = format!("HTTP/1.1 101 Switching\r\nConnection: upgrade\r\n{field}\r\n");
        let house = House::simple(always(answer.leak()).await, "http1").await;
        let mut stream = TcpStream::connect(house.address()).await.unwrap();
        let ask = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
        stream.write_all(ask).await.unwrap();
        let got = soon(crate::peer::h1_reply(&mut stream, &mut Default::default(), Method::Get)).await;
        assert_eq!(got.status, 502, "{field}");
        house.counted("upstream_lost", "502").await;
        house.becomes("weir_http_rejects_total", &["rule=\"upgrade_unasked\""], 1.0).await;
    }
}

#[tokio::test]
async fn connections_that_break_the_rules_of_frames_are_ended_and_counted() {
    const SETTINGS: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    let table: [(&[u8], &str); 3] = [
        // DATA on stream 0; a frame of 16 MiB; HEADERS with an index that does not exist.
        (b"\0\0\x01\0\0\0\0\0\0x", "h2_protocol_error"),
        (b"\xff\xff\xff\0\0\0\0\0\x01", "h2_frame_size_error"),
        (b"\0\0\x02\x01\x05\0\0\0\x01\xff\x7f", "h2_protocol_error"),
    ];
    for (frame, rule) in table {
        let house = House::simple(origin(Version::H1).await, "http1").await;
        let mut stream = TcpStream::connect(house.address()).await.unwrap();
        stream.write_all(&[SETTINGS, frame].concat()).await.unwrap();
        let mut all = Vec::new();
        soon(async { while let Ok(1..) = stream.read_buf(&mut all).await {} }).await;
        house.becomes("weir_http_rejects_total", &[&format!("rule=\"{rule}\"")], 1.0).await;
    }
}

/// A server of this version whose replies have so many fields named `a`.
async fn many(version: Version, fields: usize) -> std::net::SocketAddr {
    if version == Version::H1 {
        let head = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n";
        return always(format!("{head}{}\r\nok", "a: b\r\n".repeat(fields)).leak()).await;
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut connection = h2::server::handshake(stream).await.unwrap();
                while let Some(Ok((_, mut respond))) = connection.accept().await {
                    let mut reply = http::Response::new(());
                    for _ in 0..fields {
                        reply.headers_mut().append("a", "b".parse().unwrap());
                    }
                    respond.send_response(reply, true).ok();
                }
            });
        }
    });
    address
}

#[tokio::test]
async fn how_many_fields_a_head_may_have_is_one_rule() {
    const RULE: [&str; 1] = ["rule=\"too_many_fields\""];
    for down in crate::peer::BOTH {
        for up in crate::peer::BOTH {
            for (fields, status) in [(1500, 200), (1700, 502)] {
                let house = House::simple(many(up, fields).await, up.protocol()).await;
                let got =
                    crate::peer::request(down, house.address(), "GET", "/", crate::peer::Sent::None).await;
                assert_eq!(got.status, status, "a reply of {fields} from {up:?} to {down:?}");
                let passed = got.fields.iter().filter(|(name, _)| name == "a").count();
                assert_eq!(passed, if status == 200 { fields } else { 0 });
                house.becomes("weir_http_rejects_total", &RULE, f64::from(u8::from(status != 200))).await;
            }
            let house = House::simple(many(up, 1).await, up.protocol()).await;
            for (fields, status) in [(1500, 200), (1700, 431)] {
                let fields = vec![("a", "b"); fields];
                let got = match down {
                    Version::H1 => {
                        crate::peer::h1_request(house.address(), "GET", "/", &fields, crate::peer::Sent::None)
                            .await
                    }
                    Version::H2 => {
                        crate::peer::h2_request(house.address(), "GET", "/", &fields, crate::peer::Sent::None)
                            .await
                    }
                };
                assert_eq!(got.status, status, "a request of {} from {down:?} to {up:?}", fields.len());
            }
            house.becomes("weir_http_rejects_total", &RULE, 1.0).await;
        }
    }
}
