//! Going away in order: who serves a connection learns that it shall come to an end, and brings it there. Who takes longer
//! than the configuration's `drain_timeout` is cut off.

use hashbrown::HashMap;
use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::{AbortHandle, Id};
use weir_decide::exchange::Now;

/// Whether something (a listener, or the whole worker) is draining. Shared by the connections it concerns.
#[derive(Debug, Default)]
pub struct Drain {
    since: Cell<Option<Now>>,
    begun: Notify,
    /// The tasks that serve the connections. Touched when one comes and when it goes, never between.
    tasks: RefCell<HashMap<Id, AbortHandle>>,
    company: Arc<Company>,
}

/// How many connections drain together, on all workers, and how many of them stay only for the sake of the others.
#[derive(Debug, Default)]
pub(crate) struct Company {
    all: AtomicU32,
    staying: AtomicU32,
}

/// A connection that stays for the sake of the others says so by holding one.
#[derive(Debug)]
pub(crate) struct Staying(Arc<Company>);

impl Drop for Staying {
    fn drop(&mut self) {
        self.0.staying.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Drain {
    /// Of connections that drain together with others, on other workers.
    pub(crate) fn with(company: &Arc<Company>) -> Drain {
        Drain { company: Arc::clone(company), ..Drain::default() }
    }

    /// The caller stays only for the sake of others.
    pub(crate) fn stay(&self) -> Staying {
        self.company.staying.fetch_add(1, Ordering::AcqRel);
        Staying(Arc::clone(&self.company))
    }

    /// Whether nobody is left but those that stay for the sake of others.
    pub(crate) fn is_deserted(&self) -> bool {
        self.company.all.load(Ordering::Acquire) <= self.company.staying.load(Ordering::Acquire)
    }

    /// Whether half of `limit` has passed since it began.
    pub(crate) fn is_half_over(&self, limit: Duration, now: Now) -> bool {
        self.since.get().is_some_and(|since| now >= since.after(limit / 2))
    }

    /// Whether it has begun. Finish what is under way, begin nothing new, close.
    pub fn is_draining(&self) -> bool {
        self.since.get().is_some()
    }

    /// Returns when it begins; at once if it has. A connection that waits for its client waits for this too.
    pub async fn wait(&self) {
        // Between the check and the first poll of `notified` nothing else can run on this thread.
        if !self.is_draining() {
            self.begun.notified().await;
        }
    }

    pub(crate) fn begin(&self, now: Now) {
        self.since.set(self.since.get().or(Some(now)));
        self.begun.notify_waiters();
    }

    /// A task serves one of its connections.
    pub(crate) fn enter(&self, task: AbortHandle) {
        self.company.all.fetch_add(1, Ordering::AcqRel);
        self.tasks.borrow_mut().insert(task.id(), task);
    }

    /// That task ends.
    pub(crate) fn leave(&self, task: Id) {
        self.company.all.fetch_sub(1, Ordering::AcqRel);
        self.tasks.borrow_mut().remove(&task);
    }

    /// Cuts off what is left, if it has had `limit` to come to its end. Says how many connections that were.
    pub(crate) fn cut_after(&self, limit: Duration, now: Now) -> usize {
        let over = |since: Now| u128::from(now.since(since)) >= limit.as_nanos();
        if !self.since.get().is_some_and(over) {
            return 0;
        }
        // Taken out first: a task that is dropped leaves.
        let tasks = self.tasks.take();
        tasks.values().for_each(AbortHandle::abort);
        tasks.len()
    }
}
