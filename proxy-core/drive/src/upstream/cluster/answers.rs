//! What a name's answers mean: that it has moved, or that it stands for more servers than one answer names. DynamoDB's and other large
//! services' names have another address every few seconds, and a connection to one of before is as good as any; a name that has moved
//! is to be followed. They differ in what comes next: the answers of a name that has moved stay as they are.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use weir_decide::exchange::Now;

/// Answers have to stay the same for so long, and for twice the longest time between their changes, before connections to addresses
/// of before are of no further use.
const SETTLED: Duration = Duration::from_secs(10);
/// Changes that are further apart are moves.
const APART: Duration = Duration::from_secs(900);
/// How many changes are remembered.
const CHANGES: usize = 8;
/// A connection to an address of before is of no further use after so long in any case, and up to [`OLDER`] more.
const OLD: Duration = Duration::from_secs(900);
/// See [`OLD`].
const OLDER: Duration = Duration::from_secs(300);

/// A name's latest answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    /// In the resolver's order.
    pub(super) addresses: Arc<[SocketAddr]>,
    /// From then on connections to other addresses are of no further use.
    pub(super) settled: Now,
}

impl Answer {
    /// Whether the name stands for this address.
    pub(super) fn names(&self, peer: SocketAddr) -> bool {
        self.addresses.iter().any(|one| (one.ip(), one.port()) == (peer.ip(), peer.port()))
    }
}

/// When a name's answers changed.
#[derive(Debug, Default)]
pub(super) struct Changes(VecDeque<Now>);

impl Changes {
    /// The answer after `before`, now that these are the addresses.
    pub(super) fn next(&mut self, before: Option<&Answer>, addresses: Vec<SocketAddr>, now: Now) -> Answer {
        let settled = match before {
            None => Now(0),
            Some(before) if same(&before.addresses, &addresses) => before.settled,
            Some(_) => self.changed(now),
        };
        Answer { addresses: addresses.into(), settled }
    }

    /// When a change of now will have settled.
    fn changed(&mut self, now: Now) -> Now {
        while self.0.front().is_some_and(|at| self.0.len() >= CHANGES || at.after(APART) < now) {
            self.0.pop_front();
        }
        self.0.push_back(now);
        let gaps = self.0.iter().zip(self.0.iter().skip(1)).map(|(one, next)| next.since(*one));
        let longest = Duration::from_nanos(gaps.max().unwrap_or(0));
        now.after(SETTLED.max(longest * 2))
    }
}

fn same(a: &[SocketAddr], b: &[SocketAddr]) -> bool {
    a.len() == b.len() && a.iter().all(|address| b.contains(address))
}

/// When a connection that was made now is too old to lead to an address of before. Not for all of them at once.
pub(super) fn old(made: Now) -> Now {
    let spread = (u128::from(made.0.wrapping_mul(0x9E37_79B9_7F4A_7C15)) * OLDER.as_nanos()) >> 64;
    made.after(OLD + Duration::from_nanos(spread as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn address(n: u64) -> Vec<SocketAddr> {
        vec![format!("10.0.0.{}:1", n % 250).parse().unwrap()]
    }

    #[test]
    fn a_name_that_has_moved_is_followed_soon() {
        let mut changes = Changes::default();
        let first = changes.next(None, address(1), Now(0));
        let moved = changes.next(Some(&first), address(2), Now(100 * SECOND));
        assert_eq!(moved.settled, Now(110 * SECOND));
        assert_eq!(changes.next(Some(&moved), address(2), Now(105 * SECOND)), moved, "the same is no change");
        let again = changes.next(Some(&moved), address(3), Now(2000 * SECOND));
        assert_eq!(again.settled, Now(2010 * SECOND), "long after");
    }

    #[test]
    fn a_name_whose_answers_keep_changing_never_settles() {
        for every in [4, 30, 60, 300] {
            let mut changes = Changes::default();
            let mut answer = changes.next(None, address(0), Now(0));
            for n in 1..200 {
                let now = Now(n * every * SECOND);
                assert!(n < 3 || now < answer.settled, "settled though it changes every {every} s");
                answer = changes.next(Some(&answer), address(n), now);
            }
        }
    }

    #[test]
    fn another_order_is_no_other_answer() {
        let mut changes = Changes::default();
        let (a, b) = (address(1)[0], address(2)[0]);
        let first = changes.next(None, vec![a, b], Now(0));
        assert_eq!(changes.next(Some(&first), vec![b, a], Now(SECOND)).settled, Now(0));
        assert!(first.names(a) && !first.names(address(3)[0]));
    }

    #[test]
    fn connections_do_not_get_old_together() {
        let ages: Vec<u64> = (1..100u64).map(|n| old(Now(n * 1000)).since(Now(n * 1000)) / SECOND).collect();
        assert!(ages.iter().all(|age| (900..=1200).contains(age)));
        assert!(ages.iter().max().unwrap() - ages.iter().min().unwrap() > 200);
    }
}
