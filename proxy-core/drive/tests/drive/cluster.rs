//! Pools, places at the limit, names: through a filter that keeps upstream connections between requests.

use crate::house::*;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use weir_config::{Field, Kind, Listener, Node, Section, Settings, Table, Walk};
use weir_decide::cluster::Tries;
use weir_decide::exchange::{NameId, Operation};
use weir_drive::pool::Found;
use weir_drive::{Accepted, BuildError, Cluster, Connected, Filter, Offer, Pool, Service, Worker};

/// Sends every byte of a client to the cluster on a pooled connection and brings one byte back. The byte `!` is a bug, `-` says
/// how many idle connections there are.
struct Byte;

static FILTERS: &[&'static dyn Filter] = &[&Byte];

static TABLE: Table = Table {
    name: "byte",
    doc: "Only for tests.",
    fields: &[Field::required("cluster", Kind::Cluster, "Where.")],
    rules: &[],
};

impl Section for Byte {
    fn key(&self) -> &'static str {
        "byte"
    }
    fn table(&self) -> &'static Table {
        &TABLE
    }
    fn read(&self, walk: &mut Walk<'_>, node: &Node) -> Option<Settings> {
        let fields = walk.fields(node, &TABLE)?;
        Some(Arc::new(fields.cluster(walk, "cluster")?))
    }
}

impl Filter for Byte {
    fn section(&self) -> &'static dyn Section {
        &Byte
    }
    fn service(&self, listener: &Arc<Listener>, worker: &Rc<Worker>) -> Result<Rc<dyn Service>, BuildError> {
        let name = listener.settings.downcast_ref::<Arc<str>>().unwrap();
        let cluster = worker.cluster(name).ok_or_else(|| BuildError::no_cluster(listener, name))?;
        Ok(Rc::new(ByteService { pool: Pool::new(&cluster), cluster, worker: worker.clone() }))
    }
}

struct ByteService {
    cluster: Rc<Cluster>,
    pool: Rc<Pool<Connected>>,
    worker: Rc<Worker>,
}

impl ByteService {
    async fn exchange(&self, byte: u8) -> Option<u8> {
        let op = Operation::new(NameId::NONE, NameId::NONE);
        let ticket = self.cluster.view.admit(&op, &mut Tries::new(), self.worker.now()).ok()?;
        let mut connection = match self.pool.get(ticket.pick(), None).await.ok()? {
            Found::Idle(connection) => connection,
            Found::Room(slot) => self.cluster.dial(ticket.pick(), slot, Offer::Nothing, None).await.ok()?,
        };
        connection.io.write_u8(byte).await.ok()?;
        let back = connection.io.read_u8().await.ok()?;
        self.pool.put(ticket.pick().id(), connection);
        Some(back)
    }
}

impl Service for ByteService {
    fn serve(self: Rc<Self>, mut connection: Accepted) -> Pin<Box<dyn Future<Output = ()>>> {
        Box::pin(async move {
            while let Ok(byte) = connection.io.read_u8().await {
                let back = match byte {
                    b'!' => panic!("a bug"),
                    b'-' => Some(b'0' + self.pool.len() as u8),
                    byte => self.exchange(byte).await,
                };
                let Some(back) = back else { return };
                connection.io.write_u8(back).await.ok();
            }
        })
    }
    fn reload(&self, _: &Arc<Listener>, _: &Rc<Worker>) -> Result<(), BuildError> {
        Ok(())
    }
}

async fn bytes(workers: usize, endpoints: &[SocketAddr], cluster: &str) -> House {
    let endpoints: Vec<_> = endpoints.iter().map(|address| format!("'{address}'")).collect();
    let text = format!(
        "workers: {workers}
listeners: {{ l: {{ bind: '127.0.0.1:0', byte: {{ cluster: up }} }} }}
clusters: {{ up: {{ endpoints: [{}], {cluster} }} }}",
        endpoints.join(", ")
    );
    House::start_with(&text, FILTERS).await.unwrap()
}

async fn ask(stream: &mut TcpStream, byte: u8) -> Option<u8> {
    soon(stream.write_u8(byte)).await.ok()?;
    soon(stream.read_u8()).await.ok()
}

#[tokio::test]
async fn connections_are_used_again_the_last_one_first() {
    let house = bytes(1, &[Upstream::new().await.echo()], "").await;
    let mut clients = Vec::new();
    for _ in 0..3 {
        clients.push(house.connect("l").await);
    }
    for round in 0..5u8 {
        for client in &mut clients {
            assert_eq!(ask(client, round).await, Some(round));
        }
    }
    assert_eq!(house.number("weir_cluster_connections_total", &[]), 1.0);
    assert_eq!(ask(&mut clients[0], b'-').await, Some(b'1'));
}

#[tokio::test]
async fn a_connection_that_was_closed_or_spoke_unasked_is_not_used_again() {
    let upstream = Upstream::new().await;
    let house = bytes(1, &[upstream.address()], "").await;
    let mut client = house.connect("l").await;
    for spoke in [false, true] {
        client.write_u8(7).await.unwrap();
        let mut server = upstream.accept().await;
        assert_eq!(soon(server.read_u8()).await.unwrap(), 7);
        server.write_u8(8).await.unwrap();
        assert_eq!(soon(client.read_u8()).await.unwrap(), 8);
        if spoke {
            server.write_u8(9).await.unwrap();
        } else {
            drop(server);
        }
        // Noticed without being asked for, on the tick.
        let mut idle = Some(b'1');
        while idle == Some(b'1') {
            idle = ask(&mut client, b'-').await;
        }
        assert_eq!(idle, Some(b'0'));
    }
    house.becomes("weir_cluster_connections_open", &[], 0.0).await;
}

#[tokio::test]
async fn idle_connections_time_out() {
    let house = bytes(1, &[Upstream::new().await.echo()], "idle_timeout: 300ms").await;
    let mut client = house.connect("l").await;
    assert_eq!(ask(&mut client, 1).await, Some(1));
    assert_eq!(house.number("weir_cluster_connections_open", &[]), 1.0);
    house.becomes("weir_cluster_connections_open", &[], 0.0).await;
    assert_eq!(ask(&mut client, 2).await, Some(2));
}

#[tokio::test]
async fn at_the_limit_the_oldest_idle_connection_of_any_worker_makes_room() {
    let up = [Upstream::new().await.echo(), Upstream::new().await.echo()];
    let house = bytes(3, &up, "circuit_breaker: { max_connections: 1 }").await;
    let mut clients = Vec::new();
    for _ in 0..6 {
        clients.push(house.connect("l").await);
    }
    assert_eq!(house.server.status().workers, 3);
    // One after the other, round robin, from three workers to two endpoints, with one connection.
    for round in 0..4u8 {
        for client in &mut clients {
            assert_eq!(ask(client, round).await, Some(round));
            assert!(house.number("weir_cluster_connections_open", &[]) <= 1.0);
        }
    }
    assert!(house.number("weir_cluster_connections_evicted_total", &[]) >= 1.0);
    // All at once: they wait their turn.
    let all = clients.into_iter().map(|mut client| {
        tokio::spawn(async move {
            for round in 0..30u8 {
                assert_eq!(ask(&mut client, round).await, Some(round));
            }
        })
    });
    for task in all.collect::<Vec<_>>() {
        soon(task).await.unwrap();
    }
    house.becomes("weir_cluster_pending_active", &[], 0.0).await;
}

#[tokio::test]
async fn a_bug_costs_one_connection() {
    let house = bytes(1, &[Upstream::new().await.echo()], "").await;
    let mut well = house.connect("l").await;
    assert_eq!(ask(&mut well, 1).await, Some(1));
    let mut ill = house.connect("l").await;
    assert_eq!(ask(&mut ill, b'!').await, None);
    house.becomes("weir_listener_panics_total", &[], 1.0).await;
    house.becomes("weir_listener_connections_open", &[], 1.0).await;
    assert_eq!(ask(&mut well, 2).await, Some(2));
    assert_eq!(house.number("weir_workers_lost_total", &[]), 0.0);
}

#[tokio::test]
async fn names_are_resolved() {
    let up = Upstream::new().await.echo();
    // (the source of the endpoints, whether it can be reached)
    let table = [
        (format!("endpoints: ['localhost:{}']", up.port()), true),
        (format!("dns: 'localhost:{}'", up.port()), true),
        (format!("endpoints: ['nobody.invalid:{}']", up.port()), false),
        (format!("dns: 'nobody.invalid:{}'", up.port()), false),
    ];
    for (source, found) in table {
        let text = format!(
            "workers: 1
listeners: {{ l: {{ bind: '127.0.0.1:0', byte: {{ cluster: up }} }} }}
clusters: {{ up: {{ {source} }} }}"
        );
        let house = House::start_with(&text, FILTERS).await.unwrap();
        // Where `localhost` has two addresses one of them has nobody.
        let mut answer = None;
        for _ in 0..4 {
            answer = answer.or(ask(&mut house.connect("l").await, 5).await);
        }
        assert_eq!(answer, found.then_some(5), "{source}");
        let result = if found { "result=\"ok\"" } else { "result=\"failed\"" };
        assert_eq!(house.number("weir_cluster_dns_resolutions_total", &[result]), 1.0, "{source}");
    }
}

#[tokio::test]
async fn a_connection_that_is_not_made_in_time_fails() {
    // A backlog that is full: the system drops what comes.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into()).unwrap();
    socket.listen(0).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    let _fills = std::net::TcpStream::connect(address).unwrap();
    let house = House::start(&format!(
        "workers: 1
listeners: {{ l: {{ bind: '127.0.0.1:0', tcp: {{ cluster: up }} }} }}
clusters: {{ up: {{ endpoints: ['{address}'], connect_timeout: 100ms }} }}"
    ))
    .await;
    let mut client = house.connect("l").await;
    assert_eq!(rest(&mut client).await, b"");
    house.becomes("weir_failures_total", &["side=\"network\"", "reason=\"connect_timeout\""], 1.0).await;
}
