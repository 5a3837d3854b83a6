//! What only DynamoDB has to count: tables of calls on several, what batches left undone, and why items failed. Tables are names like
//! those of operations: on probation until a call on them has succeeded, and the longest silent gives way.

use std::rc::Rc;

use crate::names::{
    DYNAMODB_ITEM_ERRORS, DYNAMODB_OPAQUE, DYNAMODB_TABLE_OPERATIONS, DYNAMODB_THROTTLES,
    DYNAMODB_UNPROCESSED,
};
use weir_codecs::dynamodb::{Reply, Request, Target, ThrottleAccess, ThrottleCause, ThrottleReason};
use weir_decide::exchange::{NameId, NameKind};
use weir_measure::names::Family;
use weir_measure::{Counter, Local, OTHER, Place};

pub(crate) struct Numbers {
    local: Rc<Local>,
    /// Of the listener.
    place: Place,
    opaque_requests: Counter,
    opaque_replies: Counter,
}

impl std::fmt::Debug for Numbers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Numbers").finish_non_exhaustive()
    }
}

impl Numbers {
    pub(crate) fn new(local: &Rc<Local>, listener: &str) -> Numbers {
        let measure = local.measure();
        let opaque = |body| measure.counter(&DYNAMODB_OPAQUE, &[listener, body]);
        Numbers {
            place: measure.place(listener, "", crate::NAME),
            opaque_requests: opaque("request"),
            opaque_replies: opaque("reply"),
            local: Rc::clone(local),
        }
    }

    /// A request body could not be looked into, or not to its end.
    pub(crate) fn opaque_request(&self) {
        self.opaque_requests.inc();
    }

    /// The same for a reply body.
    pub(crate) fn opaque_reply(&self) {
        self.opaque_replies.inc();
    }

    /// Charges each table of a call with it. `believed`: it has succeeded.
    pub(crate) fn charge(&self, request: &Request, target: Target, believed: bool) {
        let operation = self.word(NameKind::Operation, target.label());
        for found in request.tables.iter() {
            let labels = [self.table(found.table), operation];
            self.local.tally(&DYNAMODB_TABLE_OPERATIONS, self.place, &labels, 1, believed);
        }
        if request.tables.dropped() > 0 {
            self.add(&DYNAMODB_TABLE_OPERATIONS, &[NameId::OTHER, NameId::OTHER], 1);
        }
    }

    /// Counts what a reply says of parts of its call.
    pub(crate) fn learn(&self, request: &Request, reply: &Reply, target: Target) {
        let nothing = reply.unprocessed == 0
            && reply.entry_errors.is_empty()
            && reply.cancellations.is_empty()
            && reply.throttles.is_empty();
        if nothing {
            return;
        }
        let operation = self.word(NameKind::Operation, target.label());
        for (found, said) in reply.per_table() {
            if said.unprocessed > 0 {
                let labels = [self.table(found.table), operation];
                self.add(&DYNAMODB_UNPROCESSED, &labels, said.unprocessed.into());
            }
        }
        for entry in reply.entry_errors.iter().chain(&reply.cancellations) {
            let named = entry.table.and_then(|table| reply.tables.get(table.into()));
            let found = named.or_else(|| request.item(entry.item as usize));
            let table = found.map_or(NameId::OTHER, |found| self.table(found.table));
            let code = self.word(NameKind::Code, entry.name.as_str());
            self.add(&DYNAMODB_ITEM_ERRORS, &[table, operation, code], 1);
        }
        if reply.more_errors > 0 {
            let labels = [NameId::OTHER, operation, NameId::OTHER];
            self.add(&DYNAMODB_ITEM_ERRORS, &labels, reply.more_errors.into());
        }
        if reply.more_throttles > 0 {
            self.add(&DYNAMODB_THROTTLES, &[NameId::OTHER; 4], reply.more_throttles.into());
        }
        for throttle in &reply.throttles {
            let found = throttle.table.and_then(|table| reply.tables.get(table.into()));
            let table = found.map_or(NameId::OTHER, |found| self.table(found.table));
            // The call may be on an index and the table itself the bottleneck.
            let of_index = throttle.reason.is_some_and(|reason| reason.of_index);
            let index = found.filter(|_| of_index).and_then(|found| found.index);
            let index = index.map_or(NameId::NONE, |index| self.table(index));
            let (access, cause) = throttle.reason.map_or((OTHER, OTHER), words);
            let [access, cause] = [access, cause].map(|word| self.word(NameKind::Code, word));
            self.add(&DYNAMODB_THROTTLES, &[table, index, access, cause], 1);
        }
    }

    fn add(&self, family: &'static Family, labels: &[NameId], n: u64) {
        self.local.tally(family, self.place, labels, n, false);
    }

    /// The name of a table or an index.
    fn table(&self, name: &str) -> NameId {
        self.local.intern_at(self.place, NameKind::Resource, &[name.as_bytes()])
    }

    /// A word of a closed set.
    fn word(&self, kind: NameKind, word: &'static str) -> NameId {
        self.local.intern(kind, &[word.as_bytes()])
    }
}

fn words(reason: ThrottleReason) -> (&'static str, &'static str) {
    let access = match reason.access {
        ThrottleAccess::Read => "read",
        ThrottleAccess::Write => "write",
    };
    let cause = match reason.cause {
        ThrottleCause::ProvisionedThroughput => "provisioned_throughput",
        ThrottleCause::AccountLimit => "account_limit",
        ThrottleCause::KeyRangeThroughput => "key_range_throughput",
        ThrottleCause::MaxOnDemandThroughput => "max_on_demand_throughput",
    };
    (access, cause)
}
