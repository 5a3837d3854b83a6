//! The record of one exchange: begun once, closed once, whatever happens in between.

use crate::plain::result;
use crate::site::Site;
use crate::watcher::Watcher;
use std::rc::Rc;
use weir_decide::exchange::{Belief, Class, Fault, Now, Outcome, Phase, Reason, Side};
use weir_drive::time;
use weir_measure::{InFlight, Local, Place, Record};

/// An exchange under way. If it is dropped without having been closed (a worker that stops, a bug), it is counted as ended by
/// Weir.
pub struct Account {
    local: Rc<Local>,
    /// What will be counted.
    pub record: Record,
    began: Now,
    phase: Phase,
    closed: bool,
    _in_flight: InFlight,
}

impl Account {
    /// An exchange has begun.
    pub fn new(site: &Site, place: Place, watcher: &Watcher, began: Now, head_bytes: u64) -> Account {
        let local = Rc::clone(site.worker.measure());
        let operation = watcher.operation();
        let mut record = Record::new(place, operation.name, operation.resource);
        record.application = operation.application;
        record.request_bytes = head_bytes;
        let _in_flight = local.started(place);
        Account { local, record, began, phase: Phase::Admitted, closed: false, _in_flight }
    }

    /// How far it has got.
    pub fn reach(&mut self, phase: Phase) {
        self.phase = phase;
    }

    /// The first byte of a reply has come.
    pub fn first_byte(&mut self, now: Now) {
        if self.record.first_byte.is_none() {
            self.record.first_byte = Some(now.since(self.began));
        }
    }

    /// The reply's bytes, as they went to the client.
    pub fn replied(&mut self, bytes: u64) {
        self.record.reply_bytes += bytes;
    }

    /// What is known of the operation by its end.
    pub fn learn(&mut self, watcher: &Watcher, request_body: u64) {
        let operation = watcher.operation();
        self.record.operation = operation.name;
        self.record.resource = operation.resource;
        self.record.application = operation.application;
        self.record.request_bytes += request_body;
    }

    /// It is over.
    pub fn close(mut self, outcome: &Outcome) {
        self.settle(outcome);
    }

    fn settle(&mut self, outcome: &Outcome) {
        self.closed = true;
        self.record.result = outcome.result;
        self.record.code = outcome.code;
        self.record.fault = outcome.fault;
        self.record.believed = Belief::Answered.holds(outcome.class);
        self.record.refused = outcome.class == Class::Refused;
        self.record.duration = Some(time::now().since(self.began));
        self.local.record(&self.record);
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        if !self.closed {
            let fault = Fault::new(Side::Proxy, self.phase, Reason::Draining);
            let outcome = Outcome {
                class: Class::Cancelled,
                result: result::ABORTED,
                code: weir_decide::exchange::NameId::NONE,
                retryable: weir_decide::exchange::RetryOn::NONE,
                fault: Some(fault),
                latency: 0,
            };
            self.settle(&outcome);
        }
    }
}
