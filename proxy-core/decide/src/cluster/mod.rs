//! Clusters: which endpoint an operation goes to, whether there is room for it, whether it is tried again, and who is taken
//! out of rotation.
//!
//! A [`Cluster`] is shared by all workers; each worker has a [`View`] of it with a seed of its own and a copy of the endpoint
//! list, which it checks by one load. An operation passes through like this:
//!
//! 1. [`View::admit`] takes a slot (`gate`: the circuit breaker, exact, one compare-and-swap) and picks an endpoint
//!    (`balance`). The [`Ticket`] holds both until the attempt has ended.
//! 2. The shell asks for room for a connection where it has none ([`Cluster::connection`], [`Cluster::pend`]).
//! 3. [`Ticket::finish`] counts the outcome, ejects the endpoint if it has failed too often (`ejection`, under the lock), and
//!    decides whether the operation is tried again ([`policy`](crate::policy)), within the retry budget (`budget`); if so, the slot
//!    stays reserved in the operation's [`Tries`] until it is admitted again.
//!
//! An operation that waits for its retry keeps its place among the requests, so a retry that was granted is never refused.
//! No step allocates or locks, but for the one that makes an ejection, the first admission after the endpoints changed, and the
//! first one in a second, which marks the budget's counts.
//! Everything taken is given back by dropping it: a ticket, a permit, the tries.

mod balance;
mod budget;
mod ejection;
mod endpoint;
mod gate;
mod list;
mod permit;
mod settings;
mod state;
mod stats;
mod sync;
mod ticket;
mod view;

pub use crate::policy::{Known, Replay, Verdict};
pub use endpoint::{Pick, Totals};
pub use permit::{Full, Pending, Permit};
pub use settings::Settings;
pub use stats::{ClusterStats, EndpointStats, Event, EventKind, Overflows, Why};
pub use ticket::{Ticket, Tries};
pub use view::View;
pub use weir_config::{Balance, EndpointSpec, OutlierEjection as Ejection};

use crate::exchange::Now;
use budget::Budget;
use endpoint::Endpoint;
use gate::Gate;
use list::List;
use settings::LiveLimits;
use state::State;
use std::sync::Arc;
use sync::{AtomicU32, AtomicU64, Line, Mutex, MutexGuard, Ordering, lock};

/// A cluster's shared state: limits, endpoints, ejection. It lives on across reloads.
#[derive(Debug)]
pub struct Cluster {
    name: Arc<str>,
    requests: Line<Requests>,
    connections: Line<Gate>,
    /// Long polls, in the gate's lower half.
    parked: Line<Gate>,
    /// Read by every operation, written almost never.
    watch: Line<Watch>,
    limits: Line<LiveLimits>,
    overflow: Overflow,
    state: Mutex<State>,
}

/// What every admission writes to.
#[derive(Debug)]
#[repr(C)]
struct Requests {
    /// Operations under way, and those of them that are retries.
    gate: Gate,
    budget: Budget,
}

#[derive(Debug)]
struct Watch {
    /// The published list's generation.
    generation: AtomicU64,
    /// When a tick has something to do.
    due: AtomicU64,
    /// Not 0 while a common failure lasts: the next answer ends it.
    common: AtomicU32,
}

#[derive(Debug)]
struct Overflow {
    requests: AtomicU64,
    connections: AtomicU64,
    pending: AtomicU64,
    retries: AtomicU64,
    budget: AtomicU64,
    parked: AtomicU64,
    no_endpoint: AtomicU64,
    granted: AtomicU64,
    repicks: AtomicU64,
}

impl Cluster {
    /// A cluster without endpoints.
    pub fn new(name: &str, settings: Settings) -> Arc<Cluster> {
        let zero = || AtomicU64::new(0);
        Arc::new(Cluster {
            name: name.into(),
            requests: Line(Requests { gate: Gate::new(), budget: Budget::new() }),
            connections: Line(Gate::new()),
            parked: Line(Gate::new()),
            watch: Line(Watch {
                generation: zero(),
                due: AtomicU64::new(u64::MAX),
                common: AtomicU32::new(0),
            }),
            limits: Line(LiveLimits::new(&settings)),
            overflow: Overflow {
                requests: zero(),
                connections: zero(),
                pending: zero(),
                retries: zero(),
                budget: zero(),
                parked: zero(),
                no_endpoint: zero(),
                granted: zero(),
                repicks: zero(),
            },
            state: Mutex::new(State::new(settings)),
        })
    }

    /// The cluster's name.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Takes over other settings. What is under way stays; endpoints keep their state; no ejection lasts longer than it would
    /// by now; if fewer may be ejected than are, those come back whose ejection ends first.
    pub fn configure(&self, settings: Settings, now: Now) {
        let mut state = self.lock();
        self.limits.0.set(&settings);
        state.settings = settings;
        state.relax(now);
        self.publish(&mut state);
    }

    /// Replaces the endpoints, by configuration or by a resolver. An endpoint is known by its address: one that stays keeps
    /// its counters, its ejection and its place. Of several with one address the first counts. Never leaves all of them
    /// ejected.
    pub fn set_endpoints(&self, endpoints: &[EndpointSpec], now: Now) {
        let mut state = self.lock();
        if state.set_members(endpoints) {
            state.relax(now);
            self.publish(&mut state);
        }
    }

    /// Puts endpoints whose ejection is over on probation. One load when nothing is due.
    pub fn tick(&self, now: Now) {
        self.requests.0.budget.pass(now);
        if now.0 < self.watch.0.due.load(Ordering::Relaxed) {
            return;
        }
        let mut state = self.lock();
        if state.pass(now) {
            self.publish(&mut state);
        } else {
            self.watch.0.due.store(state.due(), Ordering::Relaxed);
        }
    }

    /// Takes the events since the last call, oldest first (256 at most are kept).
    pub fn take_events(&self) -> Vec<Event> {
        self.lock().events.drain(..).collect()
    }

    /// The cluster at this moment.
    pub fn stats(&self) -> ClusterStats {
        let (members, settings, totals, ejections_withheld, events_dropped) = {
            let mut state = self.lock();
            let totals = state.totals();
            let withheld = state.ejections_withheld;
            (state.members.clone(), state.settings.clone(), totals, withheld, state.events_dropped)
        };
        let endpoints: Vec<EndpointStats> =
            members.iter().map(|m| endpoint_stats(&m.endpoint, m.weight)).collect();
        let (active, retrying) = self.requests.0.gate.counts();
        let (retry_budget, retry_budget_spent) = self.requests.0.budget.room(self.limits.0.budget());
        let (connections, pending) = self.connections.0.counts();
        let (parked, _) = self.parked.0.counts();
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        ClusterStats {
            name: self.name.clone(),
            settings,
            ejected: endpoints.iter().filter(|e| e.ejected_until.is_some()).count(),
            endpoints,
            totals,
            active,
            retrying,
            retry_budget,
            retry_budget_spent,
            parked,
            connections,
            pending,
            retries: count(&self.overflow.granted),
            repicks: count(&self.overflow.repicks),
            no_endpoint: count(&self.overflow.no_endpoint),
            overflows: Overflows {
                requests: count(&self.overflow.requests),
                connections: count(&self.overflow.connections),
                pending: count(&self.overflow.pending),
                retries: count(&self.overflow.retries),
                retry_budget: count(&self.overflow.budget),
                parked: count(&self.overflow.parked),
            },
            ejections_withheld,
            events_dropped,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// The one way to change what views see: the list first, then the number by which they notice.
    fn publish(&self, state: &mut State) {
        let generation = state.publish();
        self.watch.0.due.store(state.due(), Ordering::Relaxed);
        self.watch.0.common.store(u32::from(state.common), Ordering::Relaxed);
        self.watch.0.generation.store(generation, Ordering::Release);
    }

    /// The present list.
    fn published(&self) -> Arc<List> {
        self.lock().published.clone()
    }

    fn limit(cell: &AtomicU32) -> u32 {
        cell.load(Ordering::Relaxed)
    }
}

fn endpoint_stats(endpoint: &Endpoint, weight: u32) -> EndpointStats {
    let load = |cell: &AtomicU32| cell.load(Ordering::Relaxed);
    EndpointStats {
        id: endpoint.id,
        address: endpoint.address.clone(),
        weight,
        active: load(&endpoint.active),
        parked: load(&endpoint.parked),
        connections: load(&endpoint.connections),
        consecutive_errors: load(&endpoint.consecutive),
        on_probation: endpoint.is_on_probation(),
        ejected_until: Some(Now(endpoint.ejected_until.load(Ordering::Relaxed))).filter(|until| until.0 != 0),
        last_ejection: Why::of(load(&endpoint.ejected_why))
            .map(|why| (Now(endpoint.ejected_at.load(Ordering::Relaxed)), why)),
        totals: endpoint.totals(),
    }
}
