//! The one place that reads a clock. Everything else gets a [`Now`] passed in.
#![allow(clippy::disallowed_methods)]

use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use weir_decide::exchange::Now;

/// The moment that [`Now`] counts from: the first time anybody asked. One for the whole process, so that moments of
/// different workers compare.
static START: OnceLock<Instant> = OnceLock::new();

fn start() -> Instant {
    *START.get_or_init(Instant::now)
}

/// This moment on the process's monotonic clock. About 25 ns: the shells read it once or twice per operation.
/// Never zero, which several counters use for "never".
pub fn now() -> Now {
    Now(u64::try_from(start().elapsed().as_nanos()).unwrap_or(u64::MAX).saturating_add(1))
}

/// The runtime's timer deadline for `at`.
pub fn deadline(at: Now) -> tokio::time::Instant {
    tokio::time::Instant::from_std(start() + Duration::from_nanos(at.0))
}

/// The wall clock, for what is shown to people.
pub fn wall() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Something to seed a worker's random numbers with: different for every process and every `salt`.
pub(crate) fn seed(salt: u64) -> u64 {
    use std::hash::{BuildHasher, Hasher};
    let mut hasher = std::collections::hash_map::RandomState::new().build_hasher();
    hasher.write_u64(salt);
    hasher.finish()
}
