//! Idle upstream connections, kept for the next operation. Each worker has its own; the limit is the cluster's, so an idle
//! connection of one worker makes room for another worker's.

use crate::ground::time;
use crate::upstream::cluster::{Cluster, Slot, Sweep};
use hashbrown::HashMap;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::{Rc, Weak};
use std::task::{Context, Waker};
use std::time::Duration;
use weir_decide::cluster::Pick;
use weir_decide::exchange::{EndpointId, Fault, Now};

/// The most idle connections per endpoint that one pool keeps; beyond it the oldest is closed.
pub const MAX_IDLE: usize = 1024;

/// How long a connection rests whose last reply had no body: some turns of the worker, so that what its peer says
/// behind that reply comes before anybody else's request.
pub const REST: Duration = Duration::from_millis(2);

/// A connection that can be used again.
pub trait Reusable {
    /// Whether the peer has closed it, or sent what nobody asked for, or the endpoint's name has moved
    /// ([`Slot::is_outdated`]): it must not be used again. Called with a waker that
    /// does nothing, on every coarse tick; [`Io::poll_readable`](crate::Io::poll_readable) answers it without a system call for as
    /// long as nothing has come.
    fn is_broken(&mut self, cx: &mut Context<'_>) -> bool;

    /// The same of the very moment, asked before it is handed out: [`Io::look`](crate::Io::look) answers it.
    fn is_spoilt(&mut self) -> bool;
}

impl Reusable for crate::upstream::cluster::Connected {
    fn is_broken(&mut self, cx: &mut Context<'_>) -> bool {
        self.slot.is_outdated() || (self.io.poll_readable(cx).is_ready() && self.is_spoilt())
    }

    fn is_spoilt(&mut self) -> bool {
        self.slot.is_outdated() || self.io.look() != crate::ground::io::Look::Quiet
    }
}

/// Idle connections of one kind to one cluster, on one worker. The one used last is used first, so that the others can time
/// out. An idle connection keeps its [`Slot`], inside of `C`.
pub struct Pool<C> {
    cluster: Rc<Cluster>,
    idle: RefCell<ByEndpoint<C>>,
}

/// Connections and since when they are idle, the oldest first.
type ByEndpoint<C> = HashMap<EndpointId, VecDeque<(Now, C)>, foldhash::fast::RandomState>;

/// What [`Pool::get`] found.
#[derive(Debug)]
pub enum Found<C> {
    /// A connection that has been used before. The peer may be closing it just now.
    Idle(C),
    /// Room for a new one: [`Cluster::dial`] makes it.
    Room(Slot),
}

impl<C: Reusable + 'static> Pool<C> {
    /// An empty pool.
    pub fn new(cluster: &Rc<Cluster>) -> Rc<Pool<C>> {
        let pool = Rc::new(Pool { cluster: Rc::clone(cluster), idle: RefCell::default() });
        let sweep: Weak<dyn Sweep> = Rc::<Pool<C>>::downgrade(&pool);
        cluster.register(sweep);
        pool
    }

    /// The cluster whose connections it keeps.
    pub fn cluster(&self) -> &Rc<Cluster> {
        &self.cluster
    }

    /// An idle connection to the picked endpoint, or room for a new one; waits where there is neither, as
    /// [`Cluster::slot`] does.
    pub async fn get(&self, pick: &Pick, deadline: Option<Now>) -> Result<Found<C>, Fault> {
        if let Some(connection) = self.take(pick.id()) {
            return Ok(Found::Idle(connection));
        }
        let found = self.cluster.slot_or(pick, deadline, || self.take(pick.id())).await?;
        Ok(match found {
            crate::upstream::cluster::FoundSlot::Slot(slot) => Found::Room(slot),
            crate::upstream::cluster::FoundSlot::Other(connection) => Found::Idle(connection),
        })
    }

    /// The idle connection to `endpoint` that was used last, if there is one that still stands.
    pub fn take(&self, endpoint: EndpointId) -> Option<C> {
        let mut idle = self.idle.borrow_mut();
        let list = idle.get_mut(&endpoint)?;
        while let Some((_, mut connection)) = list.pop_back() {
            if !connection.is_spoilt() {
                return Some(connection);
            }
        }
        None
    }

    /// Keeps a connection that has nothing under way, after a while in which nothing may come on it: a peer that says more than it
    /// was asked for says it late.
    pub fn put_later(self: &Rc<Self>, endpoint: EndpointId, connection: C) {
        let pool = Rc::downgrade(self);
        tokio::task::spawn_local(async move {
            tokio::time::sleep(REST).await;
            if let Some(pool) = pool.upgrade() {
                pool.put(endpoint, connection);
            }
        });
    }

    /// Keeps a connection that has nothing under way.
    pub fn put(&self, endpoint: EndpointId, connection: C) {
        let now = time::now();
        let surplus = {
            let mut idle = self.idle.borrow_mut();
            let list = idle.entry(endpoint).or_default();
            list.push_back((now, connection));
            if list.len() > MAX_IDLE { list.pop_front() } else { None }
        };
        if surplus.is_some() {
            self.cluster.numbers().surplus.inc();
        }
        drop(surplus);
        self.cluster.idled(now);
    }

    /// How many idle connections there are.
    pub fn len(&self) -> usize {
        self.idle.borrow().values().map(VecDeque::len).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Closes all of them.
    pub fn clear(&self) {
        let closed = std::mem::take(&mut *self.idle.borrow_mut());
        drop(closed);
    }
}

impl<C: Reusable> Sweep for Pool<C> {
    fn oldest(&self) -> Option<Now> {
        self.idle.borrow().values().filter_map(|list| Some(list.front()?.0)).min()
    }

    fn evict(&self) -> bool {
        // Dropped after the borrow: a slot that is given back may wake somebody, who may look in here.
        let evicted = {
            let mut idle = self.idle.borrow_mut();
            let oldest = idle.values_mut().filter_map(|list| Some((list.front()?.0, list)));
            oldest.min_by_key(|(since, _)| *since).and_then(|(_, list)| list.pop_front())
        };
        evicted.is_some()
    }

    fn sweep(&self, now: Now, timeout: Duration) {
        let mut cx = Context::from_waker(Waker::noop());
        let mut closed = Vec::new();
        let mut idle = self.idle.borrow_mut();
        for list in idle.values_mut() {
            while list.front().is_some_and(|(since, _)| now >= since.after(timeout)) {
                closed.extend(list.pop_front());
            }
            let mut at = 0;
            while let Some((_, connection)) = list.get_mut(at) {
                if connection.is_broken(&mut cx) {
                    closed.extend(list.remove(at));
                } else {
                    at += 1;
                }
            }
        }
        // Endpoints come and go with a resolver's answers; few empty lists are kept to save allocating them again.
        if idle.len() > 16 && idle.values().filter(|list| list.is_empty()).count() > idle.len() / 2 {
            idle.retain(|_, list| !list.is_empty());
        }
        drop(idle);
        drop(closed);
    }
}
