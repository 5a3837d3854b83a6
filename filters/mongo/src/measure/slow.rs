//! Slow operations and failures: which are kept, and what is known of them.
//!
//! The first bytes of each request are copied into a buffer of its connection, [`KEPT_BYTES`] at most, since what turns out
//! to be slow has long been forwarded. The shape is made from them only then; those of a compressed request are decompressed
//! first, as far as they go. Drivers have one operation under way on a connection; of several only the latest has a shape.
//! Nothing is ever kept of commands that hold secrets.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use weir_codecs::mongo::{Command, Inflate, Shape, opening};
use weir_config::{Field, Fields, Kind, Table, Walk};
use weir_decide::exchange::Operation;
use weir_decide::protocol::Ending;
use weir_measure::slow::{ShapeText, SlowOperation};
use weir_measure::{Counter, Measure, names};

/// The most bytes of a request that are kept to make a shape of, and the most of them when decompressed.
const KEPT_BYTES: usize = 4096;

/// A threshold: up to an hour.
const THRESHOLD: Kind = Kind::Duration { min: 1, max: 3_600_000 };

/// The `slow` section.
pub(crate) static TABLE: Table = Table {
    name: "slow",
    doc: "Which operations are shown at `/slow` and logged. Failures are whatever their time.",
    fields: &[
        Field::with_default("threshold", THRESHOLD, "100ms", "Operations that take so long, or longer."),
        Field::optional(
            "commands",
            Kind::Map { key: "command", value: &THRESHOLD },
            "Other thresholds for some commands, such as `aggregate: 2s`.",
        ),
    ],
    rules: &[],
};

/// What is slow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlowSettings {
    threshold: u64,
    commands: BTreeMap<u16, u64>,
}

impl Default for SlowSettings {
    fn default() -> SlowSettings {
        SlowSettings::new(Duration::from_millis(100))
    }
}

impl SlowSettings {
    /// All operations that take so long.
    pub fn new(threshold: Duration) -> SlowSettings {
        SlowSettings { threshold: nanos(threshold), commands: BTreeMap::new() }
    }

    pub(crate) fn read(walk: &mut Walk<'_>, fields: &Fields<'_>) -> Option<SlowSettings> {
        let threshold = fields.duration(walk, "threshold");
        let mut settings = threshold.map(SlowSettings::new);
        for entry in fields.map(walk, "commands").unwrap_or_default() {
            let Some(threshold) = walk.duration(entry.value(), &THRESHOLD) else { continue };
            match Command::from_name(entry.key().as_bytes()) {
                Command::Other => {
                    let known = Command::ALL.iter().filter(|command| **command != Command::Other);
                    walk.unlisted_key(
                        entry,
                        "a command that Weir knows",
                        known.map(|command| command.name()),
                    );
                }
                command => {
                    if let Some(settings) = &mut settings {
                        settings.commands.insert(command.id(), nanos(threshold));
                    }
                }
            }
        }
        settings
    }

    fn threshold(&self, command: Command) -> u64 {
        self.commands.get(&command.id()).copied().unwrap_or(self.threshold)
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// The first bytes of a connection's latest request.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    bytes: Vec<u8>,
    /// Which of the connection's operations they are of.
    number: u32,
}

impl Kept {
    /// Keeps the first bytes of a request; gives the number to ask for them with, 0 if nothing is kept.
    pub(crate) fn keep(&mut self, command: Command, bytes: &[u8]) -> u32 {
        if is_secret(command) {
            return 0;
        }
        self.number = self.number.wrapping_add(1).max(1);
        self.bytes.clear();
        self.bytes.extend_from_slice(bytes.get(..KEPT_BYTES).unwrap_or(bytes));
        self.number
    }

    /// What is kept of the request with this number, if it is still there.
    pub(crate) fn of(&self, number: u32) -> Option<&[u8]> {
        (number != 0 && number == self.number).then_some(&self.bytes)
    }

    fn shape(&self, number: u32, inflate: &RefCell<Inflate>) -> Option<ShapeText> {
        let bytes = self.of(number)?;
        let mut clear = Vec::new();
        let is_clear = !opening(bytes, &mut inflate.borrow_mut(), KEPT_BYTES, &mut clear);
        let shape = Shape::of(if is_clear { bytes } else { &clear })?;
        Some(ShapeText { text: shape.text, hash: shape.hash })
    }
}

/// Commands of which nothing is kept: they hold secrets, or may.
fn is_secret(command: Command) -> bool {
    command.is_sensitive() || command.is_hello()
}

/// What keeps them, on one listener and worker.
pub(crate) struct Slow {
    settings: Arc<SlowSettings>,
    listener: Arc<str>,
    measure: Arc<Measure>,
    slow: Counter,
    failed: Counter,
    unlogged: Counter,
    crowded: Counter,
}

impl Slow {
    pub(crate) fn new(listener: &Arc<str>, measure: &Arc<Measure>, settings: Arc<SlowSettings>) -> Slow {
        let why = |why| measure.counter(&names::SLOW_OPERATIONS, &[listener, "mongo", why]);
        Slow {
            settings,
            slow: why("slow"),
            failed: why("failed"),
            unlogged: measure.counter(&names::SLOW_UNLOGGED, &[listener, "mongo"]),
            crowded: measure.counter(&names::SLOW_CROWDED, &[listener, "mongo"]),
            listener: Arc::clone(listener),
            measure: Arc::clone(measure),
        }
    }

    /// An operation has ended: is it to be kept?
    pub(crate) fn ended(
        &self,
        (kept, inflate): (&Kept, &RefCell<Inflate>),
        number: u32,
        (command, cursor): (Command, i64),
        op: &Operation,
        ending: &Ending<'_>,
    ) {
        let duration = ending.ended.since(ending.began);
        let slow = !op.parked && duration >= self.settings.threshold(command);
        let failed = ending.outcome.fault.is_some();
        if (slow || failed) && !command.is_sensitive() {
            self.keep(kept.shape(number, inflate), cursor, op, ending, failed);
        }
    }

    #[cold]
    fn keep(&self, shape: Option<ShapeText>, cursor: i64, op: &Operation, ending: &Ending<'_>, failed: bool) {
        let outcome = ending.outcome;
        let operation = SlowOperation {
            at: weir_drive::time::wall(),
            listener: Arc::clone(&self.listener),
            protocol: "mongo",
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
            cursor,
            shape,
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
