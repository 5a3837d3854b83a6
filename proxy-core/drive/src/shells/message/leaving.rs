//! How a connection comes to its end in a drain, without its client's noticing.
//!
//! What is under way is finished. After that it depends on what the protocol says that the connection stays for:
//!
//! - for nothing: it is closed once it has been quiet for a while;
//! - for something that is open on it: the client can go on with that, for as long as the drain lasts;
//! - for the others: it is closed when nobody is left but such connections, on all workers.
//!
//! When half of the drain's time is over, those that stay for the others are closed too, and so are connections that never get quiet,
//! with a request that the client repeats by itself. What is left when all of the time is over is cut off
//! ([`crate::ground::drain::Drain::cut_after`]).

use super::exchange::Exchange;
use crate::ground::drain::{Drain, Staying};
use crate::ground::time;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::Sleep;
use weir_decide::exchange::{Fault, Now, Phase, Reason, Side};
use weir_decide::protocol::{Protocol, Stays};

/// How often a connection that stays looks whether it still has to.
const LOOK: Duration = Duration::from_millis(100);

/// What a connection that is to come to its end needs besides.
pub(super) struct Leaving {
    drain: Rc<Drain>,
    /// Held while it stays for the sake of the others.
    staying: Option<Staying>,
    look: Pin<Box<Sleep>>,
}

impl Leaving {
    fn new(drain: &Rc<Drain>) -> Box<Leaving> {
        let look = Box::pin(tokio::time::sleep(LOOK));
        Box::new(Leaving { drain: Rc::clone(drain), staying: None, look })
    }

    /// Wakes the task `after` so long; says whether that is over.
    fn poll(&mut self, after: Duration, now: Now, cx: &mut Context<'_>) -> Poll<()> {
        // Timers tick in milliseconds: never sooner than due.
        self.look.as_mut().reset(time::deadline(now.after(after)) + Duration::from_millis(1));
        self.look.as_mut().poll(cx)
    }
}

impl<P: Protocol> Exchange<P> {
    /// The connection is to come to its end: ready when it has.
    #[cold]
    pub(super) fn poll_leave(&mut self, drain: &Rc<Drain>, cx: &mut Context<'_>) -> Poll<()> {
        let mut leaving = self.leaving.take().unwrap_or_else(|| Leaving::new(drain));
        let left = loop {
            let now = self.context.worker.now();
            let Some(after) = self.stay(&mut leaving, now) else { break Poll::Ready(()) };
            if leaving.poll(after, now, cx).is_pending() {
                break Poll::Pending;
            }
        };
        if left.is_ready() {
            // A long poll may take for ever; whoever asked will ask somebody else.
            self.fail(Side::Proxy, Reason::Draining);
        }
        self.leaving = Some(leaving);
        left
    }

    /// When to look again; `None`: it may go.
    fn stay(&mut self, leaving: &mut Leaving, now: Now) -> Option<Duration> {
        if !self.is_between_messages() || !self.pending.are_parked() {
            leaving.staying = None;
            return Some(LOOK);
        }
        let half_over = leaving.drain.is_half_over(self.context.worker.drain_timeout(), now);
        match self.protocol.stays(&mut self.session, self.pending.oldest()) {
            Stays::Quiet(quiet) => {
                leaving.staying = None;
                let due = self.idle.moved_at().after(quiet);
                (due > now).then(|| Duration::from_nanos(due.since(now)))
            }
            Stays::Open => {
                leaving.staying = None;
                Some(LOOK)
            }
            Stays::Others => {
                leaving.staying.get_or_insert_with(|| leaving.drain.stay());
                (!half_over && !leaving.drain.is_deserted()).then_some(LOOK)
            }
        }
    }

    /// Whether the connection ends here instead of serving `op`, which the client does anew by itself.
    pub(super) fn turns_away(&mut self, op: &P::Op) -> bool {
        let Some(leaving) = &self.leaving else { return false };
        leaving.drain.is_half_over(self.context.worker.drain_timeout(), self.now)
            && self.pending.is_empty()
            && matches!(self.protocol.stays(&mut self.session, None), Stays::Quiet(_))
            && self.protocol.repeats(&self.session, op)
    }

    /// What [`Exchange::turns_away`] means.
    pub(super) fn draining() -> Fault {
        Fault::new(Side::Proxy, Phase::Admitted, Reason::Draining)
    }
}
