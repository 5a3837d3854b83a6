//! The times that every exchange has: until the reply's head, while a body stands still, and how slow a client may be. Nothing is
//! noted as bytes move; a clock that has run out looks at what has moved since it was set, and is set again.

use super::blame::Waits;
use crate::timer::NEVER;
use crate::times::Times;
use std::time::Duration;
use weir_decide::exchange::{Now, Phase, Reason};
use weir_drive::time;

/// Over so long a client's rate is measured.
const RATE_OVER: Duration = Duration::from_secs(60);

/// How far an exchange has got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct State {
    pub(super) phase: Phase,
    /// Bytes of body.
    pub(super) up: u64,
    pub(super) down: u64,
}

/// The clocks of one try.
pub(super) struct Clocks {
    times: Times,
    /// When the head is due, once the request has ended.
    reply_at: Option<Now>,
    stall: Clock,
    rate: Clock,
    /// How long the client was waited for.
    slow: Waits,
    /// The same when its clock was set.
    slow_before: u64,
    was_slow: bool,
}

/// When it is looked at, and how far the exchange had got when it was set.
#[derive(Default)]
struct Clock {
    at: Option<Now>,
    state: Option<State>,
}

impl Clocks {
    pub(super) fn new(times: Times) -> Clocks {
        let (stall, rate) = (Clock::default(), Clock::default());
        Clocks { times, reply_at: None, stall, rate, slow: Waits::default(), slow_before: 0, was_slow: false }
    }

    /// Whether the client was too slow.
    pub(super) fn was_slow(&self) -> bool {
        self.was_slow
    }

    /// When one has to be looked at.
    pub(super) fn next(&mut self, tunnel: bool, phase: Phase, slow: bool) -> Now {
        if self.times == Times::NONE || tunnel {
            return NEVER;
        }
        if phase == Phase::Waiting {
            let Some(reply) = self.times.reply else { return NEVER };
            return *self.reply_at.get_or_insert_with(|| time::now().after(reply));
        }
        let stall = self
            .times
            .stall
            .map_or(NEVER, |stall| *self.stall.at.get_or_insert_with(|| time::now().after(stall)));
        if self.times.least == 0 {
            return stall;
        }
        self.slow.note(slow);
        stall.min(*self.rate.at.get_or_insert_with(|| time::now().after(RATE_OVER)))
    }

    /// One of them has run out: whether time is over.
    pub(super) fn over(&mut self, now: Now, state: State) -> Option<Reason> {
        if state.phase == Phase::Waiting {
            return self.reply_at.is_some_and(|at| now >= at).then_some(Reason::Timeout);
        }
        if self.stall.at.is_some_and(|at| now >= at) {
            if self.stall.state == Some(state) {
                return Some(Reason::Idle);
            }
            self.stall = Clock { at: self.times.stall.map(|stall| now.after(stall)), state: Some(state) };
        }
        if self.rate.at.is_some_and(|at| now >= at) {
            let before = self.rate.state.map_or(0, |state| state.up + state.down);
            let waited = self.slow.total(now);
            let slow = Duration::from_nanos(waited - self.slow_before);
            let moved = state.up + state.down - before;
            // Most of the time it was the client that was waited for, and little came of it.
            self.was_slow = slow * 4 >= RATE_OVER * 3 && moved < u64::from(self.times.least) * slow.as_secs();
            if self.was_slow {
                return Some(Reason::Idle);
            }
            self.slow_before = waited;
            self.rate = Clock { at: Some(now.after(RATE_OVER)), state: Some(state) };
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;
    const TIMES: Times =
        Times { reply: Some(Duration::from_secs(60)), stall: Some(Duration::from_secs(300)), least: 50 };

    fn at(phase: Phase, up: u64, down: u64) -> State {
        State { phase, up, down }
    }

    #[test]
    fn a_reply_is_due_from_the_requests_end_on() {
        let mut clocks = Clocks::new(TIMES);
        let due = clocks.next(false, Phase::Waiting, false);
        assert_eq!(clocks.next(false, Phase::Waiting, false), due, "it is set once");
        assert_eq!(clocks.over(Now(due.0 - 1), at(Phase::Waiting, 0, 0)), None);
        assert_eq!(clocks.over(due, at(Phase::Waiting, 0, 0)), Some(Reason::Timeout));
        assert_eq!(clocks.next(true, Phase::Waiting, false), NEVER, "a tunnel has none");
        assert_eq!(Clocks::new(Times::NONE).next(false, Phase::Sending, true), NEVER);
    }

    #[test]
    fn a_body_that_stands_still_is_over_and_one_that_moves_is_not() {
        let mut clocks = Clocks::new(Times { least: 0, ..TIMES });
        let mut due = clocks.next(false, Phase::Replying, false);
        for moved in 1..5 {
            assert_eq!(clocks.over(due, at(Phase::Replying, 0, moved)), None);
            due = clocks.next(false, Phase::Replying, false);
        }
        assert_eq!(clocks.over(due, at(Phase::Replying, 0, 4)), Some(Reason::Idle));
        assert!(!clocks.was_slow());
    }

    #[test]
    fn a_client_is_too_slow_only_while_it_is_waited_for() {
        // (seconds of a minute that it was waited for, bytes, too slow)
        for (waited, bytes, slow) in
            [(60, 60, true), (60, 2999, true), (60, 3000, false), (44, 60, false), (0, 0, false)]
        {
            let mut clocks = Clocks::new(TIMES);
            let due = clocks.next(false, Phase::Sending, false);
            clocks.slow = Waits::waited(waited * SECOND);
            let over = clocks.over(due, at(Phase::Sending, bytes, 0));
            assert_eq!(
                (over, clocks.was_slow()),
                (slow.then_some(Reason::Idle), slow),
                "{bytes} bytes in {waited} s"
            );
        }
    }
}
