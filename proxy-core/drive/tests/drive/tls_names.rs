//! Which of several certificates a client is shown.

use crate::certificates::*;
use crate::house::*;
use rcgen::KeyPair;
use rustls::SignatureScheme;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use std::sync::Arc;

/// Takes any certificate, as long as it signs by these schemes.
#[derive(Debug)]
struct Any(Vec<SignatureScheme>);

impl ServerCertVerifier for Any {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }
    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }
    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.clone()
    }
}

async fn shown(house: &House, name: &str, schemes: &[SignatureScheme]) -> CertificateDer<'static> {
    let config = rustls::ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Any(schemes.to_vec())))
        .with_no_client_auth();
    let tcp = house.connect("l").await;
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let stream = soon(tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, tcp)).await.unwrap();
    stream.get_ref().1.peer_certificates().unwrap()[0].clone()
}

#[tokio::test]
async fn certificates_go_by_the_names_in_them() {
    let certificates = Certificates::new();
    let first = certificates.write("first", "first.test").0;
    let two = certificates.write("two", "Two.test also.test").0;
    let wild = certificates.write("wild", "*.wild.test").0;
    let exact = certificates.write("exact", "exact.wild.test").0;
    let strong = {
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
        let params = rcgen::CertificateParams::new(["two.test".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &certificates.root).unwrap();
        std::fs::write(certificates.path("strong.pem"), certificate.pem()).unwrap();
        std::fs::write(certificates.path("strong.key"), key.serialize_pem()).unwrap();
        certificate.der().clone()
    };
    let folder = certificates.folder.path().display();
    let file = |name: &str| format!("certificate: '{folder}/{name}.pem', key: '{folder}/{name}.key'");
    let more: Vec<_> =
        ["two", "wild", "exact", "strong"].iter().map(|name| format!("{{ {} }}", file(name))).collect();
    let text = format!(
        "workers: 1
listeners: {{ l: {{ bind: '127.0.0.1:0', tls: {{ {}, certificates: [{}] }}, tell: {{}} }} }}
clusters: {{}}",
        file("first"),
        more.join(", ")
    );
    let house = House::start_with(&text, TELL).await.unwrap();
    use SignatureScheme::{ECDSA_NISTP256_SHA256 as P256, ECDSA_NISTP384_SHA384 as P384};
    let table = [
        ("first.test", &[P256][..], &first),
        ("two.test", &[P256, P384], &two),
        ("TWO.test", &[P256], &two),
        ("two.test", &[P384], &strong),
        ("also.test", &[P256], &two),
        ("any.wild.test", &[P256], &wild),
        ("exact.wild.test", &[P256], &exact),
        ("a.b.wild.test", &[P256], &first),
        ("wild.test", &[P256], &first),
        ("other.test", &[P256], &first),
        // Nothing is asked for by address.
        ("127.0.0.1", &[P256], &first),
    ];
    for (name, schemes, expected) in table {
        assert!(shown(&house, name, schemes).await == *expected, "{name} {schemes:?}");
    }
}
