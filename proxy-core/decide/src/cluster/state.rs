//! What is behind the cluster's lock: who its members are, and their ejection. Entered when endpoints change, when an
//! endpoint has failed often enough, when an ejection is over, and for statistics; never on an operation's way.

use super::{
    endpoint::{Endpoint, Totals},
    list::{List, Member},
    settings::{Settings, ejectable, ejection_length},
    stats::{Event, EventKind},
    sync::Ordering,
};
use crate::exchange::Now;
use hashbrown::HashMap;
use std::{collections::VecDeque, sync::Arc};
use weir_config::EndpointSpec;

/// Events kept until somebody takes them; beyond it the oldest are dropped and counted.
pub(crate) const MAX_EVENTS: usize = 256;

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) settings: Settings,
    pub(crate) members: Arc<[Member]>,
    pub(crate) published: Arc<List>,
    /// Endpoints that are members no longer while somebody still holds them: they may yet come back, and still count.
    pub(crate) retired: Vec<Arc<Endpoint>>,
    /// The counts of endpoints that are gone for good.
    folded: Totals,
    pub(crate) events: VecDeque<Event>,
    pub(crate) events_dropped: u64,
    pub(crate) ejections_withheld: u64,
}

impl State {
    pub(crate) fn new(settings: Settings) -> State {
        let members: Arc<[Member]> = Arc::new([]);
        let published = Arc::new(List::new(0, settings.balance, members.clone()));
        State {
            settings,
            members,
            published,
            retired: Vec::new(),
            folded: Totals::default(),
            events: VecDeque::new(),
            events_dropped: 0,
            ejections_withheld: 0,
        }
    }

    /// Makes what the members are now the list that views choose from. Returns its generation.
    pub(crate) fn publish(&mut self) -> u64 {
        let generation = self.published.generation + 1;
        self.published = Arc::new(List::new(generation, self.settings.balance, self.members.clone()));
        generation
    }

    /// Replaces the members. Endpoints that stay keep their place and their state, new ones follow. Whether anything
    /// changed.
    pub(crate) fn set_members(&mut self, specs: &[EndpointSpec]) -> bool {
        let mut wanted: HashMap<&str, u32, foldhash::fast::RandomState> = HashMap::default();
        for spec in specs {
            wanted.entry(&spec.address).or_insert(spec.weight.max(1));
        }
        let same = wanted.len() == self.members.len()
            && self.members.iter().all(|m| wanted.get(&*m.endpoint.address) == Some(&m.weight));
        if same {
            return false;
        }
        let mut members = Vec::with_capacity(wanted.len());
        for member in self.members.iter() {
            match wanted.remove(&*member.endpoint.address) {
                Some(weight) => members.push(Member { endpoint: member.endpoint.clone(), weight }),
                None => self.retired.push(member.endpoint.clone()),
            }
        }
        for spec in specs {
            let Some(weight) = wanted.remove(&*spec.address) else { continue };
            let endpoint = match self.retired.iter().position(|e| e.address == spec.address) {
                Some(at) => self.retired.swap_remove(at),
                None => Arc::new(Endpoint::new(spec.address.clone())),
            };
            members.push(Member { endpoint, weight });
        }
        self.members = members.into();
        true
    }

    /// The counts of all the endpoints the cluster has or ever had.
    pub(crate) fn totals(&mut self) -> Totals {
        self.retired.retain_mut(|endpoint| {
            // Nobody else holds it and nobody can get hold of it: its counts are final.
            match Arc::get_mut(endpoint) {
                Some(endpoint) => {
                    self.folded.add(&endpoint.totals());
                    false
                }
                None => true,
            }
        });
        let mut totals = self.folded;
        for endpoint in self.retired.iter().chain(self.members.iter().map(|m| &m.endpoint)) {
            totals.add(&endpoint.totals());
        }
        totals
    }

    /// Takes `endpoint` out of rotation, if the settings allow one more. Exact: all ejections are decided here, under the
    /// lock, over the members as they are.
    pub(crate) fn eject(&mut self, endpoint: &Arc<Endpoint>, now: Now) -> bool {
        let Some(ejection) = self.settings.ejection else { return false };
        if endpoint.is_ejected() || !self.members.iter().any(|m| Arc::ptr_eq(&m.endpoint, endpoint)) {
            return false;
        }
        if self.ejected() >= ejectable(&ejection, self.members.len()) {
            self.ejections_withheld += 1;
            return false;
        }
        let nth = endpoint.multiplier.load(Ordering::Relaxed).saturating_add(1);
        let until = now.after(ejection_length(&ejection, nth));
        endpoint.multiplier.store(nth, Ordering::Relaxed);
        endpoint.ejected_until.store(until.0.max(1), Ordering::Relaxed);
        endpoint.ejections.fetch_add(1, Ordering::Relaxed);
        self.event(endpoint, now, EventKind::Ejected { until, nth });
        true
    }

    fn ejected(&self) -> usize {
        self.members.iter().filter(|m| m.endpoint.is_ejected()).count()
    }

    /// Puts back whoever's ejection is over, and lets old ejections be forgotten. Whether anything changed that views
    /// should see.
    pub(crate) fn pass(&mut self, now: Now) -> bool {
        let mut changed = false;
        for at in 0..self.members.len() {
            let Some(endpoint) = self.members.get(at).map(|m| m.endpoint.clone()) else { continue };
            let until = endpoint.ejected_until.load(Ordering::Relaxed);
            if until != 0 && until <= now.0 {
                self.put_back(&endpoint, now);
                changed = true;
            }
            self.forget(&endpoint, now);
        }
        changed
    }

    /// One ejection less in the row for each interval that the endpoint stayed in rotation.
    fn forget(&self, endpoint: &Endpoint, now: Now) {
        let Some(ejection) = self.settings.ejection else { return };
        while !endpoint.is_ejected() && endpoint.multiplier.load(Ordering::Relaxed) > 0 {
            let due = Now(endpoint.back_since.load(Ordering::Relaxed)).after(ejection.interval);
            if due > now {
                return;
            }
            endpoint.back_since.store(due.0, Ordering::Relaxed);
            endpoint.multiplier.fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn put_back(&mut self, endpoint: &Endpoint, now: Now) {
        endpoint.ejected_until.store(0, Ordering::Relaxed);
        endpoint.consecutive.store(0, Ordering::Relaxed);
        endpoint.back_since.store(now.0, Ordering::Relaxed);
        self.event(endpoint, now, EventKind::PutBack);
    }

    /// Puts back endpoints until no more are ejected than the settings allow: members or settings have changed. Those
    /// first whose ejection ends first.
    pub(crate) fn relax(&mut self, now: Now) {
        let allowed = self.settings.ejection.map_or(0, |e| ejectable(&e, self.members.len()));
        let mut excess = self.ejected().saturating_sub(allowed);
        while excess > 0 {
            let until = |e: &Arc<Endpoint>| e.ejected_until.load(Ordering::Relaxed);
            let ejected = self.members.iter().map(|m| &m.endpoint).filter(|e| e.is_ejected());
            let Some(first) = ejected.min_by_key(|e| until(e)).cloned() else { return };
            self.put_back(&first, now);
            excess -= 1;
        }
    }

    /// When `pass` has something to do next; `u64::MAX`: never, as things are.
    pub(crate) fn due(&self) -> u64 {
        let Some(ejection) = self.settings.ejection else { return u64::MAX };
        let due = |e: &Endpoint| match e.ejected_until.load(Ordering::Relaxed) {
            0 if e.multiplier.load(Ordering::Relaxed) == 0 => u64::MAX,
            0 => Now(e.back_since.load(Ordering::Relaxed)).after(ejection.interval).0,
            until => until,
        };
        self.members.iter().map(|m| due(&m.endpoint)).min().unwrap_or(u64::MAX)
    }

    fn event(&mut self, endpoint: &Endpoint, at: Now, kind: EventKind) {
        if self.events.len() >= MAX_EVENTS {
            self.events.pop_front();
            self.events_dropped += 1;
        }
        self.events.push_back(Event { at, endpoint: endpoint.id, address: endpoint.address.clone(), kind });
    }
}
