//! The thread of a worker: takes over configurations, keeps its listeners, ticks, drains. What it lends to the connections on it is
//! [`Worker`].

use crate::edge::listener::{Current, Handed, Hands, Listening, Sockets, Tls};
use crate::edge::passthrough::Routes;
use crate::ground::drain::Drain;
use crate::ground::outbox;
use crate::ground::process::Process;
use crate::ground::time;
use crate::process::control::Control;
use crate::process::server::plan::{Plan, Planned};
use crate::shells::filter::BuildError;
use crate::shells::front::Request;
use crate::shells::worker::Worker;
use crate::upstream::cluster::Cluster;
use hashbrown::HashMap;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use tokio::sync::oneshot;
use weir_decide::exchange::Now;

/// How often ejections, idle connections and the like are looked at.
const TICK: Duration = Duration::from_millis(250);

/// How many of those pass between looks at the clusters' events.
const TICKS_PER_TELLING: u64 = 4;

/// What comes to a worker's thread from others.
pub(crate) struct Asks {
    /// From the server.
    pub(crate) control: UnboundedReceiver<Control>,
    /// Connections that other workers accepted.
    pub(crate) handed: UnboundedReceiver<Handed>,
    /// Clusters whose oldest idle connection is to be closed: another worker waits for its place.
    pub(crate) evict: UnboundedReceiver<Arc<str>>,
}

/// Whom a worker's thread can reach.
#[derive(Clone)]
pub(crate) struct Reaches {
    /// The threads of all workers, to hand connections over.
    pub(crate) hands: Arc<[UnboundedSender<Handed>]>,
    /// The server, for what filters ask of it.
    pub(crate) fronts: UnboundedSender<Request>,
}

/// A worker's thread.
pub(crate) struct Thread {
    pub(crate) worker: Rc<Worker>,
    hands: Hands,
    listeners: RefCell<HashMap<Arc<str>, Rc<Listening>>>,
    /// Listeners that are gone and still have connections.
    retired: RefCell<Vec<Rc<Listening>>>,
    /// What else drains: connections of listeners that have changed their protocol.
    replaced: RefCell<Vec<(Arc<str>, Rc<Drain>)>>,
    ticks: Cell<u64>,
}

impl Thread {
    pub(crate) fn new(index: usize, process: Arc<Process>, reaches: Reaches) -> Thread {
        Thread {
            worker: Worker::new(index, process, reaches.fronts),
            hands: reaches.hands,
            listeners: RefCell::default(),
            retired: RefCell::default(),
            replaced: RefCell::default(),
            ticks: Cell::new(0),
        }
    }

    /// Takes over a configuration: all of it, or on an error nothing. Nothing else runs on this worker meanwhile.
    pub(crate) fn apply(&self, plan: &Plan) -> Result<(), BuildError> {
        let worker = &self.worker;
        let before = worker.replace_clusters(worker.clusters_of(plan.clusters.iter()));
        let mut done: Vec<(Rc<Listening>, Current)> = Vec::new();
        let mut next = HashMap::new();
        for planned in &plan.listeners {
            match self.listen(planned, &mut done) {
                Ok(listening) => {
                    next.insert(Arc::clone(&planned.config.name), (listening, planned));
                }
                Err(error) => {
                    self.undo(done);
                    worker.replace_clusters(before);
                    return Err(error);
                }
            }
        }
        // From here on nothing fails.
        worker.set_drain_timeout(plan.config.drain_timeout);
        worker.each_cluster(Cluster::refresh);
        for (listening, before) in done {
            let after = listening.current.borrow().clone();
            if !Rc::ptr_eq(&after.service, &before.service) {
                before.drain.begin(worker.now());
                let name = Arc::clone(&before.config.name);
                self.replaced.borrow_mut().push((name, before.drain));
            }
        }
        let moved = |sockets: &Arc<Sockets>| plan.moves(sockets);
        for (listening, planned) in next.values() {
            let sockets: Vec<_> = planned.all_sockets().collect();
            listening.accept_from(worker, &sockets, moved);
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

    /// Makes or changes one listener. What is to be put back on an error goes to `done`.
    fn listen(
        &self,
        planned: &Planned,
        done: &mut Vec<(Rc<Listening>, Current)>,
    ) -> Result<Rc<Listening>, BuildError> {
        let known = self.listeners.borrow().get(&planned.config.name).cloned();
        let routes = Routes::new(&self.worker, &planned.config)?;
        let tls = planned.tls.clone().map(|server| Tls { server, routes });
        Ok(match known {
            None => {
                let service = planned.filter.service(&planned.config, &self.worker)?;
                let current = Current {
                    config: Arc::clone(&planned.config),
                    service,
                    admission: Arc::clone(&planned.admission),
                    tls,
                    drain: Rc::new(Drain::with(&planned.company)),
                };
                Listening::new(&planned.shared, current, &self.hands)
            }
            Some(known) => {
                let before = known.current.borrow().clone();
                let mut after = before.clone();
                after.admission = Arc::clone(&planned.admission);
                after.tls = tls;
                if before.config.protocol != planned.config.protocol {
                    after.service = planned.filter.service(&planned.config, &self.worker)?;
                    after.drain = Rc::new(Drain::with(&planned.company));
                } else if !before.config.same(&planned.config) {
                    before.service.reload(&planned.config, &self.worker)?;
                }
                after.config = Arc::clone(&planned.config);
                done.push((Rc::clone(&known), before));
                *known.current.borrow_mut() = after;
                known
            }
        })
    }

    fn undo(&self, done: Vec<(Rc<Listening>, Current)>) {
        for (listening, before) in done {
            let after = listening.current.replace(before.clone());
            if Rc::ptr_eq(&after.service, &before.service)
                && !after.config.same(&before.config)
                && let Err(error) = before.service.reload(&before.config, &self.worker)
            {
                tracing::error!(listener = %before.config.name, %error, "the settings before could not be put back");
            }
        }
    }

    fn adopt(&self, handed: Handed) {
        if let Some(own) = self.worker.process().peer(self.worker.index()) {
            own.handed.fetch_sub(1, Ordering::AcqRel);
        }
        let is_its = |listening: &&Rc<Listening>| Arc::ptr_eq(&listening.shared, &handed.listener);
        let listening = self.listeners.borrow().values().find(is_its).cloned();
        let listening = listening.or_else(|| self.retired.borrow().iter().find(is_its).cloned());
        match listening {
            Some(listening) => listening.adopt(&self.worker, handed),
            None => {
                tracing::warn!(listener = %handed.listener.name, "a connection came for a listener that is gone")
            }
        }
    }

    fn evict(&self, cluster: &str) {
        if let Some(cluster) = self.worker.cluster(cluster) {
            cluster.evict();
        }
    }

    fn tick(&self) {
        let now = time::now();
        self.worker.each_cluster(|cluster| cluster.tick(now));
        self.cut_off(now);
        self.retired.borrow_mut().retain(|listening| !listening.shared.is_over());
        self.ticks.set(self.ticks.get().wrapping_add(1));
        // The clusters' events and the ledgers are the process's, so one worker tells of them.
        if self.worker.index() == 0 && self.ticks.get().is_multiple_of(TICKS_PER_TELLING) {
            self.worker.each_cluster(Cluster::tell_events);
            self.worker.process().measure.tick(now);
            for overflow in self.worker.process().measure.first_overflows() {
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
        let limit = self.worker.drain_timeout();
        let cut = |name: &str, drain: &Drain| {
            let cut = drain.cut_after(limit, now);
            if cut > 0 {
                tracing::warn!(
                    listener = name,
                    worker = self.worker.index(),
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
    fn retire(&self, answer: oneshot::Sender<()>) {
        self.worker.drain().begin(self.worker.now());
        let listeners: Vec<_> = self.listeners.borrow().values().cloned().collect();
        let closing: Vec<_> = listeners.iter().flat_map(|listening| listening.retire(|_| false)).collect();
        self.worker.spawn(async move {
            for task in closing {
                task.await.ok();
            }
            answer.send(()).ok();
        });
    }

    async fn run(self, mut asks: Asks) {
        self.worker.spawn(Rc::clone(self.worker.outbox()).run());
        let _last = outbox::Last(Rc::clone(self.worker.outbox()));
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let asked = tokio::select! {
                Some(handed) = asks.handed.recv() => {
                    self.adopt(handed);
                    continue;
                }
                Some(cluster) = asks.evict.recv() => {
                    self.evict(&cluster);
                    continue;
                }
                asked = asks.control.recv() => asked,
                _ = tick.tick() => {
                    self.tick();
                    continue;
                }
            };
            match asked {
                Some(Control::Apply(plan, answer)) => {
                    answer.send(self.apply(&plan)).ok();
                }
                Some(Control::Drain(answer)) => self.retire(answer),
                Some(Control::Stop) | None => return,
            }
        }
    }
}

/// Starts the thread of worker `index`. The receiver learns when it has ended.
pub(crate) fn start(
    index: usize,
    process: Arc<Process>,
    asks: Asks,
    reaches: Reaches,
) -> std::io::Result<oneshot::Receiver<()>> {
    let (ended, ends) = oneshot::channel();
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().max_blocking_threads(1).on_thread_park(outbox::sleeps);
    std::thread::Builder::new().name(format!("weir-worker-{index}")).spawn(move || {
        let _end = End { index, process: Arc::clone(&process), ended: Some(ended) };
        match builder.build_local(tokio::runtime::LocalOptions::default()) {
            Ok(runtime) => runtime.block_on(Thread::new(index, process, reaches).run(asks)),
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
