//! TLS on both sides and what ALPN agrees upon: one Weir in front of another.

use crate::house::House;
use crate::peer::{BOTH, Sent, origin, request};
use rcgen::{CertificateParams, CertifiedIssuer, IsCa, KeyPair};

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
