//! `/cursors`: what is open on MongoDB servers.

use super::json;
use crate::measure::ledger::Ledger;
use crate::measure::listeners::Listeners;
use serde::Serialize;
use weir_drive::page::{Asked, Items};

/// Times are in seconds, as of the latest operation of the listener.
#[derive(Serialize)]
struct Cursor {
    listener: String,
    /// Hexadecimal, as it is too large for a number of JSON's.
    id: String,
    resource: String,
    application: String,
    batches: u32,
    open_for: u64,
    idle_for: u64,
}

/// All that are known, the longest idle first.
pub(super) fn items(&Asked { measure, .. }: &Asked<'_>) -> Option<Items> {
    let mut cursors = Vec::new();
    for (listener, ledger) in Listeners::<Ledger>::of(measure).all() {
        cursors.extend(ledger.open_cursors().into_iter().map(|cursor| Cursor {
            listener: listener.to_string(),
            id: format!("{:016x}", cursor.id),
            resource: measure.name(cursor.resource).to_string(),
            application: measure.name(cursor.application).to_string(),
            batches: cursor.batches,
            open_for: cursor.age.as_secs(),
            idle_for: cursor.idle.as_secs(),
        }));
    }
    cursors.sort_by_key(|cursor| std::cmp::Reverse((cursor.idle_for, cursor.open_for)));
    Some(Box::new(cursors.into_iter().map(|cursor| json(&cursor))))
}
