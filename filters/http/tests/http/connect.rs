//! What ends routing for a connection, CONNECT and upgrades, takes a route's own word; and what only the client chose speaks
//! against no server.

use crate::house::{House, soon};
use crate::peer::{Got, Sent, Version, h1_reply, origin};
use bytes::{Bytes, BytesMut};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use weir_codecs::http1::Method;

type Heads = Arc<Mutex<Vec<String>>>;

/// An HTTP/1 server that answers each head so, then gives back whatever comes if that is to be a tunnel. `""`: it closes.
async fn always(answer: &'static str, tunnel: bool) -> (SocketAddr, Heads) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let heads = Heads::default();
    let seen = Arc::clone(&heads);
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let seen = Arc::clone(&seen);
            tokio::spawn(async move {
                let mut all = Vec::new();
                while stream.read_buf(&mut all).await.unwrap_or(0) > 0 {
                    if !all.ends_with(b"\r\n\r\n") {
                        continue;
                    }
                    seen.lock().unwrap().push(String::from_utf8_lossy(&all).into_owned());
                    all.clear();
                    stream.write_all(answer.as_bytes()).await.unwrap();
                    if answer.is_empty() {
                        return;
                    }
                    if tunnel {
                        let (mut read, mut write) = stream.split();
                        tokio::io::copy(&mut read, &mut write).await.ok();
                        return;
                    }
                }
            });
        }
    });
    (address, heads)
}

async fn house(routes: &str, upstream: SocketAddr, protocol: &str) -> House {
    House::start(&format!(
        "workers: 1
listeners: {{ edge: {{ bind: '127.0.0.1:0', http: {{ routes: [ {routes} ] }} }} }}
clusters: {{ up: {{ endpoints: ['{upstream}'], protocol: {protocol}, outlier_ejection: {{ consecutive_errors: 2 }} }} }}"
    ))
    .await
}

async fn h2_client(house: &House) -> h2::client::SendRequest<Bytes> {
    let stream = TcpStream::connect(house.address()).await.unwrap();
    let (send, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    // Whether extended CONNECT is taken is known once something has been answered.
    soon(crate::peer::h2_on(send.clone(), "GET", "/first", &[], Sent::None)).await;
    send.ready().await.unwrap()
}

fn connect(protocol: Option<&'static str>) -> http::Request<()> {
    let uri = if protocol.is_some() { "http://a.test/ws" } else { "a.test:443" };
    let mut request = http::Request::builder().method("CONNECT").uri(uri).body(()).unwrap();
    if let Some(protocol) = protocol {
        request.extensions_mut().insert(h2::ext::Protocol::from_static(protocol));
    }
    request
}

/// What a client of either version gets for a CONNECT. `protocol`: an extended one, in HTTP/2 alone.
async fn ask(house: &House, version: Version, protocol: Option<&'static str>) -> Got {
    if version == Version::H1 {
        let mut stream = TcpStream::connect(house.address()).await.unwrap();
        stream.write_all(b"CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\n\r\n").await.unwrap();
        return soon(h1_reply(&mut stream, &mut BytesMut::new(), Method::Connect)).await;
    }
    let mut send = h2_client(house).await;
    let (response, _out) = send.send_request(connect(protocol), false).unwrap();
    let (parts, mut body) = soon(response).await.unwrap().into_parts();
    let fields = parts.headers.iter().map(|(n, v)| (n.to_string(), v.to_str().unwrap().to_owned()));
    let mut got = Got { status: parts.status.as_u16(), fields: fields.collect(), ..Got::default() };
    if got.status >= 300 {
        while let Some(Ok(data)) = soon(body.data()).await {
            got.body.extend_from_slice(&data);
        }
    }
    got
}

const KINDS: [(Version, Option<&str>); 4] = [
    (Version::H1, None),
    (Version::H2, None),
    (Version::H2, Some("connect-udp")),
    (Version::H2, Some("other")),
];

#[tokio::test]
async fn connect_is_refused_where_no_route_asks_for_it() {
    for (version, protocol) in KINDS {
        let (up, heads) = always("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", false).await;
        let house =
            house("{ path: /admin, direct_response: { status: 403 } }, { cluster: up }", up, "http1").await;
        let got = ask(&house, version, protocol).await;
        let what = format!("{version:?} {protocol:?}: {got:?}");
        assert_eq!((got.status, got.field("x-weir-reason")), (405, Some("method_not_allowed")), "{what}");
        assert!(got.field("allow").is_some_and(|allow| allow.contains("GET, HEAD, POST")), "{what}");
        let word = if protocol.is_some() { "`upgrades`" } else { "`connect: true`" };
        assert!(got.text().contains(word), "{what}: {}", got.text());
        let reason = ["reason=\"method_not_allowed\""];
        house.becomes("weir_refusals_total", &reason, 1.0).await;
        house.becomes("weir_operations_total", &["result=\"refused\"", "code=\"405\""], 1.0).await;
        assert!(heads.lock().unwrap().iter().all(|head| head.starts_with("GET /first")), "{what}");
    }
}

#[tokio::test]
async fn allow_names_what_the_route_takes_and_nobody_routes_a_connect() {
    let (up, _) = always("HTTP/1.1 200 OK\r\n\r\n", true).await;
    for (routes, status, allow) in [
        ("{ method: [PUT, CONNECT], cluster: up, connect: true }", 200, None),
        ("{ path: /x, cluster: up }", 405, Some("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS, TRACE")),
        ("{ host: b.test, cluster: up, connect: true }, { cluster: up }", 405, None),
        ("{ method: CONNECT, direct_response: { status: 403 } }, { cluster: up }", 403, None),
        ("{ direct_response: { status: 200 } }", 405, None),
    ] {
        let house = house(routes, up, "http1").await;
        let got = ask(&house, Version::H1, None).await;
        assert_eq!(got.status, status, "{routes}: {got:?}");
        if allow.is_some() {
            assert_eq!(got.field("allow"), allow, "{routes}");
        }
    }
}

#[tokio::test]
async fn connect_passes_where_a_route_says_so() {
    for version in crate::peer::BOTH {
        let (up, heads) = always("HTTP/1.1 200 OK\r\n\r\n", true).await;
        let house = house("{ cluster: up, connect: true }", up, "http1").await;
        if version == Version::H1 {
            let mut stream = TcpStream::connect(house.address()).await.unwrap();
            stream.write_all(b"CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\n\r\n").await.unwrap();
            let mut buf = BytesMut::new();
            assert_eq!(soon(h1_reply(&mut stream, &mut buf, Method::Connect)).await.status, 200);
            stream.write_all(b"through").await.unwrap();
            while buf.len() < 7 {
                soon(stream.read_buf(&mut buf)).await.unwrap();
            }
            assert_eq!(&buf[..], b"through");
        } else {
            let stream = TcpStream::connect(house.address()).await.unwrap();
            let (send, connection) = h2::client::handshake(stream).await.unwrap();
            tokio::spawn(connection);
            let mut send = send.ready().await.unwrap();
            let (response, mut out) = send.send_request(connect(None), false).unwrap();
            let reply = soon(response).await.unwrap();
            assert_eq!(reply.status(), 200);
            out.send_data("through".into(), false).unwrap();
            assert_eq!(soon(reply.into_body().data()).await.unwrap().unwrap(), "through");
        }
        assert!(heads.lock().unwrap()[0].starts_with("CONNECT a.test:443 HTTP/1.1\r\n"));
    }
}

#[tokio::test]
async fn an_upgrade_that_no_route_names_is_taken_off() {
    const SWITCH: &str = "HTTP/1.1 101 Switching\r\nconnection: upgrade\r\nupgrade: other\r\n\r\n";
    const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
    for (upgrades, protocol, answer, status, passed) in [
        ("", "other", OK, 200, false),
        ("", "WebSocket", OK, 200, true),
        (", upgrades: []", "websocket", OK, 200, false),
        (", upgrades: [websocket, Other]", "other", SWITCH, 101, true),
        // What nobody was asked for.
        ("", "other", SWITCH, 502, false),
    ] {
        let (up, heads) = always(answer, false).await;
        let house = house(&format!("{{ cluster: up{upgrades} }}"), up, "http1").await;
        let mut stream = TcpStream::connect(house.address()).await.unwrap();
        let head = format!(
            "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, x-own\r\nX-Own: 1\r\nUpgrade: {protocol}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let got = soon(h1_reply(&mut stream, &mut BytesMut::new(), Method::Get)).await;
        let what = format!("{upgrades} {protocol}");
        assert_eq!(got.status, status, "{what}: {got:?}");
        let seen = heads.lock().unwrap()[0].to_lowercase();
        assert_eq!(
            seen.contains(&format!("\r\nupgrade: {}\r\n", protocol.to_lowercase())),
            passed,
            "{what}: {seen}"
        );
        assert_eq!(seen.contains("\r\nconnection:"), passed, "{what}: {seen}");
    }
}

#[tokio::test]
async fn an_extended_connect_follows_the_routes_word() {
    for (upgrades, protocol, status) in [
        ("", "websocket", 200),
        (", upgrades: []", "websocket", 405),
        ("", "other", 405),
        (", connect: true", "other", 405),
    ] {
        let up = origin(Version::H1).await;
        let house = house(&format!("{{ cluster: up{upgrades} }}"), up, "http1").await;
        let got = ask(&house, Version::H2, Some(protocol)).await;
        assert_eq!(got.status, status, "{upgrades} {protocol}: {got:?}");
    }
    // Any 2xx would be an open tunnel.
    let up = origin(Version::H1).await;
    for (status, seen) in [(200, 405), (403, 403)] {
        let routes = format!("{{ path: /ws, direct_response: {{ status: {status} }} }}, {{ cluster: up }}");
        let house = house(&routes, up, "http1").await;
        assert_eq!(ask(&house, Version::H2, Some("websocket")).await.status, seen);
    }
}

/// The server has failed nobody.
async fn blameless(house: &House, operations: f64, what: &str) {
    house.becomes("weir_operations_total", &[], operations).await;
    assert_eq!(house.number("weir_endpoint_attempts_total", &["outcome=\"failed\""]), 0.0, "{what}");
    assert_eq!(house.number("weir_endpoint_ejections_total", &[]), 0.0, "{what}");
}

#[tokio::test]
async fn what_a_client_chooses_speaks_against_no_server() {
    // A tunnel to a host that the server does not reach, or whose end it does not tell.
    for answer in
        ["", "HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n", "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"]
    {
        let (up, _) = always(answer, false).await;
        let house = house("{ cluster: up, connect: true }", up, "http1").await;
        for _ in 0..4 {
            let mut stream = TcpStream::connect(house.address()).await.unwrap();
            stream.write_all(b"CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\n\r\n").await.unwrap();
            soon(h1_reply(&mut stream, &mut BytesMut::new(), Method::Connect)).await;
        }
        blameless(&house, 4.0, answer).await;
    }
    // A method that the server does not know.
    let (up, _) = always("HTTP/1.1 501 Not Implemented\r\ncontent-length: 0\r\n\r\n", false).await;
    let one = house("{ cluster: up }", up, "http1").await;
    for _ in 0..4 {
        let mut stream = TcpStream::connect(one.address()).await.unwrap();
        stream.write_all(b"BREW / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        assert_eq!(soon(h1_reply(&mut stream, &mut BytesMut::new(), Method::Get)).await.status, 501);
    }
    blameless(&one, 4.0, "501").await;
    // A WebSocket from HTTP/2, where the server speaks none.
    let (up, _) = always("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", false).await;
    let one = house("{ cluster: up }", up, "http1").await;
    for _ in 0..4 {
        assert_eq!(ask(&one, Version::H2, Some("websocket")).await.status, 502);
    }
    blameless(&one, 8.0, "ignored").await;
}

#[tokio::test]
async fn what_http2_has_no_form_for_is_the_clients_mistake() {
    let house = house("{ cluster: up }", origin(Version::H2).await, "http2").await;
    for path in ["/<x>", "/a?`"] {
        let mut stream = TcpStream::connect(house.address()).await.unwrap();
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes()).await.unwrap();
        let got = soon(h1_reply(&mut stream, &mut BytesMut::new(), Method::Get)).await;
        assert!(got.status == 200 || got.status == 400, "{path}: {got:?}");
    }
    blameless(&house, 2.0, "paths").await;
}
