//! What comes on a pooled connection when nothing has been asked on it is nobody's reply.

use crate::house::{House, soon};
use crate::peer::h1_reply;
use bytes::BytesMut;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use weir_codecs::http1::Method;

const GOOD: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ngood";
const FOREIGN: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\nFOREIGN";

/// When to say what nobody asked for, and that it has been said.
struct Cues {
    say: UnboundedSender<()>,
    said: UnboundedReceiver<()>,
}

/// A server that answers, and when told to says more than it was asked for on the connection that it answered on last.
async fn talkative(tls: Option<Arc<rustls::ServerConfig>>) -> (SocketAddr, Cues) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (say, mut told) = unbounded_channel();
    let (tell, said) = unbounded_channel();
    let (answered, mut last) = unbounded_channel::<Box<dyn Stream>>();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            stream.set_nodelay(true).unwrap();
            let (tls, answered) = (tls.clone(), answered.clone());
            tokio::spawn(async move {
                let mut stream: Box<dyn Stream> = match tls {
                    Some(tls) => Box::new(tokio_rustls::TlsAcceptor::from(tls).accept(stream).await.unwrap()),
                    None => Box::new(stream),
                };
                let mut all = BytesMut::new();
                while !all.ends_with(b"\r\n\r\n") {
                    if stream.read_buf(&mut all).await.unwrap_or(0) == 0 {
                        return;
                    }
                }
                stream.write_all(GOOD).await.unwrap();
                stream.flush().await.unwrap();
                answered.send(stream).ok();
            });
        }
    });
    tokio::spawn(async move {
        let mut kept = Vec::new();
        while told.recv().await.is_some() {
            let mut stream = last.recv().await.unwrap();
            stream.write_all(FOREIGN).await.unwrap();
            stream.flush().await.unwrap();
            kept.push(stream);
            tell.send(()).unwrap();
        }
    });
    (address, Cues { say, said })
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

async fn rounds(house: &House, mut cues: Cues, rounds: usize) {
    let mut client = TcpStream::connect(house.address()).await.unwrap();
    client.set_nodelay(true).unwrap();
    let mut buf = BytesMut::new();
    for round in 0..rounds {
        client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        let got = soon(h1_reply(&mut client, &mut buf, Method::Get)).await;
        assert_eq!(got.text(), "good", "round {round}");
        cues.say.send(()).unwrap();
        soon(cues.said.recv()).await.unwrap();
    }
    // The last connection is found out by the next tick.
    house.becomes("weir_http_rejects_total", &["rule=\"unasked_bytes\""], rounds as f64).await;
    assert_eq!(house.number("weir_endpoint_attempts_total", &["outcome=\"failed\""]), 0.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_that_nobody_asked_for_are_nobodys_reply() {
    let (up, cues) = talkative(None).await;
    let house = House::simple(up, "http1").await;
    rounds(&house, cues, 1000).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nor_are_they_through_tls() {
    let (folder, server) = crate::secure::server_identity();
    let (up, cues) = talkative(Some(server)).await;
    let house = House::start(&format!(
        "workers: 1
listeners: {{ edge: {{ bind: '127.0.0.1:0', http: {{ cluster: up }} }} }}
clusters: {{ up: {{ endpoints: ['{up}'], tls: {{ ca: '{}', sni: weir.test }} }} }}",
        folder.path().join("root.pem").display()
    ))
    .await;
    rounds(&house, cues, 100).await;
}

/// One connection of a client's, whose every request is in hand when the last one ends.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_comes_late_behind_a_reply_without_one_is_nobodys_reply() {
    for head in [
        "HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\n",
        "HTTP/1.1 204 No\r\n\r\n",
        "HTTP/1.1 304 No\r\n\r\n",
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let house = House::simple(listener.local_addr().unwrap(), "http1").await;
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                stream.set_nodelay(true).unwrap();
                tokio::spawn(async move {
                    let mut all = BytesMut::new();
                    while stream.read_buf(&mut all).await.unwrap_or(0) > 0 {
                        if !all.ends_with(b"\r\n\r\n") {
                            continue;
                        }
                        if all.starts_with(b"HEAD") {
                            stream.write_all(head.as_bytes()).await.ok();
                            tokio::task::yield_now().await;
                            stream.write_all(FOREIGN).await.ok();
                        } else {
                            stream.write_all(GOOD).await.ok();
                        }
                        all.clear();
                    }
                });
            }
        });
        for _ in 0..200 {
            let mut client = TcpStream::connect(house.address()).await.unwrap();
            let two = b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n";
            client.write_all(two).await.unwrap();
            let mut buf = BytesMut::new();
            soon(h1_reply(&mut client, &mut buf, Method::Head)).await;
            assert_eq!(soon(h1_reply(&mut client, &mut buf, Method::Get)).await.text(), "good", "{head}");
        }
    }
}

/// A reply without a body costs no connection for good.
#[tokio::test]
async fn a_connection_that_rested_serves_again() {
    let up = crate::peer::origin(crate::peer::Version::H1).await;
    let house = House::simple(up, "http1").await;
    let mut client = TcpStream::connect(house.address()).await.unwrap();
    let mut buf = BytesMut::new();
    for _ in 0..50 {
        client.write_all(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        assert_eq!(soon(h1_reply(&mut client, &mut buf, Method::Head)).await.status, 200);
        tokio::time::sleep(2 * weir_drive::pool::REST).await;
    }
    assert!(house.number("weir_cluster_connections_total", &[]) < 25.0, "{}", house.metrics());
}
