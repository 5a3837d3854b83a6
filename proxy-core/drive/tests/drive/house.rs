//! What every test needs: a running server, scripted upstreams, and a way to wait for a number.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use weir_config::{Config, Section};
use weir_drive::{Filter, Server, StartError, Tcp};
use weir_measure::{Limits, Measure};

#[path = "../shared/numbers.rs"]
mod numbers;

pub static TCP: &[&'static dyn Filter] = &[&Tcp];

/// Nothing in these tests takes so long unless it hangs.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub fn config(text: &str) -> Arc<Config> {
    config_for(text, TCP)
}

pub fn config_for(text: &str, filters: &[&'static dyn Filter]) -> Arc<Config> {
    let sections: Vec<&dyn Section> = filters.iter().map(|filter| filter.section() as &dyn Section).collect();
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
        House::start_with(text, TCP).await.unwrap()
    }

    pub async fn start_with(
        text: &str,
        filters: &'static [&'static dyn Filter],
    ) -> Result<House, StartError> {
        let measure = Measure::new(Limits::default());
        let server = Server::start(config_for(text, filters), filters, &measure).await?;
        Ok(House { server, measure })
    }

    pub fn address(&self, listener: &str) -> SocketAddr {
        self.server.address(listener).unwrap()
    }

    pub async fn connect(&self, listener: &str) -> TcpStream {
        TcpStream::connect(self.address(listener)).await.unwrap()
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
        let reached = until(|| self.number(family, labels) == expected).await;
        assert!(
            reached,
            "{family}{labels:?} is {}, not {expected}\n{}",
            self.number(family, labels),
            self.metrics()
        );
    }
}

/// Whether `condition` comes true in time.
pub async fn until(mut condition: impl FnMut() -> bool) -> bool {
    let late = weir_drive::time::now().after(PATIENCE);
    while !condition() {
        if weir_drive::time::now() > late {
            return false;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    true
}

/// Fails the test when `future` takes too long.
pub async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("took too long")
}

/// A listening upstream.
pub struct Upstream(pub TcpListener);

impl Upstream {
    pub async fn new() -> Upstream {
        Upstream(TcpListener::bind("127.0.0.1:0").await.unwrap())
    }

    pub fn address(&self) -> SocketAddr {
        self.0.local_addr().unwrap()
    }

    pub async fn accept(&self) -> TcpStream {
        soon(self.0.accept()).await.unwrap().0
    }

    /// Sends back what comes, on every connection, until the test ends.
    pub fn echo(self) -> SocketAddr {
        let address = self.address();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = self.0.accept().await {
                tokio::spawn(async move {
                    let (mut read, mut write) = stream.split();
                    tokio::io::copy(&mut read, &mut write).await.ok();
                    write.shutdown().await.ok();
                });
            }
        });
        address
    }
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

/// An address that was free a moment ago, to listen on; outside of what the system gives to clients.
pub fn vacant() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = 30_000 + (std::process::id() % 500) as u16;
    loop {
        let address = ([127, 0, 0, 1], first + NEXT.fetch_add(1, Ordering::Relaxed) % 2000).into();
        if std::net::TcpListener::bind::<SocketAddr>(address).is_ok() {
            return address;
        }
    }
}

/// Sends `bytes` and expects the same back.
pub async fn ping(stream: &mut TcpStream, bytes: &[u8]) {
    soon(stream.write_all(bytes)).await.unwrap();
    let mut back = vec![0; bytes.len()];
    soon(stream.read_exact(&mut back)).await.unwrap();
    assert_eq!(back, bytes);
}

/// Reads to the end; a reset counts as the end.
pub async fn rest(stream: &mut TcpStream) -> Vec<u8> {
    let mut all = Vec::new();
    soon(stream.read_to_end(&mut all)).await.ok();
    all
}
