//! The process: starts the workers, keeps the sockets, applies reloads to all workers or to none, drains.

mod descriptors;
pub mod doors;
pub(crate) mod plan;
mod renew;
mod secured;

use crate::cluster::resolve::Resolver;
use crate::filter::{Advice, BuildError, Filter};
use crate::process::{Control, Process, lock};
use crate::tls::TlsError;
use crate::worker;
use plan::Plan;
use std::io;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use weir_config::{Bind, Config, Diff};
use weir_decide::cluster::ClusterStats;
use weir_measure::{Collect, Measure, Samples, cluster_samples};

/// How long start and reload wait for names to be resolved once; after that they go on, and connections to what has no
/// address yet fail until it has.
const RESOLVE_PATIENCE: Duration = Duration::from_secs(5);

/// How long a worker may take to end once it is told to.
const END_PATIENCE: Duration = Duration::from_secs(2);

/// Why Weir did not start, or a reload changed nothing.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A listener's address cannot be had: most often because somebody else has it.
    #[error("listener {listener}: cannot listen on {address}: {error}")]
    Bind {
        /// Which listener.
        listener: Arc<str>,
        /// Which address.
        address: Bind,
        /// Why.
        error: io::Error,
    },
    /// A listener's certificate or key is of no use.
    #[error("listener {listener}: tls: {error}")]
    ListenerTls {
        /// Which listener.
        listener: Arc<str>,
        /// What is wrong.
        error: Box<TlsError>,
    },
    /// A cluster's roots, certificate or key are of no use.
    #[error("cluster {cluster}: tls: {error}")]
    ClusterTls {
        /// Which cluster.
        cluster: Arc<str>,
        /// What is wrong.
        error: Box<TlsError>,
    },
    /// More than one thing is wrong.
    #[error("{}", lines(.0))]
    Several(Vec<StartError>),
    /// The protocol is not part of this binary.
    #[error("listener {listener}: this binary has no {protocol}")]
    NoFilter {
        /// Which listener.
        listener: Arc<str>,
        /// Which protocol.
        protocol: &'static str,
    },
    /// A filter could not make its service.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// The system gives no thread.
    #[error("cannot start a thread: {0}")]
    Thread(io::Error),
    /// A worker has ended by a bug.
    #[error("worker {0} has ended")]
    WorkerLost(usize),
    /// Weir is going away.
    #[error("draining: nothing is changed any more")]
    Draining,
}

impl StartError {
    fn of_all(mut errors: Vec<StartError>) -> StartError {
        match errors.len() {
            1 => errors.swap_remove(0),
            _ => StartError::Several(errors),
        }
    }

    /// Each thing that is wrong.
    pub fn each(&self) -> &[StartError] {
        match self {
            StartError::Several(errors) => errors,
            one => std::slice::from_ref(one),
        }
    }
}

fn lines(errors: &[StartError]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// The running process.
pub struct Server {
    process: Arc<Process>,
    /// Started when there is a first name.
    resolver: OnceLock<Resolver>,
    filters: &'static [&'static dyn Filter],
    state: Arc<Mutex<State>>,
    /// Held by whoever changes something: one reload at a time.
    changing: tokio::sync::Mutex<Ends>,
    /// What filters ask of the process.
    fronts: tokio::sync::Mutex<mpsc::UnboundedReceiver<doors::Request>>,
}

struct State {
    plan: Arc<Plan>,
    draining: bool,
}

/// Writes the clusters' numbers for a scrape.
struct ClusterNumbers(Weak<Mutex<State>>);

impl Collect for ClusterNumbers {
    fn collect(&self, out: &mut Samples) {
        let Some(state) = self.0.upgrade() else { return };
        let plan = Arc::clone(&lock(&state).plan);
        for cluster in &plan.clusters {
            cluster_samples(&cluster.decide, out);
        }
    }
}

/// Each is told when its worker's thread has ended.
type Ends = Vec<oneshot::Receiver<()>>;

/// How a drain went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drained {
    /// Connections that came to their end within the limit.
    pub finished: u32,
    /// Connections that were cut off.
    pub cut: u32,
}

/// The process at one moment.
#[derive(Debug, Clone)]
pub struct Status {
    /// Worker threads.
    pub workers: usize,
    /// Whether it is going away.
    pub draining: bool,
    /// Downstream connections.
    pub connections: u32,
    /// By worker.
    pub worker_connections: Vec<u32>,
    /// The listeners, in the order of the file.
    pub listeners: Vec<ListenerStatus>,
    /// The clusters, in the order of the file.
    pub clusters: Vec<ClusterStatus>,
}

/// A listener at one moment.
#[derive(Debug, Clone)]
pub struct ListenerStatus {
    /// Its configuration.
    pub config: Arc<weir_config::Listener>,
    /// The address it really listens on, where the configuration says port 0.
    pub address: Bind,
    /// Connections open.
    pub connections: u32,
}

/// A cluster at one moment.
#[derive(Debug, Clone)]
pub struct ClusterStatus {
    /// Its configuration.
    pub config: Arc<weir_config::Cluster>,
    /// Limits, endpoints, ejections.
    pub stats: ClusterStats,
}

impl Server {
    /// Starts the workers and listens. Returns when every listener accepts.
    pub async fn start(
        config: Arc<Config>,
        filters: &'static [&'static dyn Filter],
        measure: &Arc<Measure>,
    ) -> Result<Server, StartError> {
        let descriptors = descriptors::raise();
        let cores = || std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let workers = config.workers.map_or_else(cores, NonZeroUsize::get);
        let (plan, _) = plan::plan(&config, None, filters, measure, workers)?;
        let (senders, receivers): (Vec<_>, Vec<_>) = (0..workers).map(|_| mpsc::unbounded_channel()).unzip();
        let (asks, fronts) = mpsc::unbounded_channel();
        let connections = descriptors::connections(
            config.limits.max_connections,
            descriptors,
            plan.listeners.len() * workers,
        );
        crate::kept::limit(config.limits.replay_memory);
        let process = Process::new(Arc::clone(measure), senders, connections, asks);
        let process = Arc::new(process);
        let mut ends = Vec::new();
        for (index, control) in receivers.into_iter().enumerate() {
            ends.push(worker::start(index, Arc::clone(&process), control).map_err(StartError::Thread)?);
        }
        let plan = Arc::new(plan);
        let state = Arc::new(Mutex::new(State { plan: Arc::clone(&plan), draining: false }));
        measure.collect(Arc::new(ClusterNumbers(Arc::downgrade(&state))));
        measure.collect(Arc::new(renew::CertificateEnds(Arc::downgrade(&state))));
        let server = Server {
            process,
            resolver: OnceLock::new(),
            filters,
            state: Arc::clone(&state),
            changing: tokio::sync::Mutex::new(ends),
            fronts: tokio::sync::Mutex::new(fronts),
        };
        server.resolve(&plan).await?;
        // On an error the server is dropped, which ends the workers.
        server.apply(&plan).await?;
        Ok(server)
    }

    /// Whether `config` could be started as far as can be told without listening: its protocols are part of this binary, and
    /// its certificates, keys and roots are of use. What the operator should know of its listeners is returned, or
    /// everything that is wrong.
    pub fn check(
        config: &Config,
        filters: &[&'static dyn Filter],
    ) -> Result<Vec<(Arc<str>, Advice)>, Vec<StartError>> {
        plan::check(config, filters)
    }

    /// Takes over another configuration: everywhere, or on an error nowhere. Sockets, connections, pools and what clusters
    /// know of their endpoints stay. Certificates are read anew.
    pub async fn reload(&self, config: Arc<Config>) -> Result<Diff, StartError> {
        let _changing = self.changing.lock().await;
        let before = {
            let state = lock(&self.state);
            if state.draining {
                return Err(StartError::Draining);
            }
            Arc::clone(&state.plan)
        };
        let workers = self.process.workers.len();
        let (plan, changes) =
            plan::plan(&config, Some(&before), self.filters, &self.process.measure, workers)?;
        let plan = Arc::new(plan);
        let undo: Vec<_> =
            changes.iter().map(|(cluster, _)| (Arc::clone(cluster), cluster.current())).collect();
        for (cluster, current) in changes {
            cluster.configure(current);
        }
        let applied = match self.resolve(&plan).await {
            Ok(()) => self.apply(&plan).await,
            Err(error) => Err(error),
        };
        if let Err(error) = applied {
            for (cluster, current) in undo {
                cluster.configure(current);
            }
            self.resolve(&before).await?;
            return Err(error);
        }
        lock(&self.state).plan = Arc::clone(&plan);
        close_all_but(&before, &plan);
        set_modes(&plan);
        crate::kept::limit(config.limits.replay_memory);
        Ok(Config::diff(&before.config, &config))
    }

    /// Has every worker take over `plan`. The first one tries alone: what it can do the others can. Should one of those fail
    /// all the same, all go back.
    async fn apply(&self, plan: &Arc<Plan>) -> Result<(), StartError> {
        // Before anything is accepted there: connections to it are made by what is known then.
        let listening = || {
            plan.listeners.iter().flat_map(plan::Planned::all_sockets).map(|sockets| sockets.local.clone())
        };
        self.process.hops.listen(listening(), true);
        for index in 0..self.process.workers.len() {
            if let Err(error) = self.apply_to(index, plan).await {
                let before = Arc::clone(&lock(&self.state).plan);
                if !Arc::ptr_eq(&before, plan) {
                    for index in 0..index {
                        if let Err(error) = self.apply_to(index, &before).await {
                            tracing::error!(worker = index, %error, "the configuration before could not be put back");
                        }
                    }
                }
                return Err(error);
            }
        }
        for planned in &plan.listeners {
            planned.shared.max.store(planned.config.max_connections, Ordering::Relaxed);
            planned.shared.everywhere.store(true, Ordering::Release);
        }
        self.process.hops.listen(listening(), false);
        Ok(())
    }

    async fn apply_to(&self, index: usize, plan: &Arc<Plan>) -> Result<(), StartError> {
        let (answer, answered) = oneshot::channel();
        if let Some(peer) = self.process.peer(index) {
            peer.control.send(Control::Apply(Arc::clone(plan), answer)).ok();
        }
        answered.await.map_err(|_| StartError::WorkerLost(index))?.map_err(StartError::Build)
    }

    /// Has every name asked for once, where there are any.
    async fn resolve(&self, plan: &Plan) -> Result<(), StartError> {
        let named: Vec<_> = plan.clusters.iter().filter(|cluster| cluster.has_names()).collect();
        if named.is_empty() {
            return Ok(());
        }
        let resolver = match self.resolver.get() {
            Some(resolver) => resolver,
            None => {
                let started = Resolver::start().map_err(StartError::Thread)?;
                self.resolver.get_or_init(|| started)
            }
        };
        let asked: Vec<_> = named.into_iter().map(|cluster| resolver.watch(cluster)).collect();
        let all = async {
            for answered in asked {
                answered.await.ok();
            }
        };
        if tokio::time::timeout(RESOLVE_PATIENCE, all).await.is_err() {
            tracing::warn!(patience = ?RESOLVE_PATIENCE, "some names are not resolved yet, going on without them");
        }
        Ok(())
    }

    /// Accepts no more, lets what is under way come to its end for at most `limit`, then ends the workers.
    pub async fn drain(&self, limit: Duration) -> Drained {
        lock(&self.state).draining = true;
        let mut ends = self.changing.lock().await;
        let all = async {
            self.close_listeners().await;
            // What had been queued is accepted by now.
            let before = self.process.connections.load(Ordering::Acquire);
            self.emptied().await;
            before
        };
        let before = self.process.connections.load(Ordering::Acquire);
        let finished = tokio::time::timeout(limit, all).await;
        let cut = self.process.connections.load(Ordering::Acquire);
        self.stop();
        let ended = async {
            for end in ends.drain(..) {
                end.await.ok();
            }
        };
        if tokio::time::timeout(END_PATIENCE, ended).await.is_err() {
            tracing::warn!("a worker does not end");
        }
        let before = finished.unwrap_or(before).max(cut);
        Drained { finished: before - cut, cut }
    }

    async fn close_listeners(&self) {
        self.close_sockets();
        let mut answers = Vec::new();
        for line in &self.process.workers {
            let (answer, answered) = oneshot::channel();
            if line.0.control.send(Control::Drain(answer)).is_ok() {
                answers.push(answered);
            }
        }
        for answered in answers {
            answered.await.ok();
        }
    }

    /// The process lets go of all sockets, and the files of Unix sockets go.
    fn close_sockets(&self) {
        for planned in &lock(&self.state).plan.listeners {
            planned.all_sockets().for_each(|sockets| sockets.close());
        }
    }

    async fn emptied(&self) {
        loop {
            let emptied = self.process.emptied.notified();
            let mut emptied = std::pin::pin!(emptied);
            emptied.as_mut().enable();
            if self.process.connections.load(Ordering::Acquire) == 0 {
                return;
            }
            emptied.await;
        }
    }

    /// Ends the workers at once.
    fn stop(&self) {
        for line in &self.process.workers {
            line.0.control.send(Control::Stop).ok();
        }
    }

    /// Returns when a worker has ended by a bug: the process should go down and be started anew.
    pub async fn failed(&self) {
        self.process.lost.notified().await;
    }

    /// The configuration in force.
    pub fn config(&self) -> Arc<Config> {
        Arc::clone(&lock(&self.state).plan.config)
    }

    /// The IP address that the listener `name` really listens on.
    pub fn address(&self, name: &str) -> Option<SocketAddr> {
        let plan = Arc::clone(&lock(&self.state).plan);
        plan.listeners
            .iter()
            .find(|planned| &*planned.config.name == name)
            .and_then(|found| found.sockets.local.ip())
    }

    /// Whether it is going away.
    pub fn is_draining(&self) -> bool {
        lock(&self.state).draining
    }

    /// The process at this moment. Stops nobody.
    pub fn status(&self) -> Status {
        let (plan, draining) = {
            let state = lock(&self.state);
            (Arc::clone(&state.plan), state.draining)
        };
        let listener = |planned: &plan::Planned| ListenerStatus {
            config: Arc::clone(&planned.config),
            address: planned.sockets.local.clone(),
            connections: planned.shared.open.load(Ordering::Relaxed),
        };
        let workers = self.process.workers.iter();
        Status {
            workers: self.process.workers.len(),
            draining,
            connections: self.process.connections.load(Ordering::Relaxed),
            worker_connections: workers.map(|line| line.0.connections.load(Ordering::Relaxed)).collect(),
            listeners: plan.listeners.iter().map(listener).collect(),
            clusters: plan
                .clusters
                .iter()
                .map(|cluster| ClusterStatus {
                    config: cluster.current().config,
                    stats: cluster.decide.stats(),
                })
                .collect(),
        }
    }
}

/// Has the process let go of the sockets of `before` that `plan` has no more.
fn close_all_but(before: &Plan, plan: &Plan) {
    for gone in before.listeners.iter().flat_map(plan::Planned::all_sockets) {
        let mut kept = plan.listeners.iter().flat_map(plan::Planned::all_sockets);
        if !kept.any(|kept| Arc::ptr_eq(kept, gone)) {
            gone.close();
        }
    }
}

/// Has the files of Unix sockets that were there before say what the configuration says by now.
fn set_modes(plan: &Plan) {
    for listener in &plan.config.listeners {
        if let Some(path) = listener.bind.path()
            && let Err(error) = crate::listener::unix::set_mode(path, listener.unix_mode)
        {
            tracing::warn!(listener = %listener.name, %error, "the mode of its socket could not be changed");
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.close_sockets();
        self.stop();
    }
}
