//! Start, limits, hand-over, reload, drain.

use crate::house::*;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use weir_drive::StartError;

#[tokio::test]
async fn a_second_one_on_the_same_port_is_an_error() {
    let up = Upstream::new().await.echo();
    for workers in [1, 3] {
        let text = |bind: &str| {
            format!(
                "workers: {workers}
listeners: {{ raw: {{ bind: '{bind}', tcp: {{ cluster: up }} }} }}
clusters: {{ up: {{ endpoints: ['{up}'] }} }}"
            )
        };
        let house = House::start(&text("127.0.0.1:0")).await;
        let taken = house.address("raw").to_string();
        let second = House::start_with(&text(&taken), TCP).await.err();
        assert!(matches!(second, Some(StartError::Bind { .. })), "{workers} workers: {second:?}");
        ping(&mut house.connect("raw").await, b"the first is unharmed").await;
    }
}

#[tokio::test]
async fn connections_are_spread_over_the_workers() {
    let up = Upstream::new().await.echo();
    let house = House::start(&format!(
        "workers: 4
listeners: {{ raw: {{ bind: '127.0.0.1:0', tcp: {{ cluster: up }} }} }}
clusters: {{ up: {{ endpoints: ['{up}'] }} }}"
    ))
    .await;
    let mut clients = Vec::new();
    for _ in 0..16 {
        let mut client = house.connect("raw").await;
        ping(&mut client, b"here").await;
        clients.push(client);
    }
    let counts = house.server.status().worker_connections;
    assert_eq!(counts.iter().sum::<u32>(), 16);
    assert!(counts.iter().all(|count| (3..=5).contains(count)), "{counts:?}");
    // They go on working where they are.
    for client in &mut clients {
        ping(client, b"still here").await;
    }
    drop(clients);
    house.becomes("weir_listener_connections_open", &[], 0.0).await;
    assert_eq!(house.server.status().worker_connections, [0; 4]);
}

#[tokio::test]
async fn a_listener_takes_no_more_than_its_limit() {
    let up = Upstream::new().await.echo();
    let house = House::start(&format!(
        "workers: 2
listeners: {{ raw: {{ bind: '127.0.0.1:0', max_connections: 2, tcp: {{ cluster: up }} }} }}
clusters: {{ up: {{ endpoints: ['{up}'] }} }}"
    ))
    .await;
    let mut first = house.connect("raw").await;
    let mut second = house.connect("raw").await;
    ping(&mut first, b"1").await;
    ping(&mut second, b"2").await;
    let mut third = house.connect("raw").await;
    assert_eq!(rest(&mut third).await, b"");
    house.becomes("weir_listener_connections_refused_total", &["reason=\"max_connections\""], 1.0).await;
    drop(first);
    house.becomes("weir_listener_connections_open", &[], 1.0).await;
    ping(&mut house.connect("raw").await, b"there is room again").await;
}

#[tokio::test]
async fn a_cluster_at_its_limit_makes_connections_wait_their_turn() {
    let up = Upstream::new().await.echo();
    let house = House::start(&format!(
        "workers: 2
listeners: {{ raw: {{ bind: '127.0.0.1:0', tcp: {{ cluster: up }} }} }}
clusters: {{ up: {{ endpoints: ['{up}'], circuit_breaker: {{ max_connections: 1, max_pending: 1 }} }} }}"
    ))
    .await;
    let mut first = house.connect("raw").await;
    ping(&mut first, b"1").await;
    let mut second = house.connect("raw").await;
    house.becomes("weir_cluster_pending_active", &["cluster=\"up\""], 1.0).await;
    // Only one may wait.
    let mut third = house.connect("raw").await;
    assert_eq!(rest(&mut third).await, b"");
    house.becomes("weir_refusals_total", &["reason=\"max_pending\""], 1.0).await;
    drop(first);
    ping(&mut second, b"my turn").await;
}

fn two(up: std::net::SocketAddr, names: &[(&str, &str)]) -> String {
    let listeners: String = names
        .iter()
        .map(|(name, bind)| format!("  {name}: {{ bind: '{bind}', tcp: {{ cluster: up }} }}\n"))
        .collect();
    format!("workers: 2\nlisteners:\n{listeners}clusters:\n  up: {{ endpoints: ['{up}'] }}\n")
}

#[tokio::test]
async fn a_reload_keeps_connections_and_sockets() {
    let (one, other) = (Upstream::new().await, Upstream::new().await);
    let house = House::start(&two(one.address(), &[("kept", "127.0.0.1:0"), ("gone", "127.0.0.1:0")])).await;
    let (kept, gone) = (house.address("kept"), house.address("gone"));
    let mut old = house.connect("kept").await;
    let mut old_up = one.accept().await;
    let mut leaving = house.connect("gone").await;
    let mut leaving_up = one.accept().await;

    let next = two(other.address(), &[("kept", "127.0.0.1:0"), ("new", "127.0.0.1:0")]);
    let diff = house.server.reload(config(&next)).await.unwrap();
    assert_eq!(diff.listeners.added, ["new".into()]);
    assert_eq!(diff.listeners.removed, ["gone".into()]);
    assert_eq!(diff.clusters.changed, ["up".into()]);

    // Those that were there go on where they are; new ones go where the configuration says.
    for (client, server) in [(&mut old, &mut old_up), (&mut leaving, &mut leaving_up)] {
        client.write_all(b"x").await.unwrap();
        let mut byte = [0; 1];
        soon(tokio::io::AsyncReadExt::read_exact(server, &mut byte)).await.unwrap();
    }
    assert_eq!(house.address("kept"), kept);
    let _new = house.connect("kept").await;
    other.accept().await;
    let _new = house.connect("new").await;
    other.accept().await;
    assert!(until(|| std::net::TcpStream::connect(gone).is_err()).await, "a removed listener is closed");
}

#[tokio::test]
async fn a_reload_that_fails_changes_nothing() {
    let up = Upstream::new().await.echo();
    let before = two(up, &[("kept", "127.0.0.1:0")]);
    let house = House::start(&before).await;
    let taken = Upstream::new().await;
    let next = two(nobody().await, &[("kept", "127.0.0.1:0"), ("new", &taken.address().to_string())]);
    let error = house.server.reload(config(&next)).await.err();
    assert!(matches!(error, Some(StartError::Bind { .. })), "{error:?}");
    let bad_tls = before.replace("bind", "tls: { certificate: /nowhere.pem, key: /nowhere.key }, bind");
    let error = house.server.reload(config(&bad_tls)).await.err();
    assert!(matches!(error, Some(StartError::ListenerTls { .. })), "{error:?}");
    ping(&mut house.connect("kept").await, b"as before").await;
    assert_eq!(house.server.config().listeners.len(), 1);
}

#[tokio::test]
async fn a_drain_waits_for_what_is_under_way_and_cuts_off_the_rest() {
    let up = Upstream::new().await.echo();
    let house = House::start(&two(up, &[("raw", "127.0.0.1:0")])).await;
    let address = house.address("raw");
    let mut ending = house.connect("raw").await;
    let mut staying = house.connect("raw").await;
    ping(&mut ending, b"1").await;
    ping(&mut staying, b"2").await;
    let drain = house.server.drain(Duration::from_millis(600));
    let client = async {
        assert!(until(|| std::net::TcpStream::connect(address).is_err()).await, "accepts no more");
        ping(&mut ending, b"still served").await;
        drop(ending);
    };
    let (drained, ()) = tokio::join!(drain, client);
    assert_eq!((drained.finished, drained.cut), (1, 1));
    assert_eq!(rest(&mut staying).await, b"");
    assert!(matches!(
        house.server.reload(config(&two(up, &[("raw", "127.0.0.1:0")]))).await,
        Err(StartError::Draining)
    ));
}
