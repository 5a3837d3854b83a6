//! A console over a process that is made up, and a client that says exactly the bytes it is given.

use std::cell::RefCell;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use weir_config::Config;
use weir_console::{Bounds, Clusters, Console, Phase, Settings, State, Status};
use weir_decide::cluster::{Cluster, EndpointSpec};
use weir_decide::exchange::{Fault, Items, NameKind, Now, Phase as How, Reason, Side};
use weir_decide::protocol::{About, Software};
use weir_drive::Filter as _;
use weir_drive::server::{ClusterStatus, ListenerStatus};
use weir_measure::connections::{OpenConnection, Opened};
use weir_measure::slow::{ShapeText, SlowOperation};
use weir_measure::{Limits, Measure, Record};
use weir_mongo::{Heard, Ledger, Listeners, Mongo, Role, Topology};

/// The configuration of the examples in docs/admin.md.
pub const CONFIG: &str = "
admin: 127.0.0.1:9901
listeners:
  raw: { bind: \"127.0.0.1:9000\", tcp: { cluster: legacy } }
clusters:
  legacy: { endpoints: [\"10.0.0.8:9000\", { address: \"10.0.0.9:9000\", weight: 2 }], connect_timeout: \"${PATIENCE}\" }
";

/// An environment in which every variable is two seconds.
struct Two;

impl weir_config::Environment for Two {
    fn variable(&self, _: &str) -> Option<String> {
        Some("2s".into())
    }

    fn file(&self, _: &std::path::Path) -> std::io::Result<String> {
        Err(std::io::ErrorKind::NotFound.into())
    }
}

pub struct Made {
    pub phase: Mutex<Phase>,
    config: Arc<Config>,
    cluster: Arc<Cluster>,
}

impl Made {
    fn new() -> Made {
        let config =
            weir_config::parse_with(CONFIG, "weir.yaml", &[weir_drive::Tcp.section()], &Two).unwrap();
        let cluster = Cluster::new("legacy", weir_decide::cluster::Settings::default());
        let endpoint = |address: &str, weight| EndpointSpec { address: address.into(), weight };
        cluster.set_endpoints(&[endpoint("10.0.0.8:9000", 1), endpoint("10.0.0.9:9000", 2)], Now(1));
        Made { phase: Mutex::new(Phase::Ready), config: Arc::new(config), cluster }
    }
}

impl Status for Made {
    fn phase(&self) -> Phase {
        *self.phase.lock().unwrap()
    }

    fn process(&self) -> Option<weir_drive::Status> {
        (self.phase() != Phase::Starting).then(|| weir_drive::Status {
            workers: 2,
            draining: self.phase() == Phase::Draining,
            connections: 3,
            worker_connections: vec![2, 1],
            listeners: vec![ListenerStatus {
                config: Arc::clone(&self.config.listeners[0]),
                address: self.config.listeners[0].bind.clone(),
                connections: 3,
            }],
            clusters: vec![],
        })
    }

    fn clusters(&self) -> Option<Clusters> {
        let cluster =
            ClusterStatus { config: Arc::clone(&self.config.clusters[0]), stats: self.cluster.stats() };
        (self.phase() != Phase::Starting).then(|| Box::new(std::iter::once(cluster)) as Clusters)
    }

    fn config(&self) -> Option<Arc<Config>> {
        (self.phase() != Phase::Starting).then(|| Arc::clone(&self.config))
    }
}

/// Every path and what it is for: the console's own, and those of a protocol.
pub fn endpoints() -> impl Iterator<Item = (&'static str, &'static str)> {
    let brought = Mongo.pages().iter().map(|page| (page.path, page.what));
    weir_console::ENDPOINTS.into_iter().chain(brought)
}

pub struct Fixture {
    /// Connections that are open.
    open: RefCell<Vec<Opened>>,
    pub console: Console,
    pub status: Arc<Made>,
    pub measure: Arc<Measure>,
}

impl Fixture {
    pub fn new() -> Fixture {
        Fixture::with(Bounds::default())
    }

    pub fn with(bounds: Bounds) -> Fixture {
        let (measure, status) = (Measure::new(Limits::default()), Arc::new(Made::new()));
        let settings = Settings {
            address: "127.0.0.1:0".parse().unwrap(),
            hosts: vec!["weir.internal".into()],
            version: "0.1.0",
            protocols: vec!["tcp", "mongo"],
            pages: Mongo.pages().to_vec(),
            bounds,
        };
        let state = State { measure: Arc::clone(&measure), status: Arc::clone(&status) as _ };
        let console = Console::start(settings, state).unwrap();
        Fixture { open: RefCell::default(), console, status, measure }
    }

    pub fn address(&self) -> SocketAddr {
        self.console.address()
    }

    /// A few operations on MongoDB.
    pub fn operations(&self) {
        let place = self.measure.place("orders-db", "orders-rs", "mongo");
        let local = self.measure.local();
        let find = local.intern(NameKind::Operation, &[b"find"]);
        let orders = local.intern(NameKind::Resource, &[b"shop.orders"]);
        let record = Record {
            duration: Some(800_000),
            first_byte: Some(600_000),
            request_bytes: 120,
            reply_bytes: 4_000,
            application: local.intern(NameKind::Application, &[b"checkout"]),
            call_site: local.intern(NameKind::CallSite, &[b"orders.load"]),
            items: Items { returned: 20, ..Items::NONE },
            ..Record::new(place, find, orders)
        };
        (0..98).for_each(|_| local.record(&record));
        let code = local.intern(NameKind::Code, &[b"MaxTimeMSExpired"]);
        local.record(&Record { result: "error", code, duration: Some(50_000_000), ..record });
        let lost = Fault::new(Side::Network, How::Waiting, Reason::Reset);
        local.record(&Record { result: "upstream_lost", first_byte: None, fault: Some(lost), ..record });
        let ledger = Listeners::<Ledger>::of(&self.measure).one(&"orders-db".into());
        let checkout = local.intern(NameKind::Application, &[b"checkout"]);
        ledger.batch(0x2A, orders, checkout, Now(1));
        ledger.tick(Now(75_000_000_001));
        let now = weir_drive::time::now();
        let open = |listener: &str, protocol, port| {
            let peer = Some(SocketAddr::from(([10, 0, 3, 4], port)));
            local.open(OpenConnection::new(&listener.into(), protocol, peer, now))
        };
        let driver = open("orders-db", "mongo", 50_000);
        let shown = driver.connection();
        shown.is_encrypted();
        shown.goes_to(Some(&"10.0.0.7:27017".into()));
        let software = Software {
            application: "checkout".into(),
            driver: "PyMongo".into(),
            version: "4.15.0".into(),
            framework: "".into(),
        };
        let software = Some(Arc::new(software));
        shown.says(About { software, compressor: Some("zstd"), mechanism: Some("SCRAM-SHA-256") });
        shown.moved(now);
        shown.ended(12_000, 400_000);
        self.open.borrow_mut().extend([driver, open("raw", "tcp", 50_001)]);
        let topology = Listeners::<Topology>::of(&self.measure).one(&"orders-db".into());
        topology.of_cluster(&"legacy".into());
        let members = [("10.0.0.8:9000", Some("db-proxy.internal:27018")), ("10.0.0.9:9000", None)];
        topology.list(&"rs0".into(), &members.map(|(name, at)| (name.into(), at.map(Into::into))));
        for (name, role, election) in [
            ("10.0.0.9:9000", Role::Primary, Some([1; 12])),
            ("10.0.0.8:9000", Role::Primary, Some([2; 12])),
            ("10.0.0.9:9000", Role::Secondary, None),
        ] {
            let round_trip = Some(Duration::from_micros(350));
            topology.heard(name, &Heard { role, election, round_trip }, now);
        }
        let shape =
            ShapeText { text: "{find: ?, filter: {age: {$gt: ?}}}".into(), hash: 0xC0FF_EE00_0000_0001 };
        self.measure.slow().keep(
            SlowOperation {
                at: Duration::from_millis(1_790_000_000_250),
                listener: "orders-db".into(),
                protocol: "mongo",
                operation: "find".into(),
                resource: "shop.orders".into(),
                application: "checkout".into(),
                endpoint: Some("10.0.0.7:27017".into()),
                result: "upstream_lost",
                code: "".into(),
                fault: Some(lost),
                duration: 1_250_000_000,
                sending: Some(0),
                waiting: None,
                replying: None,
                request_bytes: 120,
                reply_bytes: 0,
                items: Items::NONE,
                cursor: 0,
                shape: Some(shape),
            },
            Now(0),
        );
    }

    /// As many rows as make an answer that no socket's buffers hold.
    pub fn many_operations(&self) {
        let place = self.measure.place("l", "c", "http");
        let local = self.measure.local();
        let operation = local.intern(NameKind::Operation, &[b"GET"]);
        for n in 0..3000u32 {
            let resource = local.intern(NameKind::Resource, &[b"/", n.to_string().as_bytes()]);
            local.record(&Record {
                duration: Some(1),
                first_byte: Some(1),
                ..Record::new(place, operation, resource)
            });
        }
    }

    /// The numbers, asked for past the console.
    pub fn metrics(&self) -> String {
        let mut metrics = Vec::new();
        self.measure.prometheus(&mut metrics);
        String::from_utf8(metrics).unwrap()
    }

    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream
    }

    /// Says `bytes` and reads to the end, which the request has to ask for.
    pub fn say(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect();
        stream.write_all(bytes).unwrap();
        let mut all = Vec::new();
        // A reset after the answer is an end as well.
        let _ = stream.read_to_end(&mut all);
        String::from_utf8(all).unwrap()
    }

    pub fn get(&self, target: &str) -> Reply {
        self.ask("GET", target, &[("Host", "localhost")])
    }

    pub fn ask(&self, method: &str, target: &str, headers: &[(&str, &str)]) -> Reply {
        let mut request = format!("{method} {target} HTTP/1.1\r\nConnection: close\r\n");
        for (name, value) in headers {
            request += &format!("{name}: {value}\r\n");
        }
        Reply::parse(&self.say(format!("{request}\r\n").as_bytes()))
    }
}

#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Reply {
    pub fn parse(text: &str) -> Reply {
        let (head, mut rest) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no reply: {text:?}"));
        let mut lines = head.split("\r\n");
        let status = lines.next().unwrap().strip_prefix("HTTP/1.1 ").unwrap()[..3].parse().unwrap();
        let headers: Vec<_> = lines
            .map(|line| line.split_once(": ").unwrap())
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_string()))
            .collect();
        let mut body = String::new();
        if headers.iter().any(|(n, v)| n == "transfer-encoding" && v == "chunked") {
            while let Some((size, after)) = rest.split_once("\r\n") {
                let size = usize::from_str_radix(size, 16).unwrap();
                body.push_str(&after[..size]);
                rest = after[size..].strip_prefix("\r\n").unwrap();
            }
        } else {
            body.push_str(rest);
        }
        Reply { status, headers, body }
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(n, _)| n == name).map_or("", |(_, value)| value)
    }

    pub fn json(&self) -> serde_json::Value {
        assert_eq!(self.header("content-type"), "application/json");
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.body))
    }
}
