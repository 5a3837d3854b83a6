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

/// The rule by which it was refused.
fn refused(got: &Got) -> Option<(u16, &str)> {
    (got.status != 200).then(|| (got.status, got.field("x-weir-reason").unwrap_or("")))
}

#[tokio::test]
async fn names_that_servers_read_as_others_are_refused_or_dropped() {
    let refuse = "{ routes: [{ headers: [{ name: x-tenant, exact: a }], cluster: up }, { cluster: up }] }";
    let drop = "{ underscores: drop, routes: [{ headers: [{ name: x-tenant, exact: a }], cluster: up }, { cluster: up }] }";
    let taken = [
        "x_forwarded_for",
        "x-forwarded_proto",
        "x.real.ip",
        "content_length",
        "transfer_encoding",
        "proxy_connection",
        "x_request_id",
        "x_weir_hop",
        "x_tenant",
        "x~tenant",
    ];
    for down in BOTH {
        let house_ = house(Version::H1, TRUSTED, refuse).await;
        for name in taken {
            let got = ask(down, &house_, &[(name, "5")]).await;
            assert_eq!(refused(&got), Some((400, "field_name_ambiguous")), "{down:?} {name}");
        }
        for name in ["session_id", "x_custom", "x.y", "content_type_", "x-tenants_"] {
            let got = ask(down, &house_, &[(name, "5")]).await;
            assert_eq!((refused(&got), values(&got, name)), (None, vec!["5".to_owned()]), "{down:?} {name}");
        }
        let rule = ["rule=\"field_name_ambiguous\""];
        house_.becomes("weir_http_rejects_total", &rule, taken.len() as f64).await;
        let house_ = house(Version::H1, TRUSTED, drop).await;
        let mut fields: Vec<(&str, &str)> = taken.iter().map(|name| (*name, "5")).collect();
        fields.push(("session_id", "7"));
        let got = ask(down, &house_, &fields).await;
        assert_eq!((got.status, got.text().matches("\"5\"").count()), (200, 0), "{down:?} {}", got.text());
        assert_eq!(values(&got, "session_id"), ["7"], "{down:?}");
        house_.becomes("weir_http_ambiguous_fields_total", &[], 1.0).await;
    }
    // The name that a route looks at may itself be an odd one: then the others that are read like it are not.
    let odd = "{ routes: [{ headers: [{ name: x_tenant, exact: a }], cluster: up }, { cluster: up }] }";
    let house = house(Version::H1, "", odd).await;
    for (name, status) in
        [("x_tenant", 200), ("X_Tenant", 200), ("x-tenant", 400), ("x.tenant", 400), ("x-other", 200)]
    {
        assert_eq!(ask(Version::H1, &house, &[(name, "b")]).await.status, status, "{name}");
    }
}

#[tokio::test]
async fn each_field_of_ours_has_a_switch() {
    let all = "via: true,";
    let on = "{ adds: { x_forwarded_port: true, x_real_ip: true, forwarded: true }, cluster: up }";
    let off = "{ adds: { x_forwarded_for: false, x_forwarded_proto: false, x_forwarded_host: false, x_request_id: false, \
               x_weir_reason: false, date: false }, routes: [{ path: /seen, cluster: up }] }";
    for down in BOTH {
        let house_ = house(Version::H1, all, on).await;
        let got = ask(down, &house_, &[("via", "1.0 before")]).await;
        let via = if down == Version::H1 { "1.0 before, 1.1 weir" } else { "1.0 before, 2.0 weir" };
        for (name, value) in [
            ("x-forwarded-for", "127.0.0.1"),
            ("x-forwarded-proto", "http"),
            ("x-forwarded-host", "test.local"),
            ("x-forwarded-port", "80"),
            ("x-real-ip", "127.0.0.1"),
            ("forwarded", "for=127.0.0.1;proto=http;host=\\\"test.local\\\""),
            ("via", via),
        ] {
            assert_eq!(values(&got, name), [value], "{down:?} {name}: {}", got.text());
        }
        let house_ = house(Version::H1, "", off).await;
        let got = ask(down, &house_, &[("x-request-id", "mine")]).await;
        let names: Vec<&str> =
            got.text().leak().split("(\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
        assert!(
            names.iter().all(|name| ["host", "Host", "x-request-id"].contains(name)),
            "{down:?}: {names:?}"
        );
        assert_eq!(values(&got, "x-request-id"), ["mine"], "{down:?}");
        let got = crate::peer::request(down, house_.address(), "GET", "/nowhere", Sent::None).await;
        assert_eq!(
            (got.status, got.field("x-weir-reason"), got.field("date")),
            (404, None, None),
            "{down:?}"
        );
    }
}

#[tokio::test]
async fn request_ids_are_weirs_own_unless_somebody_may_say_them() {
    let mut known = std::collections::HashSet::new();
    for (listener, http, kept) in [
        ("", "{ cluster: up }", false),
        (TRUSTED, "{ cluster: up }", true),
        ("", "{ keep_request_id: true, cluster: up }", true),
    ] {
        for down in BOTH {
            let house = house(Version::H1, listener, http).await;
            let got = ask(down, &house, &[("x-request-id", "mine")]).await;
            let ids = values(&got, "x-request-id");
            assert_eq!((ids.len(), ids[0] == "mine"), (1, kept), "{down:?} {listener} {http}");
            for _ in 0..20 {
                let got = ask(down, &house, &[]).await;
                let ids = values(&got, "x-request-id");
                assert_eq!((ids.len(), ids[0].len()), (1, 36));
                assert!(known.insert(ids[0].clone()), "{ids:?} was there before");
            }
        }
    }
}

#[tokio::test]
async fn what_goes_round_is_stopped() {
    for protocol in ["http1", "http2"] {
        for down in BOTH {
            for host in ["127.0.0.1", "0.0.0.0"] {
                let text = |to: &str| {
                    format!(
                        "workers: 2
listeners: {{ edge: {{ bind: '{host}:0', http: {{ routes: [{{ cluster: me, retry: {{ retry_on: [5xx], max_retries: 3 }} }}] }} }} }}
clusters: {{ me: {{ endpoints: ['{to}'], protocol: {protocol} }} }}"
                    )
                };
                let house = House::start(&text("127.0.0.1:1")).await;
                let free = std::net::SocketAddr::from(([127, 0, 0, 1], house.address().port()));
                house.server.reload(crate::house::config(&text(&free.to_string()))).await.unwrap();
                for _ in 0..3 {
                    // Nobody else can say how often it has been here.
                    let fields = [("x-weir-hop", "00000000000000000000000000000000-9")];
                    let got = match down {
                        Version::H1 => h1_request(free, "GET", "/", &fields, Sent::None).await,
                        Version::H2 => h2_request(free, "GET", "/", &fields, Sent::None).await,
                    };
                    assert_eq!(refused(&got), Some((508, "loop")), "{down:?} {protocol}");
                }
                // Each is its client's and three of our own; no 508 is tried again.
                house.becomes("weir_operations_total", &[], 3.0 * 5.0).await;
                house.becomes("weir_refusals_total", &["reason=\"loop\""], 3.0).await;
            }
        }
    }
}

#[tokio::test]
async fn three_listeners_in_a_row_are_no_loop() {
    for protocol in ["http1", "http2"] {
        let origin = origin(Version::H1).await;
        let free = |_| std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let ports: Vec<_> =
            (0..3).map(free).collect::<Vec<_>>().iter().map(|l| l.local_addr().unwrap()).collect();
        let house = House::start(&format!(
            "workers: 1
listeners:
  edge: {{ bind: '127.0.0.1:0', http: {{ cluster: c0 }} }}
  l0: {{ bind: '{}', http: {{ cluster: c1 }} }}
  l1: {{ bind: '{}', http: {{ cluster: c2 }} }}
  l2: {{ bind: '{}', http: {{ cluster: end }} }}
clusters:
  c0: {{ endpoints: ['{}'], protocol: {protocol} }}
  c1: {{ endpoints: ['{}'], protocol: {protocol} }}
  c2: {{ endpoints: ['{}'], protocol: {protocol} }}
  end: {{ endpoints: ['{origin}'] }}",
            ports[0], ports[1], ports[2], ports[0], ports[1], ports[2]
        ))
        .await;
        for down in BOTH {
            let got = ask(down, &house, &[("x-weir-hop", "mine")]).await;
            assert_eq!(got.status, 200, "{protocol} {down:?}: {}", got.text());
            assert!(!got.text().contains("x-weir-hop"), "{}", got.text());
        }
    }
}

const SIGNED: &str = "AWS4-HMAC-SHA256 Credential=A/20260101/r/s/aws4_request, \
                      SignedHeaders=host;x-forwarded-for;x-amz-date;x-real-ip, Signature=ab";

#[tokio::test]
async fn signed_requests_are_left_as_they_are_where_a_route_says_so() {
    let routes = |signed| format!("{{ routes: [{{ signed: {signed}, cluster: up }}] }}");
    let fields = [
        ("authorization", SIGNED),
        ("x-forwarded-for", "6.6.6.6"),
        ("x-forwarded-for", "6.6.6.7"),
        ("x-forwarded-proto", "https"),
        ("x-amz-date", "now"),
    ];
    for down in BOTH {
        for up in BOTH {
            let house_ = house(up, "via: true,", &routes(true)).await;
            let got = ask(down, &house_, &fields).await;
            let what = format!("{down:?} to {up:?}: {}", got.text());
            assert_eq!(values(&got, "x-forwarded-for"), ["6.6.6.6", "6.6.6.7"], "{what}");
            for gone in ["x-forwarded-proto", "x-forwarded-host", "x-request-id", "via", "x-real-ip"] {
                assert!(values(&got, gone).is_empty(), "{gone}: {what}");
            }
            // One name that it covers was not there.
            house_.becomes("weir_http_signed_total", &["result=\"changed\""], 1.0).await;
            let covered = [("authorization", &*SIGNED.replace(";x-real-ip", "")), fields[1], fields[4]];
            assert_eq!(ask(down, &house_, &covered).await.status, 200);
            house_.becomes("weir_http_signed_total", &["result=\"untouched\""], 1.0).await;
            // A claim is not enough.
            let house_ = house(up, "", &routes(false)).await;
            let got = ask(down, &house_, &fields).await;
            assert_eq!(values(&got, "x-forwarded-for"), ["127.0.0.1"], "{}", got.text());
            assert_eq!(house_.number("weir_http_signed_total", &[]), 0.0);
        }
    }
}
