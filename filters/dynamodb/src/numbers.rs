//! What only DynamoDB has to count: tables of calls on several, what batches left undone, and why items failed.

use std::cell::RefCell;
use std::sync::Arc;

use hashbrown::HashMap;
use weir_codecs::dynamodb::{Reply, Request, Target, ThrottleAccess, ThrottleCause, ThrottleReason};
use weir_measure::names::{
    DYNAMODB_ITEM_ERRORS, DYNAMODB_OPAQUE, DYNAMODB_TABLE_OPERATIONS, DYNAMODB_THROTTLES,
    DYNAMODB_UNPROCESSED,
};
use weir_measure::{Counter, Measure, OTHER};

/// How many pairs of table and operation a worker keeps a counter at hand for; further ones are counted as `_other`.
pub const MAX_CACHED: usize = 4096;

/// One table's, by operation.
type Counters = Vec<(&'static str, Counter)>;

pub(crate) struct Numbers {
    measure: Arc<Measure>,
    listener: Box<str>,
    /// By table, then by operation: a call bumps these without a lock and without making a name.
    tables: RefCell<HashMap<Box<str>, Counters>>,
    other: Counter,
    opaque_requests: Counter,
    opaque_replies: Counter,
}

impl std::fmt::Debug for Numbers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Numbers").field("listener", &self.listener).finish_non_exhaustive()
    }
}

impl Numbers {
    pub(crate) fn new(measure: &Arc<Measure>, listener: &str) -> Numbers {
        let opaque = |body| measure.counter(&DYNAMODB_OPAQUE, &[listener, body]);
        Numbers {
            measure: Arc::clone(measure),
            listener: listener.into(),
            tables: RefCell::default(),
            other: measure.counter(&DYNAMODB_TABLE_OPERATIONS, &[listener, OTHER, OTHER]),
            opaque_requests: opaque("request"),
            opaque_replies: opaque("reply"),
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

    /// Charges each table of a call with it.
    pub(crate) fn charge(&self, request: &Request, target: Target) {
        for found in request.tables.iter() {
            self.charge_one(found.table, target.label());
        }
        if request.tables.dropped() > 0 {
            self.other.inc();
        }
    }

    fn charge_one(&self, table: &str, operation: &'static str) {
        let mut tables = self.tables.borrow_mut();
        let full = tables.len() >= MAX_CACHED;
        let counters = match tables.get_mut(table) {
            Some(counters) => counters,
            None if full => return self.other.inc(),
            None => tables.entry(table.into()).or_default(),
        };
        // There are 67 labels at most, and a table sees few of them: a walk is as fast as a hash.
        if let Some((_, counter)) = counters.iter().find(|(known, _)| std::ptr::eq(*known, operation)) {
            return counter.inc();
        }
        let counter = self.measure.counter(&DYNAMODB_TABLE_OPERATIONS, &[&self.listener, table, operation]);
        counter.inc();
        counters.push((operation, counter));
    }

    /// Counts what a reply says of parts of its call. Only what went wrong takes a lock here.
    pub(crate) fn learn(&self, request: &Request, reply: &Reply, target: Target) {
        let operation = target.label();
        for (found, said) in reply.per_table() {
            if said.unprocessed > 0 {
                let labels = [&*self.listener, found.table, operation];
                self.measure.counter(&DYNAMODB_UNPROCESSED, &labels).add(said.unprocessed.into());
            }
        }
        for entry in reply.entry_errors.iter().chain(&reply.cancellations) {
            let named = entry.table.and_then(|table| reply.tables.get(table.into()));
            let found = named.or_else(|| request.item(entry.item as usize));
            let table = found.map_or(OTHER, |found| found.table);
            let labels = [&*self.listener, table, operation, entry.name.as_str()];
            self.measure.counter(&DYNAMODB_ITEM_ERRORS, &labels).inc();
        }
        if reply.more_errors > 0 {
            let labels = [&*self.listener, OTHER, operation, OTHER];
            self.measure.counter(&DYNAMODB_ITEM_ERRORS, &labels).add(reply.more_errors.into());
        }
        if reply.more_throttles > 0 {
            let labels = [&*self.listener, OTHER, OTHER, OTHER, OTHER];
            self.measure.counter(&DYNAMODB_THROTTLES, &labels).add(reply.more_throttles.into());
        }
        for throttle in &reply.throttles {
            let found = throttle.table.and_then(|table| reply.tables.get(table.into()));
            let table = found.map_or(OTHER, |found| found.table);
            // The call may be on an index and the table itself the bottleneck.
            let of_index = throttle.reason.is_some_and(|reason| reason.of_index);
            let index = found.filter(|_| of_index).and_then(|found| found.index).unwrap_or_default();
            let (access, cause) = throttle.reason.map_or((OTHER, OTHER), words);
            let labels = [&*self.listener, table, index, access, cause];
            self.measure.counter(&DYNAMODB_THROTTLES, &labels).inc();
        }
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
