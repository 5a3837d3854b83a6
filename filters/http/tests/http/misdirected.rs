//! Which hosts a TLS connection may be asked for, in both versions.

use crate::house::{House, soon};
use crate::peer::{BOTH, Version, h1_reply, origin};
use bytes::BytesMut;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use std::sync::Arc;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use weir_codecs::http1::Method;

/// Certificates of one root, `NAME.pem` and `NAME.key`, for these names.
fn certificates(of: &[(&str, &[&str])]) -> (TempDir, rustls::pki_types::CertificateDer<'static>) {
    let mut params = CertificateParams::new([]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let root = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    for (file, names) in of {
        let key = KeyPair::generate().unwrap();
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let certificate = CertificateParams::new(names).unwrap().signed_by(&key, &root).unwrap();
        std::fs::write(folder.path().join(format!("{file}.pem")), certificate.pem()).unwrap();
        std::fs::write(folder.path().join(format!("{file}.key")), key.serialize_pem()).unwrap();
    }
    (folder, root.der().clone())
}

/// The status that a client gets who connects to `sni` and asks for `host`.
async fn ask(
    house: &House,
    root: &rustls::pki_types::CertificateDer<'static>,
    version: Version,
    (sni, host): (Option<&'static str>, &str),
) -> u16 {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(root.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![if version == Version::H1 { b"http/1.1".to_vec() } else { b"h2".to_vec() }];
    config.enable_sni = sni.is_some();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let stream = TcpStream::connect(house.address()).await.unwrap();
    let name = sni.unwrap_or("one.test").try_into().unwrap();
    let mut stream = soon(connector.connect(name, stream)).await.unwrap();
    if version == Version::H1 {
        stream.write_all(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes()).await.unwrap();
        return soon(h1_reply(&mut stream, &mut BytesMut::new(), Method::Get)).await.status;
    }
    let (send, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let request = http::Request::builder().uri(format!("https://{host}/")).body(()).unwrap();
    let (response, _) = send.ready().await.unwrap().send_request(request, true).unwrap();
    soon(response).await.unwrap().status().as_u16()
}

/// `more` of the TLS, and `beside` it of the listener.
async fn house_with(folder: &TempDir, more: &str, beside: &str) -> House {
    let up = origin(Version::H1).await;
    let path = |file: &str| folder.path().join(file).display().to_string();
    House::start(&format!(
        "workers: 1
listeners:
  edge:
    bind: '127.0.0.1:0'
    tls: {{ certificate: '{}', key: '{}'{more} }}
{beside}    http: {{ cluster: up }}
clusters: {{ up: {{ endpoints: ['{up}'] }} }}",
        path("one.pem"),
        path("one.key"),
    ))
    .await
}

async fn house(folder: &TempDir, more: &str) -> House {
    house_with(folder, more, "").await
}

type Case = ((Option<&'static str>, &'static str), u16);

async fn all(house: &House, root: &rustls::pki_types::CertificateDer<'static>, cases: &[Case]) {
    let mut misdirected = 0.0;
    for (names, status) in cases {
        for version in BOTH {
            let got = ask(house, root, version, *names).await;
            assert_eq!(got, *status, "{version:?} {names:?}");
            misdirected += f64::from(u8::from(got == 421));
        }
    }
    house.becomes("weir_refusals_total", &["reason=\"misdirected\""], misdirected).await;
    house.becomes("weir_operations_total", &["code=\"421\"", "result=\"refused\""], misdirected).await;
}

#[tokio::test]
async fn a_host_of_another_certificate_belongs_on_another_connection() {
    let (folder, root) = certificates(&[
        ("one", &["one.test", "*.wild.test", "127.0.0.1"]),
        ("two", &["two.test", "exact.wild.test"]),
    ]);
    let path = |file: &str| folder.path().join(file).display().to_string();
    let more =
        format!(", certificates: [{{ certificate: '{}', key: '{}' }}]", path("two.pem"), path("two.key"));
    let cases: [Case; 14] = [
        ((Some("one.test"), "one.test"), 200),
        ((Some("one.test"), "ONE.test:443"), 200),
        ((Some("one.test"), "one.test."), 200),
        ((Some("one.test"), "a.wild.test"), 200),
        // Two labels below: in neither.
        ((Some("one.test"), "a.b.wild.test"), 200),
        ((Some("one.test"), "two.test"), 421),
        ((Some("one.test"), "TWO.test.:8443"), 421),
        ((Some("two.test"), "one.test"), 421),
        ((Some("two.test"), "two.test"), 200),
        // Each of the two covers it.
        ((Some("one.test"), "exact.wild.test"), 200),
        ((Some("exact.wild.test"), "exact.wild.test"), 200),
        ((Some("exact.wild.test"), "a.wild.test"), 421),
        ((None, "two.test"), 421),
        // In none.
        ((Some("two.test"), "elsewhere.test"), 200),
    ];
    all(&house(&folder, &more).await, &root, &cases).await;
}

#[tokio::test]
async fn a_host_that_is_passed_on_belongs_on_another_connection() {
    let (folder, root) = certificates(&[("one", &["one.test", "*.wild.test"])]);
    let more = ", passthrough: [{ sni: [secret.wild.test, '*.deep.wild.test'], cluster: up }]";
    let cases: [Case; 7] = [
        ((Some("one.test"), "one.test"), 200),
        ((Some("a.wild.test"), "b.wild.test"), 200),
        ((Some("a.wild.test"), "secret.wild.test"), 421),
        ((Some("a.wild.test"), "Secret.Wild.test:443"), 421),
        ((Some("a.wild.test"), "secret.wild.test."), 421),
        ((Some("a.wild.test"), "x.y.deep.wild.test"), 421),
        ((Some("a.wild.test"), "elsewhere.test"), 200),
    ];
    all(&house(&folder, more).await, &root, &cases).await;
}

#[tokio::test]
async fn every_host_has_to_be_covered_where_the_listener_says_so() {
    let (folder, root) = certificates(&[("one", &["one.test", "*.wild.test", "127.0.0.1"])]);
    let cases: [Case; 7] = [
        ((Some("one.test"), "one.test"), 200),
        ((Some("one.test"), "a.wild.test"), 200),
        ((Some("one.test"), "wild.test"), 421),
        ((Some("one.test"), "a.b.wild.test"), 421),
        ((Some("one.test"), "127.0.0.1"), 200),
        ((Some("one.test"), "127.0.0.2"), 421),
        ((Some("one.test"), "[::1]"), 421),
    ];
    all(&house(&folder, ", match_host: true").await, &root, &cases).await;
    // Without the word nothing is to be told apart by one certificate.
    let without = house(&folder, "").await;
    assert_eq!(ask(&without, &root, Version::H2, (Some("one.test"), "elsewhere.test")).await, 200);
}

/// A load balancer in front passes on what it got, on connections of its own.
#[tokio::test]
async fn nothing_is_misdirected_that_a_trusted_proxy_sends() {
    let (folder, root) = certificates(&[("one", &["one.test", "*.wild.test"])]);
    let more = ", match_host: true, passthrough: [{ sni: secret.wild.test, cluster: up }]";
    let cases: [Case; 2] =
        [((Some("one.test"), "secret.wild.test"), 200), ((Some("one.test"), "elsewhere.test"), 200)];
    all(&house_with(&folder, more, "    trusted: [127.0.0.0/8]\n").await, &root, &cases).await;
}
