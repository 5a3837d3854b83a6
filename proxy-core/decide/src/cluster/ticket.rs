//! One attempt, and what an operation remembers between attempts.

use super::{Cluster, ejection::is_long, endpoint::Pick, gate::RetryRefused, sync::Ordering, view::View};
use crate::{
    exchange::{Class, EndpointId, Now, Outcome},
    policy::{Replay, RetryPolicy, Verdict},
};
use std::{fmt, rc::Rc, sync::Arc};

/// What an operation remembers between its attempts: where it was, and the slot reserved for its next one. Dropping it gives
/// that slot back.
#[derive(Default)]
pub struct Tries {
    tried: [EndpointId; Tries::REMEMBERED],
    remembered: u8,
    attempts: u32,
    reserved: Option<Slot>,
    pinned: Option<Pick>,
}

impl Tries {
    /// How many endpoints are remembered as tried; after that only the last one is, and it goes on from there.
    pub const REMEMBERED: usize = 16;

    /// No attempt yet.
    pub fn new() -> Tries {
        Tries::default()
    }

    /// No attempt yet, on a connection that is pinned to an endpoint: where operations with
    /// [`Affinity::Connection`](crate::exchange::Affinity::Connection) go.
    pub fn pinned(pick: Pick) -> Tries {
        Tries { pinned: Some(pick), ..Tries::default() }
    }

    /// How many attempts were admitted.
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    /// How many of them were retries.
    pub fn retries(&self) -> u32 {
        self.attempts.saturating_sub(1)
    }

    /// The endpoint of the last attempt.
    pub fn last(&self) -> Option<EndpointId> {
        self.tried.get(usize::from(self.remembered).checked_sub(1)?).copied()
    }

    /// Whether a granted retry is waiting to be admitted.
    pub fn is_reserved(&self) -> bool {
        self.reserved.is_some()
    }

    pub(crate) fn pin(&self) -> Option<&Pick> {
        self.pinned.as_ref()
    }

    pub(crate) fn take_reserved(&mut self) -> Option<Slot> {
        self.reserved.take()
    }

    pub(crate) fn none_tried(&self) -> bool {
        self.remembered == 0
    }

    pub(crate) fn tried(&self, id: EndpointId) -> bool {
        self.tried.iter().take(usize::from(self.remembered)).any(|tried| *tried == id)
    }

    /// Forgets all but the last.
    pub(crate) fn start_over(&mut self) {
        if let (Some(last), Some(first)) = (self.last(), self.tried.first_mut()) {
            *first = last;
            self.remembered = 1;
        }
    }

    pub(crate) fn note(&mut self, id: EndpointId) {
        self.attempts = self.attempts.saturating_add(1);
        if usize::from(self.remembered) == Tries::REMEMBERED {
            self.start_over();
        }
        if let Some(place) = self.tried.get_mut(usize::from(self.remembered)) {
            *place = id;
            self.remembered += 1;
        }
    }
}

impl fmt::Debug for Tries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tries")
            .field("attempts", &self.attempts)
            .field("last", &self.last())
            .field("reserved", &self.is_reserved())
            .field("pinned", &self.pinned)
            .finish()
    }
}

/// What an operation holds of the cluster's limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Held {
    /// A place among the requests.
    Request,
    /// A place among the requests and one among the retries.
    Retry,
    /// A place among the long polls.
    Parked,
}

/// A held place; given back when dropped.
pub(crate) struct Slot {
    view: Rc<View>,
    held: Held,
}

impl Slot {
    pub(crate) fn new(view: Rc<View>, held: Held) -> Slot {
        Slot { view, held }
    }

    pub(crate) fn cluster(&self) -> &Arc<Cluster> {
        self.view.cluster()
    }

    /// A place among the retries as well, if limit and budget have room.
    fn retry(mut self) -> Result<Slot, Slot> {
        let cluster = self.cluster();
        let limit = cluster.limits.0.retries();
        let granted = match self.held {
            Held::Request => cluster.requests.0.enter_retry(limit),
            Held::Retry => cluster.requests.0.keeps_retry(limit),
            // A long poll is not tried again, whatever there is room for.
            Held::Parked => return Err(self),
        };
        let counter = match granted {
            Ok(()) => &cluster.overflow.granted,
            Err(RetryRefused::Limit) => &cluster.overflow.retries,
            Err(RetryRefused::Budget) => &cluster.overflow.budget,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        if granted.is_err() {
            return Err(self);
        }
        self.held = Held::Retry;
        Ok(self)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let cluster = self.view.cluster();
        match self.held {
            Held::Request => cluster.requests.0.leave_low(),
            Held::Retry => cluster.requests.0.leave_both(),
            Held::Parked => cluster.parked.0.leave_low(),
        }
    }
}

/// An admitted attempt: its endpoint, and its place among the cluster's requests. Dropping it without [`Ticket::finish`]
/// counts it as cancelled.
#[must_use = "dropping a ticket cancels the attempt"]
pub struct Ticket {
    slot: Option<Slot>,
    pick: Pick,
    idempotent: bool,
    repeatable: bool,
    /// It decides about an endpoint that is on probation, and until then it alone.
    probe: Option<u64>,
    /// That its client has left is counted.
    left: bool,
}

impl Ticket {
    pub(crate) fn new(slot: Slot, pick: Pick, idempotent: bool, repeatable: bool) -> Ticket {
        let endpoint = pick.endpoint();
        let gauge = if slot.held == Held::Parked { &endpoint.parked } else { &endpoint.active };
        gauge.fetch_add(1, Ordering::Relaxed);
        Ticket { slot: Some(slot), pick, idempotent, repeatable, probe: None, left: false }
    }

    pub(crate) fn probing(mut self, probe: Option<u64>) -> Ticket {
        self.probe = probe;
        self
    }

    /// The endpoint that the attempt goes to.
    pub fn pick(&self) -> &Pick {
        &self.pick
    }

    /// The operation turned out to be a long poll after it was admitted: from here on it counts as parked. `false`, and
    /// counted, when no more may be parked: it goes on as a request.
    pub fn park(&mut self) -> bool {
        let Some(slot) = &mut self.slot else { return false };
        if slot.held == Held::Parked {
            return true;
        }
        let cluster = slot.view.cluster().clone();
        if !cluster.enter_parked() {
            return false;
        }
        // The place among the requests goes back with the old slot.
        *slot = Slot::new(slot.view.clone(), Held::Parked);
        self.repeatable = false;
        self.pick.endpoint().parked.fetch_add(1, Ordering::Relaxed);
        self.pick.endpoint().active.fetch_sub(1, Ordering::Relaxed);
        true
    }

    /// The reply has begun. Where the attempt decides about an endpoint and goes on for long, this does.
    pub fn answered(&self) {
        if self.probe.is_some() {
            self.pick.endpoint().hear();
        }
    }

    /// The client seems to have left (it has sent its last byte, which may mean no more than that), `waited` nanoseconds after the
    /// server had the whole request and without a byte of a reply. Counts once; an answer that comes all the same makes up for it.
    pub fn left(&mut self, waited: u64, now: Now) {
        let Some(slot) = &self.slot else { return };
        if slot.held != Held::Parked && is_long(waited) && !std::mem::replace(&mut self.left, true) {
            slot.cluster().left(self.pick.endpoint(), now);
        }
    }

    /// The attempt has ended: counts its outcome for the endpoint, ejects that if it has failed too often in a row, and
    /// decides whether the operation is tried again. A [`Verdict::Retry`] has reserved the retry's place in `tries`.
    pub fn finish(
        mut self,
        outcome: &Outcome,
        policy: &RetryPolicy,
        replay: Replay,
        tries: &mut Tries,
        now: Now,
    ) -> Verdict {
        let Some(slot) = self.end(outcome.class) else { return Verdict::Done };
        let view = slot.view.clone();
        let counted = self.left || slot.held == Held::Parked;
        view.cluster().ended(self.pick.endpoint(), outcome, (self.probe.is_some(), counted), now);
        let again = self.repeatable
            && replay == Replay::Possible
            && tries.retries() < policy.max_retries
            && policy.wants(outcome, self.idempotent);
        if !again {
            return Verdict::Done;
        }
        match slot.retry() {
            Ok(slot) => {
                tries.reserved = Some(slot);
                Verdict::Retry { after: policy.back_off(tries.attempts(), view.random()) }
            }
            Err(_over_budget) => Verdict::Done,
        }
    }

    /// Takes the attempt off the endpoint's counts of what is under way, once.
    fn end(&mut self, class: Class) -> Option<Slot> {
        let slot = self.slot.take()?;
        let endpoint = self.pick.endpoint();
        let gauge = if slot.held == Held::Parked { &endpoint.parked } else { &endpoint.active };
        endpoint.ended(class);
        gauge.fetch_sub(1, Ordering::Relaxed);
        Some(slot)
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.end(Class::Cancelled);
        if let Some(until) = self.probe {
            self.pick.endpoint().release_probe(until);
        }
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticket").field("pick", &self.pick).finish_non_exhaustive()
    }
}
