//! What a connection is doing: whoever has waited longest for its client goes first when there is no room.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;
use tokio::task::AbortHandle;
use tokio::time::Instant;

/// What a connection is doing, and since when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Doing {
    /// Nothing: its next request has not begun.
    Idle,
    /// A head has begun and is not whole, or the first is awaited.
    Head,
    /// It is answered.
    Answer,
}

/// Shared by those who look after one connection.
#[derive(Debug, Clone)]
pub(crate) struct Life(Arc<Mutex<(Doing, Instant)>>);

impl Life {
    pub(crate) fn new(now: Instant) -> Life {
        Life(Arc::new(Mutex::new((Doing::Head, now))))
    }

    /// It does something else from `now` on.
    pub(crate) fn does(&self, doing: Doing, now: Instant) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = (doing, now);
    }

    /// Bytes have come from the client at `now`.
    pub(crate) fn heard(&self, now: Instant) {
        let mut life = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if life.0 == Doing::Idle {
            *life = (Doing::Head, now);
        }
    }

    pub(crate) fn now(&self) -> (Doing, Instant) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The connections that are open.
#[derive(Debug, Default)]
pub(crate) struct Open(Vec<(Life, AbortHandle)>);

impl Open {
    /// How many there are by now.
    pub(crate) fn count(&mut self) -> usize {
        self.0.retain(|(_, task)| !task.is_finished());
        self.0.len()
    }

    pub(crate) fn add(&mut self, life: Life, task: AbortHandle) {
        self.0.push((life, task));
    }

    /// Ends the one that has waited longest for its client, if any waits for as long as `least`. One that is being answered does not.
    pub(crate) fn make_room(&mut self, least: Duration, now: Instant) -> bool {
        let waits = |(at, (life, _)): (usize, &(Life, AbortHandle))| {
            let (doing, since) = life.now();
            (doing != Doing::Answer && now.duration_since(since) >= least).then_some((since, at))
        };
        let Some((_, at)) = self.0.iter().enumerate().filter_map(waits).min() else { return false };
        let (_, task) = self.0.swap_remove(at);
        task.abort();
        true
    }
}
