//! Which operations of a listener are kept as slow or failed, and how they are logged: the same for every protocol, above what it
//! tells of each ([`Subject`]).

use super::{ShapeText, SlowOperation};
use crate::{Counter, Measure, names};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use weir_decide::exchange::Operation;
use weir_decide::protocol::Ending;

/// From which time on operations are slow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Thresholds {
    /// Nanoseconds.
    all: u64,
    /// Those of some operations, by the protocol's number.
    own: BTreeMap<u16, u64>,
}

impl Default for Thresholds {
    fn default() -> Thresholds {
        Thresholds::new(Duration::from_millis(100))
    }
}

impl Thresholds {
    /// All operations that take so long, or longer.
    pub fn new(threshold: Duration) -> Thresholds {
        Thresholds { all: nanos(threshold), own: BTreeMap::new() }
    }

    /// The operation of this number has one of its own.
    pub fn set(&mut self, operation: u16, threshold: Duration) {
        self.own.insert(operation, nanos(threshold));
    }

    fn of(&self, operation: u16) -> u64 {
        self.own.get(&operation).copied().unwrap_or(self.all)
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// What a protocol tells of an operation that has ended, beside what is known of every operation.
#[derive(Clone, Copy)]
pub struct Subject<'a> {
    /// The protocol's number for it, by which it may have a threshold of its own.
    pub operation: u16,
    /// It holds secrets: it is never kept.
    pub is_secret: bool,
    /// The cursor that it used or left open; 0 for none.
    pub cursor: i64,
    /// Makes what it looked like, without its data. Called for what is kept alone.
    pub shape: &'a dyn Fn() -> Option<ShapeText>,
}

impl std::fmt::Debug for Subject<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Subject { operation, is_secret, cursor, .. } = self;
        let mut fields = f.debug_struct("Subject");
        fields.field("operation", operation).field("is_secret", is_secret).field("cursor", cursor);
        fields.finish_non_exhaustive()
    }
}

/// Keeps them, on one listener and worker.
#[derive(Debug)]
pub struct Keeper {
    thresholds: Arc<Thresholds>,
    listener: Arc<str>,
    protocol: &'static str,
    measure: Arc<Measure>,
    /// The time since 1970.
    wall: fn() -> Duration,
    slow: Counter,
    failed: Counter,
    unlogged: Counter,
    crowded: Counter,
}

impl Keeper {
    /// Of `listener`, which speaks `protocol`; `wall` says how late it is, since 1970.
    pub fn new(
        (listener, protocol): (&Arc<str>, &'static str),
        measure: &Arc<Measure>,
        thresholds: Arc<Thresholds>,
        wall: fn() -> Duration,
    ) -> Keeper {
        let why = |why| measure.counter(&names::SLOW_OPERATIONS, &[listener, protocol, why]);
        Keeper {
            thresholds,
            protocol,
            wall,
            slow: why("slow"),
            failed: why("failed"),
            unlogged: measure.counter(&names::SLOW_UNLOGGED, &[listener, protocol]),
            crowded: measure.counter(&names::SLOW_CROWDED, &[listener, protocol]),
            listener: Arc::clone(listener),
            measure: Arc::clone(measure),
        }
    }

    /// An operation has ended: keeps it if it was slow or failed.
    pub fn ended(&self, op: &Operation, subject: &Subject<'_>, ending: &Ending<'_>) {
        let duration = ending.ended.since(ending.began);
        let slow = !op.parked && duration >= self.thresholds.of(subject.operation);
        let failed = ending.outcome.fault.is_some();
        if (slow || failed) && !subject.is_secret {
            self.keep(op, subject, ending, failed);
        }
    }

    #[cold]
    fn keep(&self, op: &Operation, subject: &Subject<'_>, ending: &Ending<'_>, failed: bool) {
        let outcome = ending.outcome;
        let operation = SlowOperation {
            at: (self.wall)(),
            listener: Arc::clone(&self.listener),
            protocol: self.protocol,
            operation: self.measure.name(op.name),
            resource: self.measure.name(op.resource),
            application: self.measure.name(op.application),
            endpoint: ending.endpoint.map(str::to_owned),
            result: outcome.result,
            code: self.measure.name(outcome.code),
            fault: outcome.fault,
            duration: ending.ended.since(ending.began),
            sending: ending.complete.map(|at| at.since(ending.began)),
            waiting: ending.complete.zip(ending.first_byte).map(|(sent, first)| first.since(sent)),
            replying: ending.first_byte.map(|first| ending.ended.since(first)),
            request_bytes: ending.request_bytes,
            reply_bytes: ending.reply_bytes,
            items: op.items,
            cursor: subject.cursor,
            shape: (subject.shape)(),
        };
        let said = operation.clone();
        let became = self.measure.slow().keep(operation, ending.ended);
        if failed { &self.failed } else { &self.slow }.inc();
        if became.crowded {
            self.crowded.inc();
        }
        if became.log {
            log(&said, failed);
        } else {
            self.unlogged.inc();
        }
    }
}

fn log(op: &SlowOperation, failed: bool) {
    let (hash, shape) =
        op.shape.as_ref().map_or((String::new(), ""), |s| (format!("{:016x}", s.hash), s.text.as_str()));
    let fault = op.fault.map(|fault| fault.to_string()).unwrap_or_default();
    let endpoint = op.endpoint.as_deref().unwrap_or_default();
    tracing::info!(
        listener = %op.listener, operation = %op.operation, resource = %op.resource, application = %op.application,
        endpoint, result = op.result, code = %op.code, fault, millis = op.duration / 1_000_000,
        request_bytes = op.request_bytes, reply_bytes = op.reply_bytes, shape_hash = hash, shape,
        "{}", if failed { "an operation failed" } else { "a slow operation" }
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Limits;
    use std::cell::Cell;
    use weir_decide::exchange::{Class, Fault, NameId, Now, Outcome, Phase, Reason, RetryOn, Side};

    #[test]
    fn what_is_slow_or_failed_is_kept_unless_it_is_secret() {
        let measure = Measure::new(Limits::default());
        let mut thresholds = Thresholds::new(Duration::from_nanos(100));
        thresholds.set(7, Duration::from_nanos(1000));
        let wall = || Duration::from_secs(5);
        let keeper = Keeper::new((&"l".into(), "toy"), &measure, Arc::new(thresholds), wall);
        let lost = Fault::new(Side::Network, Phase::Waiting, Reason::Reset);
        let made = Cell::new(0);
        let shape = || {
            made.set(made.get() + 1);
            Some(ShapeText { text: "?".into(), hash: 1 })
        };
        for (operation, nanos, fault, is_secret, parked, kept) in [
            (1, 99, None, false, false, false),
            (1, 100, None, false, false, true),
            (7, 999, None, false, false, false),
            (7, 1000, None, false, false, true),
            (1, 5000, None, false, true, false),
            (1, 1, Some(lost), false, true, true),
            (1, 5000, Some(lost), true, false, false),
        ] {
            let before = (measure.slow().latest().len(), made.get());
            let op = Operation { parked, ..Operation::new(NameId::NONE, NameId::NONE) };
            let outcome = Outcome {
                class: Class::Success,
                result: "ok",
                code: NameId::NONE,
                retryable: RetryOn::NONE,
                fault,
                latency: 0,
            };
            let ending = Ending {
                outcome: &outcome,
                began: Now(10),
                complete: Some(Now(10)),
                first_byte: None,
                ended: Now(10 + nanos),
                request_bytes: 1,
                reply_bytes: 0,
                endpoint: None,
            };
            keeper.ended(&op, &Subject { operation, is_secret, cursor: 3, shape: &shape }, &ending);
            let after = (measure.slow().latest().len(), made.get());
            let one = usize::from(kept);
            assert_eq!(after, (before.0 + one, before.1 + one), "{operation} {nanos} {fault:?} {is_secret}");
        }
        let latest = measure.slow().latest();
        let one = latest.first().map(|one| (one.protocol, one.duration, one.at, one.cursor));
        assert_eq!(one, Some(("toy", 1, wall(), 3)));
        let counted = |why| measure.counter(&names::SLOW_OPERATIONS, &["l", "toy", why]).value();
        assert_eq!([counted("slow"), counted("failed")], [2, 1]);
    }
}
