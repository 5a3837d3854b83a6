//! `/slow`: the slow operations and the failures of late.

use crate::body::{List, json};
use serde::Serialize;
use std::sync::Arc;
use weir_measure::slow::SlowOperation;

/// Times are in seconds: `at` since 1970.
#[derive(Serialize)]
struct Row<'a> {
    at: f64,
    listener: &'a str,
    protocol: &'a str,
    operation: &'a str,
    resource: &'a str,
    application: &'a str,
    endpoint: Option<&'a str>,
    result: &'a str,
    code: &'a str,
    fault: Option<Fault>,
    duration: f64,
    phases: Phases,
    request_bytes: u64,
    reply_bytes: u64,
    items: crate::shapes::Items,
    /// Hexadecimal, as it is too large for a number of JSON's.
    cursor: Option<String>,
    shape: Option<Shape<'a>>,
}

#[derive(Serialize)]
struct Fault {
    side: &'static str,
    phase: &'static str,
    reason: &'static str,
}

#[derive(Serialize)]
struct Phases {
    sending: Option<f64>,
    waiting: Option<f64>,
    replying: Option<f64>,
}

#[derive(Serialize)]
struct Shape<'a> {
    hash: String,
    text: &'a str,
}

/// All that are kept, the latest first.
pub(crate) fn list(kept: Vec<Arc<SlowOperation>>) -> List {
    List::new(&[], "operations", kept.into_iter().map(|one| json(&row(&one))))
}

fn row(one: &SlowOperation) -> Row<'_> {
    let seconds = |nanos: u64| nanos as f64 / 1e9;
    Row {
        at: one.at.as_millis() as f64 / 1e3,
        listener: &one.listener,
        protocol: one.protocol,
        operation: &one.operation,
        resource: &one.resource,
        application: &one.application,
        endpoint: one.endpoint.as_deref(),
        result: one.result,
        code: &one.code,
        fault: one.fault.map(|fault| Fault {
            side: fault.side.label(),
            phase: fault.phase.label(),
            reason: fault.reason.label(),
        }),
        duration: seconds(one.duration),
        phases: Phases {
            sending: one.sending.map(seconds),
            waiting: one.waiting.map(seconds),
            replying: one.replying.map(seconds),
        },
        request_bytes: one.request_bytes,
        reply_bytes: one.reply_bytes,
        items: crate::shapes::Items::of(one.items),
        cursor: (one.cursor != 0).then(|| format!("{:016x}", one.cursor)),
        shape: one
            .shape
            .as_ref()
            .map(|shape| Shape { hash: format!("{:016x}", shape.hash), text: &shape.text }),
    }
}
