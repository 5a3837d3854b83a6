//! Listening sockets: bound by the process, one per worker and address; a Unix socket is one, of one worker.
//!
//! A bound socket takes no connection before it listens, and it listens last: when everything else of a start or a reload has
//! succeeded. A client whose connection the system had queued would be cut off if the process ended instead.

use super::unix::{self, SocketFile};
use crate::ground::address::Address;
use crate::ground::socket::{Detached, Socket};
use crate::ground::sync::lock;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;
use weir_config::Bind;

/// How many connections may wait to be accepted (the system may allow fewer: `net.core.somaxconn`).
const BACKLOG: i32 = 4096;

/// The listening sockets of one address, one per worker. They close when the process and all workers have let go.
#[derive(Debug)]
pub(crate) struct Sockets {
    /// The address that was bound: a port 0 is a real one here.
    pub(crate) local: Bind,
    /// The process's own: they keep the queues alive whatever becomes of a worker.
    listening: Mutex<Vec<socket2::Socket>>,
    /// A descriptor of each for its worker to take: made here, so that nothing can fail any more once a worker begins to
    /// accept. `None`: that worker does not accept from here, or it has taken its own.
    spare: Vec<Mutex<Option<socket2::Socket>>>,
    /// Whether they listen yet.
    listens: watch::Sender<bool>,
    unix: Option<Unix>,
}

/// What there is beside of a Unix socket.
#[derive(Debug)]
struct Unix {
    /// The worker that accepts. There is no SO_REUSEPORT to spread connections over several; it hands over as ever.
    worker: usize,
    /// Removed when the last who listens there has let go.
    file: Mutex<Option<Arc<SocketFile>>>,
}

impl Sockets {
    /// Binds `address` for `workers` workers: see [`Sockets::listen`]. `mode` is that of the file of a Unix socket, which listens
    /// at once: one that does not is taken for left behind by whoever starts next.
    pub(crate) fn bind(address: &Bind, mode: u32, workers: usize) -> io::Result<Sockets> {
        match address {
            Bind::Ip(address) => Sockets::bind_ip(*address, workers),
            Bind::Unix(path) => {
                let (socket, file) = unix::bind(path, mode)?;
                socket.listen(BACKLOG)?;
                // Not the same for all.
                static NEXT: AtomicUsize = AtomicUsize::new(0);
                let worker = NEXT.fetch_add(1, Ordering::Relaxed) % workers.max(1);
                let unix = Unix { worker, file: Mutex::new(Some(Arc::new(file))) };
                let sockets = Sockets::of(address.clone(), vec![socket], workers, Some(unix));
                sockets.share()?;
                Ok(sockets)
            }
        }
    }

    fn bind_ip(address: SocketAddr, workers: usize) -> io::Result<Sockets> {
        // Without SO_REUSEPORT: nobody who listens there shares it with us.
        let first = socket(address)?;
        first.bind(&address.into())?;
        let local = first.local_addr()?.as_socket().unwrap_or(address);
        Ok(Sockets::of(Bind::Ip(local), vec![first], workers, None))
    }

    /// Takes connections from now on. Of two that have bound the same address the first one to come here has it.
    ///
    /// # Errors
    /// Somebody else listens there by now, or the system has no descriptor left: nothing is accepted then.
    pub(crate) fn listen(&self) -> io::Result<()> {
        if *self.listens.borrow() {
            return Ok(());
        }
        if let Bind::Ip(local) = self.local {
            let mut bound = lock(&self.listening);
            if let Some(first) = bound.first() {
                first.listen(BACKLOG)?;
                if self.spare.len() > 1 {
                    first.set_reuse_port(true)?;
                }
            }
            for _ in bound.len()..self.spare.len() {
                let another = socket(local)?;
                another.set_reuse_port(true)?;
                another.bind(&local.into())?;
                another.listen(BACKLOG)?;
                bound.push(another);
            }
        }
        self.share()
    }

    /// Returns when they listen.
    pub(super) async fn listening(&self) {
        // The sender is ours.
        self.listens.subscribe().wait_for(|listens| *listens).await.ok();
    }

    /// Gives each worker its own, which listens.
    fn share(&self) -> io::Result<()> {
        let listening = lock(&self.listening);
        let mut each = listening.iter();
        for (worker, spare) in self.spare.iter().enumerate() {
            if self.unix.as_ref().is_none_or(|unix| unix.worker == worker) {
                *lock(spare) = each.next().map(socket2::Socket::try_clone).transpose()?;
            }
        }
        self.listens.send_replace(true);
        Ok(())
    }

    /// The same sockets for another listener. Until these or those are closed, both accept.
    pub(crate) fn for_another(&self) -> io::Result<Sockets> {
        let listening: io::Result<_> = lock(&self.listening).iter().map(socket2::Socket::try_clone).collect();
        let unix = self.unix.as_ref();
        let unix = unix.map(|unix| Unix { worker: unix.worker, file: Mutex::new(lock(&unix.file).clone()) });
        let sockets = Sockets::of(self.local.clone(), listening?, self.spare.len(), unix);
        sockets.share()?;
        Ok(sockets)
    }

    fn of(local: Bind, listening: Vec<socket2::Socket>, workers: usize, unix: Option<Unix>) -> Sockets {
        let spare = (0..workers.max(1)).map(|_| Mutex::new(None)).collect();
        let listens = watch::Sender::new(false);
        Sockets { local, listening: Mutex::new(listening), spare, listens, unix }
    }

    /// The process lets go; the workers do when they have accepted what is queued.
    pub(crate) fn close(&self) {
        if let Some(unix) = &self.unix {
            drop(lock(&unix.file).take());
        }
        lock(&self.listening).clear();
    }

    /// The socket of `worker`; `None` when another one accepts for it.
    pub(super) fn take(&self, worker: usize) -> io::Result<Option<Listener>> {
        let Some(spare) = self.spare.get(worker).and_then(|spare| lock(spare).take()) else {
            let is_anothers = self.unix.as_ref().is_some_and(|unix| unix.worker != worker);
            return if is_anothers { Ok(None) } else { Err(io::ErrorKind::NotFound.into()) };
        };
        Ok(Some(match &self.unix {
            None => Listener::Tcp(TcpListener::from_std(spare.into())?),
            Some(_) => Listener::Unix(UnixListener::from_std(spare.into())?),
        }))
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
    socket.set_tcp_keepalive(&crate::ground::socket::keepalive())?;
    Ok(socket)
}

/// A worker's listening socket.
#[derive(Debug)]
pub(super) enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// The same, asked directly.
#[derive(Debug)]
pub(super) enum Direct {
    Tcp(std::net::TcpListener),
    Unix(std::os::unix::net::UnixListener),
}

impl Listener {
    /// The next connection, and whose it is.
    pub(super) async fn accept(&self) -> io::Result<(Socket, Address)> {
        match self {
            Listener::Tcp(listener) => {
                let (tcp, peer) = listener.accept().await?;
                Ok((Socket::Tcp(tcp), Address::Ip(peer)))
            }
            Listener::Unix(listener) => {
                let (unix, _) = listener.accept().await?;
                Ok((Socket::Unix(unix), Address::Unix))
            }
        }
    }

    /// Takes it from the reactor.
    pub(super) fn direct(self) -> io::Result<Direct> {
        Ok(match self {
            Listener::Tcp(listener) => Direct::Tcp(listener.into_std()?),
            Listener::Unix(listener) => Direct::Unix(listener.into_std()?),
        })
    }
}

impl Direct {
    /// A connection that is queued, if there is one.
    pub(super) fn accept(&self) -> io::Result<(Detached, Address)> {
        Ok(match self {
            Direct::Tcp(listener) => {
                let (tcp, peer) = listener.accept()?;
                tcp.set_nonblocking(true)?;
                (Detached::Tcp(tcp), Address::Ip(peer))
            }
            Direct::Unix(listener) => {
                let (unix, _) = listener.accept()?;
                unix.set_nonblocking(true)?;
                (Detached::Unix(unix), Address::Unix)
            }
        })
    }
}
