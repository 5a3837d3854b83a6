//! What is behind the cluster's lock: who its members are, and (in [`ejection`](super::ejection)) who of them is out. Entered when endpoints change, when an
//! endpoint has failed often enough, when an ejection is over, and for statistics; never on an operation's way.

use super::{
    endpoint::{Endpoint, Totals},
    list::{List, Member},
    settings::Settings,
    stats::{Event, EventKind},
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
    /// Everything failed, and nothing has answered well since.
    pub(crate) common: bool,
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
            common: false,
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

    pub(crate) fn event(&mut self, endpoint: &Endpoint, at: Now, kind: EventKind) {
        if self.events.len() >= MAX_EVENTS {
            self.events.pop_front();
            self.events_dropped += 1;
        }
        self.events.push_back(Event { at, endpoint: endpoint.id, address: endpoint.address.clone(), kind });
    }
}
