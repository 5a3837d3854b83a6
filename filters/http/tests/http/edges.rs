//! What RFC 9110 asks of whoever stands between client and server, at its edges.

use crate::house::{House, soon};
use crate::peer::{Got, Version, h1_reply, origin};
use bytes::{Bytes, BytesMut};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use weir_codecs::http1::Method;

type Heads = Arc<Mutex<Vec<String>>>;

/// Answers each head on `stream` so.
async fn answer_all(
    mut stream: impl AsyncReadExt + AsyncWriteExt + Unpin,
    answer: &'static str,
    seen: Heads,
) {
    let mut all = Vec::new();
    while stream.read_buf(&mut all).await.unwrap_or(0) > 0 {
        if let Some(at) = all.windows(4).position(|four| four == b"\r\n\r\n") {
            seen.lock().unwrap().push(String::from_utf8_lossy(&all[..at + 4]).into_owned());
            all.clear();
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    }
}

async fn always(answer: &'static str) -> (std::net::SocketAddr, Heads) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let heads = Heads::default();
    let seen = Arc::clone(&heads);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer_all(stream, answer, Arc::clone(&seen)));
        }
    });
    (address, heads)
}

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

async fn raw(house: &House, request: &str) -> Got {
    let mut stream = TcpStream::connect(house.address()).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let method = Method::of(request.split(' ').next().unwrap().as_bytes());
    soon(h1_reply(&mut stream, &mut BytesMut::new(), method)).await
}

async fn redirecting(redirect: &str) -> House {
    House::start(&format!(
        "workers: 1
listeners: {{ edge: {{ bind: '127.0.0.1:0', http: {{ routes: [ {{ redirect: {{ {redirect} }} }} ] }} }} }}"
    ))
    .await
}

#[tokio::test]
async fn nobody_is_redirected_to_what_is_no_url() {
    for (redirect, request, status, location) in [
        ("scheme: https", "GET /x HTTP/1.1\r\nHost: a:80\r\n\r\n", 301, Some("https://a/x")),
        ("scheme: https", "GET /x HTTP/1.0\r\n\r\n", 400, None),
        ("scheme: https", "GET /x HTTP/1.1\r\nHost:\r\n\r\n", 400, None),
        ("port: 8443", "GET /x HTTP/1.0\r\n\r\n", 400, None),
        ("scheme: https, host: b", "GET /x HTTP/1.0\r\n\r\n", 301, Some("https://b/x")),
        ("path: /y", "GET /x HTTP/1.0\r\n\r\n", 301, Some("/y")),
        ("scheme: https", "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", 400, None),
        ("scheme: https, path: /y", "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", 400, None),
        ("scheme: https", "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", 400, None),
    ] {
        let house = redirecting(redirect).await;
        let got = raw(&house, request).await;
        assert_eq!((got.status, got.field("location")), (status, location), "{redirect} {request}: {got:?}");
    }
}

#[tokio::test]
async fn the_path_of_a_socket_is_no_host() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let listener = UnixListener::bind(&path).unwrap();
    let heads = Heads::default();
    let seen = Arc::clone(&heads);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer_all(stream, OK, Arc::clone(&seen)));
        }
    });
    let house = House::start(&format!(
        "workers: 1
listeners: {{ edge: {{ bind: '127.0.0.1:0', http: {{ cluster: up }} }} }}
clusters: {{ up: {{ endpoints: ['unix:{}'] }} }}",
        path.display()
    ))
    .await;
    assert_eq!(raw(&house, "GET / HTTP/1.0\r\n\r\n").await.status, 200);
    let head = heads.lock().unwrap()[0].to_lowercase();
    assert!(head.contains("\r\nhost: localhost\r\n") && !head.contains("unix:"), "{head}");
}

#[tokio::test]
async fn an_empty_host_goes_on_as_it_came() {
    let (up, heads) = always(OK).await;
    let house = House::simple(up, "http1").await;
    assert_eq!(raw(&house, "GET / HTTP/1.1\r\nHost:\r\n\r\n").await.status, 200);
    let head = heads.lock().unwrap()[0].to_lowercase();
    assert!(head.contains("\r\nhost:\r\n"), "{head}");
    let house = House::simple(origin(Version::H2).await, "http2").await;
    assert_eq!(raw(&house, "GET / HTTP/1.1\r\nHost:\r\n\r\n").await.status, 200);
}

#[tokio::test]
async fn credentials_for_proxies_pass() {
    let (up, heads) =
        always("HTTP/1.1 407 Ask\r\nproxy-authenticate: Basic\r\ncontent-length: 0\r\n\r\n").await;
    let house = House::simple(up, "http1").await;
    let got = raw(&house, "GET / HTTP/1.1\r\nHost: a\r\nProxy-Authorization: Basic eA==\r\n\r\n").await;
    assert_eq!((got.status, got.field("proxy-authenticate")), (407, Some("Basic")));
    assert!(heads.lock().unwrap()[0].contains("Proxy-Authorization: Basic eA=="));
}

#[tokio::test]
async fn upgrade_required_says_to_what() {
    let answer = "HTTP/1.1 426 Upgrade\r\nconnection: upgrade\r\nupgrade: websocket\r\nupgrade: TLS/1.3, HTTP/2.0\r\ncontent-length: 2\r\n\r\nno";
    let (up, _) = always(answer).await;
    let house = House::simple(up, "http1").await;
    let got = raw(&house, "GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!((got.status, &*got.text()), (426, "no"));
    assert_eq!(got.field("upgrade"), Some("websocket, TLS/1.3, HTTP/2.0"));
    assert_eq!(got.field("connection"), Some("upgrade"));
}

#[tokio::test]
async fn a_reply_without_a_date_gets_one_and_no_other_does() {
    let (up, _) = always(OK).await;
    let house = House::simple(up, "http1").await;
    let got = raw(&house, "GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(got.field("date").is_some_and(|date| date.ends_with(" GMT")), "{got:?}");
    let dated = "HTTP/1.1 200 OK\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\ncontent-length: 0\r\n\r\n";
    let house = House::simple(always(dated).await.0, "http1").await;
    let got = raw(&house, "GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let dates: Vec<_> = got.fields.iter().filter(|(name, _)| name.eq_ignore_ascii_case("date")).collect();
    assert_eq!(dates.len(), 1, "{got:?}");
    assert!(dates[0].1.contains("1994"));
}

#[tokio::test]
async fn forwards_are_counted_down_and_end() {
    for (method, max, status, seen) in [
        ("TRACE", "0", 200, None),
        ("OPTIONS", "0", 200, None),
        ("TRACE", "3", 200, Some("2")),
        ("OPTIONS", "1", 200, Some("0")),
        // What is no number says nothing, and of other methods nothing is asked.
        ("OPTIONS", "x", 200, Some("x")),
        ("GET", "0", 200, Some("0")),
    ] {
        let (up, heads) = always(OK).await;
        let house = House::simple(up, "http1").await;
        let request = format!(
            "{method} /p HTTP/1.1\r\nHost: a\r\nMax-Forwards: {max}\r\nCookie: secret\r\nX-A: 1\r\n\r\n"
        );
        let got = raw(&house, &request).await;
        assert_eq!(got.status, status, "{method} {max}");
        let heads = heads.lock().unwrap();
        match seen {
            Some(left) => {
                let head = heads[0].to_lowercase();
                assert!(head.contains(&format!("max-forwards: {left}\r\n")), "{head}");
            }
            None => assert!(heads.is_empty(), "{method}: {heads:?}"),
        }
        if max == "0" && method == "TRACE" {
            assert_eq!(got.field("content-type"), Some("message/http"));
            assert!(
                got.text().starts_with("TRACE /p HTTP/1.1\r\n") && got.text().contains("X-A: 1\r\n"),
                "{got:?}"
            );
            assert!(!got.text().contains("secret"), "{got:?}");
        }
        if max == "0" && method == "OPTIONS" {
            assert!(got.field("allow").is_some(), "{got:?}");
        }
    }
}

#[tokio::test]
async fn a_request_that_ends_with_an_empty_frame_has_no_body() {
    for method in ["GET", "DELETE", "HEAD", "OPTIONS", "POST"] {
        let (up, heads) = always(OK).await;
        let house = House::simple(up, "http1").await;
        let stream = TcpStream::connect(house.address()).await.unwrap();
        let (send, connection) = h2::client::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        let request = http::Request::builder().method(method).uri("http://a/x").body(()).unwrap();
        let (response, mut out) = send.ready().await.unwrap().send_request(request, false).unwrap();
        out.send_data(Bytes::new(), true).unwrap();
        assert_eq!(soon(response).await.unwrap().status(), 200, "{method}");
        let chunked = heads.lock().unwrap()[0].contains("transfer-encoding: chunked");
        assert_eq!(chunked, method == "POST", "{method}");
    }
    // A body of such a request passes as ever, and one that comes late too.
    let house = House::simple(origin(Version::H1).await, "http1").await;
    for late in [false, true] {
        let stream = TcpStream::connect(house.address()).await.unwrap();
        let (send, connection) = h2::client::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        let request = http::Request::builder().method("DELETE").uri("http://a/echo").body(()).unwrap();
        let (response, mut out) = send.ready().await.unwrap().send_request(request, false).unwrap();
        if late {
            tokio::time::sleep(std::time::Duration::from_millis(150)).await;
        }
        out.send_data("body".into(), true).unwrap();
        let mut body = soon(response).await.unwrap().into_body();
        assert_eq!(soon(body.data()).await.unwrap().unwrap(), "body", "{late}");
    }
}

#[tokio::test]
async fn a_whole_body_keeps_the_connection_though_a_100_was_expected() {
    let (up, _) = always(OK).await;
    let house = House::simple(up, "http1").await;
    let mut stream = TcpStream::connect(house.address()).await.unwrap();
    let mut buf = BytesMut::new();
    for _ in 0..3 {
        let post = b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc";
        stream.write_all(post).await.unwrap();
        let got = soon(h1_reply(&mut stream, &mut buf, Method::Post)).await;
        assert_eq!((got.status, got.field("connection")), (200, None), "{got:?}");
    }
    // Nobody knows whether what is not there is going to come.
    stream
        .write_all(b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n")
        .await
        .unwrap();
    let got = soon(h1_reply(&mut stream, &mut buf, Method::Post)).await;
    assert_eq!(got.field("connection"), Some("close"), "{got:?}");
}
