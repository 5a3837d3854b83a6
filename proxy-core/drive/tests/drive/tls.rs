//! TLS on both sides: agreed, verified, renewed.

use crate::certificates::*;
use crate::house::*;
use rcgen::KeyPair;
use std::path::Path;
use tokio::io::AsyncWriteExt;
use weir_drive::StartError;

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
    house.becomes("weir_listener_tls_handshakes_total", &["reason=\"nothing_in_common\""], 1.0).await;
    house.becomes("weir_listener_tls_handshakes_total", &["reason=\"malformed\""], 1.0).await;
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
    let address = secure_echo(&certificates, "up.test", false, &BOTH).await;
    let local = format!("localhost:{}", address.port());
    certificates.write("me", "me.test");
    let strict = secure_echo(&certificates, "up.test", true, &BOTH).await.to_string();
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
