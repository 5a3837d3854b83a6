//! How many connections there may be, and who counts them.

use crate::numbers::ListenerNumbers;
use crate::process::Process;
use crate::tls::numbers::Handshakes;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// What all workers share of a listener.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) name: Arc<str>,
    pub(crate) open: AtomicU32,
    pub(crate) max: AtomicU32,
    pub(crate) numbers: ListenerNumbers,
    pub(crate) handshakes: Handshakes,
}

/// Keeps a connection counted, in its listener, its worker and the process: until both the service's future has ended and
/// whoever else was given a clone has dropped it.
#[derive(Debug, Clone)]
pub struct Held(#[expect(dead_code, reason = "held, not read")] pub(super) Rc<Counted>);

/// One connection in the counts.
#[derive(Debug)]
pub(super) struct Counted {
    process: Arc<Process>,
    listener: Arc<Shared>,
    worker: usize,
}

impl Counted {
    /// Counts one more connection, if the limits have room for it.
    pub(super) fn take(process: &Arc<Process>, listener: &Arc<Shared>, worker: usize) -> Option<Counted> {
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
        Some(Counted { process: Arc::clone(process), listener: Arc::clone(listener), worker })
    }

    /// The connection goes to another worker.
    pub(super) fn move_to(&mut self, worker: usize) {
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

pub(super) fn enter(count: &AtomicU32, max: &AtomicU32) -> bool {
    let max = max.load(Ordering::Relaxed);
    count.fetch_update(Ordering::AcqRel, Ordering::Relaxed, |count| (count < max).then(|| count + 1)).is_ok()
}
