//! The section of the configuration: what it takes, what it says is wrong, and reloads.

use crate::house::{FILTERS, House, config, soon};
use crate::peer::{Sent, Version, h1_bytes, h1_reply, origin, request};
use bytes::BytesMut;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use weir_codecs::http1::Method;
use weir_config::Section;

fn errors(http: &str) -> String {
    let sections: Vec<&dyn Section> = FILTERS.iter().map(|filter| filter.section() as &dyn Section).collect();
    let text = format!(
        "listeners: {{ edge: {{ bind: '127.0.0.1:0', http: {http} }} }}\nclusters: {{ web: {{ endpoints: ['a:1'] }} }}"
    );
    weir_config::parse(&text, "weir.yaml", &sections).map(|_| ()).unwrap_err().to_string()
}

#[test]
fn mistakes_are_named() {
    let table = [
        ("{ cluster: wed }", "listeners.edge.http.cluster"),
        ("{}", "`cluster`"),
        ("{ cluster: web, routes: [{ cluster: web }] }", "cannot stand beside"),
        ("{ routes: [] }", "listeners.edge.http.routes"),
        ("{ routes: [{ path: /a }] }", "listeners.edge.http.routes[0]"),
        ("{ routes: [{ cluster: web, path: a }] }", "a path that begins with `/`"),
        ("{ routes: [{ cluster: web, path: /a, path_prefix: /b }] }", "path_prefix"),
        ("{ routes: [{ cluster: web, host: 'a:1' }] }", "without its port"),
        ("{ routes: [{ cluster: web, method: 'G T' }] }", "method"),
        ("{ routes: [{ cluster: web, dialect: tay }] }", "expected `toy`"),
        ("{ routes: [{ cluster: web, headers: [{ name: 'a b' }] }] }", "the name of a header"),
        ("{ routes: [{ cluster: web, retry: { retry_on: [6xx] } }] }", "retry_on"),
        ("{ routes: [{ direct_response: { status: 99 } }] }", "status"),
        ("{ routes: [{ cluster: web, timeout: 5 }] }", "timeout"),
    ];
    for (http, part) in table {
        let text = errors(http);
        assert!(text.contains(part), "{http}: {text}");
    }
}

#[test]
fn routes_that_are_never_taken_are_warned_of() {
    let text = "listeners: { edge: { bind: '127.0.0.1:0', http: { routes: [
        { path_prefix: /a, direct_response: { status: 200 } },
        { path: /a/b, direct_response: { status: 200 } } ] } } }";
    let warnings = &config(text).warnings;
    assert!(warnings.iter().any(|w| w.to_string().contains("never taken")), "{warnings:?}");
}

#[tokio::test]
async fn a_reload_reaches_kept_connections_and_harms_none() {
    let (one, two) = (origin(Version::H1).await, origin(Version::H2).await);
    let text = |cluster: &str| {
        format!(
            "workers: 1
listeners: {{ edge: {{ bind: '127.0.0.1:0', http: {{ routes: [
  {{ name: {cluster}, path: /, cluster: {cluster} }}, {{ path: /1, cluster: one }}, {{ path: /2, cluster: two }}] }} }} }}
clusters:
  one: {{ endpoints: ['{one}'] }}
  two: {{ endpoints: ['{two}'], protocol: http2 }}"
        )
    };
    let house = House::start(&text("one")).await;
    let mut kept = TcpStream::connect(house.address()).await.unwrap();
    let mut buf = BytesMut::new();
    for n in 0..10 {
        let cluster = if n % 2 == 0 { "two" } else { "one" };
        house.server.reload(config(&text(cluster))).await.unwrap();
        kept.write_all(&h1_bytes("GET", "/", &[], &Sent::None)).await.unwrap();
        assert_eq!(soon(h1_reply(&mut kept, &mut buf, Method::Get)).await.text(), "hello");
        assert_eq!(request(Version::H2, house.address(), "GET", "/", Sent::None).await.text(), "hello");
    }
    house.becomes("weir_operations_total", &["resource=\"one\"", "cluster=\"one\""], 10.0).await;
    house.becomes("weir_operations_total", &["resource=\"two\"", "cluster=\"two\""], 10.0).await;
    // The connection that was kept for its cluster is still there.
    house.becomes("weir_cluster_connections_total", &["cluster=\"one\""], 1.0).await;
}
