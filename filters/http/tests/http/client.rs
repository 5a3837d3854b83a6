//! Who the client is: what its request says of it, by whom, and what the server is told.

use crate::house::House;
use crate::peer::{BOTH, Got, Sent, Version, h1_request, h2_request, origin};

/// Asks `/seen` with these fields.
async fn ask(version: Version, house: &House, fields: &[(&str, &str)]) -> Got {
    match version {
        Version::H1 => h1_request(house.address(), "GET", "/seen", fields, Sent::None).await,
        Version::H2 => h2_request(house.address(), "GET", "/seen", fields, Sent::None).await,
    }
}

/// The values that the server saw of a field, in order, and the name in lower case.
fn values(got: &Got, name: &str) -> Vec<String> {
    let text = got.text();
    let mut found = Vec::new();
    let mut rest = &*text;
    while let Some(at) = rest.find("(\"") {
        rest = &rest[at + 2..];
        let Some((seen, after)) = rest.split_once("\", \"") else { break };
        let Some((value, after)) = after.split_once("\")") else { break };
        if seen.eq_ignore_ascii_case(name) {
            found.push(value.to_owned());
        }
        rest = after;
    }
    found
}

async fn house(up: Version, listener: &str, http: &str) -> House {
    House::start(&format!(
        "workers: 1
listeners: {{ edge: {{ bind: '127.0.0.1:0', {listener} http: {http} }} }}
clusters: {{ up: {{ endpoints: ['{}'], protocol: {} }} }}",
        origin(up).await,
        up.protocol()
    ))
    .await
}

const TRUSTED: &str = "trusted: ['127.0.0.0/8', '10.0.0.0/8'],";

#[tokio::test]
async fn what_strangers_say_of_the_client_is_removed() {
    let forged: Vec<(&str, &str)> = vec![
        ("X-Forwarded-For", "6.6.6.6"),
        ("x-forwarded-for", "6.6.6.7, 127.0.0.1"),
        ("X-FORWARDED-PROTO", "https"),
        ("x-forwarded-proto", "https"),
        ("X-Forwarded-Host", "evil"),
        ("x-forwarded-port", "1"),
        ("x-forwarded-prefix", "/evil"),
        ("x-forwarded-made-up", "evil"),
        ("forwarded", "for=6.6.6.6"),
        ("X-Real-IP", "6.6.6.6"),
        ("x-original-url", "/admin"),
        ("x-rewrite-url", "/admin"),
        ("true-client-ip", "6.6.6.6"),
        ("CF-Connecting-IP", "6.6.6.6"),
        ("client-cert", ":evil:"),
    ];
    for down in BOTH {
        for up in BOTH {
            let house = house(up, "", "{ cluster: up }").await;
            let sent: Vec<(String, &str)> = forged
                .iter()
                .map(|(name, value)| match down {
                    Version::H1 => ((*name).to_owned(), *value),
                    Version::H2 => (name.to_ascii_lowercase(), *value),
                })
                .collect();
            let sent: Vec<(&str, &str)> = sent.iter().map(|(name, value)| (&**name, *value)).collect();
            let got = ask(down, &house, &sent).await;
            let what = format!("{down:?} to {up:?}: {}", got.text());
            assert_eq!(got.status, 200, "{what}");
            assert_eq!(values(&got, "x-forwarded-for"), ["127.0.0.1"], "{what}");
            assert_eq!(values(&got, "x-forwarded-proto"), ["http"], "{what}");
            assert_eq!(values(&got, "x-forwarded-host"), ["test.local"], "{what}");
            assert!(!got.text().contains("6.6.6") && !got.text().contains("evil"), "{what}");
            assert!(!got.text().contains("/admin"), "{what}");
            house.becomes("weir_http_client_fields_total", &["listener=\"edge\""], 1.0).await;
        }
    }
}

#[tokio::test]
async fn what_trusted_proxies_say_is_kept_and_extended() {
    for down in BOTH {
        for up in BOTH {
            let house = house(up, TRUSTED, "{ cluster: up }").await;
            let got = ask(
                down,
                &house,
                &[
                    ("x-forwarded-for", "6.6.6.6"),
                    ("x-forwarded-for", "10.1.2.3 , 10.1.2.4"),
                    ("x-forwarded-proto", "https"),
                    ("x-forwarded-host", "shop.example"),
                    ("x-real-ip", "6.6.6.6"),
                ],
            )
            .await;
            let what = format!("{down:?} to {up:?}: {}", got.text());
            assert_eq!(
                values(&got, "x-forwarded-for"),
                ["6.6.6.6, 10.1.2.3 , 10.1.2.4, 127.0.0.1"],
                "{what}"
            );
            assert_eq!(values(&got, "x-forwarded-proto"), ["https"], "{what}");
            assert_eq!(values(&got, "x-forwarded-host"), ["shop.example"], "{what}");
            assert_eq!(values(&got, "x-real-ip"), ["6.6.6.6"], "{what}");
            for name in
                ["x-forwarded-proto", "x-forwarded-host", "x-forwarded-port", "x-real-ip", "x-original-url"]
            {
                let got = ask(down, &house, &[(name, "a"), (name, "a")]).await;
                assert_eq!(
                    (got.status, got.field("x-weir-reason")),
                    (400, Some("client_field_repeated")),
                    "{name}"
                );
            }
            house.becomes("weir_http_rejects_total", &["rule=\"client_field_repeated\""], 5.0).await;
        }
    }
}

#[tokio::test]
async fn connection_takes_nothing_of_the_client_away() {
    for (listener, chain) in [("", "127.0.0.1"), (TRUSTED, "6.6.6.6, 127.0.0.1")] {
        let house = house(Version::H1, listener, "{ cluster: up }").await;
        let fields = [
            ("connection", "x-forwarded-for, x-forwarded-proto, x-real-ip, x-gone"),
            ("x-forwarded-for", "6.6.6.6"),
            ("x-gone", "1"),
        ];
        let got = ask(Version::H1, &house, &fields).await;
        assert_eq!(values(&got, "x-forwarded-for"), [chain], "{}", got.text());
        assert_eq!(values(&got, "x-forwarded-proto"), ["http"], "{}", got.text());
        assert!(values(&got, "x-gone").is_empty(), "{}", got.text());
    }
}

#[tokio::test]
async fn routes_do_not_see_what_strangers_say() {
    let routes = "{ routes: [{ headers: [{ name: x-forwarded-proto, exact: https }], direct_response: { status: 204 } },
        { headers: [{ name: x-real-ip, invert: true }], cluster: up }, { direct_response: { status: 403 } }] }";
    for down in BOTH {
        // A route that asks for what nobody may say is an error.
        for (listener, statuses) in [("trusted: [10.0.0.0/8],", [200, 200]), (TRUSTED, [204, 403])] {
            let house = house(Version::H1, listener, routes).await;
            for (field, status) in
                [("x-forwarded-proto", "https"), ("x-real-ip", "6.6.6.6")].into_iter().zip(statuses)
            {
                let got = ask(down, &house, &[field]).await;
                assert_eq!(got.status, status, "{down:?} {listener} {field:?}");
            }
        }
    }
}

#[tokio::test]
async fn trailers_say_nothing_of_the_client() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    for name in ["x-real-ip", "X-Forwarded-Prefix", "true-client-ip"] {
        let house = house(Version::H1, TRUSTED, "{ cluster: up }").await;
        let mut stream = tokio::net::TcpStream::connect(house.address()).await.unwrap();
        let request = format!(
            "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n{name}: 6.6.6.6\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut reply = Vec::new();
        crate::house::soon(stream.read_to_end(&mut reply)).await.ok();
        house.becomes("weir_http_rejects_total", &["rule=\"trailer_forbidden\""], 1.0).await;
    }
}
