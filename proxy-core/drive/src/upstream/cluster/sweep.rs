//! What a cluster asks of the pools that keep its idle connections.

use std::time::Duration;
use weir_decide::exchange::Now;

/// What a cluster does with its pools, whatever they keep. A pool of another kind is made known by [`Cluster::register`](super::Cluster::register), and
/// says by [`Cluster::idled`](super::Cluster::idled) that one of its connections has become idle.
pub trait Sweep {
    /// Since when the oldest idle connection has been idle.
    fn oldest(&self) -> Option<Now>;
    /// Closes the oldest.
    fn evict(&self) -> bool;
    /// Closes those that are broken or have been idle for longer than `timeout`.
    fn sweep(&self, now: Now, timeout: Duration);
}
