//! Connections that are passed on by the name that they ask for, beside those that Weir terminates.

use crate::certificates::*;
use crate::house::*;
use rustls::pki_types::{CertificateDer, ServerName};
use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// What is passed on goes to `up`.
fn passing(certificates: &Certificates, up: std::net::SocketAddr, certificate: bool, more: &str) -> String {
    let folder = certificates.folder.path().display();
    let own = format!("certificate: '{folder}/edge.pem', key: '{folder}/edge.key', ");
    let own = if certificate { own.as_str() } else { "" };
    format!(
        "workers: 2
listeners:
  l:
    bind: '127.0.0.1:0'
    tls: {{ {own}passthrough: [{{ sni: [raw.test, '*.below.test'], cluster: raw }}] }}
    tell: {{}}{more}
clusters: {{ raw: {{ endpoints: ['{up}'] }} }}"
    )
}

/// Shakes hands for `name`, over anything.
async fn open<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    certificates: &Certificates,
    name: &str,
) -> io::Result<tokio_rustls::client::TlsStream<S>> {
    let connector = TlsConnector::from(client(certificates, None, &BOTH));
    soon(connector.connect(ServerName::try_from(name.to_owned()).unwrap(), stream)).await
}

fn shown<S>(stream: &tokio_rustls::client::TlsStream<S>) -> CertificateDer<'static> {
    stream.get_ref().1.peer_certificates().unwrap()[0].clone()
}

async fn echoed(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), bytes: &[u8]) {
    let (mut read, mut write) = tokio::io::split(stream);
    let mut back = vec![0; bytes.len()];
    let (sent, received) = soon(async {
        tokio::join!(
            async {
                write.write_all(bytes).await?;
                write.flush().await
            },
            read.read_exact(&mut back)
        )
    })
    .await;
    sent.unwrap();
    received.unwrap();
    assert!(back == bytes);
}

const ALL_NAMES: &str = "raw.test a.below.test a.b.below.test below.test edge.test";

#[tokio::test]
async fn connections_are_passed_on_by_name_and_others_terminated() {
    let certificates = Certificates::new();
    let up = secure_echo(&certificates, ALL_NAMES, false, &BOTH).await;
    let edge = certificates.write("edge", ALL_NAMES).0;
    let house = House::start_with(&passing(&certificates, up, true, ""), TELL).await.unwrap();
    for (name, passed) in [
        ("raw.test", true),
        ("RAW.test", true),
        ("a.below.test", true),
        ("a.b.below.test", true),
        ("below.test", false),
        ("edge.test", false),
    ] {
        let mut stream = open(house.connect("l").await, &certificates, name).await.unwrap();
        assert_eq!(shown(&stream) != edge, passed, "{name}");
        if passed {
            echoed(&mut stream, b"as it is").await;
            echoed(&mut stream, &vec![7; 1 << 20]).await;
            stream.shutdown().await.unwrap();
            assert_eq!(soon(stream.read(&mut [0; 1])).await.unwrap(), 0, "the end is passed on");
        } else {
            assert_eq!(told(stream).await, format!("None Some({name:?})"));
        }
    }
    // What is sorted by its name is resumed like anything else.
    let again = client(&certificates, None, &BOTH);
    shake(&house, "l", &again, "edge.test").await.unwrap();
    shake(&house, "l", &again, "edge.test").await.unwrap();
    house.becomes("weir_listener_tls_handshakes_total", &["result=\"resumed\""], 1.0).await;
    house.becomes("weir_listener_tls_handshakes_total", &["result=\"passed\""], 4.0).await;
    house.becomes("weir_listener_tls_handshakes_total", &["result=\"ok\""], 3.0).await;
    let labels = ["listener=\"l\"", "cluster=\"raw\"", "protocol=\"tcp\"", "operation=\"connection\""];
    house.becomes("weir_operations_total", &[&labels[..], &["result=\"ok\""]].concat(), 4.0).await;
    house.becomes("weir_listener_connections_open", &[], 0.0).await;
    let bytes = house.number("weir_operation_request_bytes_total", &labels);
    assert!(bytes > f64::from(4 << 20), "the client's first message is counted too: {bytes}");
    // Without a name, and without TLS.
    let plain = client(&certificates, None, &BOTH);
    let address = ServerName::try_from("127.0.0.1").unwrap();
    let unnamed = soon(TlsConnector::from(plain).connect(address, house.connect("l").await)).await;
    assert!(unnamed.is_err(), "the certificate is not for an address");
    let mut http = house.connect("l").await;
    http.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let said = rest(&mut http).await;
    assert_eq!(said.first(), Some(&21), "an alert: {said:?}");
    drop(house.connect("l").await);
    for reason in ["refused_by_client", "malformed", "closed"] {
        let label = format!("reason=\"{reason}\"");
        house.becomes("weir_listener_tls_handshakes_total", &[&label], 1.0).await;
    }
}

/// Sends a client's first message in records of `size` bytes, and everything byte by byte.
struct Dribble {
    tcp: TcpStream,
    size: Option<usize>,
    queue: VecDeque<u8>,
}

impl Dribble {
    fn poll_queue(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(byte) = self.queue.front() {
            ready!(Pin::new(&mut self.tcp).poll_write(cx, &[*byte]))?;
            self.queue.pop_front();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Dribble {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Dribble {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_queue(cx))?;
        match self.size.take() {
            None => self.queue.extend(bytes),
            Some(size) => {
                let (head, hello) = bytes.split_at(5);
                assert_eq!(usize::from(head[3]) << 8 | usize::from(head[4]), hello.len(), "one record");
                for piece in hello.chunks(size) {
                    self.queue.extend([head[0], head[1], head[2], 0, u8::try_from(piece.len()).unwrap()]);
                    self.queue.extend(piece);
                }
            }
        }
        Poll::Ready(Ok(bytes.len()))
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_queue(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_queue(cx))?;
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}

#[tokio::test]
async fn a_hello_may_come_in_any_pieces() {
    let certificates = Certificates::new();
    let up = secure_echo(&certificates, "raw.test", false, &BOTH).await;
    certificates.write("edge", "edge.test");
    let house = House::start_with(&passing(&certificates, up, true, ""), TELL).await.unwrap();
    for size in [1, 3, 50, 255] {
        let tcp = house.connect("l").await;
        tcp.set_nodelay(true).unwrap();
        let dribble = Dribble { tcp, size: Some(size), queue: VecDeque::new() };
        let mut stream = open(dribble, &certificates, "raw.test").await.unwrap();
        echoed(&mut stream, b"in pieces").await;
        let tcp = house.connect("l").await;
        let dribble = Dribble { tcp, size: Some(size), queue: VecDeque::new() };
        let mut stream = open(dribble, &certificates, "edge.test").await.unwrap();
        let mut said = String::new();
        soon(stream.read_to_string(&mut said)).await.unwrap();
        assert_eq!(said, "None Some(\"edge.test\")");
    }
}

#[tokio::test]
async fn without_a_certificate_the_rest_is_refused() {
    let certificates = Certificates::new();
    let up = secure_echo(&certificates, "raw.test", false, &BOTH).await;
    let house = House::start_with(&passing(&certificates, up, false, ""), TELL).await.unwrap();
    let mut stream = open(house.connect("l").await, &certificates, "raw.test").await.unwrap();
    echoed(&mut stream, b"alone").await;
    let error = open(house.connect("l").await, &certificates, "edge.test").await.err().unwrap();
    assert!(error.to_string().contains("UnrecognisedName"), "{error}");
    house.becomes("weir_listener_tls_handshakes_total", &["reason=\"unknown_name\""], 1.0).await;
    // A client's message that never ends: a handshake of type 1 and 60,000 bytes.
    let mut endless = house.connect("l").await;
    for n in 0..5 {
        let mut record = vec![22, 3, 1, 0x10, 0];
        record.resize(5 + 0x1000, 0);
        if n == 0 {
            record[5..9].copy_from_slice(&[1, 0, 0xea, 0x60]);
        }
        if endless.write_all(&record).await.is_err() {
            break;
        }
    }
    rest(&mut endless).await;
    house.becomes("weir_listener_tls_handshakes_total", &["reason=\"hello_too_large\""], 1.0).await;
    house.becomes("weir_listener_connections_open", &[], 1.0).await;
}

#[tokio::test]
async fn a_hello_has_to_come_in_time() {
    let certificates = Certificates::new();
    certificates.write("edge", "edge.test");
    let sorting = passing(&certificates, nobody(), true, "");
    let plain = telling(&certificates.path("edge.pem"), &certificates.path("edge.key"));
    let mut slow = Vec::new();
    for text in [sorting, plain] {
        let house = House::start_with(&text, TELL).await.unwrap();
        let mut client = house.connect("l").await;
        client.write_all(&[22, 3, 1, 2, 0, 1, 0]).await.unwrap();
        slow.push((house, client));
    }
    for (house, mut slow) in slow {
        house.becomes("weir_listener_tls_handshakes_total", &["result=\"timeout\""], 1.0).await;
        assert_eq!(rest(&mut slow).await, b"");
        house.becomes("weir_listener_connections_open", &[], 0.0).await;
    }
}

#[tokio::test]
async fn what_is_passed_on_is_held_to_the_listener() {
    let certificates = Certificates::new();
    let up = secure_echo(&certificates, "raw.test", false, &BOTH).await;
    certificates.write("edge", "edge.test");
    let more = "\n    idle_timeout: 2s\n    max_connections: 1";
    let house = House::start_with(&passing(&certificates, up, true, more), TELL).await.unwrap();
    let mut stream = open(house.connect("l").await, &certificates, "raw.test").await.unwrap();
    echoed(&mut stream, b"once").await;
    assert!(open(house.connect("l").await, &certificates, "raw.test").await.is_err());
    house.becomes("weir_listener_connections_refused_total", &["reason=\"max_connections\""], 1.0).await;
    soon(stream.read(&mut [0; 1])).await.ok();
    house.becomes("weir_operations_total", &["protocol=\"tcp\"", "result=\"idle_timeout\""], 1.0).await;
    house.becomes("weir_listener_connections_open", &[], 0.0).await;
    // A reload moves what comes next, and leaves what stands.
    let calm = passing(&certificates, up, true, "");
    house.server.reload(config_for(&calm, TELL)).await.unwrap();
    let mut before = open(house.connect("l").await, &certificates, "raw.test").await.unwrap();
    echoed(&mut before, b"before").await;
    let other = secure_echo(&certificates, "other.test", false, &BOTH).await;
    let moved = passing(&certificates, other, true, "").replace("raw.test", "other.test");
    house.server.reload(config_for(&moved, TELL)).await.unwrap();
    echoed(&mut before, b"still").await;
    let mut after = open(house.connect("l").await, &certificates, "other.test").await.unwrap();
    echoed(&mut after, b"after").await;
    assert!(open(house.connect("l").await, &certificates, "raw.test").await.is_err(), "edge.test is shown");
    // A drain lets them be until its time is over.
    let drained = house.server.drain(Duration::from_millis(300)).await;
    assert_eq!(drained.cut, 2);
}

#[tokio::test]
async fn a_cluster_that_is_not_there_is_counted() {
    let certificates = Certificates::new();
    let house = House::start_with(&passing(&certificates, nobody(), false, ""), TELL).await.unwrap();
    assert!(open(house.connect("l").await, &certificates, "raw.test").await.is_err());
    house.becomes("weir_failures_total", &["protocol=\"tcp\"", "reason=\"connect_failed\""], 1.0).await;
}
