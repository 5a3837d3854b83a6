//! What is counted of an operation besides its name, its result and its time.
//!
//! How an operation passes through: its request's head says how many documents it brings and what else it is
//! ([`request`]), its reply's how many came back and how many were written ([`reply`]); the numbers travel with the
//! operation and are added to its worker's row when it is counted. What it is called there may be not what it is called on the
//! server ([`rename`]); from where in an application's code it comes its comment may say ([`call_sites`]).

pub(crate) mod call_sites;
mod collections;
pub(crate) mod connection;
pub(crate) mod ledger;
pub(crate) mod listeners;
pub(crate) mod open;
pub(crate) mod rename;
pub(crate) mod resources;
pub(crate) mod slow;
pub(crate) mod topology;

use std::sync::Arc;

use weir_codecs::mongo::{Command, OpCode, ReplyHead, RequestHead};
use weir_decide::exchange::{Items, NameId, NameKind, Names, Operation, Trait, Traits};
use weir_measure::Measure;
use weir_measure::call_sites::CallSiteSettings;
use weir_measure::slow::{Keeper, Thresholds};

use call_sites::CallSites;
use rename::Renames;
use resources::Resources;

/// How operations are shown, on one listener and worker. All of its connections share it, so that those which stand go by what a
/// reload says from their next operation on.
pub(crate) struct Showing {
    pub slow: Keeper,
    pub call_sites: CallSites,
    renames: Renames,
    resources: Resources,
}

impl Showing {
    pub(crate) fn new(
        listener: &Arc<str>,
        measure: &Arc<Measure>,
        slow: Arc<Thresholds>,
        renames: Renames,
        call_sites: Option<CallSiteSettings>,
    ) -> Showing {
        Showing {
            slow: Keeper::new((listener, "mongo"), measure, slow, weir_drive::time::wall),
            call_sites: CallSites::new(call_sites),
            renames,
            resources: Resources::default(),
        }
    }

    /// `database.collection`, or the database where there is no collection, as they are shown.
    pub(crate) fn resource(&self, names: &mut dyn Names, database: &[u8], collection: &[u8]) -> NameId {
        self.resources.renew(names.gone());
        self.resources.name(database, collection, || {
            let (database, collection) = self.renames.shown(database, collection);
            match (database.is_empty(), collection.is_empty()) {
                (true, true) => NameId::NONE,
                (_, true) => names.intern(NameKind::Resource, &[database]),
                _ => names.intern(NameKind::Resource, &[database, b".", collection]),
            }
        })
    }
}

/// What a request's head tells by now; whatever it told before is in it again.
pub(crate) fn request(shared: &mut Operation, head: &RequestHead) {
    use Command::{Aggregate, Count, Distinct, Find};
    // What is explained is not done.
    let explains = head.command == Command::Explain;
    let sent = if explains { 0 } else { u64::from(head.documents) };
    shared.items = Items { sent, ..Items::NONE };
    // What is not there is known only at the end.
    let read = head.complete
        && head.op_code == OpCode::MSG
        && matches!(head.command, Find | Aggregate | Count | Distinct)
        && !head.change_stream
        && !head.tailable;
    let unbounded = read && head.command == Find && !head.has_filter && !head.has_limit;
    shared.traits = Traits::NONE
        .with(Trait::Many, head.affects_many && !explains)
        .with(Trait::Watch, head.change_stream && !explains)
        .with(Trait::WritesResult, head.writes_result && !explains)
        .with(Trait::Unbounded, unbounded)
        .with(Trait::NoDeadline, read && head.max_time_ms.is_none_or(|ms| ms == 0))
        .with(Trait::Transaction, head.in_transaction);
}

/// What a complete reply tells; `again`: it is not the first one, and the request has been counted with that.
pub(crate) fn reply(shared: &mut Operation, command: Command, again: bool, tail: &ReplyHead) {
    use Command::{BulkWrite, Delete, FindAndModify, Insert, Update};
    if again {
        (shared.items, shared.traits) = (Items::NONE, Traits::NONE);
    }
    let n = u64::try_from(tail.n).unwrap_or(0);
    let items = &mut shared.items;
    items.has_batch = match (tail.op_code, tail.has_cursor, command) {
        (OpCode::MSG, true, _) => true,
        (OpCode::MSG, _, Command::Distinct) => tail.ok == Some(true),
        // The documents of a legacy read; a legacy command's reply is none of the user's.
        (OpCode::REPLY, _, Command::Find | Command::GetMore) => !tail.query_failure(),
        _ => false,
    };
    items.returned = if items.has_batch { u64::from(tail.returned) } else { 0 };
    items.affected = match command {
        Insert | Update | Delete | FindAndModify => n,
        // Its `n` leaves upserts out.
        BulkWrite => n + u64::from(tail.upserted),
        _ => 0,
    };
    if matches!(command, Update | BulkWrite) {
        items.modified = u64::try_from(tail.modified).unwrap_or(0);
    }
    shared.traits = shared.traits.with(Trait::Recognised, tail.retried_statements > 0);
}
