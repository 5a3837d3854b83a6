//! Whose fault it is when time is over: a client that does not read, or sends in drops, is not a server that fails.

use crate::house::{House, soon};
use crate::peer::{BOTH, Version, origin};
use bytes::Bytes;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// Asks for 8 MiB and reads only the beginning, until the reply is broken off.
async fn stalled_reader(version: Version, to: SocketAddr) {
    // Little fits on the way to it.
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(16 * 1024).unwrap();
    let mut stream = socket.connect(to).await.unwrap();
    match version {
        Version::H1 => {
            stream.write_all(b"GET /big HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
            soon(stream.read_exact(&mut [0; 15])).await.unwrap();
            std::future::pending::<()>().await;
        }
        Version::H2 => {
            let (send, connection) = h2::client::handshake(stream).await.unwrap();
            tokio::spawn(connection);
            let request = http::Request::builder().uri("http://a/big").body(()).unwrap();
            let mut send = send.ready().await.unwrap();
            let (reply, _) = send.send_request(request, true).unwrap();
            let mut body = soon(reply).await.unwrap().into_body();
            // What has come is taken, but its window is never given back.
            while let Some(Ok(_)) = soon(body.data()).await {}
        }
    }
}

/// Sends a byte of a long body now and then. Gives the status of the reply.
async fn dribbling_sender(version: Version, to: SocketAddr) -> u16 {
    let mut stream = TcpStream::connect(to).await.unwrap();
    let pause = || tokio::time::sleep(Duration::from_millis(10));
    match version {
        Version::H1 => {
            stream
                .write_all(b"PUT /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 100000\r\n\r\n")
                .await
                .unwrap();
            let (mut read, mut write) = stream.split();
            let mut all = vec![0; 12];
            let send = async {
                while write.write_all(b"x").await.is_ok() {
                    pause().await;
                }
                std::future::pending::<()>().await
            };
            tokio::select! {
                got = soon(read.read_exact(&mut all)) => { got.unwrap(); }
                () = send => {}
            }
            String::from_utf8_lossy(&all)[9..].parse().unwrap()
        }
        Version::H2 => {
            let (send, connection) = h2::client::handshake(stream).await.unwrap();
            tokio::spawn(connection);
            let request = http::Request::builder().method("PUT").uri("http://a/echo").body(()).unwrap();
            let mut send = send.ready().await.unwrap();
            let (mut reply, mut body) = send.send_request(request, false).unwrap();
            loop {
                tokio::select! {
                    got = &mut reply => return got.unwrap().status().as_u16(),
                    () = pause() => { body.send_data(Bytes::from_static(b"x"), false).ok(); }
                }
            }
        }
    }
}

/// A slow client's doing, the settings of its listener and route, and the phase and reason of the failure.
type Case = (&'static str, &'static str, &'static str, &'static str, &'static str);

/// Time enough to get through to the server on a machine that has other things to do.
const CASES: [Case; 4] = [
    ("reads", "idle_timeout: 400ms,", "", "replying", "idle_timeout"),
    ("reads", "", "timeout: 6s", "replying", "timeout"),
    ("sends", "", "timeout: 2s", "sending", "timeout"),
    ("sends", "", "retry: { retry_on: [reset], per_try_timeout: 2s }", "sending", "try_timeout"),
];

async fn a_slow_client(down: Version, up: Version, (what, listener, route, phase, reason): Case) {
    let house = House::start(&format!(
        "workers: 1
listeners: {{ edge: {{ bind: '127.0.0.1:0', {listener} http: {{ routes: [{{ cluster: up, {route} }}] }} }} }}
clusters: {{ up: {{ endpoints: ['{}'], protocol: {} }} }}",
        origin(up).await,
        up.protocol()
    ))
    .await;
    let to = house.address();
    let client = tokio::spawn(async move {
        match what {
            "reads" => stalled_reader(down, to).await,
            _ => assert_eq!(dribbling_sender(down, to).await, 408),
        }
    });
    let labels = ["side=\"client\"", &format!("phase=\"{phase}\""), &format!("reason=\"{reason}\"")];
    house.becomes("weir_failures_total", &["side="], 1.0).await;
    let metrics = house.metrics();
    let failures: Vec<_> = metrics.lines().filter(|line| line.starts_with("weir_failures_total")).collect();
    assert_eq!(house.number("weir_failures_total", &labels), 1.0, "{down:?} {what}: {failures:?}");
    house.becomes("weir_operations_total", &["result=\"timeout\""], 1.0).await;
    let attempts = |outcome| house.number("weir_endpoint_attempts_total", &[outcome]);
    assert_eq!(attempts("outcome=\"failed\""), 0.0, "{down:?} {what} {reason}");
    assert_eq!(attempts("outcome=\"cancelled\""), 1.0, "{down:?} {what} {reason}");
    match what {
        "reads" => client.abort(),
        _ => soon(client).await.unwrap(),
    }
}

#[tokio::test]
async fn a_slow_client_is_to_blame_whatever_timer_fires() {
    let of = async |down, up| {
        let [one, two, three, four] = CASES.map(|case| a_slow_client(down, up, case));
        tokio::join!(one, two, three, four)
    };
    let [h1, h2] = BOTH;
    tokio::join!(of(h1, h1), of(h1, h2), of(h2, h1), of(h2, h2));
}

#[tokio::test]
async fn a_client_that_leaves_with_all_of_its_reply_is_served() {
    // The server announces five bytes, sends them, and does not say that this is the end.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let up = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut connection = h2::server::handshake(stream).await.unwrap();
                let mut open = Vec::new();
                while let Some(Ok((_, mut respond))) = connection.accept().await {
                    let head = http::Response::builder().header("content-length", 5).body(()).unwrap();
                    let mut out = respond.send_response(head, false).unwrap();
                    out.send_data(Bytes::from_static(b"hello"), false).unwrap();
                    open.push(out);
                }
            });
        }
    });
    for down in BOTH {
        let house = House::simple(up, "http2").await;
        let mut stream = TcpStream::connect(house.address()).await.unwrap();
        match down {
            Version::H1 => {
                stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
                let mut all = Vec::new();
                while !all.ends_with(b"hello") {
                    soon(stream.read_buf(&mut all)).await.unwrap();
                }
                drop(stream);
            }
            Version::H2 => {
                let (send, connection) = h2::client::handshake(stream).await.unwrap();
                tokio::spawn(connection);
                let request = http::Request::builder().uri("http://a/").body(()).unwrap();
                let mut send = send.ready().await.unwrap();
                let (reply, _) = send.send_request(request, true).unwrap();
                let mut body = soon(reply).await.unwrap().into_body();
                assert_eq!(soon(body.data()).await.unwrap().unwrap(), "hello");
            }
        }
        house.counted("ok", "200").await;
        assert_eq!(house.number("weir_failures_total", &[]), 0.0);
        house.becomes("weir_endpoint_attempts_total", &["outcome=\"success\""], 1.0).await;
    }
}

#[tokio::test]
async fn a_quiet_websocket_is_no_failure_of_its_server() {
    let house = House::start(&format!(
        "workers: 1
listeners: {{ edge: {{ bind: '127.0.0.1:0', idle_timeout: 300ms, http: {{ cluster: up }} }} }}
clusters: {{ up: {{ endpoints: ['{}'] }} }}",
        origin(Version::H1).await
    ))
    .await;
    let mut stream = TcpStream::connect(house.address()).await.unwrap();
    let open = b"GET /ws HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\nhello";
    stream.write_all(open).await.unwrap();
    let mut all = Vec::new();
    soon(async { while let Ok(1..) = stream.read_buf(&mut all).await {} }).await;
    let text = String::from_utf8_lossy(&all);
    assert!(text.starts_with("HTTP/1.1 101 ") && text.ends_with("\r\n\r\nhello"), "{text}");
    house.counted("timeout", "101").await;
    let idle = ["side=\"client\"", "phase=\"replying\"", "reason=\"idle_timeout\""];
    assert_eq!(house.number("weir_failures_total", &idle), 1.0);
    assert_eq!(house.number("weir_endpoint_attempts_total", &["outcome=\"failed\""]), 0.0);
}
