//! What every test needs: a running server with HTTP listeners, and a way to wait for a number.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use weir_config::{Config, Section};
use weir_drive::{Filter, Server};
use weir_http::{Http, HttpSection};
use weir_measure::{Limits, Measure};

#[path = "../../../../proxy-core/drive/tests/shared/numbers.rs"]
mod numbers;

static HTTP: HttpSection = HttpSection {
    key: "http",
    table: &weir_http::config::HTTP,
    dialect: None,
    dialects: &[&crate::dialects::Toy],
};
pub static FILTERS: &[&dyn Filter] = &[&Http(&HTTP)];

/// Nothing in these tests takes so long unless it hangs.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub fn config(text: &str) -> Arc<Config> {
    let sections: Vec<&dyn Section> = FILTERS.iter().map(|filter| filter.section() as &dyn Section).collect();
    match weir_config::parse(text, "test.yaml", &sections) {
        Ok(config) => Arc::new(config),
        Err(errors) => panic!("{errors}"),
    }
}

pub struct House {
    pub server: Server,
    pub measure: Arc<Measure>,
}

impl House {
    pub async fn start(text: &str) -> House {
        let measure = Measure::new(Limits::default());
        let server = Server::start(config(text), FILTERS, &measure).await.unwrap();
        House { server, measure }
    }

    /// One listener `edge`, all of it to one cluster of one endpoint. `protocol`: `http1` or `http2`.
    pub async fn simple(upstream: SocketAddr, protocol: &str) -> House {
        House::start(&format!(
            "workers: 1
listeners: {{ edge: {{ bind: '127.0.0.1:0', http: {{ cluster: up }} }} }}
clusters: {{ up: {{ endpoints: ['{upstream}'], protocol: {protocol} }} }}"
        ))
        .await
    }

    pub fn address(&self) -> SocketAddr {
        self.server.address("edge").unwrap()
    }

    /// The whole Prometheus text.
    pub fn metrics(&self) -> String {
        numbers::text(&self.measure)
    }

    /// The sum of the series of `family` whose labels hold all of `labels`, each written `name="value"`.
    pub fn number(&self, family: &str, labels: &[&str]) -> f64 {
        numbers::sum(&self.metrics(), family, labels)
    }

    /// Waits until a number is what it should become.
    pub async fn becomes(&self, family: &str, labels: &[&str], expected: f64) {
        let late = weir_drive::time::now().after(PATIENCE);
        while self.number(family, labels) != expected {
            assert!(
                weir_drive::time::now() < late,
                "{family}{labels:?} is {}, not {expected}\n{}",
                self.number(family, labels),
                self.metrics()
            );
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Waits until exactly one operation has been counted, and it ended like this.
    pub async fn counted(&self, result: &str, code: &str) {
        let code = format!("code=\"{code}\"");
        let result = format!("result=\"{result}\"");
        self.becomes("weir_operations_total", &[&result, &code], 1.0).await;
        assert_eq!(self.number("weir_operations_total", &[]), 1.0, "{}", self.metrics());
        self.becomes("weir_operations_in_flight", &[], 0.0).await;
    }
}

/// Fails the test when `future` takes too long.
pub async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("took too long")
}

/// An address that nobody ever listens on: it stays taken, so that no other test's server or client comes by it.
pub fn nobody() -> SocketAddr {
    use socket2::{Domain, Socket, Type};
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    std::mem::forget(socket);
    address
}
