//! Start, limits, hand-over, reload, drain.

use crate::house::*;
use std::io::BufRead;
use std::pin::Pin;
use std::process::{Command, Stdio};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use weir_config::{Field, Kind, Listener, Node, Section, Settings, Table, Walk};
use weir_drive::{Accepted, BuildError, Filter, Service, StartError, Worker};

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
    // Both have met the limit, the one that waits and the one that may not.
    let met = |limit| house.number("weir_cluster_overflows_total", &[limit]);
    assert_eq!((met("limit=\"max_connections\""), met("limit=\"max_pending\"")), (2.0, 1.0));
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
async fn an_address_may_move_to_a_listener_of_another_name() {
    async fn names(address: std::net::SocketAddr) -> Vec<u8> {
        rest(&mut tokio::net::TcpStream::connect(address).await.unwrap()).await
    }
    let of = |listeners: [(&str, std::net::SocketAddr, &str); 2]| {
        let [first, second] = listeners.map(|(name, bind, cluster)| {
            format!("  {name}: {{ bind: '{bind}', tcp: {{ cluster: {cluster} }} }}\n")
        });
        format!("workers: 3\nlisteners:\n{first}{second}")
    };
    let (x, y) = (Upstream::new().await, Upstream::new().await);
    let clusters = format!(
        "clusters:\n  x: {{ endpoints: ['{}'] }}\n  y: {{ endpoints: ['{}'] }}\n",
        x.address(),
        y.address()
    );
    for (upstream, name) in [(x, "x"), (y, "y")] {
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = upstream.0.accept().await {
                stream.write_all(name.as_bytes()).await.ok();
            }
        });
    }
    let (p, q) = (vacant(), vacant());
    let house = House::start(&format!("{}{clusters}", of([("a", p, "x"), ("b", q, "y")]))).await;
    // (listeners, what is served at p, what is served at q)
    let rounds = [
        ([("a", q, "x"), ("b", p, "y")], "y", "x"),
        ([("new", q, "y"), ("b", p, "x")], "x", "y"),
        ([("new", p, "y"), ("c", q, "x")], "y", "x"),
        ([("a", p, "x"), ("b", q, "y")], "x", "y"),
    ];
    for (listeners, at_p, at_q) in rounds {
        house.server.reload(config(&format!("{}{clusters}", of(listeners)))).await.unwrap();
        for _ in 0..12 {
            assert_eq!(names(p).await, at_p.as_bytes(), "{listeners:?}");
            assert_eq!(names(q).await, at_q.as_bytes(), "{listeners:?}");
        }
    }
    // A reload that fails takes nothing from who has it.
    let taken = Upstream::new().await;
    let refused = of([("new", p, "y"), ("b", taken.address(), "x")]);
    let error = house.server.reload(config(&format!("{refused}{clusters}"))).await.err();
    assert!(matches!(error, Some(StartError::Bind { .. })), "{error:?}");
    assert_eq!((names(p).await, names(q).await), (b"x".to_vec(), b"y".to_vec()));
    // What is given up is closed all the same.
    let only =
        format!("workers: 3\nlisteners: {{ c: {{ bind: '{p}', tcp: {{ cluster: x }} }} }}\n{clusters}");
    house.server.reload(config(&only)).await.unwrap();
    assert_eq!(names(p).await, b"x");
    assert!(until(|| std::net::TcpStream::connect(q).is_err()).await);
    house.server.drain(Duration::from_secs(5)).await;
    assert!(std::net::TcpStream::connect(p).is_err());
}

#[tokio::test]
async fn connections_of_a_listener_that_is_gone_are_cut_off_after_drain_timeout() {
    let up = Upstream::new().await.echo();
    let before = two(up, &[("kept", "127.0.0.1:0"), ("gone", "127.0.0.1:0")]);
    let house = House::start(&format!("drain_timeout: 1h\n{before}")).await;
    let mut kept = house.connect("kept").await;
    let mut gone = [house.connect("gone").await, house.connect("gone").await, house.connect("gone").await];
    for client in gone.iter_mut().chain([&mut kept]) {
        ping(client, b"here").await;
    }
    let after = two(up, &[("kept", "127.0.0.1:0")]);
    house.server.reload(config(&format!("drain_timeout: 1h\n{after}"))).await.unwrap();
    for client in &mut gone {
        ping(client, b"within the limit").await;
    }
    // The limit that holds is that of the configuration in force.
    house.server.reload(config(&format!("drain_timeout: 10ms\n{after}"))).await.unwrap();
    for client in &mut gone {
        assert_eq!(rest(client).await, b"");
    }
    house.becomes("weir_listener_connections_open", &["listener=\"gone\""], 0.0).await;
    house.becomes("weir_cluster_connections_open", &[], 1.0).await;
    ping(&mut kept, b"unharmed").await;
}

#[tokio::test]
async fn a_reload_that_fails_changes_nothing() {
    let up = Upstream::new().await.echo();
    let before = two(up, &[("kept", "127.0.0.1:0")]);
    let house = House::start(&before).await;
    let taken = Upstream::new().await;
    let next = two(vacant(), &[("kept", "127.0.0.1:0"), ("new", &taken.address().to_string())]);
    let error = house.server.reload(config(&next)).await.err();
    assert!(matches!(error, Some(StartError::Bind { .. })), "{error:?}");
    let bad_tls = before.replace("bind", "tls: { certificate: /nowhere.pem, key: /nowhere.key }, bind");
    let error = house.server.reload(config(&bad_tls)).await.err().unwrap();
    let each = error.each();
    assert!(matches!(each, [StartError::ListenerTls { .. }, StartError::ListenerTls { .. }]), "{error:?}");
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

/// A filter that closes every connection, saying whether it is set up as it should be; building it may fail or be a bug.
struct Moody;

static MOODY: &[&'static dyn Filter] = &[&Moody];

static TABLE: Table = Table {
    name: "moody",
    doc: "Only for tests.",
    fields: &[Field::with_default(
        "mood",
        Kind::Text { max: 10 },
        "good",
        "`bad`: an error, `worst`: a bug.",
    )],
    rules: &[],
};

/// How often a service was told to reload.
static RELOADS: AtomicU32 = AtomicU32::new(0);

impl Section for Moody {
    fn key(&self) -> &'static str {
        "moody"
    }
    fn table(&self) -> &'static Table {
        &TABLE
    }
    fn read(&self, walk: &mut Walk<'_>, node: &Node) -> Option<Settings> {
        let fields = walk.fields(node, &TABLE)?;
        Some(Arc::new(fields.text(walk, "mood")?))
    }
}

fn mood(listener: &Listener) -> Result<(), BuildError> {
    match &**listener.settings.downcast_ref::<Arc<str>>().unwrap() {
        "bad" => Err(BuildError::new(listener, "in a bad mood")),
        "worst" => panic!("a bug in a filter"),
        _ => Ok(()),
    }
}

impl Filter for Moody {
    fn section(&self) -> &'static dyn Section {
        &Moody
    }
    fn service(&self, listener: &Arc<Listener>, _: &Rc<Worker>) -> Result<Rc<dyn Service>, BuildError> {
        mood(listener).map(|()| Rc::new(Moody) as Rc<dyn Service>)
    }
}

impl Service for Moody {
    fn serve(self: Rc<Self>, mut connection: Accepted) -> Pin<Box<dyn Future<Output = ()>>> {
        Box::pin(async move {
            let set = connection.io.tcp().unwrap().nodelay().unwrap();
            connection.io.write_all(format!("nodelay: {set}").as_bytes()).await.ok();
        })
    }
    fn reload(&self, listener: &Arc<Listener>, _: &Rc<Worker>) -> Result<(), BuildError> {
        RELOADS.fetch_add(1, Ordering::Relaxed);
        mood(listener)
    }
}

fn moody(first: &str, second: &str) -> String {
    format!(
        "workers: 2
listeners:
  a: {{ bind: '127.0.0.1:0', moody: {{ mood: {first} }} }}
  b: {{ bind: '127.0.0.1:0', moody: {{ mood: {second} }} }}
clusters: {{}}"
    )
}

#[tokio::test]
async fn services_are_reloaded_all_or_none_and_a_lost_worker_is_told() {
    let house = House::start_with(&moody("good", "good"), MOODY).await.unwrap();
    assert_eq!(rest(&mut house.connect("a").await).await, b"nodelay: true");
    // Both change, on two workers.
    house.server.reload(config_for(&moody("fine", "fine"), MOODY)).await.unwrap();
    assert_eq!(RELOADS.load(Ordering::Relaxed), 4);
    // The second one cannot: the first one is put back, and the other worker is not asked.
    let error = house.server.reload(config_for(&moody("better", "bad"), MOODY)).await.unwrap_err();
    assert_eq!(error.to_string(), "listener b: in a bad mood");
    assert_eq!(RELOADS.load(Ordering::Relaxed), 7);
    assert_eq!(rest(&mut house.connect("a").await).await, b"nodelay: true");
    // The same when starting.
    let error = House::start_with(&moody("good", "bad"), MOODY).await.err().unwrap();
    assert_eq!(error.to_string(), "listener b: in a bad mood");
    // A bug there ends the worker, which does not pass in silence.
    let error = house.server.reload(config_for(&moody("good", "worst"), MOODY)).await.unwrap_err();
    assert!(matches!(error, StartError::WorkerLost(0)), "{error}");
    soon(house.server.failed()).await;
    assert_eq!(house.number("weir_workers_lost_total", &[]), 1.0);
}

/// Run by the next test with few descriptors: a relay to the address in `UPSTREAM` that says where it listens, and when
/// accepting has failed.
#[tokio::test]
#[ignore = "not a test: the program that runs short"]
async fn running_short() {
    let upstream = std::env::var("UPSTREAM").unwrap();
    let house = House::start(&two(upstream.parse().unwrap(), &[("raw", "127.0.0.1:0")])).await;
    // What was set aside for upstream connections, something else has taken.
    let mut others: Vec<_> = std::iter::from_fn(|| std::fs::File::open("/dev/null").ok()).collect();
    others.truncate(others.len() - 12);
    println!("\nlistening {}", house.address("raw"));
    assert!(until(|| house.number("weir_listener_accept_errors_total", &[]) >= 2.0).await);
    println!("\nshort");
    // Until it is killed.
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn running_out_of_descriptors_is_counted_and_passes() {
    let upstream = Upstream::new().await.echo();
    let mut short = Command::new("sh")
        .args(["-c", "ulimit -n 48; exec \"$0\" --exact process::running_short --ignored --nocapture"])
        .arg(std::env::current_exe().unwrap())
        .env("UPSTREAM", upstream.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let said = std::io::BufReader::new(short.stdout.take().unwrap());
    let mut said = said.lines().map(Result::unwrap);
    let address = said.by_ref().find_map(|line| line.strip_prefix("listening ").map(str::to_owned)).unwrap();
    let mut clients = Vec::new();
    for _ in 0..40 {
        clients.push(tokio::net::TcpStream::connect(&address).await.unwrap());
    }
    assert!(said.by_ref().any(|line| line == "short"), "accepting fails, and is counted");
    drop(clients);
    // As soon as those that are left over have been closed, everybody is served again.
    let mut served = 0;
    for _ in 0..1000 {
        let mut client = tokio::net::TcpStream::connect(&address).await.unwrap();
        client.write_all(b"x").await.ok();
        served += u32::from(tokio::io::AsyncReadExt::read_u8(&mut client).await.is_ok());
    }
    assert!(served > 500, "{served}");
    short.kill().unwrap();
    short.wait().unwrap();
}
