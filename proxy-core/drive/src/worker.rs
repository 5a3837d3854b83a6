//! A worker: one thread with one current-thread runtime, its own connections, pools and views, nothing locked.

use crate::buffers::Buffers;
use crate::cluster::Cluster;
use crate::drain::Drain;
use crate::filter::BuildError;
use crate::hops::HOP_LENGTH;
use crate::listener::{Current, Handed, Listening, Sockets, Tls};
use crate::outbox::{self, Outbox};
use crate::process::{Control, Process};
use crate::server::doors::{Front, Fronted};
use crate::server::plan::{Plan, Planned};
use crate::time;
use crate::tls::passthrough::Routes;
use hashbrown::HashMap;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::oneshot;
use weir_decide::exchange::Now;
use weir_measure::Local;

/// How often ejections, idle connections and the like are looked at.
const TICK: Duration = Duration::from_millis(250);

/// How many of those pass between looks at the clusters' events.
const TICKS_PER_TELLING: u64 = 4;

/// What a worker gives to the code that runs on it.
pub struct Worker {
    index: usize,
    process: Arc<Process>,
    measure: Rc<Local>,
    random: Cell<u64>,
    /// What ids are made of: a random number of the worker's own, and a count that begins at another.
    ids: Cell<(u64, u64)>,
    buffers: Buffers,
    outbox: Rc<Outbox>,
    drain: Rc<Drain>,
    clusters: RefCell<Clusters>,
    listeners: RefCell<HashMap<Arc<str>, Rc<Listening>>>,
    /// Listeners that are gone and still have connections.
    retired: RefCell<Vec<Rc<Listening>>>,
    /// What else drains: connections of listeners that have changed their protocol.
    replaced: RefCell<Vec<(Arc<str>, Rc<Drain>)>>,
    /// Of the configuration in force.
    drain_timeout: Cell<Duration>,
    ticks: Cell<u64>,
}

type Clusters = HashMap<Arc<str>, Rc<Cluster>>;

impl Worker {
    pub(crate) fn new(index: usize, process: Arc<Process>) -> Rc<Worker> {
        Rc::new(Worker {
            index,
            measure: process.measure.local(),
            random: Cell::new(time::seed(index as u64)),
            ids: Cell::new((time::seed(index as u64), time::seed(u64::MAX / 2 - index as u64))),
            buffers: Buffers::default(),
            outbox: Rc::default(),
            drain: Rc::new(Drain::default()),
            clusters: RefCell::default(),
            listeners: RefCell::default(),
            retired: RefCell::default(),
            replaced: RefCell::default(),
            drain_timeout: Cell::default(),
            ticks: Cell::new(0),
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
        let asked = self.process.fronts.send((front, answer));
        async move { asked.is_ok().then_some(answered.await.ok()).flatten() }
    }

    pub(crate) fn process(&self) -> &Arc<Process> {
        &self.process
    }

    /// Takes over a configuration: all of it, or on an error nothing. Nothing else runs on this worker meanwhile.
    pub(crate) fn apply(self: &Rc<Self>, plan: &Plan) -> Result<(), BuildError> {
        let before = self.clusters.replace(self.clusters_of(plan));
        let mut done: Vec<(Rc<Listening>, Current)> = Vec::new();
        let mut next = HashMap::new();
        for planned in &plan.listeners {
            match self.listen(planned, &mut done) {
                Ok(listening) => {
                    next.insert(Arc::clone(&planned.config.name), (listening, planned));
                }
                Err(error) => {
                    self.undo(done);
                    *self.clusters.borrow_mut() = before;
                    return Err(error);
                }
            }
        }
        // From here on nothing fails.
        self.drain_timeout.set(plan.config.drain_timeout);
        for cluster in self.clusters.borrow().values() {
            cluster.refresh();
        }
        for (listening, before) in done {
            let after = listening.current.borrow().clone();
            if !Rc::ptr_eq(&after.service, &before.service) {
                before.drain.begin(self.now());
                let name = Arc::clone(&before.config.name);
                self.replaced.borrow_mut().push((name, before.drain));
            }
        }
        let moved = |sockets: &Arc<Sockets>| plan.moves(sockets);
        for (listening, planned) in next.values() {
            let sockets: Vec<_> = planned.all_sockets().collect();
            listening.accept_from(self, &sockets, moved);
        }
        let next = next.into_iter().map(|(name, (listening, _))| (name, listening)).collect();
        let gone = self.listeners.replace(next);
        for (name, listening) in gone {
            if !self.listeners.borrow().contains_key(&name) {
                listening.retire(moved);
                self.retired.borrow_mut().push(listening);
            }
        }
        Ok(())
    }

    fn clusters_of(&self, plan: &Plan) -> Clusters {
        let clusters = self.clusters.borrow();
        let of = |shared: &Arc<crate::cluster::shared::Shared>| {
            let name = Arc::clone(shared.decide.name());
            let known = clusters.get(&name).filter(|known| Arc::ptr_eq(known.shared(), shared));
            let cluster = known
                .cloned()
                .unwrap_or_else(|| Cluster::new(shared, &self.process, self.index, self.random()));
            (name, cluster)
        };
        plan.clusters.iter().map(of).collect()
    }

    /// Makes or changes one listener. What is to be put back on an error goes to `done`.
    fn listen(
        self: &Rc<Self>,
        planned: &Planned,
        done: &mut Vec<(Rc<Listening>, Current)>,
    ) -> Result<Rc<Listening>, BuildError> {
        let known = self.listeners.borrow().get(&planned.config.name).cloned();
        let routes = Routes::new(self, &planned.config)?;
        let tls = planned.tls.clone().map(|server| Tls { server, routes });
        Ok(match known {
            None => {
                let service = planned.filter.service(&planned.config, self)?;
                let current = Current {
                    config: Arc::clone(&planned.config),
                    service,
                    admission: Arc::clone(&planned.admission),
                    tls,
                    drain: Rc::new(Drain::with(&planned.company)),
                };
                Listening::new(&planned.shared, current)
            }
            Some(known) => {
                let before = known.current.borrow().clone();
                let mut after = before.clone();
                after.admission = Arc::clone(&planned.admission);
                after.tls = tls;
                if before.config.protocol != planned.config.protocol {
                    after.service = planned.filter.service(&planned.config, self)?;
                    after.drain = Rc::new(Drain::with(&planned.company));
                } else if !before.config.same(&planned.config) {
                    before.service.reload(&planned.config, self)?;
                }
                after.config = Arc::clone(&planned.config);
                done.push((Rc::clone(&known), before));
                *known.current.borrow_mut() = after;
                known
            }
        })
    }

    fn undo(self: &Rc<Self>, done: Vec<(Rc<Listening>, Current)>) {
        for (listening, before) in done {
            let after = listening.current.replace(before.clone());
            if Rc::ptr_eq(&after.service, &before.service)
                && !after.config.same(&before.config)
                && let Err(error) = before.service.reload(&before.config, self)
            {
                tracing::error!(listener = %before.config.name, %error, "the settings before could not be put back");
            }
        }
    }

    fn adopt(self: &Rc<Self>, handed: Handed) {
        if let Some(own) = self.process.peer(self.index) {
            own.handed.fetch_sub(1, Ordering::AcqRel);
        }
        let is_its = |listening: &&Rc<Listening>| Arc::ptr_eq(&listening.shared, &handed.listener);
        let listening = self.listeners.borrow().values().find(is_its).cloned();
        let listening = listening.or_else(|| self.retired.borrow().iter().find(is_its).cloned());
        match listening {
            Some(listening) => listening.adopt(self, handed),
            None => {
                tracing::warn!(listener = %handed.listener.name, "a connection came for a listener that is gone")
            }
        }
    }

    fn evict(&self, cluster: &str) {
        let cluster = self.clusters.borrow().get(cluster).cloned();
        if let Some(cluster) = cluster {
            cluster.evict();
        }
    }

    fn tick(&self) {
        let now = time::now();
        for cluster in self.clusters.borrow().values() {
            cluster.tick(now);
        }
        self.cut_off(now);
        self.retired.borrow_mut().retain(|listening| !listening.shared.is_over());
        self.ticks.set(self.ticks.get().wrapping_add(1));
        // The clusters' events and the ledgers are the process's, so one worker tells of them.
        if self.index == 0 && self.ticks.get().is_multiple_of(TICKS_PER_TELLING) {
            self.clusters.borrow().values().for_each(|cluster| cluster.tell_events());
            self.process.measure.tick(now);
            for overflow in self.process.measure.first_overflows() {
                let limit = overflow.limit();
                tracing::warn!(
                    limit,
                    "there are more names than limits.{limit} has room for: from now on the one that was silent for longest gives \
                     way, its series end, and what they had counted is in weir_operations_retired_total"
                );
            }
        }
    }

    /// Cuts off connections whose listener has been gone for `drain_timeout`.
    fn cut_off(&self, now: Now) {
        let limit = self.drain_timeout.get();
        let cut = |name: &str, drain: &Drain| {
            let cut = drain.cut_after(limit, now);
            if cut > 0 {
                tracing::warn!(
                    listener = name,
                    worker = self.index,
                    cut,
                    "connections of a listener that is gone were cut off after drain_timeout"
                );
            }
        };
        for listening in self.retired.borrow().iter() {
            cut(&listening.shared.name, &listening.current.borrow().drain);
        }
        let mut replaced = self.replaced.borrow_mut();
        replaced.iter().for_each(|(name, drain)| cut(name, drain));
        // Who serves a connection holds the other references.
        replaced.retain(|(_, drain)| Rc::strong_count(drain) > 1);
    }

    /// Accepts what is queued, then no more; answers when all sockets are closed.
    fn retire(self: &Rc<Self>, answer: oneshot::Sender<()>) {
        self.drain.begin(self.now());
        let listeners: Vec<_> = self.listeners.borrow().values().cloned().collect();
        let closing: Vec<_> = listeners.iter().flat_map(|listening| listening.retire(|_| false)).collect();
        self.spawn(async move {
            for task in closing {
                task.await.ok();
            }
            answer.send(()).ok();
        });
    }

    async fn run(self: Rc<Self>, mut control: UnboundedReceiver<Control>) {
        self.spawn(Rc::clone(&self.outbox).run());
        let _last = outbox::Last(Rc::clone(&self.outbox));
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let asked = tokio::select! {
                asked = control.recv() => asked,
                _ = tick.tick() => {
                    self.tick();
                    continue;
                }
            };
            match asked {
                Some(Control::Apply(plan, answer)) => {
                    answer.send(self.apply(&plan)).ok();
                }
                Some(Control::Connection(handed)) => self.adopt(handed),
                Some(Control::Evict(cluster)) => self.evict(&cluster),
                Some(Control::Drain(answer)) => self.retire(answer),
                Some(Control::Stop) | None => return,
            }
        }
    }
}

impl std::fmt::Debug for Worker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Worker").field("index", &self.index).finish_non_exhaustive()
    }
}

/// Starts the thread of worker `index`. The receiver learns when it has ended.
pub(crate) fn start(
    index: usize,
    process: Arc<Process>,
    control: UnboundedReceiver<Control>,
) -> std::io::Result<oneshot::Receiver<()>> {
    let (ended, ends) = oneshot::channel();
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().max_blocking_threads(1).on_thread_park(outbox::sleeps);
    std::thread::Builder::new().name(format!("weir-worker-{index}")).spawn(move || {
        let _end = End { index, process: Arc::clone(&process), ended: Some(ended) };
        match builder.build_local(tokio::runtime::LocalOptions::default()) {
            Ok(runtime) => runtime.block_on(Worker::new(index, process).run(control)),
            Err(error) => tracing::error!(worker = index, %error, "a worker could not start"),
        }
    })?;
    Ok(ends)
}

/// A worker's thread has ended: by a bug, that must not pass in silence.
struct End {
    index: usize,
    process: Arc<Process>,
    ended: Option<oneshot::Sender<()>>,
}

impl Drop for End {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!(worker = self.index, "a bug in Weir has ended a worker");
            self.process.numbers.workers_lost.inc();
            self.process.lost.notify_one();
        }
        if let Some(ended) = self.ended.take() {
            ended.send(()).ok();
        }
    }
}
