//! Going away in order: who serves a connection learns that it shall come to an end, and brings it there.

use std::cell::Cell;
use tokio::sync::Notify;

/// Whether something (a listener, or the whole worker) is draining. Shared by the connections it concerns.
#[derive(Debug, Default)]
pub struct Drain {
    draining: Cell<bool>,
    begun: Notify,
}

impl Drain {
    /// Whether it has begun. Finish what is under way, begin nothing new, close.
    pub fn is_draining(&self) -> bool {
        self.draining.get()
    }

    /// Returns when it begins; at once if it has. A connection that waits for its client waits for this too.
    pub async fn wait(&self) {
        // Between the check and the first poll of `notified` nothing else can run on this thread.
        if !self.draining.get() {
            self.begun.notified().await;
        }
    }

    pub(crate) fn begin(&self) {
        self.draining.set(true);
        self.begun.notify_waiters();
    }
}
