//! The one place that reads a clock. Everything else gets a [`Now`] passed in.
#![allow(clippy::disallowed_methods)]

use rustix::time::{ClockId, clock_gettime};
use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use weir_decide::exchange::Now;

/// The moment that [`Now`] counts from: the first time anybody asked, as the runtime's timers have it and on the system's monotonic
/// clock. One for the whole process, so that moments of different workers compare.
static START: OnceLock<(Instant, u64)> = OnceLock::new();

fn start() -> &'static (Instant, u64) {
    START.get_or_init(|| {
        // In this order: what passes between the two makes timers late by that, and none early.
        let zero = monotonic();
        (Instant::now(), zero)
    })
}

/// Nanoseconds on the system's monotonic clock, which is [`Instant`]'s: a plain number needs a third of the instructions.
fn monotonic() -> u64 {
    let at = clock_gettime(ClockId::Monotonic);
    at.tv_sec.cast_unsigned().wrapping_mul(1_000_000_000).wrapping_add(at.tv_nsec.cast_unsigned())
}

/// This moment on the process's monotonic clock. About 25 ns: the shells read it once or twice per operation.
/// Never zero, which several counters use for "never".
pub fn now() -> Now {
    let (_, zero) = start();
    Now(monotonic().saturating_sub(*zero).saturating_add(1))
}

/// The runtime's timer deadline for `at`.
pub fn deadline(at: Now) -> tokio::time::Instant {
    let (zero, _) = start();
    tokio::time::Instant::from_std(*zero + Duration::from_nanos(at.0))
}

/// The wall clock, for what is shown to people.
pub fn wall() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// When `at` was, in seconds of the wall clock as it is now, to the millisecond.
pub fn wall_at(at: Now) -> f64 {
    let ago = Duration::from_nanos(now().since(at));
    wall().saturating_sub(ago).as_millis() as f64 / 1e3
}

/// Something to seed a worker's random numbers with: different for every process and every `salt`.
pub(crate) fn seed(salt: u64) -> u64 {
    use std::hash::{BuildHasher, Hasher};
    let mut hasher = std::collections::hash_map::RandomState::new().build_hasher();
    hasher.write_u64(salt);
    hasher.finish()
}
