//! Slow operations and failures: what the core ([`weir_measure::slow`]) cannot know of them.
//!
//! The first bytes of each request are copied into a buffer of its connection, [`KEPT_BYTES`] at most, since what turns out
//! to be slow has long been forwarded. The shape is made from them only then; those of a compressed request are decompressed
//! first, as far as they go. Drivers have one operation under way on a connection; of several only the latest has a shape.
//! Nothing is ever kept of commands that hold secrets.

use std::cell::RefCell;

use weir_codecs::mongo::{Command, Inflate, Shape, opening};
use weir_config::{Field, Fields, Kind, Table, Walk};
use weir_measure::slow::{ShapeText, Thresholds};

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

/// Reads the section.
pub(crate) fn read(walk: &mut Walk<'_>, fields: &Fields<'_>) -> Option<Thresholds> {
    let threshold = fields.duration(walk, "threshold");
    let mut thresholds = threshold.map(Thresholds::new);
    for entry in fields.map(walk, "commands").unwrap_or_default() {
        let Some(threshold) = walk.duration(entry.value(), &THRESHOLD) else { continue };
        match Command::from_name(entry.key().as_bytes()) {
            Command::Other => {
                let known = Command::ALL.iter().filter(|command| **command != Command::Other);
                walk.unlisted_key(entry, "a command that Weir knows", known.map(|command| command.name()));
            }
            command => {
                if let Some(thresholds) = &mut thresholds {
                    thresholds.set(command.id(), threshold);
                }
            }
        }
    }
    thresholds
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

    /// The shape of the request with this number, if it is still there.
    pub(crate) fn shape(&self, number: u32, inflate: &RefCell<Inflate>) -> Option<ShapeText> {
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
