//! The process's numbers about connections, as opposed to operations: handles taken once, bumped per connection.

use weir_measure::{Counter, Gauge, Measure, names};

/// Numbers of one listener.
#[derive(Debug)]
pub struct ListenerNumbers {
    /// Connections accepted, those refused at once included.
    pub accepted: Counter,
    /// Connections open.
    pub open: Gauge,
    /// Closed at once: the listener's `max_connections` is met.
    pub refused_listener: Counter,
    /// Closed at once: the process's `max_connections` is met.
    pub refused_process: Counter,
    /// Closed at once: `source` does not let the client in.
    pub refused_source: Counter,
    /// Closed at once: the client's address has `max_connections_per_address` already.
    pub refused_address: Counter,
    /// Closed in a drain: their TLS or their header had not come to its end.
    pub refused_draining: Counter,
    /// Accepted later than they came, for `accept_rate`.
    pub delayed: Counter,
    /// Accepting failed: no descriptors, no memory.
    pub accept_errors: Counter,
    /// Connections that a bug in Weir has cost.
    pub panics: Counter,
}

impl ListenerNumbers {
    /// The handles for `listener`.
    pub fn new(measure: &Measure, listener: &str) -> ListenerNumbers {
        let refused = |reason| measure.counter(&names::LISTENER_REFUSED, &[listener, reason]);
        ListenerNumbers {
            accepted: measure.counter(&names::LISTENER_CONNECTIONS_TOTAL, &[listener]),
            open: measure.gauge(&names::LISTENER_CONNECTIONS, &[listener]),
            refused_listener: refused("max_connections"),
            refused_process: refused("process_max_connections"),
            refused_source: refused("source"),
            refused_address: refused("max_connections_per_address"),
            refused_draining: refused("draining"),
            delayed: measure.counter(&names::LISTENER_DELAYED, &[listener]),
            accept_errors: measure.counter(&names::LISTENER_ACCEPT_ERRORS, &[listener]),
            panics: measure.counter(&names::LISTENER_PANICS, &[listener]),
        }
    }
}

/// Numbers of the process and its workers.
#[derive(Debug)]
pub struct ProcessNumbers {
    /// Connections by worker.
    pub worker_connections: Vec<Gauge>,
    /// Connections that one worker handed to another.
    pub handed_over: Counter,
    /// Connections that were not handed over because too many were on their way already.
    pub not_handed_over: Counter,
    /// Workers that have ended by a bug.
    pub workers_lost: Counter,
}

impl ProcessNumbers {
    /// The handles for `workers` workers.
    pub fn new(measure: &Measure, workers: usize) -> ProcessNumbers {
        ProcessNumbers {
            worker_connections: (0..workers)
                .map(|index| measure.gauge(&names::WORKER_CONNECTIONS, &[&index.to_string()]))
                .collect(),
            handed_over: measure.counter(&names::WORKER_HANDED_OVER, &[]),
            not_handed_over: measure.counter(&names::CAPS_MET, &["handed_over"]),
            workers_lost: measure.counter(&names::WORKERS_LOST, &[]),
        }
    }
}

/// Numbers of one cluster that only the shells know; the rest is read from `weir_decide::cluster::Cluster::stats`.
#[derive(Debug)]
pub struct ClusterNumbers {
    /// Names resolved.
    pub resolved: Counter,
    /// Names that could not be resolved; what was known stays.
    pub unresolved: Counter,
    /// Idle connections closed to make room for another.
    pub evicted: Counter,
    /// Idle connections that were closed because a pool had too many to one endpoint.
    pub surplus: Counter,
    /// Answers with more addresses than are taken.
    pub addresses: Counter,
}

impl ClusterNumbers {
    /// The handles for `cluster`.
    pub fn new(measure: &Measure, cluster: &str) -> ClusterNumbers {
        let resolutions = |result| measure.counter(&names::CLUSTER_RESOLUTIONS, &[cluster, result]);
        ClusterNumbers {
            resolved: resolutions("ok"),
            unresolved: resolutions("failed"),
            evicted: measure.counter(&names::CLUSTER_EVICTED, &[cluster]),
            surplus: measure.counter(&names::CAPS_MET, &["idle_connections"]),
            addresses: measure.counter(&names::CAPS_MET, &["dns_addresses"]),
        }
    }
}

/// MessageNumbers of a listener's message connections.
#[derive(Debug)]
pub(crate) struct MessageNumbers {
    /// Connections that go on as bytes since a message could not be read.
    pub(crate) degraded: Counter,
    pub(crate) degraded_open: Gauge,
    /// Replies to no operation under way.
    pub(crate) unmatched: Counter,
    pub(crate) limit_pending: Counter,
    pub(crate) limit_held: Counter,
    pub(crate) limit_held_request: Counter,
    pub(crate) limit_rewrite: Counter,
    pub(crate) limit_slow: Counter,
}

impl MessageNumbers {
    pub(crate) fn new(measure: &Measure, listener: &str, protocol: &str) -> MessageNumbers {
        let limit = |limit| measure.counter(&names::MESSAGE_LIMITS, &[listener, protocol, limit]);
        MessageNumbers {
            degraded: measure.counter(&names::MESSAGE_DEGRADED, &[listener, protocol]),
            degraded_open: measure.gauge(&names::MESSAGE_DEGRADED_OPEN, &[listener, protocol]),
            unmatched: measure.counter(&names::MESSAGE_UNMATCHED, &[listener, protocol]),
            limit_pending: limit("pending"),
            limit_held: limit("held_reply"),
            limit_held_request: limit("held_request"),
            limit_rewrite: limit("rewrite"),
            limit_slow: limit("slow_message"),
        }
    }
}
