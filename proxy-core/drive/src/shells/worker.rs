//! What a worker lends to the code that runs on it. A worker is one thread with one current-thread runtime, its own connections,
//! pools and views, nothing locked.

use crate::ground::buffers::Buffers;
use crate::ground::drain::Drain;
use crate::ground::hops::HOP_LENGTH;
use crate::ground::outbox::Outbox;
use crate::ground::process::Process;
use crate::ground::time;
use crate::shells::front::{Front, Fronted, Request};
use crate::upstream::cluster::{Cluster, shared};
use hashbrown::HashMap;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::oneshot;
use weir_decide::exchange::Now;
use weir_measure::Local;

/// What a worker lends to the code that runs on it.
pub struct Worker {
    index: usize,
    process: Arc<Process>,
    /// Takes what filters ask of the process.
    fronts: UnboundedSender<Request>,
    measure: Rc<Local>,
    random: Cell<u64>,
    /// What ids are made of: a random number of the worker's own, and a count that begins at another.
    ids: Cell<(u64, u64)>,
    buffers: Buffers,
    outbox: Rc<Outbox>,
    drain: Rc<Drain>,
    clusters: RefCell<Clusters>,
    /// Of the configuration in force.
    drain_timeout: Cell<Duration>,
}

/// The clusters of a configuration, by name.
pub(crate) type Clusters = HashMap<Arc<str>, Rc<Cluster>>;

impl Worker {
    pub(crate) fn new(index: usize, process: Arc<Process>, fronts: UnboundedSender<Request>) -> Rc<Worker> {
        Rc::new(Worker {
            index,
            measure: process.measure.local(),
            random: Cell::new(time::seed(index as u64)),
            ids: Cell::new((time::seed(index as u64), time::seed(u64::MAX / 2 - index as u64))),
            buffers: Buffers::default(),
            outbox: Rc::default(),
            drain: Rc::new(Drain::default()),
            clusters: RefCell::default(),
            drain_timeout: Cell::default(),
            fronts,
            process,
        })
    }

    /// Its number, from 0.
    pub fn index(&self) -> usize {
        self.index
    }

    /// This moment. Reads the clock.
    pub fn now(&self) -> Now {
        time::now()
    }

    /// 64 random bits: for balancing and jitter, not for secrets.
    pub fn random(&self) -> u64 {
        // SplitMix64 (Steele, Lea, Flood 2014).
        let state = self.random.get().wrapping_add(0x9E37_79B9_7F4A_7C15);
        self.random.set(state);
        let z = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// How a request over a connection that [leads here](crate::Connected::leads_here) says that it comes to this process for the
    /// `hop`-th time.
    pub fn hop(&self, hop: u8) -> [u8; HOP_LENGTH] {
        self.process.hops.text(hop)
    }

    /// How often a request that says `told` has come so; 0 for whatever others than this process say.
    pub fn hops(&self, told: &[u8]) -> u8 {
        self.process.hops.of(told)
    }

    /// A number that no worker of any process has given before or will again, as far as chance can tell: for ids. Not for secrets.
    pub fn unique(&self) -> u128 {
        // One half counts, so that none of a worker's repeats; the other half is the worker's own.
        let (own, count) = self.ids.get();
        self.ids.set((own, count.wrapping_add(1)));
        let mix = |z: u64| {
            let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            z ^ (z >> 31)
        };
        // Two rounds of a Feistel network: every step can be undone, so different numbers stay different.
        let low = mix(count) ^ own;
        let high = own ^ mix(low);
        (u128::from(high) << 64) | u128::from(low)
    }

    /// This worker's numbers; `measure().measure()` is the process's.
    pub fn measure(&self) -> &Rc<Local> {
        &self.measure
    }

    /// The cluster called `name`. For services being built: keep the handle, it follows reloads.
    pub fn cluster(&self, name: &str) -> Option<Rc<Cluster>> {
        self.clusters.borrow().get(name).cloned()
    }

    /// Whether the whole process is going away. Connections observe [`Accepted::drain`](crate::Accepted::drain) instead,
    /// which also begins when only their listener goes.
    pub fn drain(&self) -> &Rc<Drain> {
        &self.drain
    }

    /// How long a drain may take, by the configuration in force.
    pub(crate) fn drain_timeout(&self) -> Duration {
        self.drain_timeout.get()
    }

    /// The pool of read buffers.
    pub fn buffers(&self) -> &Buffers {
        &self.buffers
    }

    /// Where small messages wait to be written together.
    pub(crate) fn outbox(&self) -> &Rc<Outbox> {
        &self.outbox
    }

    /// Runs `future` on this worker. A panic in it is its own.
    pub fn spawn<F>(&self, future: F) -> tokio::task::JoinHandle<F::Output>
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        tokio::task::spawn_local(future)
    }

    /// Asks the process to open a listener's doors, and to add endpoints to its cluster; see [`Front`]. Takes effect only
    /// while somebody runs [`Server::tend`](crate::Server::tend). `None`: the process does not take it, because it is
    /// going away or the listener has gone.
    /// Asked at once, whether or not the answer is waited for.
    pub fn front(&self, front: Front) -> impl Future<Output = Option<Fronted>> + use<> {
        let (answer, answered) = oneshot::channel();
        let asked = self.fronts.send((front, answer));
        async move { asked.is_ok().then_some(answered.await.ok()).flatten() }
    }

    pub(crate) fn process(&self) -> &Arc<Process> {
        &self.process
    }

    /// Handles on the clusters `shared`: those that it has, and new ones.
    pub(crate) fn clusters_of<'a>(&self, shared: impl Iterator<Item = &'a Arc<shared::Shared>>) -> Clusters {
        let clusters = self.clusters.borrow();
        let of = |shared: &'a Arc<shared::Shared>| {
            let name = Arc::clone(shared.decide.name());
            let known = clusters.get(&name).filter(|known| Arc::ptr_eq(known.shared(), shared));
            let cluster = known
                .cloned()
                .unwrap_or_else(|| Cluster::new(shared, &self.process, self.index, self.random()));
            (name, cluster)
        };
        shared.map(of).collect()
    }

    /// Has these clusters from now on; gives those that it had.
    pub(crate) fn replace_clusters(&self, clusters: Clusters) -> Clusters {
        self.clusters.replace(clusters)
    }

    /// Calls `each` with every cluster. It must not replace them.
    pub(crate) fn each_cluster(&self, each: impl Fn(&Cluster)) {
        self.clusters.borrow().values().for_each(|cluster| each(cluster));
    }

    /// The `drain_timeout` of the configuration in force.
    pub(crate) fn set_drain_timeout(&self, limit: Duration) {
        self.drain_timeout.set(limit);
    }
}

impl std::fmt::Debug for Worker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Worker").field("index", &self.index).finish_non_exhaustive()
    }
}
