//! One worker's view of a cluster.

use super::{
    Cluster,
    balance::{Picker, Rng},
    ejection::Claim,
    endpoint::Pick,
    sync::Ordering,
    ticket::{Held, Slot, Ticket, Tries},
};
use crate::exchange::{Affinity, EndpointId, Fault, Now, Operation, Phase, Reason, Side};
use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::Arc,
};

/// One worker's view of a [`Cluster`]: a seed of its own, and a copy of the endpoint list.
#[derive(Debug)]
pub struct View {
    cluster: Arc<Cluster>,
    rng: Rng,
    seen: Cell<u64>,
    picker: RefCell<Picker>,
}

impl View {
    /// A view whose choices follow from `seed`. Give every worker another seed, or they will all choose the same.
    pub fn new(cluster: &Arc<Cluster>, seed: u64) -> Rc<View> {
        let rng = Rng::new(seed);
        let list = cluster.published();
        let seen = Cell::new(list.generation);
        let picker = RefCell::new(Picker::new(list, &rng));
        Rc::new(View { cluster: cluster.clone(), rng, seen, picker })
    }

    /// The cluster that this is a view of.
    pub fn cluster(&self) -> &Arc<Cluster> {
        &self.cluster
    }

    /// Admits one attempt of `op` and picks its endpoint; see [the module](super) for what follows.
    ///
    /// An operation with [`Affinity::Connection`] goes to the endpoint that `tries` is pinned to, whatever its state; while
    /// there is no pin yet it goes to any. An endpoint on probation gets one operation, before any other is chosen. Other tries go where the operation has not been yet, while there is such an
    /// endpoint.
    ///
    /// # Errors
    /// [`Reason::MaxRequests`] or [`Reason::MaxParked`] when the limit is met, [`Reason::NoEndpoint`] when the cluster has
    /// no endpoint (or not the one that was asked for). A retry that was granted before is never refused by a limit.
    pub fn admit(self: &Rc<Self>, op: &Operation, tries: &mut Tries, now: Now) -> Result<Ticket, Fault> {
        self.tick(now);
        let (slot, first) = self.enter(op, tries)?;
        let Some((pick, probe)) = self.choose(op, tries, now) else {
            self.cluster.overflow.no_endpoint.fetch_add(1, Ordering::Relaxed);
            return Err(Fault::new(Side::Network, Phase::Admitted, Reason::NoEndpoint));
        };
        if first && !op.parked {
            self.cluster.requests.0.budget.first();
        }
        tries.note(pick.id());
        let repeatable = op.affinity != Affinity::Connection && !op.parked;
        let anywhere = match op.affinity {
            Affinity::Any | Affinity::Hash(_) => true,
            Affinity::Connection => tries.pin().is_none(),
            Affinity::Endpoint(_) => false,
        };
        Ok(Ticket::new(slot, pick, anywhere, repeatable).probing(probe))
    }

    /// Takes up changes of the endpoint list, and puts endpoints whose ejection is over on probation. Two loads when nothing has
    /// changed. Admission does it too, so it need only be called now and then, for clusters without traffic.
    pub fn tick(&self, now: Now) {
        self.cluster.tick(now);
        self.adopt();
    }

    fn adopt(&self) {
        if self.cluster.watch.0.generation.load(Ordering::Acquire) != self.seen.get() {
            let list = self.cluster.published();
            self.seen.set(list.generation);
            self.picker.borrow_mut().adopt(list, &self.rng);
        }
    }

    /// The endpoint with this number, if the cluster has it, ejected or not.
    pub fn endpoint(&self, id: EndpointId) -> Option<Pick> {
        self.picker.borrow().by_id(id).cloned()
    }

    /// The endpoint with this address (`host:port`, as it is listed), if the cluster has it, ejected or not. Looks at each
    /// of them, so not for every operation.
    pub fn endpoint_at(&self, address: &str) -> Option<Pick> {
        self.adopt();
        self.picker.borrow().by_address(address).cloned()
    }

    /// The addresses of all endpoints, ejected or not.
    pub fn addresses(&self) -> Vec<Arc<str>> {
        self.adopt();
        self.picker.borrow().addresses()
    }

    /// Whether there is an endpoint in rotation that has not been tried.
    pub(crate) fn has_untried(&self, tries: &Tries) -> bool {
        self.adopt();
        self.picker.borrow().has_untried(tries)
    }

    pub(crate) fn random(&self) -> u64 {
        self.rng.next()
    }

    /// The endpoint, and where this is the operation that decides about it, until when it alone is.
    fn choose(&self, op: &Operation, tries: &mut Tries, now: Now) -> Option<(Pick, Option<u64>)> {
        if let (Affinity::Connection, Some(pin)) = (op.affinity, tries.pin()) {
            return Some((pin.clone(), None));
        }
        if let Some((pick, probe)) = self.probe(op, tries, now) {
            return Some((pick, Some(probe)));
        }
        let pick = self.picker.borrow_mut().choose(op.affinity, tries, &self.rng).cloned()?;
        // Who asks for it by name comes as well as anybody.
        let claims = matches!(op.affinity, Affinity::Endpoint(_)) && !op.parked;
        let probe = if claims { pick.endpoint().claim_probe(now) } else { Claim::Refused };
        Some((pick, if let Claim::Granted(until) = probe { Some(until) } else { None }))
    }

    fn probe(&self, op: &Operation, tries: &Tries, now: Now) -> Option<(Pick, u64)> {
        let picker = self.picker.borrow();
        if picker.list.on_probation.is_empty() || op.parked {
            return None;
        }
        for pick in picker.on_probation(op.affinity, tries) {
            match pick.endpoint().claim_probe(now) {
                Claim::Granted(until) => return Some((pick.clone(), until)),
                Claim::Refused => {}
                Claim::Answered => self.cluster.answered(pick.endpoint(), now),
            }
        }
        None
    }

    /// A place, and whether that is a first try's.
    fn enter(self: &Rc<Self>, op: &Operation, tries: &mut Tries) -> Result<(Slot, bool), Fault> {
        // A slot of another cluster (the operation has been routed anew) is given back here.
        if let Some(slot) = tries.take_reserved().filter(|slot| Arc::ptr_eq(slot.cluster(), &self.cluster)) {
            return Ok((slot, false));
        }
        let (entered, held, reason) = if op.parked {
            (self.cluster.enter_parked(), Held::Parked, Reason::MaxParked)
        } else {
            (self.cluster.enter_request(), Held::Request, Reason::MaxRequests)
        };
        if entered {
            Ok((Slot::new(self.clone(), held), true))
        } else {
            Err(Fault::new(Side::Proxy, Phase::Admitted, reason))
        }
    }
}

impl Cluster {
    fn enter_request(&self) -> bool {
        let entered = self.requests.0.gate.enter_low(Cluster::limit(&self.limits.0.max_requests));
        if !entered {
            self.overflow.requests.fetch_add(1, Ordering::Relaxed);
        }
        entered
    }

    pub(crate) fn enter_parked(&self) -> bool {
        let entered = self.parked.0.enter_low(Cluster::limit(&self.limits.0.max_parked));
        if !entered {
            self.overflow.parked.fetch_add(1, Ordering::Relaxed);
        }
        entered
    }
}
