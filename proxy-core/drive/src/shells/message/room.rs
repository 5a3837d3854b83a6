//! The room of the process for requests that wait until it is known what to do with them, and who has how much of it.
//!
//! Whoever waits is charged for the memory that what has come takes, never for what is announced. Where the room is full it is taken back, from those
//! that bring nothing: strangers first, then those whose address has more than its share of a listener's, then those that have stood
//! still for longest. Who is known (somebody has authenticated on the connection) takes it from strangers whether they move or not,
//! and gives it up to none of them. What is taken back is decided by what is known of it, as any request that there is no room for.

use crate::ground::sync::lock;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::task::{Context, Waker};
use std::time::Duration;
use weir_decide::exchange::Now;
use weir_decide::protocol::Standing;

/// What one connection may hold of a request whatever others do: as much as one reading brings.
pub const HELD_ANYWAY: usize = 16 * 1024;

/// What all connections of the process may hold beyond that together: the longest message that MongoDB has (48,000,000 bytes), or
/// many shorter ones. When it is met, somebody's request is decided by what is known of it, and
/// `weir_message_limits_total{limit="held_request"}` moves.
pub const MAX_HELD_REQUESTS: usize = 48 << 20;

/// The share of an address on a listener. It may have more while there is room; then it is the first to give it back.
const SHARE: usize = MAX_HELD_REQUESTS / 4;

/// Charged in such steps; and who does not bring so much in [`STILL`] stands still.
const STEP: usize = 16 * 1024;

/// Whoever has stood still for so long gives way to whoever needs it.
const STILL: Duration = Duration::from_millis(250);

/// While more than that has been taken back and is not free yet, nothing more is.
const LEAVING: usize = 256 * 1024;

static ROOM: Room = Room::new(MAX_HELD_REQUESTS);

/// Who asks.
#[derive(Debug, Clone)]
pub(super) struct Claim {
    pub(super) listener: Arc<str>,
    /// The client's; clients of Unix sockets are one.
    pub(super) address: Option<IpAddr>,
    pub(super) standing: Standing,
    pub(super) now: Now,
}

/// The room, or one of its own in a test.
pub(super) struct Room {
    limit: usize,
    state: Mutex<State>,
}

struct State {
    taken: usize,
    /// What has been taken back and has not been freed yet.
    leaving: usize,
    next: u64,
    /// At most one for each [`STEP`] of the room.
    holders: BTreeMap<u64, Holder>,
}

struct Holder {
    listener: Arc<str>,
    address: Option<IpAddr>,
    known: bool,
    bytes: usize,
    /// When it last grew by a step.
    moved: Now,
    /// It waits for nothing any more: its bytes are on their way.
    settled: bool,
    notice: Arc<Notice>,
}

/// How a holder learns that its room has been taken back.
#[derive(Debug, Default)]
struct Notice {
    given: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

impl Room {
    pub(super) const fn new(limit: usize) -> Room {
        Room { limit, state: Mutex::new(State { taken: 0, leaving: 0, next: 0, holders: BTreeMap::new() }) }
    }

    #[cfg(test)]
    pub(super) fn taken(&self) -> usize {
        lock(&self.state).taken
    }
}

/// What one request has of the room; it goes back with this.
#[derive(Default)]
pub(super) struct Share(Option<Box<Taken>>);

/// Boxed, since most requests never need it.
struct Taken {
    room: &'static Room,
    id: u64,
    bytes: usize,
    /// How much had come when it last moved.
    mark: usize,
    notice: Arc<Notice>,
}

impl Share {
    /// Enough for so many bytes, if there is, of which so many have `come`.
    pub(super) fn cover(&mut self, size: usize, come: usize, claim: &Claim) -> bool {
        let covered = self.cover_in(&ROOM, size, claim);
        if covered
            && let Some(taken) = &mut self.0
            && come >= taken.mark + STEP
        {
            taken.mark = come;
            if let Some(holder) = lock(&taken.room.state).holders.get_mut(&taken.id) {
                holder.moved = claim.now;
            }
        }
        covered
    }

    pub(super) fn cover_in(&mut self, room: &'static Room, size: usize, claim: &Claim) -> bool {
        let beyond = size.saturating_sub(HELD_ANYWAY);
        if beyond > 0 && claim.standing == Standing::Stranger {
            return false;
        }
        let has = self.0.as_ref().map_or(0, |taken| taken.bytes);
        let steps = beyond.div_ceil(STEP).saturating_mul(STEP);
        let more = steps.min(room.limit.max(beyond)).saturating_sub(has);
        more == 0 || self.grow(room, more, claim)
    }

    #[cold]
    fn grow(&mut self, room: &'static Room, more: usize, claim: &Claim) -> bool {
        let mut state = lock(&room.state);
        let own = self.0.as_ref().map(|taken| taken.id);
        if own.is_some_and(|own| !state.holders.contains_key(&own)) {
            return false;
        }
        while state.taken.saturating_add(more) > room.limit {
            // Whoever has been told first has to go: what is there besides is bounded too.
            if state.leaving > LEAVING {
                return false;
            }
            let Some(victim) = state.victim(own, more, claim) else { return false };
            state.take_back(victim);
        }
        state.taken += more;
        match (&mut self.0, own.and_then(|own| state.holders.get_mut(&own))) {
            (Some(taken), Some(holder)) => {
                taken.bytes += more;
                holder.bytes += more;
                holder.moved = claim.now;
                holder.known = claim.is_known();
            }
            _ => {
                let notice = Arc::<Notice>::default();
                state.next += 1;
                let id = state.next;
                self.0 =
                    Some(Box::new(Taken { room, id, bytes: more, mark: 0, notice: Arc::clone(&notice) }));
                state.holders.insert(id, claim.holder(more, notice));
            }
        }
        true
    }

    /// Whether it is all that one has anyway.
    pub(super) fn is_none(&self) -> bool {
        self.0.is_none()
    }

    /// Whether it has been taken back. If not the task is woken when it is.
    pub(super) fn is_taken_back(&self, cx: &Context<'_>) -> bool {
        let Some(Taken { notice, .. }) = self.0.as_deref() else { return false };
        if !notice.given.load(Relaxed) {
            let mut waker = lock(&notice.waker);
            match &mut *waker {
                Some(waker) => waker.clone_from(cx.waker()),
                none => *none = Some(cx.waker().clone()),
            }
        }
        // It may have been meanwhile.
        notice.given.load(Relaxed)
    }

    /// What it is for is on its way: it goes back when that has gone, and not before.
    pub(super) fn settle(&self) {
        if let Some(Taken { room, id, .. }) = self.0.as_deref()
            && let Some(holder) = lock(&room.state).holders.get_mut(id)
        {
            holder.settled = true;
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        if let Some(Taken { room, id, bytes, .. }) = self.0.as_deref() {
            let mut state = lock(&room.state);
            match state.holders.remove(id) {
                Some(holder) => state.taken -= holder.bytes,
                None => state.leaving = state.leaving.saturating_sub(*bytes),
            }
        }
    }
}

impl Claim {
    fn is_known(&self) -> bool {
        self.standing == Standing::Known
    }

    fn holder(&self, bytes: usize, notice: Arc<Notice>) -> Holder {
        Holder {
            listener: Arc::clone(&self.listener),
            address: self.address,
            known: self.is_known(),
            bytes,
            moved: self.now,
            settled: false,
            notice,
        }
    }
}

impl State {
    fn take_back(&mut self, victim: u64) {
        let Some(holder) = self.holders.remove(&victim) else { return };
        self.taken -= holder.bytes;
        self.leaving += holder.bytes;
        holder.notice.given.store(true, Relaxed);
        if let Some(waker) = lock(&holder.notice.waker).take() {
            waker.wake();
        }
    }

    /// Who gives way to `claim`, which is `own` if it has something already and wants `more`.
    fn victim(&self, own: Option<u64>, more: usize, claim: &Claim) -> Option<u64> {
        let mut shares = BTreeMap::<(&str, Option<IpAddr>), usize>::new();
        for holder in self.holders.values() {
            *shares.entry((&holder.listener, holder.address)).or_default() += holder.bytes;
        }
        let share = |listener: &str, address| shares.get(&(listener, address)).copied().unwrap_or(0);
        let within = share(&claim.listener, claim.address) + more <= SHARE;
        let candidates = self.holders.iter().filter_map(|(&id, holder)| {
            let over = share(&holder.listener, holder.address) > SHARE;
            let still = Duration::from_nanos(claim.now.since(holder.moved));
            let gives_way = match (holder.known, claim.is_known()) {
                (true, false) => false,
                (false, true) => true,
                _ => still >= STILL || (over && within),
            };
            let takes = !holder.settled && own != Some(id) && gives_way;
            takes.then_some(((!holder.known, over, still), id))
        });
        candidates.max().map(|(_, id)| id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIB: usize = 1024;
    const ANYWAY: usize = HELD_ANYWAY;

    fn claim(address: u8, standing: Standing, millis: u64) -> Claim {
        let address = Some(IpAddr::from([10, 0, 0, address]));
        Claim { listener: "db".into(), address, standing, now: Now(millis * 1_000_000) }
    }

    fn room(limit: usize) -> &'static Room {
        Box::leak(Box::new(Room::new(limit)))
    }

    fn taken_back(share: &Share) -> bool {
        share.is_taken_back(&Context::from_waker(Waker::noop()))
    }

    use Standing::{Known, Stranger, Unknown};

    #[test]
    fn who_gives_way() {
        // The room is full of one holder's; another asks so many milliseconds later: does it get something?
        for (holder, asker, later, gets) in [
            (claim(1, Unknown, 0), claim(2, Unknown, 0), 100, false),
            (claim(1, Unknown, 0), claim(2, Unknown, 0), 250, true),
            (claim(1, Unknown, 0), claim(1, Unknown, 0), 250, true),
            (claim(1, Unknown, 0), claim(2, Known, 0), 0, true),
            (claim(1, Known, 0), claim(2, Unknown, 0), 10_000, false),
            (claim(1, Known, 0), claim(2, Known, 0), 100, false),
            (claim(1, Known, 0), claim(2, Known, 0), 250, true),
            (claim(1, Unknown, 0), claim(2, Stranger, 0), 10_000, false),
        ] {
            let room = room(64 * KIB);
            let (mut first, mut second) = (Share::default(), Share::default());
            assert!(first.cover_in(room, ANYWAY + 64 * KIB, &holder));
            let asker = Claim { now: Now(later * 1_000_000), ..asker };
            assert_eq!(second.cover_in(room, ANYWAY + 1, &asker), gets, "{holder:?}, {asker:?}");
            assert_eq!(taken_back(&first), gets, "{holder:?}, {asker:?}");
            let left = if gets { 16 * KIB } else { 64 * KIB };
            assert_eq!(room.taken(), left);
            // What has been taken back is not given out again to whoever had it, and goes back once.
            assert!(!first.cover_in(room, ANYWAY + 128 * KIB, &holder));
            drop((first, second));
            assert_eq!(room.taken(), 0);
        }
    }

    #[test]
    fn one_that_is_over_its_share_gives_way_though_it_moves() {
        let room = room(MAX_HELD_REQUESTS);
        let (mut large, mut small, mut next) = (Share::default(), Share::default(), Share::default());
        assert!(large.cover_in(room, ANYWAY + 40 * KIB * KIB, &claim(1, Unknown, 0)));
        assert!(small.cover_in(room, ANYWAY + 8 * KIB * KIB, &claim(2, Unknown, 0)));
        assert!(!next.cover_in(room, ANYWAY + 1, &claim(1, Unknown, 0)), "it is its own address");
        assert!(next.cover_in(room, ANYWAY + 1, &claim(3, Unknown, 0)));
        assert!(taken_back(&large) && !taken_back(&small));
    }

    #[test]
    fn who_brings_little_stands_still() {
        let room = room(64 * KIB);
        let (mut slow, mut quick, mut next) = (Share::default(), Share::default(), Share::default());
        for millis in 0..400 {
            assert!(slow.cover_in(room, ANYWAY + 10 + millis as usize, &claim(1, Unknown, millis)));
        }
        assert!(quick.cover_in(room, ANYWAY + 16 * KIB, &claim(1, Unknown, 0)));
        assert!(quick.cover_in(room, ANYWAY + 40 * KIB, &claim(1, Unknown, 390)));
        assert!(next.cover_in(room, ANYWAY + 10, &claim(1, Unknown, 400)));
        assert!(taken_back(&slow) && !taken_back(&quick));
    }

    #[test]
    fn what_is_on_its_way_is_nobodys_to_take() {
        let room = room(64 * KIB);
        let (mut sent, mut next) = (Share::default(), Share::default());
        assert!(sent.cover_in(room, ANYWAY + 64 * KIB, &claim(1, Unknown, 0)));
        sent.settle();
        assert!(!next.cover_in(room, ANYWAY + 1, &claim(2, Known, 9_000)));
        assert!(!taken_back(&sent));
        drop(sent);
        assert!(next.cover_in(room, ANYWAY + 1, &claim(2, Unknown, 9_000)));
    }
}
