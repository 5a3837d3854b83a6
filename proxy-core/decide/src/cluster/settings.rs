//! What a cluster is told by its configuration.

use super::budget::Allowance;
use super::sync::{AtomicU32, Ordering};
use std::time::Duration;
use weir_config::{Balance, CircuitBreaker, OutlierEjection};

/// How a cluster's limits, balance and ejection are set.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// How endpoints are chosen.
    pub balance: Balance,
    /// The circuit breaker's limits, exact over all workers.
    pub limits: CircuitBreaker,
    /// Taking failing endpoints out of rotation; `None`: never.
    pub ejection: Option<OutlierEjection>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings { balance: Balance::RoundRobin, limits: CircuitBreaker::default(), ejection: None }
    }
}

impl From<&weir_config::Cluster> for Settings {
    fn from(cluster: &weir_config::Cluster) -> Settings {
        Settings {
            balance: cluster.balance,
            limits: cluster.circuit_breaker,
            ejection: cluster.outlier_ejection,
        }
    }
}

/// How many of `members` endpoints may be out at once: the percentage rounded down, at least one, never all of them.
pub(crate) fn ejectable(ejection: &OutlierEjection, members: usize) -> usize {
    let percent = usize::try_from(ejection.max_ejection_percent).unwrap_or(100);
    let least = usize::from(percent > 0);
    (members.saturating_mul(percent) / 100).max(least).min(members.saturating_sub(1))
}

/// How long the `nth` ejection in a row lasts: n times the base, at most `max_ejection_time`, at least the base.
pub(crate) fn ejection_length(ejection: &OutlierEjection, nth: u32) -> Duration {
    let longest = ejection.max_ejection_time.max(ejection.base_ejection_time);
    ejection.base_ejection_time.saturating_mul(nth).min(longest)
}

/// The limits as the request path reads them. Changing them is not one atomic step: for a moment an operation may see one
/// limit of before beside one of after, never a torn value.
#[derive(Debug)]
pub(crate) struct LiveLimits {
    pub(crate) max_connections: AtomicU32,
    pub(crate) max_pending: AtomicU32,
    pub(crate) max_requests: AtomicU32,
    pub(crate) max_retries: AtomicU32,
    budget_percent: AtomicU32,
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
            budget_percent: zero(),
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
        store(&self.budget_percent, limits.retry_budget.percent);
        store(&self.budget_min, limits.retry_budget.min_retries);
        store(&self.max_parked, limits.max_parked);
        store(&self.consecutive_errors, settings.ejection.map_or(0, |e| e.consecutive_errors.max(1)));
    }

    pub(crate) fn budget(&self) -> Allowance {
        Allowance {
            percent: self.budget_percent.load(Ordering::Relaxed),
            floor: self.budget_min.load(Ordering::Relaxed),
        }
    }
}
