//! The steady state allocates nothing: a worker, its clients and its upstream on one thread, whose allocations are counted.

use crate::ground::process::Process;
use crate::process::server::{plan, planner};
use crate::process::worker::{Reaches, Thread};
use crate::{Filter, Tcp};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, LocalOptions, LocalRuntime};
use weir_measure::{Limits, Measure};

#[path = "../tests/drive/toy.rs"]
#[allow(dead_code)]
mod toy;

/// A worker on this thread, with one listener `l` to the upstream at `address`.
fn worker(
    filter: &'static dyn Filter,
    section: &str,
    address: std::net::SocketAddr,
) -> (Thread, Arc<plan::Plan>) {
    let text = format!(
        "listeners: {{ l: {{ bind: '127.0.0.1:0', {section}: {{ cluster: up }} }} }}
clusters: {{ up: {{ endpoints: ['{address}'] }} }}"
    );
    let config = Arc::new(weir_config::parse(&text, "test.yaml", &[filter.section()]).unwrap());
    let measure = Measure::new(Limits::default());
    let (evict, _) = tokio::sync::mpsc::unbounded_channel();
    let (fronts, _asked) = tokio::sync::mpsc::unbounded_channel();
    let process = Arc::new(Process::new(Arc::clone(&measure), vec![evict], 100));
    let reaches = Reaches { hands: Arc::new([]), fronts };
    let (plan, _) = planner::first(&config, &[filter], &measure, 1).unwrap();
    (Thread::new(0, process, reaches), Arc::new(plan))
}

struct Pair {
    runtime: LocalRuntime,
    client: TcpStream,
    server: TcpStream,
    thread: Thread,
}

/// A client and the upstream end of its connection, through a worker on this thread.
fn pair(filter: &'static dyn Filter, section: &str, first: &[u8]) -> Pair {
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default()).unwrap();
    let (client, server, thread) = runtime.block_on(async {
        let upstream = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (thread, plan) = worker(filter, section, upstream.local_addr().unwrap());
        thread.apply(&plan).unwrap();
        let worker = Rc::clone(&thread.worker);
        plan.listeners[0].sockets.listen().unwrap();
        worker.spawn(Rc::clone(worker.outbox()).run());
        crate::ground::outbox::pretend_many();
        let mut client = TcpStream::connect(plan.listeners[0].sockets.local.ip().unwrap()).await.unwrap();
        client.write_all(first).await.unwrap();
        let mut server = upstream.accept().await.unwrap().0;
        let mut seen = vec![0; first.len()];
        server.read_exact(&mut seen).await.unwrap();
        server.write_all(&seen).await.unwrap();
        client.read_exact(&mut seen).await.unwrap();
        (client, server, thread)
    });
    Pair { runtime, client, server, thread }
}

impl Pair {
    /// Exchanges `request` and `reply` so many times, and says how many allocations that took.
    fn exchange(&mut self, times: usize, request: &[u8], reply: &[u8]) -> u64 {
        let mut buffer = vec![0; request.len().max(reply.len())];
        let info = allocation_counter::measure(|| {
            self.runtime.block_on(async {
                for _ in 0..times {
                    self.client.write_all(request).await.unwrap();
                    self.server.read_exact(&mut buffer[..request.len()]).await.unwrap();
                    self.server.write_all(reply).await.unwrap();
                    self.client.read_exact(&mut buffer[..reply.len()]).await.unwrap();
                }
            });
        });
        info.count_total
    }
}

#[test]
fn messages() {
    let mut pair = pair(&toy::Toy, "toy", &toy::frame(1, b"get"));
    for size in [10, 1000, 200_000] {
        let mut text = b"get ".to_vec();
        text.resize(size, b'x');
        let (request, reply) = (toy::frame(2, &text), toy::frame(2, b"reply"));
        pair.exchange(50, &request, &reply);
        assert_eq!(pair.exchange(200, &request, &reply), TOYS_OWN * 200, "{size} bytes up");
        let (request, reply) = (toy::frame(3, b"get"), toy::frame(3, &text));
        pair.exchange(50, &request, &reply);
        assert_eq!(pair.exchange(200, &request, &reply), TOYS_OWN * 200, "{size} bytes down");
    }
}

/// The toy remembers its word in a vector.
const TOYS_OWN: u64 = 1;

#[test]
fn relayed_bytes() {
    let mut pair = pair(&Tcp, "tcp", b"hello");
    for size in [10, 1000, 200_000] {
        let bytes = vec![1; size];
        pair.exchange(50, &bytes, b"reply");
        assert_eq!(pair.exchange(200, &bytes, &bytes), 0, "{size} bytes");
    }
}

#[test]
fn an_idle_connection_holds_no_buffer() {
    let pair = pair(&toy::Toy, "toy", &toy::frame(1, b"get"));
    pair.runtime.block_on(tokio::task::yield_now());
    assert_eq!(pair.thread.worker.buffers().spare(), 1, "one was needed, and it is back");
}

#[test]
fn a_slow_reader_s_connection_holds_none_either() {
    let mut pair = pair(&toy::Toy, "toy", &toy::frame(1, b"get"));
    let (request, chunk) = (toy::frame(2, b"watch"), toy::frame(2, &[b'+'; 16 * 1024]));
    let Pair { runtime, client, server, thread } = &mut pair;
    let worker = &thread.worker;
    runtime.block_on(async {
        client.write_all(&request).await.unwrap();
        server.read_exact(&mut vec![0; request.len()]).await.unwrap();
        tokio::time::sleep(Duration::from_millis(5)).await;
        let (spare, mut sent) = (worker.buffers().spare(), 0);
        // Until the connection to the client is full, and the last chunk waits in a buffer.
        while worker.buffers().spare() == spare {
            server.write_all(&chunk).await.unwrap();
            sent += chunk.len();
            for _ in 0..8 {
                tokio::task::yield_now().await;
            }
        }
        client.read_exact(&mut vec![0; sent]).await.unwrap();
        let back = async {
            while worker.buffers().spare() != spare {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), back).await.expect("the buffer is kept");
    });
}

/// What a connection keeps for as long as it lives, beside its two sockets and its timer.
#[test]
fn what_a_connection_keeps() {
    fn size<A, B, C, F: Future>(_: impl FnOnce(A, B, C) -> F) -> usize {
        std::mem::size_of::<F>()
    }
    let relay = size(|context, connection, (): ()| crate::shells::relay::serve(context, connection));
    let message = size(crate::shells::message::serve::<toy::ToyProtocol>);
    assert!(relay <= 400, "{relay}");
    assert!(message <= 1024, "{message}");
}
