//! Listening sockets: bound by the process, one per worker and address.

use crate::process::lock;
use std::io;
use std::net::SocketAddr;
use std::sync::Mutex;
use tokio::net::TcpListener;

/// How many connections may wait to be accepted (the system may allow fewer: `net.core.somaxconn`).
const BACKLOG: i32 = 4096;

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

    pub(super) fn take(&self, worker: usize) -> io::Result<TcpListener> {
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
