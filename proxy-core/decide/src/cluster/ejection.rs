//! Who is taken out of rotation, for how long, and what brings it back.
//!
//! ```text
//! in rotation ── a row of failures, or of operations that clients left unanswered ──▶ ejected
//!      ▲                                                                              │  its time is over
//!      │                              ┌── the probe fails: a longer ejection ─────────┤
//!      └── the probe is answered well ─┴──────────── on probation ◀───────────────────┘
//! ```
//!
//! On probation an endpoint gets one operation, and no other until that one has ended (or has taken [`PROBE_PATIENCE`]): it decides.
//! No more are out at a time, ejected or on probation, than the share allows. Where the share is used up and everything that is
//! left in rotation fails as well, it is no endpoint's failure but a common one: all come back at once, and nobody is ejected
//! until one of them has answered well.

use super::{
    Cluster,
    endpoint::Endpoint,
    settings::{ejectable, ejection_length},
    state::State,
    stats::{EventKind, Why},
    sync::Ordering,
};
use crate::exchange::{Class, Now, Outcome, Phase, Side};
use std::{sync::Arc, time::Duration};
use weir_config::OutlierEjection;

/// So many operations in a row that clients left without a byte of a reply eject an endpoint (or `consecutive_errors`, if that is
/// more).
pub(crate) const LEFT_IN_A_ROW: u32 = 5;
/// An operation that its client left sooner says nothing about the endpoint.
pub(crate) const LEFT_AFTER: Duration = Duration::from_millis(100);
/// A probe that has not ended after so long makes room for the next one; or, if its reply has begun by then, was answered well.
pub(crate) const PROBE_PATIENCE: Duration = Duration::from_secs(10);

/// What became of asking to be the probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Claim {
    /// This operation is the probe, for nobody else until then.
    Granted(u64),
    /// Another one is.
    Refused,
    /// Another one is, for long, and its reply has begun.
    Answered,
}

/// [`Endpoint::probe`](Endpoint) while no operation is the probe; above it the time until which one is.
const WANTED: u64 = 1;

impl Endpoint {
    /// Whether it waits for the operation that decides whether it is back.
    pub(crate) fn is_on_probation(&self) -> bool {
        self.probe.load(Ordering::Relaxed) != 0
    }

    /// Whether it is out of rotation.
    pub(crate) fn is_out(&self) -> bool {
        self.is_ejected() || self.is_on_probation()
    }

    /// Asks for an operation to be the probe.
    pub(crate) fn claim_probe(&self, now: Now) -> Claim {
        let probe = self.probe.load(Ordering::Relaxed);
        if probe == 0 || probe > now.0.max(WANTED) {
            return Claim::Refused;
        }
        if probe != WANTED && self.heard.load(Ordering::Relaxed) != 0 {
            return Claim::Answered;
        }
        let until = now.after(PROBE_PATIENCE).0.max(WANTED + 1);
        match self.probe.compare_exchange(probe, until, Ordering::AcqRel, Ordering::Relaxed) {
            Ok(_) => Claim::Granted(until),
            Err(_) => Claim::Refused,
        }
    }

    /// The probe's reply has begun.
    pub(crate) fn hear(&self) {
        self.heard.store(1, Ordering::Relaxed);
    }

    /// The probe that was claimed `until` then has ended. Unless that has decided, or another has taken its place, the next
    /// operation is one.
    pub(crate) fn release_probe(&self, until: u64) {
        self.probe.compare_exchange(until, WANTED, Ordering::AcqRel, Ordering::Relaxed).ok();
    }

    fn break_rows(&self) {
        for row in [&self.consecutive, &self.left] {
            if row.load(Ordering::Relaxed) != 0 {
                row.store(0, Ordering::Relaxed);
            }
        }
    }

    /// How often it has answered, with whatever the request deserved.
    fn answers(&self) -> u64 {
        self.count(Class::Success) + self.count(Class::Rejected)
    }

    fn fails(&self, threshold: u32) -> bool {
        let row = |row: &super::sync::AtomicU32, most| row.load(Ordering::Relaxed) >= most;
        row(&self.consecutive, threshold) || row(&self.left, left_row(threshold))
    }
}

fn left_row(threshold: u32) -> u32 {
    threshold.max(LEFT_IN_A_ROW)
}

/// Whether the client gave up an operation that the server had had for a while and had not begun to answer.
fn was_left(outcome: &Outcome) -> bool {
    let unanswered =
        |fault: &crate::exchange::Fault| fault.side == Side::Client && fault.phase == Phase::Waiting;
    outcome.fault.as_ref().is_some_and(unanswered) && is_long(outcome.latency)
}

/// Whether a client that leaves after so many nanoseconds says something about the endpoint.
pub(crate) fn is_long(waited: u64) -> bool {
    waited >= LEFT_AFTER.as_nanos() as u64
}

impl Cluster {
    /// An attempt at `endpoint` has ended like that. `counted`: that its client left has been counted, or says nothing.
    pub(crate) fn ended(
        &self,
        endpoint: &Arc<Endpoint>,
        outcome: &Outcome,
        (probe, counted): (bool, bool),
        now: Now,
    ) {
        match outcome.class {
            Class::Success | Class::Rejected => self.answered(endpoint, now),
            Class::Failed => self.failed(endpoint, probe, now),
            Class::Cancelled if !counted && was_left(outcome) => self.left(endpoint, now),
            Class::Cancelled | Class::Refused => {}
        }
    }

    /// `endpoint` has answered well: no row goes on, and what waited for an answer has it.
    pub(crate) fn answered(&self, endpoint: &Arc<Endpoint>, now: Now) {
        endpoint.break_rows();
        if !endpoint.is_on_probation() && self.watch.0.common.load(Ordering::Relaxed) == 0 {
            return;
        }
        let mut state = self.lock();
        if state.answered(endpoint, now) {
            self.publish(&mut state);
        }
        self.watch.0.common.store(u32::from(state.common), Ordering::Relaxed);
    }

    /// An attempt at `endpoint` failed. Ejects it at once if that was one too many in a row, or the probe.
    fn failed(&self, endpoint: &Arc<Endpoint>, probe: bool, now: Now) {
        let threshold = Cluster::limit(&self.limits.0.consecutive_errors);
        let row = endpoint.consecutive.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        // If it may not be ejected now, it takes another row of failures to ask again.
        let due = threshold != 0 && row.is_multiple_of(threshold);
        if probe && endpoint.is_on_probation() {
            self.eject(endpoint, Why::Probe, now);
        } else if due {
            self.eject(endpoint, Why::Errors, now);
        }
    }

    /// A client has left an operation at `endpoint` that has been without a byte of a reply for long.
    pub(crate) fn left(&self, endpoint: &Arc<Endpoint>, now: Now) {
        let threshold = Cluster::limit(&self.limits.0.consecutive_errors);
        let row = endpoint.left.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        if threshold != 0 && row.is_multiple_of(left_row(threshold)) {
            self.eject(endpoint, Why::Left, now);
        }
    }

    #[cold]
    fn eject(&self, endpoint: &Arc<Endpoint>, why: Why, now: Now) {
        if endpoint.is_ejected() {
            return;
        }
        let mut state = self.lock();
        if state.eject(endpoint, why, now) {
            self.publish(&mut state);
        }
    }
}

impl State {
    /// Takes `endpoint` out of rotation, if the settings allow one more. Exact: all ejections are decided here, under the
    /// lock, over the members as they are. Whether anything changed that views should see.
    pub(crate) fn eject(&mut self, endpoint: &Arc<Endpoint>, why: Why, now: Now) -> bool {
        let Some(ejection) = self.settings.ejection else { return false };
        if endpoint.is_ejected() || !self.members.iter().any(|m| Arc::ptr_eq(&m.endpoint, endpoint)) {
            return false;
        }
        let one_more = endpoint.is_on_probation() || self.out() < ejectable(&ejection, self.members.len());
        if self.common || !one_more {
            self.ejections_withheld += 1;
            return !self.common && self.fail_in_common(&ejection, now);
        }
        let nth = endpoint.multiplier.load(Ordering::Relaxed).saturating_add(1);
        let until = now.after(ejection_length(&ejection, nth));
        endpoint.multiplier.store(nth, Ordering::Relaxed);
        endpoint.ejected_at.store(now.0, Ordering::Relaxed);
        endpoint.ejected_why.store(why.code(), Ordering::Relaxed);
        endpoint.ejected_until.store(until.0.max(1), Ordering::Relaxed);
        endpoint.probe.store(0, Ordering::Relaxed);
        endpoint.ejections.fetch_add(1, Ordering::Relaxed);
        self.event(endpoint, now, EventKind::Ejected { until, nth, why });
        true
    }

    fn out(&self) -> usize {
        self.members.iter().filter(|m| m.endpoint.is_out()).count()
    }

    /// If everything fails, those that are out come back: it was no fault of their own, so it does not make their next ejection
    /// longer.
    fn fail_in_common(&mut self, ejection: &OutlierEjection, now: Now) -> bool {
        let threshold = ejection.consecutive_errors.max(1);
        let fails = self.members.iter().all(|m| m.endpoint.is_out() || m.endpoint.fails(threshold));
        if !fails || self.out() == 0 {
            return false;
        }
        self.common = true;
        for endpoint in self.endpoints().filter(|endpoint| endpoint.is_out()) {
            let nth = endpoint.multiplier.load(Ordering::Relaxed);
            endpoint.multiplier.store(nth.saturating_sub(1), Ordering::Relaxed);
            self.put_back(&endpoint, now);
        }
        true
    }

    /// See [`Cluster::answered`]. Whether anything changed that views should see.
    fn answered(&mut self, endpoint: &Arc<Endpoint>, now: Now) -> bool {
        if std::mem::take(&mut self.common) {
            // What failed with all the others says nothing about an endpoint.
            self.members.iter().for_each(|m| m.endpoint.break_rows());
        }
        let probed = endpoint.is_on_probation();
        if probed {
            self.put_back(endpoint, now);
        }
        probed
    }

    /// Puts whoever's ejection is over on probation, and lets old ejections be forgotten. Whether anything changed that views
    /// should see.
    pub(crate) fn pass(&mut self, now: Now) -> bool {
        let mut changed = false;
        for member in self.members.iter() {
            let endpoint = &member.endpoint;
            let until = endpoint.ejected_until.load(Ordering::Relaxed);
            if until != 0 && until <= now.0 {
                endpoint.ejected_until.store(0, Ordering::Relaxed);
                endpoint.break_rows();
                endpoint.heard.store(0, Ordering::Relaxed);
                endpoint.probe.store(WANTED, Ordering::Relaxed);
                changed = true;
            }
            self.forget(endpoint, now);
        }
        changed
    }

    /// One ejection less in the row for each interval in rotation and each answer: silence is not health.
    fn forget(&self, endpoint: &Endpoint, now: Now) {
        let Some(ejection) = self.settings.ejection else { return };
        let nth = endpoint.multiplier.load(Ordering::Relaxed);
        if nth == 0 || endpoint.is_out() {
            return;
        }
        let since = endpoint.back_since.load(Ordering::Relaxed);
        let interval = ejection.interval.as_nanos().clamp(1, u128::from(u64::MAX)) as u64;
        let intervals = now.since(Now(since)) / interval;
        if intervals == 0 {
            return;
        }
        let answers = endpoint.answers();
        let answered = answers.saturating_sub(endpoint.answers_before.swap(answers, Ordering::Relaxed));
        endpoint.back_since.store(since + intervals * interval, Ordering::Relaxed);
        let less = u32::try_from(intervals.min(answered)).unwrap_or(u32::MAX);
        endpoint.multiplier.store(nth.saturating_sub(less), Ordering::Relaxed);
    }

    fn put_back(&mut self, endpoint: &Endpoint, now: Now) {
        endpoint.ejected_until.store(0, Ordering::Relaxed);
        endpoint.probe.store(0, Ordering::Relaxed);
        endpoint.break_rows();
        endpoint.back_since.store(now.0, Ordering::Relaxed);
        endpoint.answers_before.store(endpoint.answers(), Ordering::Relaxed);
        self.event(endpoint, now, EventKind::PutBack);
    }

    /// Members or settings have changed: no ejection lasts longer than it would by now, and endpoints are put back until no more
    /// are out than may be. Those first whose ejection ends first.
    pub(crate) fn relax(&mut self, now: Now) {
        let Some(ejection) = self.settings.ejection else {
            self.common = false;
            return self.put_back_until(0, now);
        };
        for endpoint in self.endpoints().filter(|endpoint| endpoint.is_ejected()) {
            let nth = endpoint.multiplier.load(Ordering::Relaxed);
            let at = Now(endpoint.ejected_at.load(Ordering::Relaxed));
            let until = at.after(ejection_length(&ejection, nth)).0.max(1);
            if until < endpoint.ejected_until.load(Ordering::Relaxed) {
                endpoint.ejected_until.store(until, Ordering::Relaxed);
            }
        }
        self.put_back_until(ejectable(&ejection, self.members.len()), now);
    }

    fn put_back_until(&mut self, allowed: usize, now: Now) {
        for _ in 0..self.out().saturating_sub(allowed) {
            let out = self.endpoints().filter(|endpoint| endpoint.is_out());
            let Some(first) = out.min_by_key(|e| e.ejected_until.load(Ordering::Relaxed)) else { return };
            self.put_back(&first, now);
        }
    }

    /// The members' endpoints, independent of `self`.
    fn endpoints(&self) -> impl Iterator<Item = Arc<Endpoint>> + use<> {
        let members = self.members.clone();
        (0..members.len()).filter_map(move |at| members.get(at).map(|m| m.endpoint.clone()))
    }

    /// When `pass` has something to do next; `u64::MAX`: never, as things are.
    pub(crate) fn due(&self) -> u64 {
        let Some(ejection) = self.settings.ejection else { return u64::MAX };
        let due = |e: &Endpoint| match e.ejected_until.load(Ordering::Relaxed) {
            0 if e.is_on_probation() || e.multiplier.load(Ordering::Relaxed) == 0 => u64::MAX,
            0 => Now(e.back_since.load(Ordering::Relaxed)).after(ejection.interval).0,
            until => until,
        };
        self.members.iter().map(|m| due(&m.endpoint)).min().unwrap_or(u64::MAX)
    }
}
