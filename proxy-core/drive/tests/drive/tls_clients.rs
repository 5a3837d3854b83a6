//! Certificates of clients: asked for, required, verified.

use crate::certificates::*;
use crate::house::*;
use rcgen::ExtendedKeyUsagePurpose;

fn config(certificates: &Certificates, clients: &str) -> String {
    let folder = certificates.folder.path().display();
    format!(
        "workers: 1
listeners:
  l:
    bind: '127.0.0.1:0'
    tls: {{ certificate: '{folder}/edge.pem', key: '{folder}/edge.key', client_certificates: {{ {clients} }} }}
    tell: {{}}
clusters: {{}}"
    )
}

#[tokio::test]
async fn clients_are_let_in_by_their_certificates() {
    let certificates = Certificates::new();
    let others = Certificates::new();
    certificates.write("edge", "edge.test");
    let ca = format!("ca: '{}'", certificates.path("root.pem").display());
    let required = House::start_with(&config(&certificates, &ca), TELL).await.unwrap();
    let optional = format!("{ca}, require: false");
    let optional = House::start_with(&config(&certificates, &optional), TELL).await.unwrap();
    let identity = |name: &str| match name {
        "nothing" => None,
        "good" => Some(certificates.make("me.test", |_| {})),
        "foreign" => Some(others.make("me.test", |_| {})),
        "expired" => Some(certificates.make("me.test", |params| {
            params.not_before = rcgen::date_time_ymd(2001, 1, 1);
            params.not_after = rcgen::date_time_ymd(2002, 1, 1);
        })),
        "early" => Some(certificates.make("me.test", |params| {
            params.not_before = rcgen::date_time_ymd(2401, 1, 1);
            params.not_after = rcgen::date_time_ymd(2402, 1, 1);
        })),
        "for anything" => Some(certificates.make("me.test", |params| params.extended_key_usages.clear())),
        _ => Some(certificates.make("me.test", |params| {
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        })),
    };
    // What is shown, and the reason for which it is refused where a certificate is required, and where it is not.
    let table = [
        ("nothing", Some("no_certificate"), None),
        ("good", None, None),
        ("for anything", None, None),
        ("foreign", Some("untrusted_certificate"), Some("untrusted_certificate")),
        ("expired", Some("expired_certificate"), Some("expired_certificate")),
        ("early", Some("expired_certificate"), Some("expired_certificate")),
        ("a server's", Some("bad_certificate"), Some("bad_certificate")),
    ];
    for (house, of) in [(&required, 0), (&optional, 1)] {
        let count = |labels: &[&str]| house.number("weir_listener_tls_handshakes_total", labels);
        for versions in EACH {
            for (shown, when_required, when_optional) in table {
                let refused = [when_required, when_optional][of];
                let label = match refused {
                    None => "result=\"ok\"".to_owned(),
                    Some(reason) => format!("reason=\"{reason}\""),
                };
                let before = count(&[&label]);
                let client = client(&certificates, identity(shown), versions);
                let result = shake(house, "l", &client, "edge.test").await;
                assert_eq!(result.is_err(), refused.is_some(), "{shown}: {result:?}");
                house.becomes("weir_listener_tls_handshakes_total", &[&label], before + 1.0).await;
            }
        }
        house.becomes("weir_listener_connections_open", &[], 0.0).await;
    }
}
