//! Certificates, keys and roots that change while Weir runs.

use crate::certificates::*;
use crate::house::*;
use rcgen::KeyPair;
use rustls::HandshakeKind;
use std::collections::HashSet;
use std::path::PathBuf;

const EXPIRES: &str = "weir_certificate_expires_timestamp_seconds";
const RELOADS: &str = "weir_certificate_reloads_total";

impl House {
    /// Tells the server that these files have changed.
    async fn renew(&self, files: &[PathBuf]) {
        self.server.renew(&files.iter().cloned().collect()).await.unwrap();
    }

    async fn reloads(&self, ok: f64, failed: f64) {
        self.becomes(RELOADS, &["result=\"ok\""], ok).await;
        self.becomes(RELOADS, &["result=\"failed\""], failed).await;
    }
}

#[tokio::test]
async fn a_pair_that_fits_is_taken_and_no_other() {
    let certificates = Certificates::new();
    let listener = |name: &str, files: &str| {
        let folder = certificates.folder.path().display();
        format!(
            "  {name}: {{ bind: '127.0.0.1:0', tls: {{ certificate: '{folder}/{files}.pem', key: '{folder}/{files}.key' }}, tell: {{}} }}\n"
        )
    };
    let text =
        format!("workers: 2\nlisteners:\n{}{}clusters: {{}}", listener("l", "one"), listener("other", "two"));
    certificates.write("one", "old.test");
    certificates.write("two", "old.test");
    let house = House::start_with(&text, TELL).await.unwrap();
    let paths = ["one.pem", "one.key", "two.pem", "two.key"].map(|file| certificates.path(file));
    assert_eq!(house.server.tls_files(), paths.iter().cloned().collect::<HashSet<_>>());
    let anybody = client(&certificates, None, &BOTH);
    let is = async |listener: &str, name: &str| {
        let other = if name == "old.test" { "new.test" } else { "old.test" };
        let fresh = || client(&certificates, None, &BOTH);
        shake(&house, listener, &fresh(), name).await.unwrap();
        shake(&house, listener, &fresh(), other).await.unwrap_err();
    };
    is("l", "old.test").await;
    assert_eq!(shake(&house, "l", &anybody, "old.test").await.unwrap().0, HandshakeKind::Full);
    for (listener, file) in [("l", "one.pem"), ("other", "two.pem")] {
        // What rcgen says when it is not told: the first of January 4096.
        let labels = ["side=\"listener\"", &format!("name=\"{listener}\""), &format!("{file}\"")];
        house.becomes(EXPIRES, &labels, 67_090_118_400.0).await;
    }
    // Nothing has changed.
    house.renew(&paths).await;
    house.reloads(0.0, 0.0).await;
    // A certificate without its key, half of one, none at all: nothing changes.
    let key = std::fs::read(&paths[1]).unwrap();
    certificates.write("one", "new.test");
    let (whole, fitting) = (std::fs::read(&paths[0]).unwrap(), std::fs::read(&paths[1]).unwrap());
    std::fs::write(&paths[1], &key).unwrap();
    house.renew(&paths[..1]).await;
    house.reloads(0.0, 1.0).await;
    is("l", "old.test").await;
    std::fs::write(&paths[0], &whole[..whole.len() / 2]).unwrap();
    house.renew(&paths[..1]).await;
    house.reloads(0.0, 2.0).await;
    std::fs::remove_file(&paths[1]).unwrap();
    // What is wrong with one is nothing to the other.
    certificates.write("two", "new.test");
    house.renew(&paths).await;
    house.reloads(1.0, 3.0).await;
    is("l", "old.test").await;
    is("other", "new.test").await;
    // With its key it is taken.
    std::fs::write(&paths[0], &whole).unwrap();
    std::fs::write(&paths[1], &fitting).unwrap();
    house.renew(&paths[1..2]).await;
    house.reloads(2.0, 3.0).await;
    is("l", "new.test").await;
    // Sessions go on: the same clients are let in.
    let kind = shake(&house, "l", &anybody, "old.test").await.unwrap().0;
    assert_eq!(kind, HandshakeKind::Resumed);
    // A configuration that is taken over afterwards keeps what was renewed.
    house.server.reload(config_for(&text, TELL)).await.unwrap();
    is("l", "new.test").await;
}

#[tokio::test]
async fn roots_of_clients_are_renewed() {
    let (certificates, others) = (Certificates::new(), Certificates::new());
    certificates.write("edge", "edge.test");
    let clients = certificates.path("clients.pem");
    std::fs::copy(certificates.path("root.pem"), &clients).unwrap();
    let folder = certificates.folder.path().display();
    let text = format!(
        "workers: 2
listeners:
  l:
    bind: '127.0.0.1:0'
    tls: {{ certificate: '{folder}/edge.pem', key: '{folder}/edge.key', client_certificates: {{ ca: '{folder}/clients.pem' }} }}
    tell: {{}}
clusters: {{}}"
    );
    let house = House::start_with(&text, TELL).await.unwrap();
    let ours = client(&certificates, Some(certificates.make("me.test", |_| {})), &BOTH);
    let theirs = client(&certificates, Some(others.make("me.test", |_| {})), &BOTH);
    shake(&house, "l", &ours, "edge.test").await.unwrap();
    shake(&house, "l", &theirs, "edge.test").await.unwrap_err();
    std::fs::copy(others.path("root.pem"), &clients).unwrap();
    house.renew(&[clients]).await;
    house.reloads(1.0, 0.0).await;
    // Not by the session that it has, either.
    shake(&house, "l", &ours, "edge.test").await.unwrap_err();
    shake(&house, "l", &theirs, "edge.test").await.unwrap();
}

#[tokio::test]
async fn what_a_cluster_trusts_and_shows_is_renewed() {
    let (certificates, others) = (Certificates::new(), Certificates::new());
    let address = secure_echo(&others, "up.test", true, &BOTH).await;
    let (ca, me) = (certificates.path("ca.pem"), certificates.path("me.pem"));
    std::fs::copy(certificates.path("root.pem"), &ca).unwrap();
    certificates.write("me", "me.test");
    let folder = certificates.folder.path().display();
    let text = format!(
        "workers: 2
listeners: {{ l: {{ bind: '127.0.0.1:0', tcp: {{ cluster: up }} }} }}
clusters:
  up:
    endpoints: ['{address}']
    tls: {{ ca: '{folder}/ca.pem', sni: up.test, certificate: '{folder}/me.pem', key: '{folder}/me.key' }}"
    );
    let house = House::start(&text).await;
    assert_eq!(rest(&mut house.connect("l").await).await, b"", "a root that is not trusted");
    std::fs::copy(others.path("root.pem"), &ca).unwrap();
    house.renew(std::slice::from_ref(&ca)).await;
    house.reloads(1.0, 0.0).await;
    // Refused by the server now, for its certificate: with TLS 1.3 after the handshake.
    assert_eq!(rest(&mut house.connect("l").await).await, b"");
    others.write_changed("me", "me.test", |params| params.not_after = rcgen::date_time_ymd(2040, 1, 2));
    for file in ["me.pem", "me.key"] {
        std::fs::copy(others.path(file), certificates.path(file)).unwrap();
    }
    house.renew(std::slice::from_ref(&me)).await;
    house.reloads(2.0, 0.0).await;
    house.becomes(EXPIRES, &["side=\"cluster\"", "name=\"up\"", "me.pem"], 2_209_075_200.0).await;
    let mut client = house.connect("l").await;
    ping(&mut client, b"over tls").await;
    // What is of no use changes nothing, and connections stay.
    std::fs::write(certificates.path("me.key"), KeyPair::generate().unwrap().serialize_pem()).unwrap();
    std::fs::write(&ca, "").unwrap();
    house.renew(&[ca, me]).await;
    house.reloads(2.0, 1.0).await;
    ping(&mut client, b"still").await;
    ping(&mut house.connect("l").await, b"anew").await;
}
