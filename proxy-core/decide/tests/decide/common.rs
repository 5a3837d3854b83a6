//! Short ways to say what the tests need.

use std::{rc::Rc, sync::Arc, time::Duration};
use weir_decide::{
    cluster::{
        Balance, Cluster, Ejection, EndpointSpec, Known, Replay, Settings, Ticket, Tries, Verdict, View,
    },
    exchange::{
        Affinity, Class, EndpointId, Fault, NameId, Now, Operation, Outcome, Phase, Reason, RetryOn, Side,
    },
    policy::{RetryPolicy, Sent},
};

pub const SECOND: u64 = 1_000_000_000;

pub fn ejection() -> Ejection {
    Ejection {
        consecutive_errors: 5,
        interval: Duration::from_secs(10),
        base_ejection_time: Duration::from_secs(30),
        max_ejection_time: Duration::from_secs(300),
        max_ejection_percent: 50,
    }
}

pub fn settings() -> Settings {
    Settings::default()
}

pub fn least_request() -> Settings {
    Settings { balance: Balance::LeastRequest, ..settings() }
}

pub fn ejecting(ejection: Ejection) -> Settings {
    Settings { ejection: Some(ejection), ..settings() }
}

pub fn limited(limits: impl FnOnce(&mut weir_config::CircuitBreaker)) -> Settings {
    let mut settings = settings();
    limits(&mut settings.limits);
    settings
}

/// Endpoints `e0:80`, `e1:80`, .. of these weights.
pub fn specs(weights: &[u32]) -> Vec<EndpointSpec> {
    let spec =
        |(at, weight): (usize, &u32)| EndpointSpec { address: format!("e{at}:80").into(), weight: *weight };
    weights.iter().enumerate().map(spec).collect()
}

pub fn cluster(settings: Settings, weights: &[u32]) -> Arc<Cluster> {
    let cluster = Cluster::new("c", settings);
    cluster.set_endpoints(&specs(weights), Now(0));
    cluster
}

pub fn plain() -> Operation {
    Operation::new(NameId::NONE, NameId::NONE)
}

pub fn to(affinity: Affinity) -> Operation {
    Operation { affinity, ..plain() }
}

pub fn idempotent() -> Operation {
    Operation { idempotent: true, ..plain() }
}

pub fn parked() -> Operation {
    Operation { parked: true, ..plain() }
}

pub fn outcome(class: Class) -> Outcome {
    let result = if class == Class::Success { "ok" } else { "error" };
    Outcome { class, result, code: NameId::NONE, retryable: RetryOn::NONE, fault: None, latency: 0 }
}

/// A failure that meets these conditions.
pub fn failed(retryable: RetryOn) -> Outcome {
    Outcome { retryable, ..outcome(Class::Failed) }
}

/// A failure by this fault.
pub fn fault(side: Side, phase: Phase, reason: Reason) -> Outcome {
    let fault = Fault::new(side, phase, reason);
    Outcome { fault: Some(fault), ..failed(RetryOn::of_fault(&fault, RetryOn::SERVER_ERROR)) }
}

/// No connection could be made.
pub fn unreachable() -> Outcome {
    fault(Side::Network, Phase::Connecting, Reason::ConnectFailed)
}

/// Of an attempt that was sent, whole, and can be sent once more.
pub fn known(idempotent: bool) -> Known {
    Known { idempotent, sent: Sent::Head, ..Known::unsent(Replay::Possible) }
}

pub fn admit(view: &Rc<View>, now: u64) -> Result<Ticket, Fault> {
    view.admit(&plain(), &mut Tries::new(), Now(now))
}

pub fn finish(ticket: Ticket, class: Class, now: u64) {
    let verdict =
        ticket.finish(&outcome(class), &RetryPolicy::NONE, &known(false), &mut Tries::new(), Now(now));
    assert_eq!(verdict, Verdict::Done);
}

/// One operation, begun and ended at `now`; where it went.
pub fn once(view: &Rc<View>, class: Class, now: u64) -> EndpointId {
    let ticket = admit(view, now).unwrap();
    let id = ticket.pick().id();
    finish(ticket, class, now);
    id
}

/// One operation at this endpoint.
pub fn once_at(view: &Rc<View>, id: EndpointId, class: Class, now: u64) {
    let ticket = view.admit(&to(Affinity::Endpoint(id)), &mut Tries::new(), Now(now)).unwrap();
    finish(ticket, class, now);
}

/// The numbers of the endpoints, in order.
pub fn ids(cluster: &Cluster) -> Vec<EndpointId> {
    cluster.stats().endpoints.iter().map(|e| e.id).collect()
}

/// Nothing is held any more.
pub fn assert_idle(cluster: &Cluster) {
    let stats = cluster.stats();
    let held = (stats.active, stats.retrying, stats.parked, stats.connections, stats.pending);
    assert_eq!(held, (0, 0, 0, 0, 0));
    for endpoint in &stats.endpoints {
        assert_eq!(
            (endpoint.active, endpoint.parked, endpoint.connections),
            (0, 0, 0),
            "{}",
            endpoint.address
        );
    }
}
