//! The circuit breaker: two counts in one atomic word, so that a decision about both is one compare-and-swap. Adding first
//! and looking afterwards would refuse operations that there was room for.

use super::sync::{AtomicU64, Ordering};

/// Two counts in one word. For requests: `low` all that are active, `high` those of them that are retries. For
/// connections: `low` the open ones, `high` the operations that wait for one.
#[derive(Debug)]
pub(crate) struct Gate(AtomicU64);

const HIGH: u64 = 1 << 32;

fn low(word: u64) -> u32 {
    word as u32
}

fn high(word: u64) -> u32 {
    (word >> 32) as u32
}

impl Gate {
    pub(crate) fn new() -> Gate {
        Gate(AtomicU64::new(0))
    }

    /// Both counts as of one moment.
    pub(crate) fn counts(&self) -> (u32, u32) {
        let word = self.0.load(Ordering::Acquire);
        (low(word), high(word))
    }

    fn change(&self, change: impl Fn(u32, u32, u64) -> Option<u64>) -> bool {
        let change = |word| change(low(word), high(word), word);
        self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, change).is_ok()
    }

    /// One more in `low`, if there are fewer than `max`.
    pub(crate) fn enter_low(&self, max: u32) -> bool {
        self.change(|low, _, word| (low < max).then(|| word + 1))
    }

    /// One more in `high`, if there are fewer than `max`.
    pub(crate) fn enter_high(&self, max: u32) -> bool {
        self.change(|_, high, word| (high < max).then(|| word + HIGH))
    }

    /// Whether one who is counted in `high` may stay so: the limit may have fallen since it entered.
    pub(crate) fn keeps_high(&self, max: u32) -> bool {
        self.counts().1 <= max
    }

    /// From `high` to `low`, if there are fewer than `max` in `low`.
    pub(crate) fn promote(&self, max: u32) -> bool {
        self.change(|low, _, word| (low < max).then(|| word + 1 - HIGH))
    }

    /// One less in `low`.
    pub(crate) fn leave_low(&self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }

    /// One less in `high`.
    pub(crate) fn leave_high(&self) {
        self.0.fetch_sub(HIGH, Ordering::AcqRel);
    }

    /// One less in both.
    pub(crate) fn leave_both(&self) {
        self.0.fetch_sub(HIGH + 1, Ordering::AcqRel);
    }
}
