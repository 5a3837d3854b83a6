//! What a cluster limits, and when it takes endpoints out of rotation.

use crate::keys::keys;
use crate::table::Kind;
use crate::tables::{COUNT, HOUR, PERCENT, SOME, WAIT};
use std::time::Duration;

keys! {
    /// The limits of a cluster, exact over all workers.
    pub struct CircuitBreaker in CIRCUIT_BREAKER = "circuit_breaker",
        "The limits of a cluster, exact over all workers. What is over a limit is refused at once, and counted.";
    rules: &[];
    keys {
        max_connections: u32 = SOME, "16384", "The most connections.";
        max_pending: u32 = COUNT, "1024", "The most operations that wait for a connection.";
        max_requests: u32 = SOME, "16384", "The most operations in flight; long polls are not counted.";
        max_parked: u32 = COUNT, "65536", "The most long polls in flight.";
        max_retries: u32 = COUNT, "1024", "The most retries in flight.";
    }
    sections {
        retry_budget: RetryBudget in RETRY_BUDGET,
            "The most retries over ten seconds, relative to the first tries; holds beside `max_retries`. Left out: as with `{}`.";
    }
}

keys! {
    /// How many retries there may be over ten seconds: `percent` of the first tries, and `min_retries` a second besides.
    pub struct RetryBudget in RETRY_BUDGET = "retry_budget",
        "How many retries there may be over ten seconds: `percent` of the first tries in that time, and `min_retries` a second \
          besides. It is for tries that may have reached a server; going elsewhere because no connection could be made costs \
          nothing of it.";
    rules: &[];
    keys {
        percent: u32 = PERCENT, "20", "Per hundred first tries.";
        min_retries: u32 = COUNT, "3", "So many a second are allowed besides.";
    }
}

keys! {
    /// When an endpoint is taken out of rotation, and for how long.
    pub struct OutlierEjection in OUTLIER_EJECTION = "outlier_ejection",
        "When an endpoint is taken out of rotation, and for how long. What counts: connections that cannot be made, lost ones, \
          timeouts, the server's own failures; and five operations in a row (or `consecutive_errors`, if that is more) that their \
          clients left after 100 ms or more without a byte of a reply. When its time is over one operation decides whether it is \
          back. Where no more may be out and everything else fails as well, all come back at once, and none is ejected until one \
          has answered well.";
    rules: &[];
    keys {
        consecutive_errors: u32 = SOME, "5", "So many failures in a row eject it.";
        interval: Duration = Kind::Duration { min: 10, max: HOUR }, "10s",
            "Each `interval` that an endpoint spends in rotation, and answers in, lowers its ejection multiplier by one.";
        base_ejection_time: Duration = WAIT, "30s",
            "The n-th ejection in a row lasts n times this, up to `max_ejection_time`.";
        max_ejection_time: Duration = Kind::Duration { min: 1, max: 24 * HOUR }, "300s", "The longest an ejection lasts.";
        max_ejection_percent: u32 = Kind::Integer { min: 1, max: 100 }, "50",
            "The most endpoints that are out at a time, per hundred, rounded down; at least one, never the last one.";
    }
}
