//! A worker's handle on a cluster: its view (who is picked), its connections (limit, who waits, timeouts, TLS), and the
//! addresses behind names. What all workers share of a cluster is in [`shared`].

mod answers;
mod book;
mod connect;
mod failing;
mod family;
mod race;
mod reached;
pub(crate) mod resolve;
pub(crate) mod shared;
mod sweep;

pub(crate) use connect::Found as FoundSlot;
pub use connect::{Connected, Slot};
pub use reached::Reached;
pub use sweep::Sweep;

use crate::ground::process::Process;
use crate::upstream::tls::ClientTls;
use book::Addresses;
use shared::Shared;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use weir_decide::cluster::{EventKind, View};
use weir_decide::exchange::Now;

/// A worker's handle on a cluster. Lives on across reloads, for as long as the configuration names the cluster and anything
/// still uses it.
pub struct Cluster {
    /// Picks endpoints, holds the limits, ejects.
    pub view: Rc<View>,
    shared: Arc<Shared>,
    process: Arc<Process>,
    worker: usize,
    config: RefCell<Arc<weir_config::Cluster>>,
    tls: RefCell<Option<Arc<ClientTls>>>,
    addresses: RefCell<Addresses>,
    /// Which of a name's addresses was reached last.
    won: RefCell<HashMap<Arc<str>, SocketAddr>>,
    pools: RefCell<Vec<Weak<dyn Sweep>>>,
    /// When a failure to connect was last logged, and how many were not since.
    logged: Cell<(Now, u32)>,
}

impl Cluster {
    pub(crate) fn new(shared: &Arc<Shared>, process: &Arc<Process>, worker: usize, seed: u64) -> Rc<Cluster> {
        let current = shared.current();
        Rc::new(Cluster {
            view: View::new(&shared.decide, seed),
            shared: Arc::clone(shared),
            process: Arc::clone(process),
            worker,
            config: RefCell::new(current.config),
            tls: RefCell::new(current.tls),
            addresses: RefCell::new(Addresses::default()),
            won: RefCell::default(),
            pools: RefCell::new(Vec::new()),
            logged: Cell::new((Now(0), 0)),
        })
    }

    /// Its name.
    pub fn name(&self) -> &Arc<str> {
        self.shared.decide.name()
    }

    /// Its configuration by now. Hold it for as long as one exchange, not longer.
    pub fn config(&self) -> Arc<weir_config::Cluster> {
        Arc::clone(&self.config.borrow())
    }

    /// Whether a server may tell of another one at this address, `host:port`: not of one on this host or its link, unless the
    /// configuration lists such servers itself. What a name stands for is looked at when it is resolved.
    pub fn may_be_told_of(&self, address: &str) -> bool {
        self.shared.may_be_told_of(address)
    }

    pub(crate) fn numbers(&self) -> &crate::ground::numbers::ClusterNumbers {
        self.shared.numbers()
    }

    /// Takes over what the server has put into the shared part.
    pub(crate) fn refresh(&self) {
        let current = self.shared.current();
        *self.config.borrow_mut() = current.config;
        *self.tls.borrow_mut() = current.tls;
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// The coarse tick: ejections that are over, idle connections that are of no more use.
    pub(crate) fn tick(&self, now: Now) {
        self.view.tick(now);
        if self.pools.borrow().is_empty() {
            return;
        }
        let timeout = self.config.borrow().idle_timeout;
        for pool in self.live_pools() {
            pool.sweep(now, timeout);
        }
        self.publish_idle();
    }

    /// Logs what has happened to its endpoints. A lock per cluster, so not to be done often.
    pub(crate) fn tell_events(&self) {
        for event in self.shared.decide.take_events() {
            let (cluster, endpoint) = (self.name(), &event.address);
            // They are told a moment later, and several at once.
            let at = crate::ground::time::wall_at(event.at);
            match event.kind {
                EventKind::Ejected { until, nth, why } => {
                    let (seconds, why) = (until.since(event.at) / 1_000_000_000, why.name());
                    tracing::warn!(
                        %cluster, %endpoint, at, why, seconds, nth, "an endpoint was taken out of rotation"
                    );
                }
                EventKind::PutBack => {
                    tracing::info!(%cluster, %endpoint, at, "an endpoint is back in rotation");
                }
            }
        }
    }

    /// Looks after a pool for as long as it lives: its idle connections make room when `max_connections` is met.
    pub fn register(&self, pool: Weak<dyn Sweep>) {
        let mut pools = self.pools.borrow_mut();
        pools.retain(|pool| pool.strong_count() > 0);
        pools.push(pool);
    }

    fn live_pools(&self) -> Vec<Rc<dyn Sweep>> {
        self.pools.borrow().iter().filter_map(Weak::upgrade).collect()
    }

    /// A connection has become idle at `now`: others may ask for its place.
    pub fn idled(&self, now: Now) {
        self.shared.idle.note(self.worker, now);
        self.shared.waiting.wake();
    }

    /// Says exactly how old the oldest idle connection of this worker is.
    fn publish_idle(&self) {
        let oldest = self.live_pools().iter().filter_map(|pool| pool.oldest()).min();
        self.shared.idle.set(self.worker, oldest);
    }

    /// Closes this worker's oldest idle connection, if it has one; whoever waits then looks again.
    pub(crate) fn evict(&self) -> bool {
        let oldest = self.live_pools().into_iter().filter_map(|pool| Some((pool.oldest()?, pool)));
        let evicted = oldest.min_by_key(|(since, _)| *since).is_some_and(|(_, pool)| pool.evict());
        if evicted {
            self.shared.numbers().evicted.inc();
        }
        self.publish_idle();
        self.shared.waiting.wake();
        evicted
    }

    /// Asks whichever worker has the oldest idle connection to close it.
    fn make_room(&self) {
        while let Some(worker) = self.shared.idle.take_oldest() {
            if worker != self.worker {
                if let Some(peer) = self.process.peer(worker) {
                    peer.evict.send(Arc::clone(self.name())).ok();
                }
                return;
            }
            if self.evict() {
                return;
            }
        }
    }
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster").field("name", self.name()).finish_non_exhaustive()
    }
}
