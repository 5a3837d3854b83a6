//! Accepting: one listening socket per worker and address, limits, hand-over to a less loaded worker, TLS; then the
//! connection is the service's.
//!
//! The sockets belong to the process. The first one of an address is bound, and listens, exclusively, so that a second
//! Weir on the same port is an error; then it and the others get SO_REUSEPORT, and the kernel spreads connections over them by
//! a hash, which wakes one worker per connection and needs no lock. What the hash does unevenly, the hand-over puts right.
//! A Unix socket cannot be shared like that: one worker accepts from it, and hands over in the same way.
//! One shared socket would wake every worker for each connection (tokio has no EPOLLEXCLUSIVE), and an accepting
//! thread would cost each connection a wake-up of another thread.
//!
//! Closing a listening socket resets what waits in its queue. So a socket is only closed when its listener is removed, moved to
//! another address, or drained, and whoever closes it accepts what is queued first. When a reload gives an address to
//! a listener of another name, that takes over the sockets, and what is queued on them.
//!
//! Beside its own address a listener may have doors: further addresses that its filter opens and closes while it runs
//! ([`Front`](crate::Front)). What comes through one is served like anything else; `Accepted::local` tells them apart.

mod accept;
mod admission;
mod header;
mod place;
mod secure;
mod sockets;
pub(crate) mod unix;

pub(crate) use admission::Admission;
pub use place::MAX_HANDED;
pub(crate) use place::{Handed, Hands};
pub(crate) use secure::Tls;
pub(crate) use sockets::Sockets;

use crate::ground::address::Address;
use crate::ground::counted::{Accepts, Shared};
use crate::ground::drain::Drain;
use crate::shells::filter::Service;
use crate::shells::worker::Worker;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use tokio::sync::{Notify, oneshot};

/// A listener on one worker.
pub(crate) struct Listening {
    pub(crate) shared: Arc<Shared>,
    pub(crate) current: RefCell<Current>,
    /// One per address: the listener's own, and its doors.
    accepting: RefCell<Vec<Accepting>>,
    /// Other workers.
    hands: Hands,
    /// The settings may be others than those that somebody waits by.
    changed: Notify,
}

/// What a reload replaces.
#[derive(Clone)]
pub(crate) struct Current {
    pub(crate) config: Arc<weir_config::Listener>,
    pub(crate) service: Rc<dyn Service>,
    pub(crate) admission: Arc<Admission>,
    pub(crate) tls: Option<Tls>,
    /// Of the connections of this service.
    pub(crate) drain: Rc<Drain>,
}

struct Accepting {
    sockets: Arc<Sockets>,
    stop: oneshot::Sender<Moved>,
    task: tokio::task::JoinHandle<()>,
}

/// What a task that accepts is told: another listener goes on with its socket, and with what is queued there. If it is told nothing
/// when its time has come, that is its own.
#[derive(Debug)]
struct Moved;

impl Accepting {
    /// Accepts no more, or nothing at all of what has moved to another listener. The task ends when its socket is closed.
    fn leave(self, moved: impl Fn(&Arc<Sockets>) -> bool) -> tokio::task::JoinHandle<()> {
        if moved(&self.sockets) {
            self.stop.send(Moved).ok();
        }
        self.task
    }
}

impl Listening {
    pub(crate) fn new(shared: &Arc<Shared>, current: Current, hands: &Hands) -> Rc<Listening> {
        Rc::new(Listening {
            shared: Arc::clone(shared),
            current: RefCell::new(current),
            accepting: RefCell::default(),
            hands: Arc::clone(hands),
            changed: Notify::new(),
        })
    }

    /// Accepts from all of `sockets`, and no more from others. `moved` says whether another listener goes on with some.
    pub(crate) fn accept_from(
        self: &Rc<Self>,
        worker: &Rc<Worker>,
        sockets: &[&Arc<Sockets>],
        moved: impl Fn(&Arc<Sockets>) -> bool,
    ) {
        self.changed.notify_waiters();
        let mut accepting = self.accepting.borrow_mut();
        // Those that go accept what is queued first: see `accept`.
        let stays = |now: &mut Accepting| sockets.iter().any(|kept| Arc::ptr_eq(&now.sockets, kept));
        for gone in accepting.extract_if(.., |now| !stays(now)) {
            gone.leave(&moved);
        }
        for sockets in sockets {
            if !accepting.iter().any(|now| Arc::ptr_eq(&now.sockets, sockets)) {
                accepting.push(self.begin(worker, sockets));
            }
        }
    }

    /// Begins to accept from `sockets`, as soon as they listen.
    fn begin(self: &Rc<Self>, worker: &Rc<Worker>, sockets: &Arc<Sockets>) -> Accepting {
        let (stop, mut stopped) = oneshot::channel();
        let accepts = Accepts::new(&self.shared);
        let (listening, worker, its) = (Rc::clone(self), Rc::clone(worker), Arc::clone(sockets));
        let accepting = async move {
            tokio::select! {
                biased;
                () = its.listening() => {}
                // It never listened, so nothing is queued.
                _ = &mut stopped => return,
            }
            if let Some(listener) = listening.take(&worker, &its) {
                let bound = its.local.ip().map_or(Address::Unix, Address::Ip);
                drop(its);
                accept::accept(listening, worker, listener, bound, stopped).await;
            }
            drop(accepts);
        };
        Accepting { sockets: Arc::clone(sockets), stop, task: tokio::task::spawn_local(accepting) }
    }

    /// The worker's own of `sockets`; `None` when it accepts from none of them.
    fn take(&self, worker: &Worker, sockets: &Sockets) -> Option<sockets::Listener> {
        sockets.take(worker.index()).unwrap_or_else(|error| {
            self.shared.numbers.accept_errors.inc();
            tracing::error!(listener = %self.shared.name, worker = worker.index(), %error, "a socket cannot be used");
            None
        })
    }

    /// Accepts what is queued, then no more; connections are told to come to an end. Each task ends when its socket is
    /// closed. `moved` says whether another listener goes on with some sockets: what is queued there is that one's.
    pub(crate) fn retire(&self, moved: impl Fn(&Arc<Sockets>) -> bool) -> Vec<tokio::task::JoinHandle<()>> {
        self.current.borrow().drain.begin(crate::ground::time::now());
        let accepting = self.accepting.take().into_iter();
        accepting.map(|accepting| accepting.leave(&moved)).collect()
    }
}
