//! Whose time passes. A timer tells that a try took too long, not for whom it waited: a client that does not read its reply, or
//! sends its request in drops, must not cost the server its place in the rotation.

use super::pump::Downward;
use crate::seam::{Broken, Length, Reply};
use crate::watcher::Watcher;
use weir_decide::exchange::{Now, Outcome, Phase, Reason, Side};
use weir_drive::time;

/// How long a try has waited for its client. The clock is read only when the waiting begins or ends, so an exchange whose client
/// keeps up never reads it.
#[derive(Default)]
pub struct Waits {
    /// It does at present, since then.
    since: Option<Now>,
    /// All earlier times together, in nanoseconds.
    before: u64,
}

impl Waits {
    /// Whether nothing can go on without the client at present.
    pub fn note(&mut self, waits: bool) {
        if waits == self.since.is_some() {
            return;
        }
        let now = time::now();
        match self.since.take() {
            Some(since) => self.before += now.since(since),
            None => self.since = Some(now),
        }
    }

    /// How long that was until now.
    pub fn total(&self, now: Now) -> u64 {
        self.before + self.since.map_or(0, |since| now.since(since))
    }

    /// So long, and not now.
    #[cfg(test)]
    pub fn waited(before: u64) -> Waits {
        Waits { since: None, before }
    }

    /// Whether the client is to blame for a timer of a try that began at `began`: it is waited for, or (where the timer is not about
    /// the present moment) was for half of the time at least.
    pub fn blame(&self, reason: Reason, began: Now, now: Now) -> bool {
        self.since.is_some() || (reason != Reason::Idle && 2 * self.before >= now.since(began).max(1))
    }
}

/// Whether a client that has gone had got all of a plain reply, as its head announced it. A server that speaks HTTP/2 may say
/// only later that it ends there; the client need not wait for that. (What a dialect waits for may be in trailers.)
pub fn has_all(down: &Downward, reply: &Reply, watcher: &Watcher) -> bool {
    let announced = matches!(reply.length, Length::Exact(n) if n == down.bytes);
    announced && !down.waits_for_client() && matches!(watcher, Watcher::Plain { .. })
}

/// A client that gives its request less time than this has not waited for the server.
const NO_TIME: u64 = 100_000_000;

/// Whether a try failed by what only the client chose, so that it says nothing of the endpoint: the host that a CONNECT named,
/// or a time in which nobody answers. (That no connection could be made is nobody's choice.)
pub fn is_of_the_client(outcome: &Outcome, connect: bool) -> bool {
    match &outcome.fault {
        Some(fault) if fault.phase == Phase::Connecting && fault.side != Side::Client => {
            fault.reason == Reason::Deadline && outcome.latency < NO_TIME
        }
        _ if connect => true,
        Some(fault) => {
            let theirs = fault.side == Side::Client || fault.reason == Reason::Deadline;
            theirs && outcome.latency < NO_TIME
        }
        None => false,
    }
}

/// Whose fault it is that the server's side cannot go on.
pub fn side_of(broken: &Broken) -> Side {
    match broken.reason {
        Reason::Malformed | Reason::TooLarge | Reason::RefusedStream | Reason::GoAway => Side::Upstream,
        Reason::Reset if broken.code.is_some() => Side::Upstream,
        _ => Side::Network,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_client_is_to_blame_while_it_is_waited_for_or_was_for_half_of_the_time() {
        let (began, now) = (Now(1000), Now(2000));
        for (since, before, reason, blamed) in [
            (None, 0, Reason::Timeout, false),
            (None, 0, Reason::Idle, false),
            (Some(Now(1999)), 0, Reason::Timeout, true),
            (Some(Now(1100)), 0, Reason::Idle, true),
            (None, 499, Reason::TryTimeout, false),
            (None, 500, Reason::TryTimeout, true),
            (None, 900, Reason::Idle, false),
        ] {
            let waits = Waits { since, before };
            assert_eq!(waits.blame(reason, began, now), blamed, "{since:?} {before} {reason:?}");
        }
        assert!(!Waits::default().blame(Reason::Timeout, now, now));
    }
}
