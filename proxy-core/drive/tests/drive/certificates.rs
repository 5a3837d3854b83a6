//! Throw-away certificates, TLS clients, and a filter that says what was agreed upon.

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
use weir_drive::{Accepted, Alpn, BuildError, Filter, Service, Worker};

/// A folder with a root, and certificates of it.
pub struct Certificates {
    pub folder: tempfile::TempDir,
    pub root: CertifiedIssuer<'static, KeyPair>,
}

impl Certificates {
    pub fn new() -> Certificates {
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let root = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("root.pem"), root.pem()).unwrap();
        Certificates { folder, root }
    }

    pub fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join(file)
    }

    /// Writes `file`.pem and `file`.key for a server or client called `name` (or by several names, one blank between).
    pub fn write(&self, file: &str, name: &str) -> Identity {
        self.write_changed(file, name, |_| {})
    }

    /// The same, changed by `change` before it is signed.
    pub fn write_changed(
        &self,
        file: &str,
        name: &str,
        change: impl FnOnce(&mut CertificateParams),
    ) -> Identity {
        let (certificate, key) = self.sign(name, change);
        std::fs::write(self.path(&format!("{file}.pem")), certificate.pem()).unwrap();
        std::fs::write(self.path(&format!("{file}.key")), key.serialize_pem()).unwrap();
        (certificate.der().clone(), PrivateKeyDer::try_from(key.serialize_der()).unwrap())
    }

    /// A certificate and its key, changed by `change` before it is signed.
    pub fn make(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Identity {
        let (certificate, key) = self.sign(name, change);
        (certificate.der().clone(), PrivateKeyDer::try_from(key.serialize_der()).unwrap())
    }

    fn sign(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let names: Vec<String> = name.split(' ').map(str::to_owned).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        change(&mut params);
        (params.signed_by(&key, &self.root).unwrap(), key)
    }

    pub fn roots(&self) -> rustls::RootCertStore {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.root.der().clone()).unwrap();
        roots
    }
}

pub fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

pub type Client = tokio_rustls::client::TlsStream<TcpStream>;

pub async fn connect(
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

pub static TELL: &[&'static dyn Filter] = &[&Tell];

pub fn telling(certificate: &Path, key: &Path) -> String {
    format!(
        "workers: 1
listeners: {{ l: {{ bind: '127.0.0.1:0', tls: {{ certificate: '{}', key: '{}' }}, tell: {{}} }} }}
clusters: {{}}",
        certificate.display(),
        key.display()
    )
}

/// What a client shows of itself.
pub type Identity = (CertificateDer<'static>, PrivateKeyDer<'static>);

/// A client that trusts `certificates`, speaks `versions` and shows `identity`.
pub fn client(
    certificates: &Certificates,
    identity: Option<Identity>,
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> Arc<rustls::ClientConfig> {
    let builder = rustls::ClientConfig::builder_with_provider(provider());
    let builder = builder.with_protocol_versions(versions).unwrap();
    let builder = builder.with_root_certificates(certificates.roots());
    Arc::new(match identity {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => builder.with_client_auth_cert(vec![certificate], key).unwrap(),
    })
}

/// Shakes hands and reads to the end: how, and what was told. With TLS 1.3 a client learns only then that it is refused.
pub async fn shake(
    house: &House,
    listener: &str,
    client: &Arc<rustls::ClientConfig>,
    name: &str,
) -> std::io::Result<(rustls::HandshakeKind, String)> {
    let tcp = house.connect(listener).await;
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut stream = soon(tokio_rustls::TlsConnector::from(Arc::clone(client)).connect(name, tcp)).await?;
    let mut said = String::new();
    soon(tokio::io::AsyncReadExt::read_to_string(&mut stream, &mut said)).await?;
    Ok((stream.get_ref().1.handshake_kind().unwrap(), said))
}

pub static BOTH: [&rustls::SupportedProtocolVersion; 2] = [&rustls::version::TLS12, &rustls::version::TLS13];

/// Each version alone.
pub static EACH: [&[&rustls::SupportedProtocolVersion]; 2] =
    [&[&rustls::version::TLS12], &[&rustls::version::TLS13]];

pub async fn told(mut stream: Client) -> String {
    let mut said = String::new();
    soon(tokio::io::AsyncReadExt::read_to_string(&mut stream, &mut said)).await.unwrap();
    said
}

/// An upstream that speaks TLS and sends back what comes; wants a certificate of the client if `mutual`.
pub async fn secure_echo(
    certificates: &Certificates,
    name: &str,
    mutual: bool,
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> std::net::SocketAddr {
    let (certificate, key) = certificates.write("upstream", name);
    let builder = rustls::ServerConfig::builder_with_provider(provider());
    let builder = builder.with_protocol_versions(versions).unwrap();
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
