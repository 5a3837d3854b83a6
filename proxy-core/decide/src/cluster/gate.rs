//! The circuit breaker: two counts in one atomic word, so that a decision about both is one compare-and-swap. Adding first
//! and looking afterwards would refuse operations that there was room for.

use super::sync::{AtomicU64, Ordering};

/// How many retries may be under way at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RetryLimit {
    /// Never more than this many.
    pub(crate) max: u32,
    /// Of the requests that are active (the retries included), in hundredths of a percent.
    pub(crate) share: u32,
    /// The budget never falls below this many.
    pub(crate) floor: u32,
}

impl RetryLimit {
    /// The limit while `active` requests are under way.
    pub(crate) fn at(self, active: u32) -> u32 {
        self.budget(active).min(self.max)
    }

    /// What the budget alone allows while `active` requests are under way.
    pub(crate) fn budget(self, active: u32) -> u32 {
        let share = u64::from(active).saturating_mul(u64::from(self.share)) / 10_000;
        u32::try_from(share).unwrap_or(u32::MAX).max(self.floor)
    }

    /// Which of the two refuses one more beside `others`.
    fn met(self, others: u32) -> RetryRefused {
        if others >= self.max { RetryRefused::Limit } else { RetryRefused::Budget }
    }
}

/// Why there is no room for a retry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RetryRefused {
    /// `max_retries` are under way.
    Limit,
    /// There are fewer, but as many as the budget allows.
    Budget,
}

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
        self.try_change(change).is_ok()
    }

    /// An error is the word that was not changed.
    fn try_change(&self, change: impl Fn(u32, u32, u64) -> Option<u64>) -> Result<u64, u64> {
        self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, |word| change(low(word), high(word), word))
    }

    /// One more in `low`, if there are fewer than `max`.
    pub(crate) fn enter_low(&self, max: u32) -> bool {
        self.change(|low, _, word| (low < max).then(|| word + 1))
    }

    /// One more in `high`, if there are fewer than `max`.
    pub(crate) fn enter_high(&self, max: u32) -> bool {
        self.change(|_, high, word| (high < max).then(|| word + HIGH))
    }

    /// One more in `high`, if there is room for it beside the present `low`.
    pub(crate) fn enter_retry(&self, limit: RetryLimit) -> Result<(), RetryRefused> {
        self.try_change(|low, high, word| (high < limit.at(low)).then(|| word + HIGH))
            .map(drop)
            .map_err(|word| limit.met(high(word)))
    }

    /// Whether one who is counted in both may stay so: the limit may have fallen since it entered.
    pub(crate) fn keeps_retry(&self, limit: RetryLimit) -> Result<(), RetryRefused> {
        let (low, high) = self.counts();
        if high <= limit.at(low) { Ok(()) } else { Err(limit.met(high.saturating_sub(1))) }
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
