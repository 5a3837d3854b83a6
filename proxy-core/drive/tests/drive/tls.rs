//! TLS on both sides: agreed, verified, renewed.

use crate::house::*;
use rcgen::{CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use weir_config::{Listener, Node, Section, Settings, Table, Walk};
use weir_drive::{Accepted, Alpn, BuildError, Filter, Service, StartError, Worker};

/// A folder with a root, and certificates of it.
struct Certificates {
    folder: tempfile::TempDir,
    root: CertifiedIssuer<'static, KeyPair>,
}

impl Certificates {
    fn new() -> Certificates {
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let root = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("root.pem"), root.pem()).unwrap();
        Certificates { folder, root }
    }

    fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join(file)
    }

    /// Writes `file`.pem and `file`.key for a server or client called `name`.
    fn write(&self, file: &str, name: &str) -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = params.signed_by(&key, &self.root).unwrap();
        std::fs::write(self.path(&format!("{file}.pem")), certificate.pem()).unwrap();
        std::fs::write(self.path(&format!("{file}.key")), key.serialize_pem()).unwrap();
        (certificate.der().clone(), PrivateKeyDer::try_from(key.serialize_der()).unwrap())
    }

    fn roots(&self) -> rustls::RootCertStore {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.root.der().clone()).unwrap();
        roots
    }
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

type Client = tokio_rustls::client::TlsStream<TcpStream>;

async fn connect(
    house: &House,
    certificates: &Certificates,
    name: &str,
    alpn: &[&[u8]],
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> std::io::Result<Client> {
    let mut config = rustls::ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(certificates.roots())
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|alpn| alpn.to_vec()).collect();
    let tcp = house.connect("l").await;
    let name = ServerName::try_from(name.to_owned()).unwrap();
    soon(tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, tcp)).await
}

/// A filter that says what was agreed upon, and closes.
struct Tell;

static TABLE: Table = Table { name: "tell", doc: "Only for tests.", fields: &[], rules: &[] };

impl Section for Tell {
    fn key(&self) -> &'static str {
        "tell"
    }
    fn table(&self) -> &'static Table {
        &TABLE
    }
    fn read(&self, walk: &mut Walk<'_>, node: &Node) -> Option<Settings> {
        walk.fields(node, &TABLE)?;
        Some(Arc::new(()))
    }
}

impl Filter for Tell {
    fn section(&self) -> &'static dyn Section {
        &Tell
    }
    fn alpn(&self) -> &'static [Alpn] {
        &[Alpn::H2, Alpn::Http1]
    }
    fn service(&self, _: &Arc<Listener>, _: &Rc<Worker>) -> Result<Rc<dyn Service>, BuildError> {
        Ok(Rc::new(Tell))
    }
}

impl Service for Tell {
    fn serve(self: Rc<Self>, mut connection: Accepted) -> Pin<Box<dyn Future<Output = ()>>> {
        Box::pin(async move {
            let agreed = format!("{:?} {:?}", connection.alpn, connection.sni.as_deref());
            connection.io.write_all(agreed.as_bytes()).await.ok();
            connection.io.shutdown().await.ok();
        })
    }
    fn reload(&self, _: &Arc<Listener>, _: &Rc<Worker>) -> Result<(), BuildError> {
        Ok(())
    }
}

static TELL: &[&'static dyn Filter] = &[&Tell];

fn telling(certificate: &Path, key: &Path) -> String {
    format!(
        "workers: 1
listeners: {{ l: {{ bind: '127.0.0.1:0', tls: {{ certificate: '{}', key: '{}' }}, tell: {{}} }} }}
clusters: {{}}",
        certificate.display(),
        key.display()
    )
}

async fn told(mut stream: Client) -> String {
    let mut said = String::new();
    soon(tokio::io::AsyncReadExt::read_to_string(&mut stream, &mut said)).await.unwrap();
    said
}

#[tokio::test]
async fn clients_are_offered_protocols_and_tell_the_name_they_want() {
    let certificates = Certificates::new();
    certificates.write("edge", "edge.test");
    let text = telling(&certificates.path("edge.pem"), &certificates.path("edge.key"));
    let house = House::start_with(&text, TELL).await.unwrap();
    let both = [&rustls::version::TLS12, &rustls::version::TLS13];
    // (what the client offers, the versions it speaks, what is agreed upon)
    type Versions<'a> = &'a [&'static rustls::SupportedProtocolVersion];
    let table: &[(&[&[u8]], Versions<'_>, &str)] = &[
        (&[b"h2", b"http/1.1"], &both, "Some(H2) Some(\"edge.test\")"),
        (&[b"http/1.1", b"h2"], &both[..1], "Some(H2) Some(\"edge.test\")"),
        (&[b"http/1.1"], &both[1..], "Some(Http1) Some(\"edge.test\")"),
        (&[], &both, "None Some(\"edge.test\")"),
    ];
    for (alpn, versions, expected) in table {
        let stream = connect(&house, &certificates, "edge.test", alpn, versions).await.unwrap();
        assert_eq!(told(stream).await, *expected);
    }
    let refused = connect(&house, &certificates, "edge.test", &[b"smtp"], &both).await;
    assert!(refused.is_err(), "nothing in common");
    let mut plain = house.connect("l").await;
    plain.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    rest(&mut plain).await;
    house.becomes("weir_listener_tls_handshakes_total", &["result=\"ok\""], 4.0).await;
    house.becomes("weir_listener_tls_handshakes_total", &["result=\"failed\""], 2.0).await;
    house.becomes("weir_listener_connections_open", &[], 0.0).await;
}

#[tokio::test]
async fn a_reload_reads_certificates_anew() {
    let certificates = Certificates::new();
    certificates.write("edge", "old.test");
    let text = telling(&certificates.path("edge.pem"), &certificates.path("edge.key"));
    let house = House::start_with(&text, TELL).await.unwrap();
    let versions = [&rustls::version::TLS13];
    connect(&house, &certificates, "old.test", &[], &versions).await.unwrap();
    certificates.write("edge", "new.test");
    connect(&house, &certificates, "new.test", &[], &versions).await.unwrap_err();
    let diff = house.server.reload(config_for(&text, TELL)).await.unwrap();
    assert!(diff.is_empty(), "only the file has changed");
    connect(&house, &certificates, "new.test", &[], &versions).await.unwrap();
    connect(&house, &certificates, "old.test", &[], &versions).await.unwrap_err();
    // One that does not belong to its key changes nothing.
    std::fs::write(certificates.path("edge.key"), KeyPair::generate().unwrap().serialize_pem()).unwrap();
    let error = house.server.reload(config_for(&text, TELL)).await.unwrap_err();
    assert!(matches!(error, StartError::ListenerTls { .. }), "{error}");
    connect(&house, &certificates, "new.test", &[], &versions).await.unwrap();
}

/// An upstream that speaks TLS and sends back what comes; wants a certificate of the client if `mutual`.
async fn secure_echo(certificates: &Certificates, name: &str, mutual: bool) -> std::net::SocketAddr {
    let (certificate, key) = certificates.write("upstream", name);
    let builder =
        rustls::ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
    let builder = builder.unwrap();
    let builder = if mutual {
        let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(
            Arc::new(certificates.roots()),
            provider(),
        );
        builder.with_client_cert_verifier(verifier.build().unwrap())
    } else {
        builder.with_no_client_auth()
    };
    let config = builder.with_single_cert(vec![certificate], key).unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let upstream = Upstream::new().await;
    let address = upstream.address();
    tokio::spawn(async move {
        while let Ok((tcp, _)) = upstream.0.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(tcp).await else { return };
                let (mut read, mut write) = tokio::io::split(stream);
                tokio::io::copy(&mut read, &mut write).await.ok();
                write.shutdown().await.ok();
            });
        }
    });
    address
}

fn relaying(endpoint: &str, tls: &str) -> String {
    format!(
        "workers: 1
listeners: {{ l: {{ bind: '127.0.0.1:0', tcp: {{ cluster: up }} }} }}
clusters: {{ up: {{ endpoints: ['{endpoint}'], tls: {{ {tls} }} }} }}"
    )
}

#[tokio::test]
async fn upstreams_are_verified() {
    let certificates = Certificates::new();
    let ca = format!("ca: '{}'", certificates.path("root.pem").display());
    let address = secure_echo(&certificates, "up.test", false).await;
    let local = format!("localhost:{}", address.port());
    certificates.write("me", "me.test");
    let strict = secure_echo(&certificates, "up.test", true).await.to_string();
    let me = format!(
        "certificate: '{}', key: '{}'",
        certificates.path("me.pem").display(),
        certificates.path("me.key").display()
    );
    let sni = "sni: up.test";
    // (endpoint, tls, whether it may be trusted)
    let table = [
        (address.to_string(), format!("{ca}, {sni}"), true),
        (address.to_string(), ca.clone(), false),
        (local, format!("{ca}, sni: other.test"), false),
        (address.to_string(), sni.to_owned(), false),
        (strict.clone(), format!("{ca}, {sni}, {me}"), true),
        (strict, format!("{ca}, {sni}"), false),
    ];
    for (endpoint, tls, trusted) in table {
        let house = House::start(&relaying(&endpoint, &tls)).await;
        let mut client = house.connect("l").await;
        if trusted {
            ping(&mut client, b"over tls").await;
            ping(&mut client, &vec![3; 1 << 20]).await;
            client.shutdown().await.unwrap();
            assert_eq!(rest(&mut client).await, b"");
            house.becomes("weir_operations_total", &["result=\"ok\""], 1.0).await;
        } else {
            client.write_all(b"over tls").await.ok();
            assert_eq!(rest(&mut client).await, b"", "{tls}");
            house.becomes("weir_failures_total", &["side=\"network\"", "reason=\"tls_failed\""], 1.0).await;
        }
    }
}

#[tokio::test]
async fn bad_files_are_told_by_name() {
    let certificates = Certificates::new();
    std::fs::write(certificates.path("empty.pem"), "").unwrap();
    let path = certificates.path("empty.pem").display().to_string();
    let error =
        House::start_with(&relaying("127.0.0.1:1", &format!("ca: '{path}'")), TCP).await.err().unwrap();
    assert!(error.to_string().contains("empty.pem: no certificate in it"), "{error}");
    let error = House::start_with(&telling(Path::new("/nowhere.pem"), Path::new("/nowhere.key")), TELL).await;
    assert!(error.err().unwrap().to_string().contains("/nowhere.pem"));
}
