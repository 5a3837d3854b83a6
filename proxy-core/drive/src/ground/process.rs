//! What all workers share: how many connections each has, how to ask each for room, and the process's limits.

use crate::ground::hops::Hops;
use crate::ground::numbers::ProcessNumbers;
use crate::ground::sync::Line;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use tokio::sync::Notify;
use tokio::sync::mpsc::UnboundedSender;
use weir_measure::{Measure, names};

/// What all workers share.
#[derive(Debug)]
pub struct Process {
    pub(crate) measure: Arc<Measure>,
    pub(crate) numbers: ProcessNumbers,
    pub(crate) workers: Box<[Line<Peer>]>,
    /// Downstream connections of all listeners.
    pub(crate) connections: AtomicU32,
    pub(crate) max_connections: AtomicU32,
    /// What is known of requests that come back.
    pub(crate) hops: Hops,
    /// Told when the last downstream connection has gone.
    pub(crate) emptied: Notify,
    /// Told when a worker has ended by a bug.
    pub(crate) lost: Notify,
}

/// A worker as the others see it.
#[derive(Debug)]
pub(crate) struct Peer {
    /// Downstream connections it has, or has been handed.
    pub(crate) connections: AtomicU32,
    /// Connections on their way to it.
    pub(crate) handed: AtomicU32,
    /// Takes the name of a cluster whose oldest idle connection it is to close: another worker waits for the place.
    pub(crate) evict: UnboundedSender<Arc<str>>,
}

impl Process {
    pub(crate) fn new(
        measure: Arc<Measure>,
        evict: Vec<UnboundedSender<Arc<str>>>,
        max_connections: u32,
    ) -> Process {
        let numbers = ProcessNumbers::new(&measure, evict.len());
        measure.gauge(&names::MAX_CONNECTIONS, &[]).set(max_connections.into());
        let peer = |evict| Line(Peer { connections: AtomicU32::new(0), handed: AtomicU32::new(0), evict });
        Process {
            measure,
            numbers,
            workers: evict.into_iter().map(peer).collect(),
            connections: AtomicU32::new(0),
            max_connections: AtomicU32::new(max_connections),
            hops: Hops::new(),
            emptied: Notify::new(),
            lost: Notify::new(),
        }
    }

    pub(crate) fn add(&self, worker: usize) {
        if let Some(peer) = self.peer(worker) {
            peer.connections.fetch_add(1, Ordering::Relaxed);
        }
        if let Some(gauge) = self.numbers.worker_connections.get(worker) {
            gauge.add(1);
        }
    }

    pub(crate) fn remove(&self, worker: usize) {
        if let Some(peer) = self.peer(worker) {
            peer.connections.fetch_sub(1, Ordering::Relaxed);
        }
        if let Some(gauge) = self.numbers.worker_connections.get(worker) {
            gauge.sub(1);
        }
    }

    /// A downstream connection has gone.
    pub(crate) fn closed(&self) {
        if self.connections.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.emptied.notify_waiters();
        }
    }

    pub(crate) fn peer(&self, worker: usize) -> Option<&Peer> {
        self.workers.get(worker).map(|line| &line.0)
    }

    /// The worker that should serve a connection which `own` has just accepted: itself, unless it has clearly more
    /// than the one with the fewest. "Clearly" is one in eight and at least one, so that a handful of long-lived
    /// connections spread evenly while short ones are hardly ever moved.
    pub(crate) fn least_loaded(&self, own: usize) -> usize {
        let count = |peer: &Line<Peer>| peer.0.connections.load(Ordering::Relaxed);
        let Some(mine) = self.workers.get(own).map(count) else { return own };
        let least = self.workers.iter().enumerate().map(|(index, peer)| (count(peer), index)).min();
        match least {
            Some((fewest, index)) if mine > fewest.saturating_add((fewest / 8).max(1)) => index,
            _ => own,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_goes_to_the_least_loaded_only_when_that_is_clearly_less() {
        // (connections per worker, who accepts, who serves)
        let table: &[(&[u32], usize, usize)] = &[
            (&[0], 0, 0),
            (&[7], 0, 0),
            (&[0, 0], 0, 0),
            (&[1, 0], 0, 0),
            (&[2, 0], 0, 1),
            (&[2, 0], 1, 1),
            (&[9, 8], 0, 0),
            (&[10, 8], 0, 1),
            (&[112, 100], 0, 0),
            (&[113, 100], 0, 1),
            (&[5, 9, 1, 1], 1, 2),
        ];
        for (counts, own, expected) in table {
            let (sender, _receiver) = tokio::sync::mpsc::unbounded_channel();
            let measure = Measure::new(weir_measure::Limits::default());
            let process = Process::new(measure, vec![sender; counts.len()], 1);
            for (peer, count) in process.workers.iter().zip(*counts) {
                peer.0.connections.store(*count, Ordering::Relaxed);
            }
            assert_eq!(process.least_loaded(*own), *expected, "{counts:?}, accepted by {own}");
        }
    }
}
