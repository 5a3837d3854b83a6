//! Choosing an endpoint from the published list: one worker's own turn order and random numbers over everybody's counts.
//! No choice looks at more than a handful of endpoints, but for a retry that drew tried ones eight times over, and where
//! four or fewer can be looked at altogether.

use super::{
    endpoint::{Endpoint, Pick},
    list::List,
    sync::Ordering,
    ticket::Tries,
};
use crate::exchange::{Affinity, EndpointId};
use hashbrown::HashMap;
use std::{cell::Cell, cmp::Reverse, collections::BinaryHeap, sync::Arc};
use weir_config::Balance;

/// So few endpoints are all looked at, rather than two of them.
const FULL_SCAN: usize = 4;
/// How often a retry draws again before it looks for an untried endpoint one by one.
const REDRAWS: usize = 8;

/// SplitMix64: a worker's random numbers, all from its seed.
#[derive(Debug)]
pub(crate) struct Rng(Cell<u64>);

impl Rng {
    pub(crate) fn new(seed: u64) -> Rng {
        Rng(Cell::new(seed))
    }

    pub(crate) fn next(&self) -> u64 {
        let state = self.0.get().wrapping_add(0x9E37_79B9_7F4A_7C15);
        self.0.set(state);
        mix(state)
    }

    /// Evenly below `bound`; 0 when that is 0.
    fn below(&self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }
}

fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

/// One worker's copy of the list, and whose turn it is.
#[derive(Debug)]
pub(crate) struct Picker {
    pub(crate) list: Arc<List>,
    /// A pick for each member, in the list's order.
    picks: Vec<Pick>,
    by_id: HashMap<EndpointId, u32, foldhash::fast::RandomState>,
    /// Position of the next turn among the open ones, where all weigh the same.
    cursor: usize,
    /// Whose turn it is, where they do not.
    turns: Option<Turns>,
}

impl Picker {
    pub(crate) fn new(list: Arc<List>, rng: &Rng) -> Picker {
        let mut picker =
            Picker { list, picks: Vec::new(), by_id: HashMap::default(), cursor: 0, turns: None };
        picker.adopt_members();
        picker.cursor = rng.below(picker.list.open.len() as u64) as usize;
        picker.adopt_turns(rng);
        picker
    }

    /// Takes over a newer list.
    pub(crate) fn adopt(&mut self, list: Arc<List>, rng: &Rng) {
        let same = Arc::ptr_eq(&self.list.members, &list.members);
        self.list = list;
        if !same {
            self.adopt_members();
        }
        self.adopt_turns(rng);
    }

    fn adopt_members(&mut self) {
        let old = std::mem::take(&mut self.picks);
        let picks = self.list.members.iter().map(|member| {
            let known = self.by_id.get(&member.endpoint.id).and_then(|at| old.get(*at as usize));
            known.cloned().unwrap_or_else(|| Pick::new(member.endpoint.clone()))
        });
        self.picks = picks.collect();
        self.by_id = (0u32..).zip(&self.picks).map(|(at, pick)| (pick.id(), at)).collect();
    }

    fn adopt_turns(&mut self, rng: &Rng) {
        let weighted = self.list.balance == Balance::RoundRobin && !self.list.open_bounds.is_empty();
        self.turns = weighted.then(|| Turns::new(&self.list, rng));
    }

    /// The pick of the endpoint with this number, if it is a member, ejected or not.
    pub(crate) fn by_id(&self, id: EndpointId) -> Option<&Pick> {
        self.picks.get(*self.by_id.get(&id)? as usize)
    }

    /// The pick of the endpoint with this address, if it is a member, ejected or not.
    pub(crate) fn by_address(&self, address: &str) -> Option<&Pick> {
        self.picks.iter().find(|pick| &**pick.address() == address)
    }

    pub(crate) fn addresses(&self) -> Vec<Arc<str>> {
        self.picks.iter().map(|pick| Arc::clone(pick.address())).collect()
    }

    /// The endpoint for this try. `None`: there is none that will do.
    pub(crate) fn choose(&mut self, affinity: Affinity, tries: &mut Tries, rng: &Rng) -> Option<&Pick> {
        let member = match affinity {
            Affinity::Endpoint(id) => return self.by_id(id),
            Affinity::Hash(key) => self.hashed(key, tries),
            Affinity::Any | Affinity::Connection => self.any(tries, rng),
        };
        self.picks.get(member? as usize)
    }

    /// The members on probation that this try may be the probe of.
    pub(crate) fn on_probation(&self, affinity: Affinity, tries: &Tries) -> impl Iterator<Item = &Pick> {
        let probed = self.list.on_probation.iter().copied();
        let may = move |member: &u32| match affinity {
            Affinity::Endpoint(_) => false,
            Affinity::Hash(key) => self.home(key) == Some(*member as usize),
            Affinity::Any | Affinity::Connection => true,
        };
        let untried = probed.filter(may).filter(|member| !self.tried(*member, tries));
        untried.filter_map(|member| self.picks.get(member as usize))
    }

    /// Where the key leads when nobody is out.
    fn home(&self, key: u64) -> Option<usize> {
        let bucket = jump(mix(key), *self.list.bounds.last()?);
        Some(self.list.bounds.partition_point(|bound| *bound <= bucket))
    }

    fn endpoint(&self, member: u32) -> Option<&Endpoint> {
        self.list.members.get(member as usize).map(|m| &*m.endpoint)
    }

    fn tried(&self, member: u32, tries: &Tries) -> bool {
        self.endpoint(member).is_some_and(|e| tries.tried(e.id))
    }

    /// Whether any that may be chosen was not tried.
    pub(crate) fn has_untried(&self, tries: &Tries) -> bool {
        self.list.open.iter().any(|member| !self.tried(*member, tries))
    }

    fn any(&mut self, tries: &mut Tries, rng: &Rng) -> Option<u32> {
        if tries.none_tried() || self.list.open.len() < 2 {
            return self.draw(rng);
        }
        for _ in 0..REDRAWS {
            let member = self.draw(rng)?;
            if !self.tried(member, tries) {
                return Some(member);
            }
        }
        if let Some(member) = self.untried(tries, rng) {
            return Some(member);
        }
        // All of them were tried: any will do but the one that failed last.
        tries.start_over();
        self.untried(tries, rng)
    }

    /// The least busy endpoint that was not tried, all looked at.
    fn untried(&self, tries: &Tries, rng: &Rng) -> Option<u32> {
        let open = &self.list.open;
        let start = rng.below(open.len() as u64) as usize;
        let (before, from) = open.split_at_checked(start)?;
        let candidates = from.iter().chain(before).copied().filter(|member| !self.tried(*member, tries));
        candidates.reduce(|best, other| self.lighter(best, other))
    }

    fn draw(&mut self, rng: &Rng) -> Option<u32> {
        match self.list.balance {
            Balance::RoundRobin => self.in_turn(),
            Balance::LeastRequest => self.less_busy(rng),
        }
    }

    fn in_turn(&mut self) -> Option<u32> {
        if let Some(turns) = &mut self.turns {
            return self.list.open.get(turns.next(&self.list)? as usize).copied();
        }
        let at = if self.cursor < self.list.open.len() { self.cursor } else { 0 };
        self.cursor = at + 1;
        self.list.open.get(at).copied()
    }

    fn less_busy(&self, rng: &Rng) -> Option<u32> {
        let open = &self.list.open;
        let first = self.random(rng)?;
        if open.len() <= FULL_SCAN {
            // The random first one wins among equals.
            return Some(open.iter().copied().fold(first, |best, other| self.lighter(best, other)));
        }
        let mut second = self.random(rng)?;
        for _ in 0..REDRAWS {
            if second != first {
                break;
            }
            second = self.random(rng)?;
        }
        Some(self.lighter(first, second))
    }

    /// Whichever of the two has fewer attempts under way for its weight; `a` when they are equal.
    fn lighter(&self, a: u32, b: u32) -> u32 {
        let load = |at: u32| {
            self.list.members.get(at as usize).map_or((u64::MAX, 1), |m| {
                (u64::from(m.endpoint.active.load(Ordering::Relaxed)), u64::from(m.weight))
            })
        };
        let ((a_load, a_weight), (b_load, b_weight)) = (load(a), load(b));
        if b_load.saturating_mul(a_weight) < a_load.saturating_mul(b_weight) { b } else { a }
    }

    /// One of the open members, by weight.
    fn random(&self, rng: &Rng) -> Option<u32> {
        let List { open, open_bounds, .. } = &*self.list;
        let at = match open_bounds.last() {
            None => rng.below(open.len() as u64) as usize,
            Some(total) => {
                let point = rng.below(*total);
                open_bounds.partition_point(|bound| *bound <= point)
            }
        };
        open.get(at).copied()
    }

    /// The same endpoint for the same key while the members stand; while it is ejected (or was tried) the next that the key
    /// leads to. A member added at the end takes over its share of the keys and leaves the others where they are.
    fn hashed(&self, key: u64, tries: &mut Tries) -> Option<u32> {
        let total = *self.list.bounds.last()?;
        let mut key = mix(key);
        for _ in 0..REDRAWS {
            let bucket = jump(key, total);
            let at = self.list.bounds.partition_point(|bound| *bound <= bucket);
            let open = self.list.is_open.get(at).copied().unwrap_or(false);
            let member = u32::try_from(at).ok()?;
            if open && !self.tried(member, tries) {
                return Some(member);
            }
            key = mix(key.wrapping_add(1));
        }
        // Nearly all were tried or are ejected: the first that will do, from the key's place among those that are left.
        let open = &self.list.open;
        let (before, from) = open.split_at_checked(jump(key, open.len() as u64) as usize)?;
        let first =
            |tries: &Tries| from.iter().chain(before).copied().find(|member| !self.tried(*member, tries));
        if let Some(member) = first(tries) {
            return Some(member);
        }
        tries.start_over();
        first(tries).or(from.first().copied())
    }
}

/// Jump consistent hash (Lamping and Veach, 2014): a bucket below `buckets`.
fn jump(mut key: u64, buckets: u64) -> u64 {
    let (mut bucket, mut next) = (0u64, 0u64);
    while next < buckets {
        bucket = next;
        key = key.wrapping_mul(2_862_933_555_777_941_757).wrapping_add(1);
        next = ((bucket + 1) as f64 * ((1u64 << 31) as f64 / ((key >> 33) + 1) as f64)) as u64;
    }
    bucket
}

/// Weighted round robin: everybody's turns are spread evenly over the cycle, whose length is the sum of the weights (divided
/// by what they have in common) and in which everybody has exactly his share.
#[derive(Debug)]
struct Turns {
    /// When whose next turn is due, earliest first: (due, order among equals, position among the open ones).
    queue: BinaryHeap<Reverse<(u64, u32, u32)>>,
    /// How many turns each had in this cycle.
    taken: Vec<u32>,
    /// Turns left in this cycle, and in a whole one.
    left: u64,
    cycle: u64,
    offset: u32,
}

impl Turns {
    fn new(list: &List, rng: &Rng) -> Turns {
        let open = list.open.len();
        let mut turns = Turns {
            queue: BinaryHeap::with_capacity(open),
            taken: vec![0; open],
            left: 0,
            cycle: 0,
            offset: rng.below(open as u64) as u32,
        };
        let common = (0..open as u32).fold(0, |common, at| gcd(common, Turns::weight(list, at)));
        turns.cycle = list.open_bounds.last().copied().unwrap_or(0) / u64::from(common.max(1));
        // Begin anywhere in the cycle, so that workers do not all send to the same endpoint at the same time.
        for _ in 0..rng.below(turns.cycle.min(4 * open as u64)) {
            turns.next(list);
        }
        turns
    }

    fn weight(list: &List, at: u32) -> u32 {
        let member = list.open.get(at as usize).and_then(|member| list.members.get(*member as usize));
        member.map_or(1, |m| m.weight)
    }

    /// The middle of the `nth` (from 0) of `weight` even parts, on a scale of 2^32 to the whole.
    fn due(nth: u32, weight: u32) -> u64 {
        (((u128::from(nth) * 2 + 1) << 32) / (u128::from(weight) * 2)) as u64
    }

    fn next(&mut self, list: &List) -> Option<u32> {
        if self.left == 0 {
            self.left = self.cycle;
            self.taken.fill(0);
            self.queue.clear();
            let open = list.open.len() as u32;
            for at in 0..open {
                let order = (at + self.offset) % open;
                self.queue.push(Reverse((Turns::due(0, Turns::weight(list, at)), order, at)));
            }
        }
        self.left = self.left.checked_sub(1)?;
        let mut head = self.queue.peek_mut()?;
        let Reverse((due, _, at)) = &mut *head;
        let taken = self.taken.get_mut(*at as usize)?;
        *taken += 1;
        *due = Turns::due(*taken, Turns::weight(list, *at));
        Some(*at)
    }
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}
