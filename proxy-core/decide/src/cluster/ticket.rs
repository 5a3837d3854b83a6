//! One attempt, and what an operation remembers between attempts.

use super::{Cluster, ejection::is_long, endpoint::Pick, sync::Ordering, view::View};
use crate::{
    exchange::{Class, EndpointId, Now, Outcome},
    policy::{Again, Known, RetryPolicy, Verdict},
};
use std::{fmt, num::NonZeroU64, rc::Rc, sync::Arc};

/// What an operation remembers between its attempts: where it was, and the slot reserved for its next one. Dropping it gives
/// that slot back.
#[derive(Default)]
pub struct Tries {
    tried: [EndpointId; Tries::IN_PLACE],
    remembered: u8,
    /// Those beyond.
    #[allow(clippy::box_collection)] // nearly none has any
    more: Option<Box<Vec<EndpointId>>>,
    attempts: u32,
    repicks: u32,
    reserved: Option<Slot>,
    pinned: Option<Pick>,
}

impl Tries {
    /// So many endpoints that were tried are remembered without an allocation.
    const IN_PLACE: usize = 8;

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
        self.attempts.saturating_sub(1).saturating_sub(self.repicks)
    }

    /// How many of them went elsewhere because the one before had no connection.
    pub fn repicks(&self) -> u32 {
        self.repicks
    }

    /// The endpoint of the last attempt.
    pub fn last(&self) -> Option<EndpointId> {
        if let Some(last) = self.more.as_ref().and_then(|more| more.last()) {
            return Some(*last);
        }
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
        let in_place = self.tried.iter().take(usize::from(self.remembered));
        in_place.chain(self.more.iter().flat_map(|more| more.iter())).any(|tried| *tried == id)
    }

    /// Forgets all but the last.
    pub(crate) fn start_over(&mut self) {
        if let (Some(last), Some(first)) = (self.last(), self.tried.first_mut()) {
            *first = last;
            self.remembered = 1;
            self.more = None;
        }
    }

    pub(crate) fn note(&mut self, id: EndpointId) {
        self.attempts = self.attempts.saturating_add(1);
        if self.pinned.is_some() {
            // Those of a connection, one operation after another: there is one endpoint to be remembered.
            self.remembered = 0;
        }
        match self.tried.get_mut(usize::from(self.remembered)) {
            Some(place) => {
                *place = id;
                self.remembered += 1;
            }
            // As many as there are tries: one for each endpoint, and the retries.
            None => self.more.get_or_insert_default().push(id),
        }
    }

    /// The next attempt goes elsewhere, in this place.
    fn repick(&mut self, slot: Slot) {
        self.repicks = self.repicks.saturating_add(1);
        self.reserved = Some(slot);
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
    fn retry(mut self, now: Now) -> Option<Slot> {
        let view = Rc::clone(&self.view);
        let cluster = view.cluster();
        let (gate, most) = (&cluster.requests.0.gate, Cluster::limit(&cluster.limits.0.max_retries));
        let entered = match self.held {
            Held::Request => gate.enter_high(most),
            Held::Retry => gate.keeps_high(most),
            // A long poll is not tried again, whatever there is room for.
            Held::Parked => return None,
        };
        if !entered {
            cluster.overflow.retries.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        // Both places are held by this slot from here on.
        self.held = Held::Retry;
        if !cluster.requests.0.budget.spend(cluster.limits.0.budget(), now) {
            cluster.overflow.budget.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        cluster.overflow.granted.fetch_add(1, Ordering::Relaxed);
        Some(self)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let cluster = self.view.cluster();
        match self.held {
            Held::Request => cluster.requests.0.gate.leave_low(),
            Held::Retry => cluster.requests.0.gate.leave_both(),
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
    /// It may go to another endpoint if this one cannot be reached.
    anywhere: bool,
    repeatable: bool,
    /// It decides about an endpoint that is on probation, and until then it alone.
    probe: Option<NonZeroU64>,
    /// That its client has left is counted.
    left: bool,
}

impl Ticket {
    pub(crate) fn new(slot: Slot, pick: Pick, anywhere: bool, repeatable: bool) -> Ticket {
        let endpoint = pick.endpoint();
        let gauge = if slot.held == Held::Parked { &endpoint.parked } else { &endpoint.active };
        gauge.fetch_add(1, Ordering::Relaxed);
        Ticket { slot: Some(slot), pick, anywhere, repeatable, probe: None, left: false }
    }

    pub(crate) fn probing(mut self, probe: Option<u64>) -> Ticket {
        self.probe = probe.and_then(NonZeroU64::new);
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
    /// decides whether the operation is tried again ([`policy`](crate::policy)). A [`Verdict::Elsewhere`] or [`Verdict::Retry`] has
    /// reserved the next attempt's place in `tries`.
    pub fn finish(
        mut self,
        outcome: &Outcome,
        policy: &RetryPolicy,
        known: &Known,
        tries: &mut Tries,
        now: Now,
    ) -> Verdict {
        let Some(slot) = self.end(outcome.class) else { return Verdict::Done };
        let view = slot.view.clone();
        let counted = self.left || slot.held == Held::Parked;
        view.cluster().ended(self.pick.endpoint(), outcome, (self.probe.is_some(), counted), now);
        let again = match policy.again(outcome, known, tries.retries()) {
            Again::Elsewhere if self.anywhere && known.is_in_time(now) && view.has_untried(tries) => {
                view.cluster().overflow.repicks.fetch_add(1, Ordering::Relaxed);
                tries.repick(slot);
                return Verdict::Elsewhere;
            }
            Again::Elsewhere => policy.retries(outcome, known, tries.retries()),
            again => again,
        };
        if again != Again::Retry || !self.repeatable {
            return Verdict::Done;
        }
        let nth = tries.retries().saturating_add(1);
        let Some(after) = policy.wait(nth, view.random(), known, now) else { return Verdict::Done };
        let Some(slot) = slot.retry(now) else { return Verdict::Done };
        tries.reserved = Some(slot);
        Verdict::Retry { after }
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
            self.pick.endpoint().release_probe(until.get());
        }
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticket").field("pick", &self.pick).finish_non_exhaustive()
    }
}
