//! TLS on both sides and what ALPN agrees upon: one Weir in front of another.

use crate::house::House;
use crate::peer::{BOTH, Sent, Version, origin, request};
use rcgen::{CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

#[tokio::test]
async fn versions_are_agreed_upon_by_alpn() {
    let mut params = CertificateParams::new([]).unwrap();
    params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let root = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(["weir.test".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &root).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = |file: &str| folder.path().join(file).display().to_string();
    std::fs::write(path("root.pem"), root.pem()).unwrap();
    std::fs::write(path("edge.pem"), certificate.pem()).unwrap();
    std::fs::write(path("edge.key"), key.serialize_pem()).unwrap();

    for middle in BOTH {
        for end in BOTH {
            let inner = House::start(&format!(
                "workers: 1
listeners:
  edge:
    bind: '127.0.0.1:0'
    tls: {{ certificate: '{}', key: '{}' }}
    http: {{ cluster: up }}
clusters: {{ up: {{ endpoints: ['{}'], protocol: {} }} }}",
                path("edge.pem"),
                path("edge.key"),
                origin(end).await,
                end.protocol(),
            ))
            .await;
            let outer = House::start(&format!(
                "workers: 1
listeners: {{ edge: {{ bind: '127.0.0.1:0', http: {{ cluster: up }} }} }}
clusters:
  up:
    endpoints: ['{}']
    protocol: {}
    tls: {{ ca: '{}', sni: weir.test }}",
                inner.address(),
                middle.protocol(),
                path("root.pem"),
            ))
            .await;
            for down in BOTH {
                let what = format!("{down:?} to {middle:?} to {end:?}");
                let body = Sent::Trailers(vec![b'x'; 200_000]);
                let got = request(down, outer.address(), "POST", "/echo", body).await;
                assert_eq!((got.status, got.body.len(), got.broken), (200, 200_000, false), "{what}");
                assert_eq!(got.trailers, [("x-sum".into(), "7".into())], "{what}");
                let got = request(down, outer.address(), "GET", "/seen", Sent::None).await;
                assert!(got.text().contains(r#"("x-forwarded-proto", "https")"#), "{what}: {}", got.text());
                // The inner one does not trust the outer one, and says what it sees.
                let chain = r#"("x-forwarded-for", "127.0.0.1")"#;
                assert!(got.text().contains(chain), "{what}: {}", got.text());
            }
            inner.becomes("weir_operations_total", &["result=\"ok\""], 4.0).await;
            outer.becomes("weir_operations_total", &["result=\"ok\""], 4.0).await;
        }
    }
}

/// A server's TLS with a certificate for `weir.test`, and the folder where its root is as `root.pem`.
pub fn server_identity() -> (tempfile::TempDir, std::sync::Arc<rustls::ServerConfig>) {
    let mut params = CertificateParams::new([]).unwrap();
    params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let root = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(["weir.test".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &root).unwrap();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("root.pem"), root.pem()).unwrap();
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
        )
        .unwrap();
    (folder, std::sync::Arc::new(config))
}

/// A record of application data that no key has encrypted, and an alert in the clear.
const GARBAGE: &[u8] = b"\x17\x03\x03\x00\x20GGGGGGGGGGGGGGGGGGGGGGGGGGGGGGGG";
const ALERT: &[u8] = b"\x15\x03\x03\x00\x02\x02\x28";

/// A server that reads one request through TLS and then sends `broken` beneath it. Counts the requests.
async fn breaks_tls(
    server: &Arc<rustls::ServerConfig>,
    h2: bool,
    broken: &'static [u8],
) -> (SocketAddr, Arc<AtomicU32>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut server = rustls::ServerConfig::clone(server);
    server.alpn_protocols = if h2 { vec![b"h2".to_vec()] } else { Vec::new() };
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(server));
    let count = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&count);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let mut tls = acceptor.accept(stream).await.unwrap();
            if h2 {
                tls.write_all(b"\0\0\0\x04\0\0\0\0\0").await.unwrap();
                tls.flush().await.unwrap();
                tls.read_exact(&mut [0; 24]).await.unwrap();
                let mut head = [0; 9];
                while head[3] != 1 {
                    tls.read_exact(&mut head).await.unwrap();
                    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
                    tls.read_exact(&mut vec![0; length as usize]).await.unwrap();
                }
            } else {
                let mut all = Vec::new();
                while !all.ends_with(b"body") {
                    assert!(tls.read_buf(&mut all).await.unwrap() > 0);
                }
            }
            counted.fetch_add(1, Ordering::Relaxed);
            let (stream, _) = tls.get_mut();
            stream.write_all(broken).await.unwrap();
            while stream.read(&mut [0; 1024]).await.unwrap_or(0) > 0 {}
        }
    });
    (address, count)
}

#[tokio::test]
async fn broken_tls_has_one_reason_and_repeats_nothing() {
    let (folder, server) = server_identity();
    let ca = folder.path().join("root.pem").display().to_string();
    let retry = "retry: { retry_on: [connect-failure], back_off: 1ms }";
    for broken in [GARBAGE, ALERT] {
        for protocol in ["http1", "http2"] {
            let what = format!("{protocol} {broken:?}");
            let (up, count) = breaks_tls(&server, protocol == "http2", broken).await;
            let house = House::start(&format!(
                "workers: 1
listeners: {{ edge: {{ bind: '127.0.0.1:0', http: {{ routes: [{{ cluster: up, {retry} }}] }} }} }}
clusters: {{ up: {{ endpoints: ['{up}'], protocol: {protocol}, tls: {{ ca: '{ca}', sni: weir.test }} }} }}"
            ))
            .await;
            let body = Sent::Length(b"body".to_vec());
            let got = request(Version::H1, house.address(), "POST", "/", body).await;
            assert_eq!(got.status, 502, "{what}");
            assert!(got.text().contains("was lost"), "{what}: {}", got.text());
            house.becomes("weir_failures_total", &["side=\"network\"", "reason=\"tls_failed\""], 1.0).await;
            assert_eq!(house.number("weir_failures_total", &["phase=\"connecting\""]), 0.0, "{what}");
            assert_eq!(count.load(Ordering::Relaxed), 1, "{what}");
        }
    }
}

#[tokio::test]
async fn a_server_without_http2_has_failed_the_handshake() {
    let (folder, server) = server_identity();
    let ca = folder.path().join("root.pem").display().to_string();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let up = listener.local_addr().unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(server);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            acceptor.accept(stream).await.ok();
        }
    });
    let house = House::start(&format!(
        "workers: 1
listeners: {{ edge: {{ bind: '127.0.0.1:0', http: {{ cluster: up }} }} }}
clusters: {{ up: {{ endpoints: ['{up}'], protocol: http2, tls: {{ ca: '{ca}', sni: weir.test }} }} }}"
    ))
    .await;
    let got = request(Version::H1, house.address(), "GET", "/", Sent::None).await;
    assert_eq!(got.status, 502);
    let labels = ["phase=\"connecting\"", "reason=\"tls_failed\""];
    house.becomes("weir_failures_total", &labels, 1.0).await;
    assert_eq!(
        house.number("weir_cluster_tls_handshakes_total", &["result=\"ok\""]),
        0.0,
        "{}",
        house.metrics()
    );
    assert!(
        house.number("weir_cluster_tls_handshakes_total", &["result=\"failed\""]) > 0.0,
        "{}",
        house.metrics()
    );
}
