//! The slow operations and the failures of late: one ring for the process, with the same columns whatever the protocol.
//!
//! Only what a protocol finds remarkable comes here, so a lock is good enough. The ring is bounded in two ways: in all, the
//! oldest goes when a new one comes; and by kind (the same listener, operation, resource and shape), so that one bad query does
//! not drive out every other. What went too early is counted.

mod keeper;

pub use keeper::{Keeper, Subject, Thresholds};

use crate::capped::lock;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use weir_decide::exchange::{Fault, Items, Now};

/// The most that are kept.
pub const KEPT: usize = 512;
/// The most that are kept of one kind.
pub const KEPT_OF_A_KIND: usize = 8;
/// The most lines a second that go to the log.
pub const LOGGED_PER_SECOND: u32 = 10;

/// What an operation looked like, without its data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShapeText {
    /// One line for people.
    pub text: String,
    /// The same for operations that look alike, in every version.
    pub hash: u64,
}

/// A slow operation, or one that failed. Durations in nanoseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlowOperation {
    /// When it ended: since 1970.
    pub at: Duration,
    /// The listener's name.
    pub listener: Arc<str>,
    /// The protocol.
    pub protocol: &'static str,
    /// What was done.
    pub operation: Arc<str>,
    /// To what.
    pub resource: Arc<str>,
    /// By whom.
    pub application: Arc<str>,
    /// The endpoint's address, if it got that far.
    pub endpoint: Option<String>,
    /// The word of the protocol's list.
    pub result: &'static str,
    /// The protocol's own code.
    pub code: Arc<str>,
    /// What went wrong, where it was not simply the server's answer.
    pub fault: Option<Fault>,
    /// From the first byte of the request to the last of the reply.
    pub duration: u64,
    /// From the first byte of the request to its last.
    pub sending: Option<u64>,
    /// From the last byte of the request to the first of the reply.
    pub waiting: Option<u64>,
    /// From the first byte of the reply to its last.
    pub replying: Option<u64>,
    /// Bytes of the request.
    pub request_bytes: u64,
    /// Bytes of the reply.
    pub reply_bytes: u64,
    /// How many things it was about.
    pub items: Items,
    /// The cursor that it used or left open; 0 for none.
    pub cursor: i64,
    /// What it looked like, where that is known.
    pub shape: Option<ShapeText>,
}

impl SlowOperation {
    fn is_like(&self, other: &SlowOperation) -> bool {
        let hash = |one: &SlowOperation| one.shape.as_ref().map(|shape| shape.hash);
        (&self.listener, &self.operation, &self.resource, hash(self), self.fault.is_some())
            == (&other.listener, &other.operation, &other.resource, hash(other), other.fault.is_some())
    }
}

/// See the module.
#[derive(Debug, Default)]
pub struct SlowOperations(Mutex<Ring>);

#[derive(Debug, Default)]
struct Ring {
    kept: VecDeque<Arc<SlowOperation>>,
    /// When the second began in which lines are counted.
    second: Now,
    logged: u32,
}

/// What became of one that was offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept {
    /// It may go to the log: not too many have in this second.
    pub log: bool,
    /// One of its kind went to make room for it.
    pub crowded: bool,
}

impl SlowOperations {
    /// Keeps `operation`, in the place of an older one if there are too many.
    pub fn keep(&self, operation: SlowOperation, now: Now) -> Kept {
        let ring = &mut *lock(&self.0);
        let of_a_kind = ring.kept.iter().filter(|kept| kept.is_like(&operation)).count();
        let crowded = of_a_kind >= KEPT_OF_A_KIND;
        if crowded {
            let oldest = ring.kept.iter().position(|kept| kept.is_like(&operation));
            oldest.and_then(|at| ring.kept.remove(at));
        } else if ring.kept.len() >= KEPT {
            ring.kept.pop_front();
        }
        ring.kept.push_back(Arc::new(operation));
        if now.since(ring.second) >= 1_000_000_000 {
            (ring.second, ring.logged) = (now, 0);
        }
        let log = ring.logged < LOGGED_PER_SECOND;
        ring.logged += u32::from(log);
        Kept { log, crowded }
    }

    /// Those kept by now, the latest first.
    pub fn latest(&self) -> Vec<Arc<SlowOperation>> {
        lock(&self.0).kept.iter().rev().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operation(resource: &str, hash: u64, duration: u64) -> SlowOperation {
        SlowOperation {
            at: Duration::ZERO,
            listener: "db".into(),
            protocol: "mongo",
            operation: "find".into(),
            resource: resource.into(),
            application: "".into(),
            endpoint: None,
            result: "ok",
            code: "".into(),
            fault: None,
            duration,
            sending: None,
            waiting: None,
            replying: None,
            request_bytes: 0,
            reply_bytes: 0,
            items: Items::NONE,
            cursor: 0,
            shape: Some(ShapeText { text: "{}".into(), hash }),
        }
    }

    #[test]
    fn one_kind_does_not_drive_out_the_others() {
        let slow = SlowOperations::default();
        assert_eq!(slow.keep(operation("shop.rare", 1, 1), Now(0)), Kept { log: true, crowded: false });
        let crowded: Vec<bool> =
            (0..1000).map(|n| slow.keep(operation("shop.orders", 7, n), Now(0)).crowded).collect();
        assert_eq!(crowded.iter().filter(|crowded| !**crowded).count(), KEPT_OF_A_KIND);
        let kept: Vec<_> = slow.latest().iter().map(|one| (one.resource.to_string(), one.duration)).collect();
        assert_eq!(kept.len(), KEPT_OF_A_KIND + 1);
        assert_eq!(kept.first(), Some(&("shop.orders".to_owned(), 999)));
        assert_eq!(kept.last(), Some(&("shop.rare".to_owned(), 1)));
    }

    #[test]
    fn it_is_bounded_in_all_and_so_is_the_log() {
        let slow = SlowOperations::default();
        // A hundred a second.
        let now = |n: u64| Now(n * 10_000_000);
        let logged = (0..1000).filter(|n| slow.keep(operation("a", *n, *n), now(*n)).log).count();
        assert_eq!((slow.latest().len(), logged), (KEPT, 10 * LOGGED_PER_SECOND as usize));
    }
}
