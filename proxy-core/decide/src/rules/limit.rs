//! What limits remember: one word each, exact across workers.

use crate::exchange::Now;
use hashbrown::HashMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

/// A rate: so many in so long a time, and so many at once after a pause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Nanoseconds from one to the next in the long run.
    interval: u64,
    /// How many may come at once.
    burst: u32,
}

impl Rate {
    /// `count` in `per`, `burst` at once (each at least 1). The interval is rounded up to whole nanoseconds.
    pub fn new(count: u32, per: Duration, burst: u32) -> Rate {
        let per = u64::try_from(per.as_nanos()).unwrap_or(u64::MAX);
        Rate { interval: per.div_ceil(u64::from(count.max(1))).max(1), burst: burst.max(1) }
    }

    fn depth(self) -> u64 {
        self.interval.saturating_mul(u64::from(self.burst))
    }
}

/// A token bucket, full at first, shared by all workers: when it will be full again, the "theoretical arrival time" of the
/// generic cell rate algorithm (ITU-T I.371).
#[derive(Debug, Default)]
pub struct Bucket(AtomicU64);

impl Bucket {
    /// Takes one, if there is one. One compare and swap, so that workers together never take more than there is.
    pub fn take(&self, rate: Rate, now: Now) -> bool {
        let taken = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |full_at| {
            let next = full_at.max(now.0).saturating_add(rate.interval);
            (next - now.0 <= rate.depth()).then_some(next)
        });
        taken.is_ok()
    }

    /// Takes the next one, whether it is there yet or not; says when it is. Whoever waits until then has it for sure.
    pub fn book(&self, rate: Rate, now: Now) -> Now {
        let next = |full_at: u64| full_at.max(now.0).saturating_add(rate.interval);
        let before = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |full_at| Some(next(full_at)));
        let full_at = next(before.unwrap_or_default());
        Now(full_at.saturating_sub(rate.depth()).max(now.0))
    }

    /// Puts back what was taken and not used.
    pub fn give_back(&self, rate: Rate) {
        self.0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |full_at| {
                Some(full_at.saturating_sub(rate.interval))
            })
            .ok();
    }
}

/// What one rule remembers.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) bucket: Bucket,
    /// Operations under way.
    under_way: AtomicU32,
}

/// A place under a concurrency limit, given back when dropped.
#[derive(Debug)]
pub struct Permit(Arc<State>);

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A place among `limit`, if there is one.
pub(super) fn enter(state: &Arc<State>, limit: u32) -> Option<Permit> {
    state
        .under_way
        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| (n < limit).then_some(n + 1))
        .ok()
        .map(|_| Permit(Arc::clone(state)))
}

/// What all rules of the process remember, by where they are and what they are called. Locked only when rules are compiled.
#[derive(Debug, Default)]
pub struct States(Mutex<HashMap<Key, Weak<State>, foldhash::fast::RandomState>>);

/// Scope and name.
type Key = (Box<str>, Box<str>);

impl States {
    /// The state of the rule `name` in `scope`: that which is in use, or a new one.
    pub(super) fn of(&self, scope: &str, name: &str) -> Arc<State> {
        let mut states = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        states.retain(|_, state| state.strong_count() > 0);
        let key = (Box::from(scope), Box::from(name));
        if let Some(state) = states.get(&key).and_then(Weak::upgrade) {
            return state;
        }
        let state = Arc::new(State::default());
        states.insert(key, Arc::downgrade(&state));
        state
    }
}
