//! What only gRPC has to count: messages.

use std::sync::Arc;

use crate::names::{GRPC_BROKEN, GRPC_MESSAGE_BYTES, GRPC_MESSAGES};
use weir_codecs::grpc::MessageCounter;
use weir_measure::{Counter, Measure};

#[derive(Debug)]
pub(crate) struct Numbers {
    pub(crate) request: Direction,
    pub(crate) reply: Direction,
}

#[derive(Debug)]
pub(crate) struct Direction {
    plain: Counter,
    compressed: Counter,
    bytes: Counter,
    broken: Counter,
}

impl Numbers {
    pub(crate) fn new(measure: &Arc<Measure>, listener: &str) -> Numbers {
        let direction = |name| Direction {
            plain: measure.counter(&GRPC_MESSAGES, &[listener, name, "false"]),
            compressed: measure.counter(&GRPC_MESSAGES, &[listener, name, "true"]),
            bytes: measure.counter(&GRPC_MESSAGE_BYTES, &[listener, name]),
            broken: measure.counter(&GRPC_BROKEN, &[listener, name]),
        };
        Numbers { request: direction("request"), reply: direction("reply") }
    }
}

impl Direction {
    /// The direction of a call has ended; `complete`: as it should, so that no message may be cut short.
    pub(crate) fn add(&self, counted: &MessageCounter, complete: bool) {
        let compressed = counted.compressed().min(counted.messages());
        self.compressed.add(compressed);
        self.plain.add(counted.messages() - compressed);
        self.bytes.add(counted.bytes());
        if counted.is_broken() || (complete && counted.finish().is_err()) {
            self.broken.inc();
        }
    }
}
