//! Accepting: one listening socket per worker and address, limits, hand-over to a less loaded worker, TLS; then the
//! connection is the service's.
//!
//! The sockets belong to the process and are bound before any worker sees them: the first one exclusively, so that a second
//! Weir on the same port is an error; then it and the others get SO_REUSEPORT, and the kernel spreads connections over them by
//! a hash, which wakes one worker per connection and needs no lock. What the hash does unevenly, the hand-over puts right.
//! One shared socket would wake every worker for each connection (tokio has no EPOLLEXCLUSIVE), and an accepting
//! thread would cost each connection a wake-up of another thread.
//!
//! Closing a listening socket resets what waits in its queue. So a socket is only closed when its listener is removed, moved to
//! another address, or drained, and whoever closes it accepts what is queued first. When a reload gives an address to
//! a listener of another name, that takes over the sockets, and what is queued on them.
//!
//! Beside its own address a listener may have doors: further addresses that its filter opens and closes while it runs
//! ([`crate::server::doors`]). What comes through one is served like anything else; `Accepted::local` tells them apart.

use crate::drain::Drain;
use crate::filter::{Accepted, Alpn, Service};
use crate::io::Io;
use crate::numbers::ListenerNumbers;
use crate::process::{Control, Process, lock};
use crate::tls::server::HANDSHAKE_TIMEOUT;
use crate::worker::Worker;
use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;

/// The most connections on their way to one worker from others; whoever accepts more serves them itself.
pub const MAX_HANDED: u32 = 256;

/// How many connections may wait to be accepted (the system may allow fewer: `net.core.somaxconn`).
const BACKLOG: i32 = 4096;

/// After an error such as "no descriptors left", accepting rests this long, then twice as long, and so on.
const REST: Duration = Duration::from_millis(10);
const LONGEST_REST: Duration = Duration::from_secs(1);

/// The listening sockets of one address, one per worker. They close when the process and all workers have let go.
#[derive(Debug)]
pub(crate) struct Sockets {
    /// The address that was bound: a port 0 is a real one here.
    pub(crate) local: SocketAddr,
    /// The process's own: they keep the queues alive whatever becomes of a worker.
    listening: Mutex<Vec<std::net::TcpListener>>,
    /// A descriptor of each for its worker to take: made here, so that nothing can fail any more once a worker begins to
    /// take over a configuration.
    spare: Vec<Mutex<Option<std::net::TcpListener>>>,
}

impl Sockets {
    /// Binds `address` for `workers` workers.
    pub(crate) fn bind(address: SocketAddr, workers: usize) -> io::Result<Sockets> {
        let first = socket(address)?;
        first.bind(&address.into())?;
        let local = first.local_addr()?.as_socket().unwrap_or(address);
        let mut bound = vec![first];
        if workers > 1 {
            for socket in &bound {
                socket.set_reuse_port(true)?;
            }
            for _ in 1..workers {
                let another = socket(address)?;
                another.set_reuse_port(true)?;
                another.bind(&local.into())?;
                bound.push(another);
            }
        }
        for socket in &bound {
            socket.listen(BACKLOG)?;
        }
        Sockets::of(local, bound.into_iter().map(Into::into).collect())
    }

    /// The same sockets for another listener. Until these or those are closed, both accept.
    pub(crate) fn for_another(&self) -> io::Result<Sockets> {
        let listening: io::Result<_> =
            lock(&self.listening).iter().map(std::net::TcpListener::try_clone).collect();
        Sockets::of(self.local, listening?)
    }

    fn of(local: SocketAddr, listening: Vec<std::net::TcpListener>) -> io::Result<Sockets> {
        let spare: io::Result<_> =
            listening.iter().map(|socket| Ok(Mutex::new(Some(socket.try_clone()?)))).collect();
        Ok(Sockets { local, listening: Mutex::new(listening), spare: spare? })
    }

    /// The process lets go; the workers do when they have accepted what is queued.
    pub(crate) fn close(&self) {
        lock(&self.listening).clear();
    }

    fn take(&self, worker: usize) -> io::Result<TcpListener> {
        let spare = self.spare.get(worker).and_then(|spare| lock(spare).take());
        TcpListener::from_std(spare.ok_or(io::ErrorKind::NotFound)?)
    }
}

/// A socket whose options accepted connections inherit.
fn socket(address: SocketAddr) -> io::Result<socket2::Socket> {
    let domain = socket2::Domain::for_address(address);
    let socket = socket2::Socket::new(domain, socket2::Type::STREAM, Some(socket2::Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_keepalive(&crate::cluster::keepalive())?;
    Ok(socket)
}

/// What all workers share of a listener.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) name: Arc<str>,
    pub(crate) open: AtomicU32,
    pub(crate) max: AtomicU32,
    pub(crate) numbers: ListenerNumbers,
}

/// Keeps a connection counted, in its listener, its worker and the process: until both the service's future has ended and
/// whoever else was given a clone has dropped it.
#[derive(Debug, Clone)]
pub struct Held(#[expect(dead_code, reason = "held, not read")] Rc<Counted>);

/// One connection in the counts.
#[derive(Debug)]
struct Counted {
    process: Arc<Process>,
    listener: Arc<Shared>,
    worker: usize,
}

impl Counted {
    /// Counts one more connection, if the limits have room for it.
    fn take(process: &Arc<Process>, listener: &Arc<Shared>, worker: usize) -> Option<Counted> {
        if !enter(&listener.open, &listener.max) {
            listener.numbers.refused_listener.inc();
            return None;
        }
        if !enter(&process.connections, &process.max_connections) {
            listener.open.fetch_sub(1, Ordering::AcqRel);
            listener.numbers.refused_process.inc();
            return None;
        }
        listener.numbers.open.add(1);
        process.add(worker);
        Some(Counted { process: Arc::clone(process), listener: Arc::clone(listener), worker })
    }

    /// The connection goes to another worker.
    fn move_to(&mut self, worker: usize) {
        self.process.remove(self.worker);
        self.process.add(worker);
        self.worker = worker;
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.process.remove(self.worker);
        self.listener.numbers.open.sub(1);
        self.listener.open.fetch_sub(1, Ordering::AcqRel);
        self.process.closed();
    }
}

fn enter(count: &AtomicU32, max: &AtomicU32) -> bool {
    let max = max.load(Ordering::Relaxed);
    count.fetch_update(Ordering::AcqRel, Ordering::Relaxed, |count| (count < max).then(|| count + 1)).is_ok()
}

/// A connection on its way from the worker that accepted it to another.
#[derive(Debug)]
pub(crate) struct Handed {
    pub(crate) listener: Arc<Shared>,
    tcp: std::net::TcpStream,
    peer: SocketAddr,
    local: SocketAddr,
    counted: Counted,
}

/// A listener on one worker.
pub(crate) struct Listening {
    pub(crate) shared: Arc<Shared>,
    pub(crate) current: RefCell<Current>,
    /// One per address: the listener's own, and its doors.
    accepting: RefCell<Vec<Accepting>>,
}

/// What a reload replaces.
#[derive(Clone)]
pub(crate) struct Current {
    pub(crate) config: Arc<weir_config::Listener>,
    pub(crate) service: Rc<dyn Service>,
    pub(crate) tls: Option<Arc<rustls::ServerConfig>>,
    /// Of the connections of this service.
    pub(crate) drain: Rc<Drain>,
}

struct Accepting {
    sockets: Arc<Sockets>,
    /// Dropping it ends the task.
    _stop: oneshot::Sender<()>,
    task: tokio::task::JoinHandle<()>,
}

impl Accepting {
    /// Accepts no more at all from what has moved to another listener.
    fn leave(&self, moved: impl Fn(&Arc<Sockets>) -> bool) {
        if moved(&self.sockets) {
            self.task.abort();
        }
    }
}

impl Listening {
    pub(crate) fn new(shared: &Arc<Shared>, current: Current) -> Rc<Listening> {
        Rc::new(Listening {
            shared: Arc::clone(shared),
            current: RefCell::new(current),
            accepting: RefCell::default(),
        })
    }

    /// Accepts from all of `sockets`, and no more from others. `moved` says whether another listener goes on with some.
    pub(crate) fn accept_from(
        self: &Rc<Self>,
        worker: &Rc<Worker>,
        sockets: &[&Arc<Sockets>],
        moved: impl Fn(&Arc<Sockets>) -> bool,
    ) {
        let mut accepting = self.accepting.borrow_mut();
        // Those that go accept what is queued first: see `accept`.
        accepting.retain(|now| {
            let kept = sockets.iter().any(|kept| Arc::ptr_eq(&now.sockets, kept));
            kept || {
                now.leave(&moved);
                false
            }
        });
        for sockets in sockets {
            if !accepting.iter().any(|now| Arc::ptr_eq(&now.sockets, sockets)) {
                accepting.extend(self.begin(worker, sockets));
            }
        }
    }

    /// Begins to accept from `sockets`.
    fn begin(self: &Rc<Self>, worker: &Rc<Worker>, sockets: &Arc<Sockets>) -> Option<Accepting> {
        let listener = match sockets.take(worker.index()) {
            Ok(listener) => listener,
            Err(error) => {
                self.shared.numbers.accept_errors.inc();
                tracing::error!(listener = %self.shared.name, worker = worker.index(), %error, "a socket cannot be used");
                return None;
            }
        };
        let (stop, stopped) = oneshot::channel();
        let bound = sockets.local;
        let accepting = accept(Rc::clone(self), Rc::clone(worker), listener, bound, stopped);
        let task = tokio::task::spawn_local(accepting);
        Some(Accepting { sockets: Arc::clone(sockets), _stop: stop, task })
    }

    /// Accepts what is queued, then no more; connections are told to come to an end. Each task ends when its socket is
    /// closed. `moved` says whether another listener goes on with some sockets: what is queued there is that one's.
    pub(crate) fn retire(&self, moved: impl Fn(&Arc<Sockets>) -> bool) -> Vec<tokio::task::JoinHandle<()>> {
        self.current.borrow().drain.begin(crate::time::now());
        let accepting = self.accepting.take().into_iter();
        accepting
            .map(|accepting| {
                accepting.leave(&moved);
                accepting.task
            })
            .collect()
    }

    /// Serves a connection that another worker accepted.
    pub(crate) fn adopt(self: &Rc<Self>, worker: &Rc<Worker>, handed: Handed) {
        match TcpStream::from_std(handed.tcp) {
            Ok(tcp) => self.serve(worker, tcp, (handed.peer, handed.local), handed.counted),
            Err(error) => {
                self.shared.numbers.accept_errors.inc();
                tracing::warn!(listener = %self.shared.name, %error, "a connection could not be taken over");
            }
        }
    }

    /// Serves here, or has a less loaded worker do it.
    fn place(self: &Rc<Self>, worker: &Rc<Worker>, tcp: TcpStream, peer: SocketAddr, bound: SocketAddr) {
        // Asked of the system only where the socket is bound to more than one address.
        let local = if bound.ip().is_unspecified() { tcp.local_addr().unwrap_or(bound) } else { bound };
        self.shared.numbers.accepted.inc();
        let process = worker.process();
        let target = process.least_loaded(worker.index());
        let Some(mut counted) = Counted::take(process, &self.shared, worker.index()) else { return };
        if target != worker.index()
            && let Some(other) = process.peer(target)
            && enter(&other.handed, &AtomicU32::new(MAX_HANDED))
        {
            let tcp = match tcp.into_std() {
                Ok(tcp) => tcp,
                Err(error) => {
                    other.handed.fetch_sub(1, Ordering::AcqRel);
                    tracing::warn!(listener = %self.shared.name, %error, "a connection could not be handed over");
                    return;
                }
            };
            counted.move_to(target);
            process.numbers.handed_over.inc();
            let handed = Handed { listener: Arc::clone(&self.shared), tcp, peer, local, counted };
            if other.control.send(Control::Connection(handed)).is_err() {
                tracing::error!(listener = %self.shared.name, worker = target, "a worker is gone");
            }
            return;
        }
        self.serve(worker, tcp, (peer, local), counted);
    }

    fn serve(
        self: &Rc<Self>,
        worker: &Rc<Worker>,
        tcp: TcpStream,
        (peer, local): (SocketAddr, SocketAddr),
        counted: Counted,
    ) {
        let held = Held(Rc::new(counted));
        let current = self.current.borrow();
        let (service, drain) = (Rc::clone(&current.service), Rc::clone(&current.drain));
        let shared = Arc::clone(&self.shared);
        let guard = Guard { shared: Arc::clone(&shared), drain: Rc::clone(&drain), _held: held.clone() };
        let drained = Rc::clone(&drain);
        let Some(tls) = current.tls.clone() else {
            let io = Io::Tcp(tcp);
            let serving = service.serve(Accepted { io, peer, local, alpn: None, sni: None, drain, held });
            let task = worker.spawn(async move {
                serving.await;
                drop(guard);
            });
            drained.enter(task.abort_handle());
            return;
        };
        let task = worker.spawn(async move {
            // Boxed, so that its size is only needed for as long as the handshake lasts.
            if let Some(io) = Box::pin(handshake(&shared, tls, tcp, peer)).await {
                let (alpn, sni) = agreed(&io);
                service.serve(Accepted { io, peer, local, alpn, sni, drain, held }).await;
            }
            drop(guard);
        });
        drained.enter(task.abort_handle());
    }
}

/// Of a connection's task: takes it off those that a drain may cut off, counts and logs that it has panicked.
struct Guard {
    shared: Arc<Shared>,
    drain: Rc<Drain>,
    _held: Held,
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(task) = tokio::task::try_id() {
            self.drain.leave(task);
        }
        if std::thread::panicking() {
            self.shared.numbers.panics.inc();
            tracing::error!(listener = %self.shared.name, "a bug in Weir has cost a connection");
        }
    }
}

async fn handshake(
    shared: &Shared,
    tls: Arc<rustls::ServerConfig>,
    tcp: TcpStream,
    peer: SocketAddr,
) -> Option<Io> {
    match tokio::time::timeout(HANDSHAKE_TIMEOUT, TlsAcceptor::from(tls).accept(tcp)).await {
        Ok(Ok(stream)) => {
            shared.numbers.tls_ok.inc();
            Some(Io::Server(Box::new(stream)))
        }
        Ok(Err(error)) => {
            shared.numbers.tls_failed.inc();
            tracing::debug!(listener = %shared.name, %peer, %error, "a TLS handshake failed");
            None
        }
        Err(_) => {
            shared.numbers.tls_timeout.inc();
            tracing::debug!(listener = %shared.name, %peer, "a TLS handshake took too long");
            None
        }
    }
}

fn agreed(io: &Io) -> (Option<Alpn>, Option<Arc<str>>) {
    let Io::Server(stream) = io else { return (None, None) };
    let session = stream.get_ref().1;
    (session.alpn_protocol().and_then(Alpn::parse), session.server_name().map(Arc::from))
}

/// Accepts until `stopped`, then what is still queued.
async fn accept(
    listening: Rc<Listening>,
    worker: Rc<Worker>,
    listener: TcpListener,
    bound: SocketAddr,
    mut stopped: oneshot::Receiver<()>,
) {
    let mut rest = REST;
    loop {
        let accepted = tokio::select! {
            biased;
            _ = &mut stopped => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((tcp, peer)) => {
                rest = REST;
                listening.place(&worker, tcp, peer, bound);
            }
            Err(error) if is_the_connections(&error) => {}
            Err(error) => {
                listening.shared.numbers.accept_errors.inc();
                tracing::warn!(listener = %listening.shared.name, %error, ?rest, "accepting failed, resting");
                tokio::select! {
                    _ = &mut stopped => break,
                    () = tokio::time::sleep(rest) => {}
                }
                rest = (rest * 2).min(LONGEST_REST);
            }
        }
    }
    // The system is asked, not the reactor: it may not have heard yet of what came last.
    let Ok(listener) = listener.into_std() else { return };
    while let Ok((tcp, peer)) = listener.accept() {
        let Ok(tcp) = tcp.set_nonblocking(true).and_then(|()| TcpStream::from_std(tcp)) else { continue };
        listening.place(&worker, tcp, peer, bound);
    }
}

/// Errors of the connection that was to be accepted, not of the listener: it was gone before it was looked at.
fn is_the_connections(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted, WouldBlock};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted | WouldBlock)
}
