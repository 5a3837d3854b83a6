//! How many downstream connections there may be, and who counts them.

use crate::ground::address::{Address, one_client};
use crate::ground::numbers::ListenerNumbers;
use crate::ground::process::Process;
use crate::ground::tls::numbers::Handshakes;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use weir_decide::tally::{Place, Tally};
use weir_measure::Measure;
use weir_measure::connections::{OpenConnection, Opened};

/// What all workers share of a listener.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) name: Arc<str>,
    pub(crate) open: AtomicU32,
    /// Sockets that workers still accept from.
    accepting: AtomicU32,
    /// All workers know it, so any of them can be handed a connection of it.
    pub(crate) everywhere: AtomicBool,
    pub(crate) max: AtomicU32,
    /// Connections by client address, all of those that have one, so that a limit that comes later counts them too.
    pub(crate) addresses: Arc<Tally<u128>>,
    pub(crate) numbers: ListenerNumbers,
    pub(crate) handshakes: Handshakes,
}

impl Shared {
    pub(crate) fn new(measure: &Arc<Measure>, config: &weir_config::Listener) -> Shared {
        Shared {
            name: Arc::clone(&config.name),
            open: AtomicU32::new(0),
            accepting: AtomicU32::new(0),
            everywhere: AtomicBool::new(false),
            max: AtomicU32::new(config.max_connections),
            addresses: Arc::default(),
            numbers: ListenerNumbers::new(measure, &config.name),
            handshakes: Handshakes::new(measure, &config.name),
        }
    }
}

impl Shared {
    /// Whether `client` has as many connections as it may have.
    pub(crate) fn is_full_of(&self, client: Address, limit: Option<u32>) -> bool {
        client.ip().is_some_and(|address| self.addresses.is_full(&one_client(address.ip()), limit))
    }

    /// Whether no connection is left, and none can come any more from any worker.
    pub(crate) fn is_over(&self) -> bool {
        // In this order: what was accepted last is counted before its worker ceases to accept.
        self.accepting.load(Ordering::Acquire) == 0 && self.open.load(Ordering::Acquire) == 0
    }
}

/// One worker accepts from one socket, until this is dropped.
#[derive(Debug)]
pub(crate) struct Accepts(Arc<Shared>);

impl Accepts {
    pub(crate) fn new(shared: &Arc<Shared>) -> Accepts {
        shared.accepting.fetch_add(1, Ordering::AcqRel);
        Accepts(Arc::clone(shared))
    }
}

impl Drop for Accepts {
    fn drop(&mut self) {
        self.0.accepting.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Keeps a connection counted, in its listener, its worker and the process: until both the service's future has ended and
/// whoever else was given a clone has dropped it.
#[derive(Debug, Clone)]
pub struct Held(Rc<Seat>);

#[derive(Debug)]
struct Seat {
    counted: Counted,
    opened: Opened,
}

impl Held {
    pub(crate) fn new(counted: Counted, opened: Opened) -> Held {
        Held(Rc::new(Seat { counted, opened }))
    }

    pub(crate) fn counted(&self) -> &Counted {
        &self.0.counted
    }

    /// The connection as it is shown.
    pub fn connection(&self) -> &OpenConnection {
        self.0.opened.connection()
    }
}

/// One connection in the counts.
#[derive(Debug)]
pub(crate) struct Counted {
    process: Arc<Process>,
    listener: Arc<Shared>,
    worker: usize,
    /// Its place among the connections of its client.
    client: RefCell<Option<Place<u128>>>,
}

impl Counted {
    /// Counts one more connection, if the limits have room for it.
    pub(crate) fn take(process: &Arc<Process>, listener: &Arc<Shared>, worker: usize) -> Option<Counted> {
        if !enter(&listener.open, &listener.max) {
            listener.numbers.refused_listener.inc();
            return None;
        }
        if !enter(&process.connections, &process.max_connections) {
            listener.open.fetch_sub(1, Ordering::AcqRel);
            listener.numbers.refused_process.inc();
            return None;
        }
        listener.numbers.open.add(1);
        process.add(worker);
        let (process, listener) = (Arc::clone(process), Arc::clone(listener));
        Some(Counted { process, listener, worker, client: RefCell::default() })
    }

    /// Counts it among the connections of `client`, if `limit` has room for it.
    pub(crate) fn belongs_to(&self, client: Address, limit: Option<u32>) -> bool {
        let Some(address) = client.ip() else { return true };
        let place = self.listener.addresses.enter(one_client(address.ip()), limit);
        if place.is_none() {
            self.listener.numbers.refused_address.inc();
            return false;
        }
        self.client.replace(place);
        true
    }

    /// Whether it has been counted for its client.
    pub(crate) fn is_known(&self) -> bool {
        self.client.borrow().is_some()
    }

    /// The connection goes to another worker.
    pub(crate) fn move_to(&mut self, worker: usize) {
        self.process.remove(self.worker);
        self.process.add(worker);
        self.worker = worker;
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.process.remove(self.worker);
        self.listener.numbers.open.sub(1);
        self.listener.open.fetch_sub(1, Ordering::AcqRel);
        self.process.closed();
    }
}

pub(crate) fn enter(count: &AtomicU32, max: &AtomicU32) -> bool {
    let max = max.load(Ordering::Relaxed);
    count.fetch_update(Ordering::AcqRel, Ordering::Relaxed, |count| (count < max).then(|| count + 1)).is_ok()
}
