//! What a try's end means for the exchange: what is known of it is put together here, and decided in `weir_decide::policy`.

use super::Exchange;
use super::attempt::{Attempt, Step};
use super::replay::Replay;
use crate::seam::{Broken, Downstream, Upstream};
use crate::timer::NEVER;
use std::time::Duration;
use weir_decide::cluster::{Ticket, Verdict};
use weir_decide::exchange::{Class, Outcome, RetryOn};
use weir_decide::policy::{Again, Known, Lost, Replay as Replayable};
use weir_drive::time;

impl<D: Downstream> Exchange<'_, D> {
    /// The try has ended with `outcome`; `begun`: a reply has begun to go to the client. Gives a step where another try takes its
    /// place.
    pub(super) fn finish(
        &self,
        attempt: &mut Attempt<'_>,
        ticket: &mut Option<Ticket>,
        outcome: &Outcome,
        begun: bool,
    ) -> Option<Step> {
        let ticket = ticket.take()?;
        let known = match outcome.class {
            Class::Success => Known::OVER,
            _ => self.known(attempt, begun),
        };
        match ticket.finish(outcome, attempt.policy, &known, attempt.tries, time::now()) {
            Verdict::Done => None,
            Verdict::Elsewhere => Some(Step::Again { after: Duration::ZERO }),
            Verdict::Retry { after } => Some(Step::Again { after }),
        }
    }

    /// Whether a reply with this outcome would be replaced by another try, if limits and budget have room for it.
    pub(super) fn is_worth_another(&self, attempt: &Attempt<'_>, outcome: &Outcome) -> bool {
        let known = self.known(attempt, false);
        attempt.policy.again(outcome, &known, attempt.tries.retries()) != Again::No
    }

    /// Whether any outcome of a reply would be: only then is there a point in holding it back.
    pub(super) fn may_be_replaced(&self, attempt: &Attempt<'_>) -> bool {
        let Attempt { policy, tries, replay, watcher, .. } = attempt;
        policy.on.meets(RetryOn::ANSWERS)
            && tries.retries() < policy.max_retries
            && replay.is_possible()
            && !self.client_repeats(watcher)
    }

    /// Whether the request goes to the same endpoint once more, on another connection.
    pub(super) fn goes_once_more<U: Upstream>(
        &self,
        attempt: &Attempt<'_>,
        up: &U,
        broken: &Broken,
        fresh: bool,
    ) -> bool {
        let lost = Lost { unprocessed: broken.unprocessed, stale: up.stale() };
        // By the server's word it is once in an exchange.
        let again = fresh || (lost.unprocessed && attempt.tries.attempts() > 1);
        (lost.unprocessed || lost.stale) && attempt.policy.once_more(lost, &self.known(attempt, false), again)
    }

    fn known(&self, attempt: &Attempt<'_>, begun: bool) -> Known {
        let watcher = &attempt.watcher;
        let until = attempt.until.deadline;
        Known {
            replay: replayable(attempt.replay, begun),
            sent: attempt.sent,
            idempotent: watcher.operation().idempotent || attempt.route.lists(self.request.path()),
            client_repeats: self.client_repeats(watcher),
            asked: watcher.asked(),
            deadline: (until != NEVER).then_some(until),
        }
    }
}

fn replayable(replay: &Replay, begun: bool) -> Replayable {
    if begun || !replay.is_possible() { Replayable::Impossible } else { Replayable::Possible }
}
