//! Sessions are resumed wherever they may be, and nowhere else.

use crate::certificates::*;
use crate::house::*;
use rustls::HandshakeKind;
use std::sync::Arc;

/// A listener `l`, with more in its `tls` and beside it.
fn listening(certificates: &Certificates, tls: &str, more: &str) -> String {
    let folder = certificates.folder.path().display();
    format!(
        "workers: 2
listeners:
  l: {{ bind: '127.0.0.1:0', tls: {{ certificate: '{folder}/edge.pem', key: '{folder}/edge.key'{tls} }}, tell: {{}}{more} }}
clusters: {{}}"
    )
}

async fn kind(house: &House, listener: &str, client: &Arc<rustls::ClientConfig>) -> HandshakeKind {
    shake(house, listener, client, "edge.test").await.unwrap().0
}

#[tokio::test]
async fn sessions_are_resumed_on_any_worker_and_after_a_reload() {
    let certificates = Certificates::new();
    certificates.write("edge", "edge.test");
    let ca = format!(", client_certificates: {{ ca: '{}' }}", certificates.path("root.pem").display());
    for tls in ["", &ca] {
        let text = listening(&certificates, tls, "");
        let house = House::start_with(&text, TELL).await.unwrap();
        let mut resumed = 0.0;
        for versions in EACH {
            let client = client(&certificates, Some(certificates.make("me.test", |_| {})), versions);
            assert_eq!(kind(&house, "l", &client).await, HandshakeKind::Full);
            // Two workers share the port, by a hash of the client's: each gets some of so many.
            for _ in 0..16 {
                assert_eq!(kind(&house, "l", &client).await, HandshakeKind::Resumed);
            }
            let changed = listening(&certificates, tls, ", max_connections: 1000");
            house.server.reload(config_for(&changed, TELL)).await.unwrap();
            assert_eq!(kind(&house, "l", &client).await, HandshakeKind::Resumed);
            // Another certificate changes nothing about who is let in.
            certificates.write("edge", "edge.test");
            house.server.reload(config_for(&text, TELL)).await.unwrap();
            assert_eq!(kind(&house, "l", &client).await, HandshakeKind::Resumed);
            resumed += 18.0;
            house.becomes("weir_listener_tls_handshakes_total", &["result=\"resumed\""], resumed).await;
        }
        house.becomes("weir_listener_tls_handshakes_total", &["result=\"ok\""], 2.0).await;
    }
}

/// Each resumption hands out a new ticket, so without a second look a client would stay for ever.
#[tokio::test]
async fn a_session_ends_with_its_clients_certificate() {
    let certificates = Certificates::new();
    certificates.write("edge", "edge.test");
    let ca = format!(", client_certificates: {{ ca: '{}' }}", certificates.path("root.pem").display());
    let house = House::start_with(&listening(&certificates, &ca, ""), TELL).await.unwrap();
    let seconds = |n: u64| std::time::Duration::from_secs(n);
    let end = seconds(weir_drive::time::wall().as_secs() + 4);
    let short =
        |params: &mut rcgen::CertificateParams| params.not_after = rcgen::date_time_ymd(1970, 1, 1) + end;
    let clients =
        EACH.map(|versions| client(&certificates, Some(certificates.make("me.test", short)), versions));
    for client in &clients {
        assert_eq!(kind(&house, "l", client).await, HandshakeKind::Full);
        assert_eq!(kind(&house, "l", client).await, HandshakeKind::Resumed);
    }
    while weir_drive::time::wall() < end + seconds(1) {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    for (nth, client) in clients.iter().enumerate() {
        assert!(shake(&house, "l", client, "edge.test").await.is_err());
        let expired = ["result=\"failed\"", "reason=\"expired_certificate\""];
        house.becomes("weir_listener_tls_handshakes_total", &expired, nth as f64 + 1.0).await;
    }
}

/// TLS 1.2 as it was before tickets: the server keeps the session.
#[tokio::test]
async fn sessions_without_tickets_are_resumed_on_any_worker_and_after_a_reload() {
    let certificates = Certificates::new();
    certificates.write("edge", "edge.test");
    let text = listening(&certificates, "", "");
    let house = House::start_with(&text, TELL).await.unwrap();
    let mut old = (*client(&certificates, None, EACH[0])).clone();
    old.resumption = old.resumption.tls12_resumption(rustls::client::Tls12Resumption::SessionIdOnly);
    let old = Arc::new(old);
    assert_eq!(kind(&house, "l", &old).await, HandshakeKind::Full);
    for _ in 0..8 {
        assert_eq!(kind(&house, "l", &old).await, HandshakeKind::Resumed);
    }
    let changed = listening(&certificates, "", ", max_connections: 1000");
    house.server.reload(config_for(&changed, TELL)).await.unwrap();
    assert_eq!(kind(&house, "l", &old).await, HandshakeKind::Resumed);
    let strict = format!(", client_certificates: {{ ca: '{}' }}", certificates.path("root.pem").display());
    house.server.reload(config_for(&listening(&certificates, &strict, ""), TELL)).await.unwrap();
    shake(&house, "l", &old, "edge.test").await.unwrap_err();
    house.becomes("weir_listener_tls_handshakes_total", &["reason=\"no_certificate\""], 1.0).await;
}

/// CVE-2025-23419 and its like: what was resumed was never verified.
#[tokio::test]
async fn a_session_is_no_way_round_client_certificates() {
    let certificates = Certificates::new();
    let others = Certificates::new();
    certificates.write("edge", "edge.test");
    let required = |ca: &Certificates, more: &str| {
        format!(", client_certificates: {{ ca: '{}'{more} }}", ca.path("root.pem").display())
    };
    let nothing = String::new();
    // (before, whether the client has a certificate of `certificates`, after, the reason for which it is refused then)
    let table = [
        (nothing.clone(), false, required(&certificates, ""), "no_certificate"),
        (required(&certificates, ", require: false"), false, required(&certificates, ""), "no_certificate"),
        (required(&certificates, ""), true, required(&others, ""), "untrusted_certificate"),
        (nothing, true, required(&others, ", require: false"), "untrusted_certificate"),
    ];
    for (before, shows, after, reason) in table {
        for versions in EACH {
            let identity = || shows.then(|| certificates.make("me.test", |_| {}));
            // By a reload of one listener ..
            let house = House::start_with(&listening(&certificates, &before, ""), TELL).await.unwrap();
            let client_of_one = client(&certificates, identity(), versions);
            kind(&house, "l", &client_of_one).await;
            assert_eq!(kind(&house, "l", &client_of_one).await, HandshakeKind::Resumed);
            house.server.reload(config_for(&listening(&certificates, &after, ""), TELL)).await.unwrap();
            let result = shake(&house, "l", &client_of_one, "edge.test").await;
            assert!(result.is_err(), "{before} -> {after}: {result:?}");
            let reason = format!("reason=\"{reason}\"");
            house.becomes("weir_listener_tls_handshakes_total", &[&reason], 1.0).await;
            // .. and from one listener to another, of the same name and certificate.
            let both = listening(&certificates, &before, "").replace(
                "clusters:",
                &listening(&certificates, &after, "")
                    .lines()
                    .find(|line| line.starts_with("  l:"))
                    .map(|line| format!("{}\nclusters:", line.replace("  l:", "  strict:")))
                    .unwrap(),
            );
            let house = House::start_with(&both, TELL).await.unwrap();
            let client_of_two = client(&certificates, identity(), versions);
            kind(&house, "l", &client_of_two).await;
            let result = shake(&house, "strict", &client_of_two, "edge.test").await;
            assert!(result.is_err(), "{before} beside {after}: {result:?}");
            house.becomes("weir_listener_tls_handshakes_total", &["listener=\"strict\"", &reason], 1.0).await;
            house.becomes("weir_listener_tls_handshakes_total", &["listener=\"strict\""], 1.0).await;
        }
    }
}

/// The roots may change behind the same path.
#[tokio::test]
async fn other_roots_in_the_same_file_end_the_sessions() {
    let certificates = Certificates::new();
    let others = Certificates::new();
    certificates.write("edge", "edge.test");
    let tls = format!(", client_certificates: {{ ca: '{}' }}", certificates.path("clients.pem").display());
    let text = listening(&certificates, &tls, "");
    for versions in EACH {
        std::fs::copy(certificates.path("root.pem"), certificates.path("clients.pem")).unwrap();
        let house = House::start_with(&text, TELL).await.unwrap();
        let client = client(&certificates, Some(certificates.make("me.test", |_| {})), versions);
        kind(&house, "l", &client).await;
        assert_eq!(kind(&house, "l", &client).await, HandshakeKind::Resumed);
        std::fs::copy(others.path("root.pem"), certificates.path("clients.pem")).unwrap();
        house.server.reload(config_for(&text, TELL)).await.unwrap();
        assert!(shake(&house, "l", &client, "edge.test").await.is_err());
        let reason = "reason=\"untrusted_certificate\"";
        house.becomes("weir_listener_tls_handshakes_total", &[reason], 1.0).await;
    }
}

#[tokio::test]
async fn sessions_with_endpoints_are_resumed_as_long_as_the_same_are_trusted() {
    let certificates = Certificates::new();
    certificates.write("me", "me.test");
    for versions in EACH {
        let address = secure_echo(&certificates, "up.test", false, versions).await;
        let folder = certificates.folder.path().display();
        let relaying = |tls: &str, more: &str| {
            format!(
                "workers: 1
listeners: {{ l: {{ bind: '127.0.0.1:0', tcp: {{ cluster: up }} }} }}
clusters:
  up: {{ endpoints: ['{address}'], tls: {{ ca: '{folder}/root.pem', sni: up.test{tls} }}{more} }}"
            )
        };
        let house = House::start(&relaying("", "")).await;
        let counts = |ok: f64, resumed: f64| {
            let house = &house;
            async move {
                ping(&mut house.connect("l").await, b"over tls").await;
                house.becomes("weir_cluster_tls_handshakes_total", &["result=\"ok\""], ok).await;
                house.becomes("weir_cluster_tls_handshakes_total", &["result=\"resumed\""], resumed).await;
            }
        };
        counts(1.0, 0.0).await;
        counts(1.0, 1.0).await;
        house.server.reload(config(&relaying("", ", connect_timeout: 9s"))).await.unwrap();
        counts(1.0, 2.0).await;
        let me = format!(", certificate: '{folder}/me.pem', key: '{folder}/me.key'");
        house.server.reload(config(&relaying(&me, ""))).await.unwrap();
        counts(2.0, 2.0).await;
        counts(2.0, 3.0).await;
    }
    let address = secure_echo(&Certificates::new(), "up.test", false, EACH[1]).await;
    let ca = certificates.path("root.pem").display().to_string();
    let text = format!(
        "workers: 1
listeners: {{ l: {{ bind: '127.0.0.1:0', tcp: {{ cluster: up }} }} }}
clusters: {{ up: {{ endpoints: ['{address}'], tls: {{ ca: '{ca}', sni: up.test }} }} }}"
    );
    let house = House::start(&text).await;
    assert_eq!(rest(&mut house.connect("l").await).await, b"");
    house.becomes("weir_cluster_tls_handshakes_total", &["result=\"failed\""], 1.0).await;
}

/// A key whose line breaks were lost is a common mistake; what is said of it goes to logs and terminals.
#[tokio::test]
async fn no_error_shows_what_is_in_a_file() {
    let certificates = Certificates::new();
    certificates.write("edge", "edge.test");
    let text = listening(&certificates, "", "");
    let key = certificates.path("edge.key");
    let whole = std::fs::read_to_string(&key).unwrap();
    let said = || {
        let errors = weir_drive::Server::check(&config_for(&text, TELL), TELL).unwrap_err();
        errors.iter().map(|error| format!("{error} {error:?}")).collect::<String>()
    };
    let flat = whole.replace('\n', " ");
    let headless = whole.replacen("-----BEGIN", "----BEGIN", 1);
    let endless = whole.replace("-----END", "----END");
    let bent = whole.replace('A', "*");
    for wrong in [&flat, &headless, &endless, &bent] {
        std::fs::write(&key, wrong).unwrap();
        let said = said();
        assert!(said.contains("edge.key"), "{said}");
        for line in wrong.split_whitespace().filter(|line| line.len() > 12) {
            assert!(!said.contains(line), "{said}");
            assert!(!said.contains(&format!("{:?}", &line.as_bytes()[..8])[1..20]), "{said}");
        }
    }
    std::fs::remove_file(&key).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(&key).status().unwrap().success());
    assert!(said().contains("not a regular file"));
}
