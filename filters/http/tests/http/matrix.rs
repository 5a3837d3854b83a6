//! All four combinations of versions.

use crate::house::{House, soon};
use crate::peer::{BOTH, Sent, Version, h2_on, origin, request};

struct Case {
    method: &'static str,
    path: &'static str,
    body: Sent,
    status: u16,
    text: &'static str,
    result: &'static str,
}

fn case(method: &'static str, path: &'static str, body: Sent, status: u16, text: &'static str) -> Case {
    let result = match status {
        500.. => "server_error",
        400.. => "client_error",
        _ => "ok",
    };
    Case { method, path, body, status, text, result }
}

async fn each(cases: impl Fn() -> Vec<Case>) {
    for down in BOTH {
        for up in BOTH {
            let address = origin(up).await;
            for case in cases() {
                let what = format!("{down:?} to {up:?}: {} {} {:?}", case.method, case.path, case.status);
                let house = House::simple(address, up.protocol()).await;
                let got = request(down, house.address(), case.method, case.path, case.body).await;
                assert_eq!((got.status, &*got.text()), (case.status, case.text), "{what}: {got:?}");
                assert!(!got.broken, "{what}");
                house.counted(case.result, &case.status.to_string()).await;
            }
        }
    }
}

#[tokio::test]
async fn requests_and_replies_pass() {
    each(|| {
        vec![
            case("GET", "/", Sent::None, 200, "hello"),
            case("HEAD", "/", Sent::None, 200, ""),
            case("GET", "/204", Sent::None, 204, ""),
            case("GET", "/304", Sent::None, 304, ""),
            case("GET", "/500", Sent::None, 500, "no"),
            case("GET", "/interim", Sent::None, 200, "hello"),
            case("GET", "/trailers", Sent::None, 200, "hello"),
            case("POST", "/echo", Sent::Length(b"some text".to_vec()), 200, "some text"),
            case("POST", "/echo", Sent::Length(vec![]), 200, ""),
            case("POST", "/echo", Sent::Chunked(b"some text".to_vec()), 200, "some text"),
            case("POST", "/echo", Sent::Trailers(b"some text".to_vec()), 200, "some text"),
            case("BREW", "/", Sent::None, 200, "hello"),
        ]
    })
    .await;
}

#[tokio::test]
async fn interim_replies_and_trailers_pass() {
    for down in BOTH {
        for up in BOTH {
            let house = House::simple(origin(up).await, up.protocol()).await;
            let got = request(down, house.address(), "GET", "/interim", Sent::None).await;
            assert_eq!(got.interim, [103], "{down:?} to {up:?}");
            let got = request(down, house.address(), "GET", "/trailers", Sent::None).await;
            assert_eq!(got.trailers, [("x-end".into(), "yes".into())], "{down:?} to {up:?}");
            let sent = Sent::Trailers(b"text".to_vec());
            let got = request(down, house.address(), "POST", "/echo", sent).await;
            assert_eq!(got.trailers, [("x-sum".into(), "7".into())], "{down:?} to {up:?}");
        }
    }
}

#[tokio::test]
async fn large_bodies_pass_both_ways() {
    for down in BOTH {
        for up in BOTH {
            let house = House::simple(origin(up).await, up.protocol()).await;
            let big: Vec<u8> = (0..3 << 20).map(|i| (i * 7 + i / 256) as u8).collect();
            for sent in [Sent::Length(big.clone()), Sent::Chunked(big.clone())] {
                let got = request(down, house.address(), "POST", "/echo", sent).await;
                assert!(
                    got.body == big && !got.broken,
                    "{down:?} to {up:?}: {} {}",
                    got.body.len(),
                    &got.text()[..got.body.len().min(60)]
                );
            }
            let got = request(down, house.address(), "GET", "/big", Sent::None).await;
            assert_eq!(got.body.len(), 8 << 20, "{down:?} to {up:?}");
        }
    }
}

#[tokio::test]
async fn early_replies_are_delivered() {
    for down in BOTH {
        for up in BOTH {
            let house = House::simple(origin(up).await, up.protocol()).await;
            for size in [10, 4 << 20] {
                let got = request(down, house.address(), "POST", "/early", Sent::Length(vec![1; size])).await;
                assert_eq!((got.status, &*got.text()), (413, "big"), "{down:?} to {up:?}, {size} bytes");
            }
            house.becomes("weir_operations_total", &["result=\"client_error\"", "code=\"413\""], 2.0).await;
        }
    }
}

#[tokio::test]
async fn lost_servers_are_told_and_counted() {
    for down in BOTH {
        for up in BOTH {
            for (path, body) in [
                ("/reset-at-once", Sent::None),
                ("/reset-at-once", Sent::Length(vec![1; 10])),
                ("/reset-after-body", Sent::Chunked(vec![1; 10])),
            ] {
                let house = House::simple(origin(up).await, up.protocol()).await;
                let got = request(down, house.address(), "POST", path, body).await;
                let reason = if up == Version::H1 { "closed" } else { "reset" };
                assert_eq!(got.status, 502, "{down:?} to {up:?} {path}: {got:?}");
                assert_eq!(got.field("x-weir-reason"), Some(reason), "{down:?} to {up:?} {path}");
                house.counted("upstream_lost", "502").await;
                let side = if up == Version::H1 { "side=\"network\"" } else { "side=\"upstream\"" };
                house.becomes("weir_failures_total", &[side, "phase=\"waiting\""], 1.0).await;
            }
            let house = House::simple(origin(up).await, up.protocol()).await;
            let got = request(down, house.address(), "GET", "/reset-mid", Sent::None).await;
            assert!(got.broken && got.status == 200, "{down:?} to {up:?}: {got:?}");
            house.counted("upstream_lost", "200").await;
            house.becomes("weir_failures_total", &["phase=\"replying\""], 1.0).await;
        }
    }
}

#[tokio::test]
async fn servers_see_who_asked() {
    for down in BOTH {
        for up in BOTH {
            let house = House::simple(origin(up).await, up.protocol()).await;
            let got = request(down, house.address(), "GET", "/seen", Sent::None).await;
            let text = got.text();
            for part in [
                r#"("x-forwarded-for", "127.0.0.1")"#,
                r#"("x-forwarded-proto", "http")"#,
                r#"("x-forwarded-host", "test.local")"#,
                r#"("x-request-id", ""#,
            ] {
                assert!(text.contains(part), "{down:?} to {up:?}: {part} in {text}");
            }
            assert!(!text.contains("via"), "{down:?} to {up:?}: {text}");
        }
    }
}

#[tokio::test]
async fn a_reader_that_stalls_stalls_nobody_else() {
    for up in BOTH {
        let house = House::simple(origin(up).await, up.protocol()).await;
        let stream = tokio::net::TcpStream::connect(house.address()).await.unwrap();
        let mut builder = h2::client::Builder::new();
        builder.initial_window_size(64 * 1024).initial_connection_window_size(1 << 20);
        let (send, connection) = builder.handshake::<_, bytes::Bytes>(stream).await.unwrap();
        let driver = tokio::spawn(connection);
        // Eight megabytes each that nobody reads.
        let mut stalled = Vec::new();
        for _ in 0..4 {
            let mut send = send.clone().ready().await.unwrap();
            let request = http::Request::builder().uri("http://a/big").body(()).unwrap();
            let (response, _) = send.send_request(request, true).unwrap();
            stalled.push(soon(response).await.unwrap());
        }
        for _ in 0..20 {
            let got = soon(h2_on(send.clone(), "POST", "/echo", &[], Sent::Length(vec![1; 5000]))).await;
            assert_eq!((got.status, got.body.len()), (200, 5000), "{up:?}");
        }
        drop(stalled);
        house.becomes("weir_operations_total", &["result=\"ok\""], 20.0).await;
        house.becomes("weir_operations_total", &["result=\"client_gone\""], 4.0).await;
        driver.abort();
    }
}

#[tokio::test]
async fn a_client_that_reads_nothing_leaves_others_their_share_of_a_connection() {
    let house = House::simple(origin(Version::H2).await, "http2").await;
    let stream = tokio::net::TcpStream::connect(house.address()).await.unwrap();
    let mut builder = h2::client::Builder::new();
    let (send, connection) =
        builder.initial_window_size(0).handshake::<_, bytes::Bytes>(stream).await.unwrap();
    let driver = tokio::spawn(connection);
    let mut stalled = Vec::new();
    for _ in 0..100 {
        let mut send = send.clone().ready().await.unwrap();
        let request = http::Request::builder().uri("http://a/half").body(()).unwrap();
        let (response, _) = send.send_request(request, true).unwrap();
        stalled.push(response);
    }
    for response in &mut stalled {
        assert_eq!(soon(response).await.unwrap().status(), 200);
    }
    for version in BOTH {
        let got = request(version, house.address(), "GET", "/half", Sent::None).await;
        assert_eq!((got.body.len(), got.broken), (1 << 19, false), "{version:?}");
    }
    house.becomes("weir_cluster_connections_total", &[], 1.0).await;
    drop(stalled);
    driver.abort();
}

#[tokio::test]
async fn small_messages_that_nobody_reads_do_not_end_a_shared_connection() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let house = House::simple(listener.local_addr().unwrap(), "http2").await;
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut connection = h2::server::handshake(stream).await.unwrap();
        while let Some(Ok((request, mut respond))) = connection.accept().await {
            let mut out = respond.send_response(http::Response::new(()), false).unwrap();
            for _ in 0..if request.uri().path() == "/many" { 2600 } else { 1 } {
                out.send_data(bytes::Bytes::from_static(&[b'm'; 25]), false).unwrap();
            }
            if request.uri().path() == "/many" {
                // Kept open for as long as the connection is.
                std::mem::forget(out);
            } else {
                out.send_data(bytes::Bytes::new(), true).unwrap();
            }
        }
    });
    let stream = tokio::net::TcpStream::connect(house.address()).await.unwrap();
    let mut builder = h2::client::Builder::new();
    let (send, connection) =
        builder.initial_window_size(0).handshake::<_, bytes::Bytes>(stream).await.unwrap();
    let driver = tokio::spawn(connection);
    let mut stalled = Vec::new();
    for _ in 0..60 {
        let mut send = send.clone().ready().await.unwrap();
        let request = http::Request::builder().uri("http://a/many").body(()).unwrap();
        let (response, _) = send.send_request(request, true).unwrap();
        stalled.push(soon(response).await.unwrap());
    }
    for version in BOTH {
        let got = request(version, house.address(), "GET", "/one", Sent::None).await;
        assert_eq!((got.body.len(), got.broken), (25, false), "{version:?}");
    }
    house.becomes("weir_cluster_connections_total", &[], 1.0).await;
    drop(stalled);
    driver.abort();
}
