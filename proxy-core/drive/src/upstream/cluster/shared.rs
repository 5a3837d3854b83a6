//! What all workers share of a cluster, beside what `weir-decide` holds: its present configuration, the addresses behind its
//! names, who waits for a connection, and where the oldest idle one is.

use super::book::{Book, is_name};
use crate::ground::numbers::ClusterNumbers;
use crate::ground::sync::lock;
use crate::ground::time;
use crate::ground::tls::numbers::ClusterHandshakes;
use crate::upstream::tls::ClientTls;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
use std::sync::{Arc, Mutex, OnceLock};
use tokio::sync::Notify;
use weir_config as config;
use weir_decide::cluster as decide;
use weir_decide::exchange::Now;
use weir_measure::Measure;

/// A cluster, shared by all workers. Keyed by name; lives on across reloads.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) decide: Arc<decide::Cluster>,
    pub(crate) book: Book,
    pub(crate) waiting: Waiting,
    pub(crate) idle: Idle,
    measure: Arc<Measure>,
    numbers: OnceLock<ClusterNumbers>,
    pub(crate) handshakes: ClusterHandshakes,
    current: Mutex<Current>,
    /// Endpoints that filters found, beside those of the configuration, by who found them: at most as many as there are
    /// listeners, with those that are still drained.
    discovered: Mutex<BTreeMap<u64, Discovered>>,
    /// A `dns` cluster's name stands for addresses that are near.
    pub(super) dns_near: Mutex<Near>,
}

/// What somebody found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Discovered {
    endpoints: Arc<[decide::EndpointSpec]>,
    /// Where some of them really are.
    at: Arc<[(Arc<str>, Arc<str>)]>,
}

/// Which addresses that mean something else on every host are among those of servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Near {
    loopback: bool,
    link_local: bool,
}

impl Near {
    /// Those of one address.
    pub(super) fn of(ip: IpAddr) -> Near {
        match ip.to_canonical() {
            IpAddr::V4(ip) => {
                Near { loopback: ip.is_loopback() || ip.is_unspecified(), link_local: ip.is_link_local() }
            }
            IpAddr::V6(ip) => Near {
                loopback: ip.is_loopback() || ip.is_unspecified(),
                link_local: ip.is_unicast_link_local(),
            },
        }
    }

    pub(super) fn and(self, other: Near) -> Near {
        Near { loopback: self.loopback || other.loopback, link_local: self.link_local || other.link_local }
    }

    /// Whether somebody who has been told of servers like this may tell of that address.
    pub(super) fn allows(self, ip: IpAddr) -> bool {
        let its = Near::of(ip);
        (self.loopback || !its.loopback) && (self.link_local || !its.link_local) && !ip.is_multicast()
    }
}

/// What a reload replaces.
#[derive(Debug, Clone)]
pub(crate) struct Current {
    pub(crate) config: Arc<config::Cluster>,
    pub(crate) tls: Option<Arc<ClientTls>>,
}

impl Shared {
    pub(crate) fn new(measure: &Arc<Measure>, workers: usize, current: Current) -> Arc<Shared> {
        let decide = decide::Cluster::new(&current.config.name, decide::Settings::from(&*current.config));
        let shared = Arc::new(Shared {
            measure: Arc::clone(measure),
            numbers: OnceLock::new(),
            handshakes: ClusterHandshakes::new(measure, decide.name()),
            book: Book::default(),
            waiting: Waiting::default(),
            idle: Idle::new(workers),
            current: Mutex::new(current),
            discovered: Mutex::default(),
            dns_near: Mutex::default(),
            decide,
        });
        shared.list_endpoints();
        shared
    }

    /// Made when first needed: most clusters never are, and there may be many.
    pub(crate) fn numbers(&self) -> &ClusterNumbers {
        self.numbers.get_or_init(|| ClusterNumbers::new(&self.measure, self.decide.name()))
    }

    pub(crate) fn current(&self) -> Current {
        lock(&self.current).clone()
    }

    /// Takes over another configuration; workers see it when they refresh.
    pub(crate) fn configure(&self, current: Current) {
        self.decide.configure(decide::Settings::from(&*current.config), time::now());
        *lock(&self.current) = current;
        self.list_endpoints();
    }

    /// Takes over the endpoints that `by` found; what others found stays. Says whether they are others than before.
    pub(crate) fn discover(&self, by: u64, addresses: &[Arc<str>], at: &[(Arc<str>, Arc<str>)]) -> bool {
        let spec = |address: &Arc<str>| decide::EndpointSpec { address: Arc::clone(address), weight: 1 };
        let found = Discovered { endpoints: addresses.iter().map(spec).collect(), at: at.into() };
        let before = match addresses.is_empty() {
            true => lock(&self.discovered).remove(&by),
            false => lock(&self.discovered).insert(by, found.clone()),
        };
        if before.unwrap_or_default() == found {
            return false;
        }
        self.list_endpoints();
        true
    }

    /// The endpoints that are not the addresses of a name: those of the configuration, then those that filters found.
    pub(crate) fn listed(&self) -> Vec<decide::EndpointSpec> {
        let current = self.current();
        let listed = match &current.config.source {
            config::Source::Endpoints(list) => list.as_slice(),
            config::Source::Dns { .. } => &[],
        };
        let discovered = lock(&self.discovered);
        listed.iter().chain(discovered.values().flat_map(|found| &*found.endpoints)).cloned().collect()
    }

    /// Where an endpoint that somebody found really is, if that was said.
    pub(crate) fn really_at(&self, address: &str) -> Option<Arc<str>> {
        let discovered = lock(&self.discovered);
        let mut at = discovered.values().flat_map(|found| &*found.at);
        at.find(|(name, _)| name.eq_ignore_ascii_case(address)).map(|(_, at)| Arc::clone(at))
    }

    /// Whether the configuration lists this endpoint itself.
    pub(super) fn is_seed(&self, address: &str) -> bool {
        let config::Source::Endpoints(list) = &self.current().config.source else { return false };
        list.iter().any(|spec| *spec.address == *address)
    }

    /// What is near of the servers that the configuration lists, by what is known of their names.
    pub(super) fn seeds_near(&self, found: impl Fn(&str) -> Option<Arc<[SocketAddr]>>) -> Near {
        let config::Source::Endpoints(list) = &self.current().config.source else {
            return *lock(&self.dns_near);
        };
        let near = |spec: &decide::EndpointSpec| match spec.address.parse::<SocketAddr>() {
            Ok(literal) => Near::of(literal.ip()),
            // A Unix socket is on this host.
            Err(_) if !is_name(&spec.address) => Near { loopback: true, link_local: false },
            Err(_) => {
                let addresses = found(&spec.address).unwrap_or_default();
                addresses.iter().map(|address| Near::of(address.ip())).fold(Near::default(), Near::and)
            }
        };
        list.iter().map(near).fold(Near::default(), Near::and)
    }

    /// Whether a server may tell of another one at this address, `host:port`, which may be a name: one whose address means another
    /// host on each (loopback, link-local) only where the configuration lists such servers itself.
    pub(crate) fn may_be_told_of(&self, address: &str) -> bool {
        let Ok(literal) = address.parse::<SocketAddr>() else { return true };
        let book = self.book.read();
        self.seeds_near(|name| book.get(name).map(|answer| Arc::clone(&answer.addresses)))
            .allows(literal.ip())
    }

    /// Whether it has names that the resolver looks after.
    pub(crate) fn has_names(&self) -> bool {
        matches!(self.current().config.source, config::Source::Dns { .. })
            || self.listed().iter().any(|spec| is_name(&spec.address))
            || lock(&self.discovered).values().any(|found| !found.at.is_empty())
    }

    /// Endpoints that are listed take effect at once; those behind a name when it is resolved.
    fn list_endpoints(&self) {
        if let config::Source::Endpoints(_) = &self.current().config.source {
            self.decide.set_endpoints(&self.listed(), time::now());
        }
    }
}

/// Those who wait for a connection, first come first served, whatever worker they are on.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    count: AtomicU32,
    notify: Notify,
}

impl Waiting {
    /// Whether anybody waits.
    pub(crate) fn any(&self) -> bool {
        self.count.load(Ordering::Relaxed) > 0
    }

    /// Wakes who has waited longest, if anybody waits: a place has become free, or a connection idle.
    pub(crate) fn wake(&self) {
        // With the fence in `enter`: either we see who waits, or they see what has become free.
        fence(Ordering::SeqCst);
        if self.any() {
            self.notify.notify_one();
        }
    }

    pub(crate) fn enter(&self) -> Waiter<'_> {
        self.count.fetch_add(1, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        Waiter(self)
    }
}

/// One who waits, until dropped.
pub(crate) struct Waiter<'a>(&'a Waiting);

impl Waiter<'_> {
    /// To be enabled before looking whether there is room.
    pub(crate) fn woken(&self) -> tokio::sync::futures::Notified<'_> {
        self.0.notify.notified()
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.0.count.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Since when each worker has had its oldest idle connection. A hint: a worker may have used it since, then it says so when
/// asked, and the next oldest is asked.
#[derive(Debug)]
pub(crate) struct Idle(Box<[AtomicU64]>);

const NONE: u64 = u64::MAX;

impl Idle {
    fn new(workers: usize) -> Idle {
        Idle((0..workers).map(|_| AtomicU64::new(NONE)).collect())
    }

    /// `worker` has an idle connection since `now`, if it had none before.
    pub(crate) fn note(&self, worker: usize, now: Now) {
        if let Some(since) = self.0.get(worker).filter(|since| since.load(Ordering::Relaxed) == NONE) {
            since.store(now.0, Ordering::Relaxed);
        }
    }

    /// `worker` says exactly.
    pub(crate) fn set(&self, worker: usize, oldest: Option<Now>) {
        if let Some(since) = self.0.get(worker) {
            since.store(oldest.map_or(NONE, |now| now.0), Ordering::Relaxed);
        }
    }

    /// The worker with the oldest idle connection, which is not asked again until it has said anew.
    pub(crate) fn take_oldest(&self) -> Option<usize> {
        let oldest = self.0.iter().enumerate().map(|(worker, since)| (since.load(Ordering::Relaxed), worker));
        let (since, worker) = oldest.min()?;
        if since == NONE {
            return None;
        }
        self.0.get(worker)?.store(NONE, Ordering::Relaxed);
        Some(worker)
    }
}
