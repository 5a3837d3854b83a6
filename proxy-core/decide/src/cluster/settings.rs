//! What a cluster is told by its configuration.

use super::gate::RetryLimit;
use super::sync::{AtomicU32, Ordering};
use std::time::Duration;

/// How a cluster's limits, balance and ejection are set.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// How endpoints are chosen.
    pub balance: Balance,
    /// The circuit breaker.
    pub limits: Limits,
    /// Taking failing endpoints out of rotation; `None`: never.
    pub ejection: Option<Ejection>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings { balance: Balance::RoundRobin, limits: Limits::default(), ejection: None }
    }
}

/// How endpoints are chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Balance {
    /// In turn, in proportion to the weights.
    RoundRobin,
    /// The less busy of two chosen at random (of all, where there are four or fewer), weights considered.
    LeastRequest,
}

/// The circuit breaker's limits. All are exact, over all workers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// Upstream connections, idle ones included.
    pub max_connections: u32,
    /// Operations that wait for a connection.
    pub max_pending: u32,
    /// Operations under way, those that wait for their retry included. Long polls are counted by `max_parked` alone.
    pub max_requests: u32,
    /// Retries under way or waiting.
    pub max_retries: u32,
    /// Retries as a share of the operations under way, in percent.
    pub retry_budget_percent: f64,
    /// The budget never falls below this many retries.
    pub retry_budget_min: u32,
    /// Long polls under way.
    pub max_parked: u32,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            max_connections: 1024,
            max_pending: 1024,
            max_requests: 1024,
            max_retries: 1024,
            retry_budget_percent: 20.0,
            retry_budget_min: 3,
            max_parked: Limits::MAX_PARKED,
        }
    }
}

impl Limits {
    /// Long polls under way when nothing else is said: each holds a connection of its own anyhow.
    pub const MAX_PARKED: u32 = 65_536;
}

/// When an endpoint is taken out of rotation, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ejection {
    /// Failures in a row that eject an endpoint. Zero counts as one.
    pub consecutive_errors: u32,
    /// An endpoint that stays in rotation this long is one ejection further from a long one.
    pub interval: Duration,
    /// How long the first ejection lasts; the n-th in a row lasts n times as long.
    pub base_ejection_time: Duration,
    /// No ejection lasts longer (nor any shorter than the base).
    pub max_ejection_time: Duration,
    /// How many of the endpoints may be ejected at once: at least one, never the last. Zero: none.
    pub max_ejection_percent: u32,
}

impl Default for Ejection {
    fn default() -> Ejection {
        Ejection {
            consecutive_errors: 5,
            interval: Duration::from_secs(10),
            base_ejection_time: Duration::from_secs(30),
            max_ejection_time: Duration::from_secs(300),
            max_ejection_percent: 50,
        }
    }
}

impl Ejection {
    /// How many of `members` endpoints may be ejected at once.
    pub(crate) fn allowed(&self, members: usize) -> usize {
        let percent = usize::try_from(self.max_ejection_percent).unwrap_or(100).min(100);
        if percent == 0 {
            return 0;
        }
        (members.saturating_mul(percent) / 100).max(1).min(members.saturating_sub(1))
    }

    /// How long the `nth` ejection in a row lasts.
    pub(crate) fn length(&self, nth: u32) -> Duration {
        self.base_ejection_time.saturating_mul(nth).min(self.max_ejection_time.max(self.base_ejection_time))
    }
}

/// The limits as the request path reads them. Changing them is not one atomic step: for a moment an operation may see one
/// limit of before beside one of after, never a torn value.
#[derive(Debug)]
pub(crate) struct LiveLimits {
    pub(crate) max_connections: AtomicU32,
    pub(crate) max_pending: AtomicU32,
    pub(crate) max_requests: AtomicU32,
    max_retries: AtomicU32,
    budget_share: AtomicU32,
    budget_min: AtomicU32,
    pub(crate) max_parked: AtomicU32,
    /// Failures in a row that eject; 0: never.
    pub(crate) consecutive_errors: AtomicU32,
}

impl LiveLimits {
    pub(crate) fn new(settings: &Settings) -> LiveLimits {
        let zero = || AtomicU32::new(0);
        let live = LiveLimits {
            max_connections: zero(),
            max_pending: zero(),
            max_requests: zero(),
            max_retries: zero(),
            budget_share: zero(),
            budget_min: zero(),
            max_parked: zero(),
            consecutive_errors: zero(),
        };
        live.set(settings);
        live
    }

    pub(crate) fn set(&self, settings: &Settings) {
        let limits = &settings.limits;
        let store = |cell: &AtomicU32, value| cell.store(value, Ordering::Relaxed);
        store(&self.max_connections, limits.max_connections);
        store(&self.max_pending, limits.max_pending);
        store(&self.max_requests, limits.max_requests);
        store(&self.max_retries, limits.max_retries);
        // Saturating: NaN and negatives become 0.
        store(&self.budget_share, (limits.retry_budget_percent * 100.0) as u32);
        store(&self.budget_min, limits.retry_budget_min);
        store(&self.max_parked, limits.max_parked);
        store(&self.consecutive_errors, settings.ejection.map_or(0, |e| e.consecutive_errors.max(1)));
    }

    pub(crate) fn retries(&self) -> RetryLimit {
        RetryLimit {
            max: self.max_retries.load(Ordering::Relaxed),
            share: self.budget_share.load(Ordering::Relaxed),
            floor: self.budget_min.load(Ordering::Relaxed),
        }
    }
}
