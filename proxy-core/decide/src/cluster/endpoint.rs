//! What the cluster remembers of one endpoint. It is known by its address and outlives changes of the endpoint list and of
//! the configuration.

use super::sync::{AtomicU32, AtomicU64, Ordering};
use crate::exchange::{Class, EndpointId, Now};
use std::{fmt, rc::Rc, sync::Arc};

/// One endpoint's state, shared by all workers. Everything here is a count or a fact about now; decisions that need more
/// than one of them are taken under the cluster's lock.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct Endpoint {
    pub(crate) id: EndpointId,
    pub(crate) address: Arc<str>,
    /// Attempts under way, the parked ones left out: what least request balances by.
    pub(crate) active: AtomicU32,
    pub(crate) parked: AtomicU32,
    /// Failures since the last success.
    pub(crate) consecutive: AtomicU32,
    /// Operations that clients left unanswered since the last success.
    pub(crate) left: AtomicU32,
    /// Not 0 while it is on probation (`ejection`). Begins and ends under the cluster's lock.
    pub(crate) probe: AtomicU64,
    /// Not 0 when the reply to the probe has begun.
    pub(crate) heard: AtomicU32,
    /// Attempts that have ended, by [`Class`].
    ended: [AtomicU64; CLASSES],
    pub(crate) connections: AtomicU32,
    pub(crate) connections_total: AtomicU64,
    pub(crate) connect_failures: AtomicU64,
    /// When its ejection ends; 0 when it is not ejected. Written under the cluster's lock only, as are the six below.
    pub(crate) ejected_until: AtomicU64,
    /// When it began.
    pub(crate) ejected_at: AtomicU64,
    /// Why ([`Why::code`](super::stats::Why)); 0 when it never was.
    pub(crate) ejected_why: AtomicU32,
    /// Since when it is back in rotation, moved on by the intervals over which ejections were forgotten.
    pub(crate) back_since: AtomicU64,
    /// How often it had answered by then.
    pub(crate) answers_before: AtomicU64,
    /// How many ejections in a row, which is what their length goes by.
    pub(crate) multiplier: AtomicU32,
    pub(crate) ejections: AtomicU64,
}

const CLASSES: usize = 5;

fn index(class: Class) -> usize {
    match class {
        Class::Success => 0,
        Class::Rejected => 1,
        Class::Failed => 2,
        Class::Cancelled => 3,
        Class::Refused => 4,
    }
}

impl Endpoint {
    pub(crate) fn new(address: Arc<str>) -> Endpoint {
        /// Process-wide, so that an id never means two endpoints. Not one of loom's: it orders nothing.
        static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(1);
        Endpoint {
            id: EndpointId(NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed)),
            address,
            active: AtomicU32::new(0),
            parked: AtomicU32::new(0),
            consecutive: AtomicU32::new(0),
            left: AtomicU32::new(0),
            probe: AtomicU64::new(0),
            heard: AtomicU32::new(0),
            ended: std::array::from_fn(|_| AtomicU64::new(0)),
            connections: AtomicU32::new(0),
            connections_total: AtomicU64::new(0),
            connect_failures: AtomicU64::new(0),
            ejected_until: AtomicU64::new(0),
            ejected_at: AtomicU64::new(0),
            ejected_why: AtomicU32::new(0),
            back_since: AtomicU64::new(0),
            answers_before: AtomicU64::new(0),
            multiplier: AtomicU32::new(0),
            ejections: AtomicU64::new(0),
        }
    }

    /// Counts an attempt that has ended.
    pub(crate) fn ended(&self, class: Class) {
        if let Some(counter) = self.ended.get(index(class)) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many attempts have ended so.
    pub(crate) fn count(&self, class: Class) -> u64 {
        self.ended.get(index(class)).map_or(0, |counter| counter.load(Ordering::Relaxed))
    }

    pub(crate) fn is_ejected(&self) -> bool {
        self.ejected_until.load(Ordering::Relaxed) != 0
    }

    pub(crate) fn totals(&self) -> Totals {
        Totals {
            success: self.count(Class::Success),
            rejected: self.count(Class::Rejected),
            failed: self.count(Class::Failed),
            cancelled: self.count(Class::Cancelled),
            refused: self.count(Class::Refused),
            connections: self.connections_total.load(Ordering::Relaxed),
            connect_failures: self.connect_failures.load(Ordering::Relaxed),
            ejections: self.ejections.load(Ordering::Relaxed),
        }
    }
}

/// Cumulative counts of an endpoint, or of a cluster including endpoints that it no longer has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Attempts that succeeded.
    pub success: u64,
    /// Attempts the server answered by saying that the request was wrong.
    pub rejected: u64,
    /// Attempts that failed.
    pub failed: u64,
    /// Attempts that were cancelled, or given up without an outcome.
    pub cancelled: u64,
    /// Attempts that Weir refused after an endpoint had been chosen.
    pub refused: u64,
    /// Connections that were begun.
    pub connections: u64,
    /// Connections that could not be made.
    pub connect_failures: u64,
    /// Ejections.
    pub ejections: u64,
}

impl Totals {
    /// All attempts that have ended.
    pub fn attempts(&self) -> u64 {
        self.success + self.rejected + self.failed + self.cancelled + self.refused
    }

    pub(crate) fn add(&mut self, other: &Totals) {
        self.success += other.success;
        self.rejected += other.rejected;
        self.failed += other.failed;
        self.cancelled += other.cancelled;
        self.refused += other.refused;
        self.connections += other.connections;
        self.connect_failures += other.connect_failures;
        self.ejections += other.ejections;
    }
}

/// A chosen endpoint. Cheap to clone; belongs to the worker that chose it.
#[derive(Clone)]
pub struct Pick(Rc<Chosen>);

/// Shared by a worker's picks, so that cloning one does not touch a count that other workers touch.
struct Chosen {
    endpoint: Arc<Endpoint>,
}

impl Pick {
    pub(crate) fn new(endpoint: Arc<Endpoint>) -> Pick {
        Pick(Rc::new(Chosen { endpoint }))
    }

    pub(crate) fn endpoint(&self) -> &Arc<Endpoint> {
        &self.0.endpoint
    }

    /// The endpoint's number.
    pub fn id(&self) -> EndpointId {
        self.0.endpoint.id
    }

    /// Its address, `host:port`.
    pub fn address(&self) -> &Arc<str> {
        &self.0.endpoint.address
    }

    /// Attempts under way at it, from all workers, parked ones left out.
    pub fn active(&self) -> u32 {
        self.0.endpoint.active.load(Ordering::Relaxed)
    }

    /// Until when it is ejected, if it is.
    pub fn ejected_until(&self) -> Option<Now> {
        Some(Now(self.0.endpoint.ejected_until.load(Ordering::Relaxed))).filter(|until| until.0 != 0)
    }
}

impl fmt::Debug for Pick {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pick({} #{})", self.0.endpoint.address, self.0.endpoint.id.0)
    }
}

impl PartialEq for Pick {
    fn eq(&self, other: &Pick) -> bool {
        self.0.endpoint.id == other.0.endpoint.id
    }
}

impl Eq for Pick {}
