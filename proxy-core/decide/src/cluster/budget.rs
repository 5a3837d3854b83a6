//! The retry budget: over ten seconds no more retries than a share of the first tries, plus so many a second, however fast they
//! fail. Counting what is under way at a time would let those through that fail at once.
//!
//! Both are counted for ever, in one word each, and marked at the beginning of every second. What may still be spent follows from
//! the marks of ten seconds ago; a retry takes its place by one compare-and-swap against that, so two that come together never
//! both get the last one. A first try costs one addition to a line that it has in hand anyway, and one look at the clock's next
//! second; whoever is the first in a second marks it, under a lock that nobody else needs.

use super::sync::{AtomicU32, AtomicU64, Mutex, Ordering, lock};
use crate::exchange::Now;

/// What the budget is over, in seconds. The second under way comes on top.
pub(crate) const WINDOW: u64 = 10;

/// So many marks are kept: more than [`WINDOW`] and the second under way.
const MARKS: u64 = 16;

const SECOND: u64 = 1_000_000_000;

/// How much may be spent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Allowance {
    /// Of the first tries, in percent.
    pub(crate) percent: u32,
    /// So many a second besides.
    pub(crate) floor: u32,
}

#[derive(Debug)]
#[repr(C)]
pub(crate) struct Budget {
    /// First tries, and retries; both wrap.
    firsts: AtomicU32,
    retries: AtomicU32,
    /// When the second after the one under way begins.
    next: AtomicU64,
    /// Both counts at the beginning of each of the last seconds.
    marks: [AtomicU64; MARKS as usize],
    marking: Mutex<()>,
}

impl Budget {
    pub(crate) fn new() -> Budget {
        Budget {
            firsts: AtomicU32::new(0),
            retries: AtomicU32::new(0),
            next: AtomicU64::new(0),
            marks: std::array::from_fn(|_| AtomicU64::new(0)),
            marking: Mutex::new(()),
        }
    }

    /// Time has passed. One load within a second.
    pub(crate) fn pass(&self, now: Now) {
        if now.0 >= self.next.load(Ordering::Acquire) {
            self.mark(now);
        }
    }

    #[cold]
    fn mark(&self, now: Now) {
        let _marking = lock(&self.marking);
        let (first, second) = (self.next.load(Ordering::Relaxed) / SECOND, now.0 / SECOND);
        if second < first {
            return;
        }
        let word = pack(self.firsts.load(Ordering::Relaxed), self.retries.load(Ordering::Relaxed));
        // Nothing has happened in the seconds that nobody has marked.
        for second in first.max(second.saturating_sub(MARKS - 1))..=second {
            if let Some(mark) = self.marks.get((second % MARKS) as usize) {
                mark.store(word, Ordering::Relaxed);
            }
        }
        self.next.store((second + 1).saturating_mul(SECOND), Ordering::Release);
    }

    /// One more first try.
    pub(crate) fn first(&self) {
        self.firsts.fetch_add(1, Ordering::Relaxed);
    }

    /// One more retry, if there is room for it.
    pub(crate) fn spend(&self, allowance: Allowance, now: Now) -> bool {
        self.pass(now);
        let (limit, before) = self.limit(allowance);
        let room = |retries: u32| retries.wrapping_sub(before) < limit;
        let spent = self.retries.fetch_update(Ordering::AcqRel, Ordering::Acquire, |retries| {
            room(retries).then(|| retries.wrapping_add(1))
        });
        spent.is_ok()
    }

    /// How many retries are allowed in the window at present, and how many there were.
    pub(crate) fn room(&self, allowance: Allowance) -> (u32, u32) {
        let (limit, before) = self.limit(allowance);
        (limit, self.retries.load(Ordering::Acquire).wrapping_sub(before))
    }

    /// How many retries there may be since there were `before`.
    fn limit(&self, allowance: Allowance) -> (u32, u32) {
        let second = (self.next.load(Ordering::Acquire) / SECOND).saturating_sub(1);
        let mark = match second.checked_sub(WINDOW) {
            Some(then) => {
                self.marks.get((then % MARKS) as usize).map_or(0, |mark| mark.load(Ordering::Relaxed))
            }
            None => 0,
        };
        let (firsts, before) = unpack(mark);
        let firsts = u64::from(self.firsts.load(Ordering::Relaxed).wrapping_sub(firsts));
        let share = firsts.saturating_mul(u64::from(allowance.percent)) / 100;
        let floor = u64::from(allowance.floor).saturating_mul(WINDOW);
        (u32::try_from(share.saturating_add(floor)).unwrap_or(u32::MAX), before)
    }
}

fn pack(firsts: u32, retries: u32) -> u64 {
    u64::from(firsts) | u64::from(retries) << 32
}

fn unpack(word: u64) -> (u32, u32) {
    (word as u32, (word >> 32) as u32)
}
