//! A connection to a picked endpoint: its place within `max_connections` (waiting for one if need be), TCP, TLS.

use super::Cluster;
use super::race::{order, race};
use super::reached::Reached;
use super::shared::Shared;
use crate::ground::address::Client;
use crate::ground::io::Io;
use crate::ground::socket::Socket;
use crate::ground::time;
use crate::ground::tls::alpn::{Alpn, Offer};
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout_at;
use weir_codecs::proxy_protocol::{self, Origin};
use weir_config::ProxyVersion;
use weir_decide::cluster::{Permit, Pick};
use weir_decide::exchange::{Fault, Now, Phase, Reason, Side};

/// A silent server is probed after this long, and then as often: a client waits for it.
const SERVER_SILENT: Duration = Duration::from_secs(20);
const SERVER_PROBES: Duration = Duration::from_secs(10);
/// A server whose system acknowledges nothing for so long is gone. It is also how long one may read nothing while its window is
/// shut, so it must not be short.
const SERVER_GONE: Duration = Duration::from_secs(60);
/// Failures to connect are logged once in this long per cluster and worker; those between are counted in the next line.
const LOG_EVERY: Duration = Duration::from_secs(1);

/// The most names of which it is remembered which address was reached.
const MAX_WON: usize = 4096;

/// A connection to an endpoint, ready for use.
#[derive(Debug)]
pub struct Connected {
    /// The bytes.
    pub io: Io,
    /// What TLS agreed upon.
    pub alpn: Option<Alpn>,
    /// Whether it leads to a listener of this very process.
    pub leads_here: bool,
    /// Its place; keep it as long as the connection.
    pub slot: Slot,
}

/// A connection's place within its cluster's `max_connections`. When it is dropped, on whatever thread, who has waited longest
/// is woken.
#[derive(Debug)]
pub struct Slot {
    permit: Option<Permit>,
    shared: Arc<Shared>,
    reached: Reached,
}

impl Slot {
    /// Whether the connection leads to an address that its endpoint's name does not stand for any more.
    pub fn is_outdated(&mut self) -> bool {
        self.reached.is_outdated()
    }

    /// Where the connection leads.
    pub fn reached(&self) -> &Reached {
        &self.reached
    }

    /// The connection could not be made: counts that against the endpoint.
    fn failed(mut self) {
        if let Some(permit) = self.permit.take() {
            permit.failed();
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        drop(self.permit.take());
        self.shared.waiting.wake();
    }
}

impl Cluster {
    /// A new connection of Weir's own to the picked endpoint, within the cluster's `connect_timeout` and `deadline`, whichever is earlier.
    /// At `max_connections` it waits its turn, and asks for the oldest idle connection of any worker to be closed.
    pub async fn connect(
        &self,
        pick: &Pick,
        offer: Offer,
        deadline: Option<Now>,
    ) -> Result<Connected, Fault> {
        self.connect_for(pick, offer, deadline, None).await
    }

    /// As [`Cluster::connect`], on behalf of a client, whom a `proxy_protocol` cluster is told of. Nobody else may be served over
    /// this connection.
    pub async fn connect_for(
        &self,
        pick: &Pick,
        offer: Offer,
        deadline: Option<Now>,
        client: Option<&Client>,
    ) -> Result<Connected, Fault> {
        let slot = self.slot(pick, deadline).await?;
        self.dial_for(pick, slot, offer, deadline, client).await
    }

    /// A place for a new connection. Fails with `max_pending` when too many wait already, with `max_connections` when the
    /// cluster's `connect_timeout` passes, with `timeout` when `deadline` does.
    pub async fn slot(&self, pick: &Pick, deadline: Option<Now>) -> Result<Slot, Fault> {
        match self.slot_or(pick, deadline, || None::<std::convert::Infallible>).await? {
            Found::Slot(slot) => Ok(slot),
            Found::Other(never) => match never {},
        }
    }

    /// As [`Cluster::slot`], or whatever `other` finds meanwhile: a pool looks whether a connection has become idle.
    pub(crate) async fn slot_or<T>(
        &self,
        pick: &Pick,
        deadline: Option<Now>,
        mut other: impl FnMut() -> Option<T>,
    ) -> Result<Found<T>, Fault> {
        let decide = &self.shared.decide;
        // Whoever comes while others wait takes his place behind them.
        if self.shared.waiting.any() {
            decide.stands_behind();
        } else if let Ok(permit) = decide.connection(pick) {
            return Ok(Found::Slot(self.occupy(permit)));
        }
        let mut place = Some(decide.pend()?);
        self.turn(deadline, || {
            if let Some(found) = other() {
                return Some(Found::Other(found));
            }
            match place.take()?.connect(pick) {
                Ok(permit) => Some(Found::Slot(self.occupy(permit))),
                Err(kept) => {
                    place = Some(kept);
                    None
                }
            }
        })
        .await
    }

    /// A place for a connection that operations will share, if there is one and nobody has waited for longer.
    pub fn shared_slot(&self, pick: &Pick) -> Option<Slot> {
        if self.shared.waiting.any() {
            return None;
        }
        self.shared.decide.room(pick).ok().map(|permit| self.occupy(permit))
    }

    /// Waits for such a place, for as long as it is `wanted`: `None` when it no longer is. It takes no place of `max_pending`:
    /// the operations that will share the connection have theirs. Fails with `max_connections` when the cluster's
    /// `connect_timeout` passes.
    pub async fn shared_slot_in_turn(
        &self,
        pick: &Pick,
        wanted: impl Fn() -> bool,
    ) -> Result<Option<Slot>, Fault> {
        let decide = &self.shared.decide;
        let look = || match wanted() {
            true => decide.room(pick).ok().map(|permit| Some(self.occupy(permit))),
            false => Some(None),
        };
        let found = self.turn(None, look).await?;
        if found.is_none() {
            // What it was woken for is somebody else's.
            self.shared.waiting.wake();
        }
        Ok(found)
    }

    /// Queues behind whoever waits for a connection already, and looks whenever there may be room.
    async fn turn<T>(&self, deadline: Option<Now>, mut look: impl FnMut() -> Option<T>) -> Result<T, Fault> {
        let waiter = self.shared.waiting.enter();
        let limits = self.limits(deadline);
        loop {
            let mut woken = pin!(waiter.woken());
            woken.as_mut().enable();
            if let Some(found) = look() {
                return Ok(found);
            }
            self.make_room();
            if timeout_at(time::deadline(limits.at), woken).await.is_err() {
                let reason = if limits.callers { Reason::Timeout } else { Reason::MaxConnections };
                return Err(Fault::new(Side::Proxy, Phase::Connecting, reason));
            }
        }
    }

    fn occupy(&self, permit: Permit) -> Slot {
        Slot { permit: Some(permit), shared: Arc::clone(&self.shared), reached: Reached::default() }
    }

    /// Makes the connection that `slot` is for, within `connect_timeout` and `deadline`. It is nobody's in particular: a
    /// `proxy_protocol` cluster is told that it is Weir's own, so that clients can share it.
    pub async fn dial(
        &self,
        pick: &Pick,
        slot: Slot,
        offer: Offer,
        deadline: Option<Now>,
    ) -> Result<Connected, Fault> {
        self.dial_for(pick, slot, offer, deadline, None).await
    }

    async fn dial_for(
        &self,
        pick: &Pick,
        mut slot: Slot,
        offer: Offer,
        deadline: Option<Now>,
        client: Option<&Client>,
    ) -> Result<Connected, Fault> {
        let limits = self.limits(deadline);
        let made = match timeout_at(time::deadline(limits.at), self.make(pick, offer, client)).await {
            Ok(made) => made,
            Err(_) if limits.callers => Err(Failure::new(Reason::Timeout, "the operation's time is over")),
            Err(_) => Err(Failure::new(Reason::ConnectTimeout, "not connected within connect_timeout")),
        };
        match made {
            Ok((io, alpn)) => {
                let peer = || io.tcp()?.peer_addr().ok();
                let leads_here = self.leads_here(pick, &io);
                slot.reached = Reached::new(&self.shared, pick.address(), peer);
                Ok(Connected { io, alpn, leads_here, slot })
            }
            Err(failure) => {
                slot.failed();
                self.log(pick, &failure);
                Err(Fault::new(Side::Network, Phase::Connecting, failure.reason))
            }
        }
    }

    fn leads_here(&self, pick: &Pick, io: &Io) -> bool {
        let hops = &self.process.hops;
        if let Some(path) = weir_config::unix_path(pick.address()) {
            return hops.is_path(path);
        }
        let Some(tcp) = io.tcp() else { return false };
        let local = || tcp.local_addr().ok().map(|local| local.ip());
        tcp.peer_addr().is_ok_and(|peer| hops.leads_here(peer, local))
    }

    async fn make(
        &self,
        pick: &Pick,
        offer: Offer,
        client: Option<&Client>,
    ) -> Result<(Io, Option<Alpn>), Failure> {
        let mut socket = self.reach(pick).await?;
        let version = self.config.borrow().proxy_protocol;
        if let Some(version) = version {
            let told = introduce(&mut socket, version, client).await;
            told.map_err(|error| Failure::new(Reason::ConnectFailed, error))?;
        }
        self.secure(pick, socket, offer).await
    }

    async fn reach(&self, pick: &Pick) -> Result<Socket, Failure> {
        if let Some(path) = weir_config::unix_path(pick.address()) {
            let socket = UnixStream::connect(path).await;
            return socket.map(Socket::Unix).map_err(|error| Failure::new(Reason::ConnectFailed, error));
        }
        let addresses = self.addresses.borrow_mut().of(&self.shared.book, pick.address());
        if let [address] = *addresses {
            let tcp = connect_tcp(address).await;
            return tcp.map(Socket::Tcp).map_err(|error| Failure::new(Reason::ConnectFailed, error));
        }
        let before = self.won.borrow().get(pick.address()).copied();
        let raced = race(&order(&addresses, before), connect_tcp).await;
        let (winner, tcp) = raced.map_err(|error| Failure::new(Reason::ConnectFailed, error))?;
        if before != Some(winner) {
            let mut won = self.won.borrow_mut();
            // Endpoints come and go, and this is but a hint.
            if won.len() >= MAX_WON {
                won.clear();
            }
            won.insert(Arc::clone(pick.address()), winner);
        }
        Ok(Socket::Tcp(tcp))
    }

    async fn secure(&self, pick: &Pick, socket: Socket, offer: Offer) -> Result<(Io, Option<Alpn>), Failure> {
        let Some(tls) = self.tls.borrow().clone() else { return Ok((socket.into(), None)) };
        let name = tls.name(&self.config().source, pick.address());
        let name = name.map_err(|error| Failure::new(Reason::TlsFailed, error))?;
        let stream = tls.connector(offer).connect(name, socket).await.map_err(|error| {
            self.shared.handshakes.failed();
            Failure::new(Reason::TlsFailed, error)
        })?;
        let session = stream.get_ref().1;
        let alpn = session.alpn_protocol().and_then(Alpn::parse);
        if offer == Offer::H2 && alpn != Some(Alpn::H2) {
            self.shared.handshakes.failed();
            return Err(Failure::new(Reason::TlsFailed, "the server did not agree to HTTP/2 by ALPN"));
        }
        self.shared.handshakes.done(session.handshake_kind());
        Ok((Io::Client(Box::new(stream)), alpn))
    }

    fn limits(&self, deadline: Option<Now>) -> Limits {
        let own = time::now().after(self.config.borrow().connect_timeout);
        match deadline {
            Some(at) if at < own => Limits { at, callers: true },
            _ => Limits { at: own, callers: false },
        }
    }

    fn log(&self, pick: &Pick, failure: &Failure) {
        let (last, omitted) = self.logged.get();
        let now = time::now();
        if last != Now(0) && now < last.after(LOG_EVERY) {
            self.logged.set((last, omitted.saturating_add(1)));
            return;
        }
        self.logged.set((now, 0));
        let (cluster, endpoint) = (self.name(), pick.address());
        let (reason, error) = (failure.reason.label(), &failure.error);
        tracing::warn!(%cluster, %endpoint, reason, error, omitted, "a connection could not be made");
    }
}

/// A place, or what was found instead of one.
pub(crate) enum Found<T> {
    Slot(Slot),
    Other(T),
}

/// Until when to try, and whether that is the caller's deadline.
struct Limits {
    at: Now,
    callers: bool,
}

struct Failure {
    reason: Reason,
    error: String,
}

impl Failure {
    fn new(reason: Reason, error: impl ToString) -> Failure {
        Failure { reason, error: error.to_string() }
    }
}

/// Says on whose behalf the connection is made, before anything else is said.
async fn introduce(socket: &mut Socket, version: ProxyVersion, client: Option<&Client>) -> io::Result<()> {
    let version = match version {
        ProxyVersion::V1 => proxy_protocol::Version::V1,
        ProxyVersion::V2 => proxy_protocol::Version::V2,
    };
    let origin = client.map_or(Origin::Proxy, Client::origin);
    let mut header = Vec::with_capacity(proxy_protocol::MAX_V1);
    proxy_protocol::encode(version, &origin, &mut header);
    socket.write_all(&header).await
}

async fn connect_tcp(address: SocketAddr) -> io::Result<TcpStream> {
    let tcp = TcpStream::connect(address).await?;
    tcp.set_nodelay(true)?;
    let socket = socket2::SockRef::from(&tcp);
    let probes = socket2::TcpKeepalive::new().with_time(SERVER_SILENT).with_interval(SERVER_PROBES);
    socket.set_tcp_keepalive(&probes)?;
    socket.set_tcp_user_timeout(Some(SERVER_GONE))?;
    Ok(tcp)
}
