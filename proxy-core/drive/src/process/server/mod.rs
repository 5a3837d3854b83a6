//! The process: starts the workers, keeps the sockets, applies reloads to all workers or to none, drains.

mod descriptors;
pub mod doors;
mod error;
pub(crate) mod plan;
pub(crate) mod planner;
mod renew;
mod secured;

use crate::ground::process::Process;
use crate::ground::sync::lock;
use crate::process::control::Control;
use crate::process::worker::{self, Asks, Reaches};
use crate::shells::filter::Filter;
use crate::shells::front::Request;
pub use crate::shells::page::ClusterStatus;
use crate::upstream::cluster::resolve::Resolver;
pub use error::StartError;
use plan::Plan;
pub use plan::Told;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use weir_config::{Bind, Config, Diff};
use weir_measure::{Collect, Measure, Samples, cluster_samples};

/// How long start and reload wait for names to be resolved once; after that they go on, and connections to what has no
/// address yet fail until it has.
const RESOLVE_PATIENCE: Duration = Duration::from_secs(5);

/// How long a worker may take to end once it is told to.
const END_PATIENCE: Duration = Duration::from_secs(2);

/// The running process.
pub struct Server {
    process: Arc<Process>,
    /// Of the workers, by their numbers.
    controls: Vec<mpsc::UnboundedSender<Control>>,
    /// Started when there is a first name.
    resolver: OnceLock<Resolver>,
    filters: &'static [&'static dyn Filter],
    /// The configuration that it was started with: some of it holds until the next start.
    started: Arc<Config>,
    state: Arc<Mutex<State>>,
    /// Held by whoever changes something: one reload at a time.
    changing: tokio::sync::Mutex<Ends>,
    /// What filters ask of the process.
    fronts: tokio::sync::Mutex<mpsc::UnboundedReceiver<Request>>,
    /// Told when it drains.
    leaving: watch::Sender<bool>,
}

struct State {
    plan: Arc<Plan>,
    /// It says that it goes away, and accepts all the same.
    leaving: bool,
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

impl Server {
    /// Starts the workers and listens. Returns when every listener accepts; until nothing can fail any more, none does.
    pub async fn start(
        config: Arc<Config>,
        filters: &'static [&'static dyn Filter],
        measure: &Arc<Measure>,
    ) -> Result<Server, StartError> {
        let descriptors = descriptors::raise();
        let cores = || std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let workers = config.workers.map_or_else(cores, NonZeroUsize::get);
        let (plan, _) = planner::first(&config, filters, measure, workers)?;
        let (controls, controlled) = channels(workers);
        let (hands, handed) = channels(workers);
        let (evict, evicted) = channels(workers);
        let (asks, fronts) = mpsc::unbounded_channel();
        let connections = descriptors::connections(
            config.limits.max_connections,
            descriptors,
            plan.listeners.len() * workers,
        );
        crate::ground::kept::limit(config.limits.replay_memory);
        let process = Process::new(Arc::clone(measure), evict, connections);
        let process = Arc::new(process);
        let mut ends = Vec::new();
        let reaches = Reaches { hands: hands.into(), fronts: asks };
        let asks = controlled.into_iter().zip(handed).zip(evicted);
        for (index, ((control, handed), evict)) in asks.enumerate() {
            let asks = Asks { control, handed, evict };
            let started = worker::start(index, Arc::clone(&process), asks, reaches.clone());
            ends.push(started.map_err(StartError::Thread)?);
        }
        let plan = Arc::new(plan);
        let state = Arc::new(Mutex::new(State { plan: Arc::clone(&plan), leaving: false, draining: false }));
        measure.collect(Arc::new(ClusterNumbers(Arc::downgrade(&state))));
        measure.collect(Arc::new(renew::CertificateEnds(Arc::downgrade(&state))));
        let server = Server {
            process,
            controls,
            resolver: OnceLock::new(),
            filters,
            started: config,
            state: Arc::clone(&state),
            changing: tokio::sync::Mutex::new(ends),
            fronts: tokio::sync::Mutex::new(fronts),
            leaving: watch::Sender::new(false),
        };
        server.resolve(&plan).await?;
        // On an error the server is dropped, which ends the workers.
        server.apply(&plan).await?;
        listen(&plan)?;
        Ok(server)
    }

    /// Whether `config` could be started as far as can be told without listening: its protocols are part of this binary, and
    /// its certificates, keys and roots are of use. What the operator should know of its listeners is returned, or
    /// everything that is wrong.
    pub fn check(config: &Config, filters: &[&'static dyn Filter]) -> Result<Vec<Told>, Vec<StartError>> {
        planner::check(config, filters)
    }

    /// Takes over another configuration: everywhere, or on an error nowhere. Sockets, connections, pools and what clusters
    /// know of their endpoints stay. Certificates are read anew. What holds only from the next start is told for as long as it
    /// is not what Weir was started with.
    pub async fn reload(&self, config: Arc<Config>) -> Result<Diff, StartError> {
        // Files may keep us waiting, which nobody else is to wait for.
        let secured = {
            let before = self.in_force()?;
            secured::secure(&config, Some(&before), self.filters).map_err(StartError::of_all)?
        };
        let _changing = self.changing.lock().await;
        let before = self.in_force()?;
        secured.tell(&config, Some(&before));
        let workers = self.process.workers.len();
        let (plan, changes) =
            planner::plan(&config, secured, Some(&before), self.filters, &self.process.measure, workers)?;
        let plan = Arc::new(plan);
        let undo: Vec<_> =
            changes.iter().map(|(cluster, _)| (Arc::clone(cluster), cluster.current())).collect();
        for (cluster, current) in changes {
            cluster.configure(current);
        }
        if let Err(error) = self.begin(&plan).await {
            for (cluster, current) in undo {
                cluster.configure(current);
            }
            self.resolve(&before).await?;
            return Err(error);
        }
        lock(&self.state).plan = Arc::clone(&plan);
        close_all_but(&before, &plan);
        set_modes(&plan);
        crate::ground::kept::limit(config.limits.replay_memory);
        let needs_restart = Config::needs_restart(&self.started, &config);
        Ok(Diff { needs_restart, ..Config::diff(&before.config, &config) })
    }

    /// What is in force, unless Weir is going away.
    fn in_force(&self) -> Result<Arc<Plan>, StartError> {
        let state = lock(&self.state);
        if state.draining { Err(StartError::Draining) } else { Ok(Arc::clone(&state.plan)) }
    }

    /// Takes over `plan` and listens where it says, or on an error nothing.
    async fn begin(&self, plan: &Arc<Plan>) -> Result<(), StartError> {
        self.resolve(plan).await?;
        self.apply(plan).await?;
        let listens = listen(plan);
        if listens.is_err() {
            let before = Arc::clone(&lock(&self.state).plan);
            self.apply(&before).await?;
        }
        listens
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
        if let Some(control) = self.controls.get(index) {
            control.send(Control::Apply(Arc::clone(plan), answer)).ok();
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
        let mut leaving = self.leaving.subscribe();
        tokio::select! {
            () = all => Ok(()),
            _ = leaving.wait_for(|leaving| *leaving) => Err(StartError::Draining),
            () = tokio::time::sleep(RESOLVE_PATIENCE) => {
                tracing::warn!(patience = ?RESOLVE_PATIENCE, "some names are not resolved yet, going on without them");
                Ok(())
            }
        }
    }

    /// Says that it is going away, and goes on as before: whoever sends connections here has time to send them elsewhere.
    pub fn leave(&self) {
        lock(&self.state).leaving = true;
    }

    /// Accepts no more, lets what is under way come to its end for at most `limit`, then ends the workers.
    pub async fn drain(&self, limit: Duration) -> Drained {
        lock(&self.state).draining = true;
        // A reload does not make it wait.
        self.leaving.send_replace(true);
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
        for control in &self.controls {
            let (answer, answered) = oneshot::channel();
            if control.send(Control::Drain(answer)).is_ok() {
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

    /// Ends at once, whatever is under way.
    pub fn end(&self) {
        self.close_sockets();
        self.stop();
    }

    /// Ends the workers at once.
    fn stop(&self) {
        for control in &self.controls {
            control.send(Control::Stop).ok();
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

    /// Whether it is going away: it says so, and may still accept (see [`leave`](Server::leave)), or it drains.
    pub fn is_going(&self) -> bool {
        let state = lock(&self.state);
        state.leaving || state.draining
    }

    /// Whether it accepts no more.
    pub fn is_draining(&self) -> bool {
        lock(&self.state).draining
    }

    /// The process at this moment. Stops nobody.
    pub fn status(&self) -> Status {
        Status { clusters: self.clusters().collect(), ..self.outline() }
    }

    /// The clusters, each as it is when it is come to: of thousands not all need be in memory.
    pub fn clusters(&self) -> impl Iterator<Item = ClusterStatus> + Send + use<> {
        let plan = Arc::clone(&lock(&self.state).plan);
        (0..plan.clusters.len()).filter_map(move |at| {
            let cluster = plan.clusters.get(at)?;
            Some(ClusterStatus { config: cluster.current().config, stats: cluster.decide.stats() })
        })
    }

    /// The process at this moment, without its clusters.
    pub fn outline(&self) -> Status {
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
            clusters: Vec::new(),
        }
    }
}

/// Takes connections at every address of `plan`.
fn listen(plan: &Plan) -> Result<(), StartError> {
    for planned in &plan.listeners {
        planned.sockets.listen().map_err(|error| StartError::Bind {
            listener: Arc::clone(&planned.config.name),
            address: planned.config.bind.clone(),
            error,
        })?;
    }
    Ok(())
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
            && let Err(error) = crate::edge::listener::unix::set_mode(path, listener.unix_mode)
        {
            tracing::warn!(listener = %listener.name, %error, "the mode of its socket could not be changed");
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}

/// A channel for each worker: the senders, and the receivers.
fn channels<T>(workers: usize) -> (Vec<mpsc::UnboundedSender<T>>, Vec<mpsc::UnboundedReceiver<T>>) {
    (0..workers).map(|_| mpsc::unbounded_channel()).unzip()
}
