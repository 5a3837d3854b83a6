//! The metrics of the core: name, help, type, labels. A protocol brings its own in the same form, in the `names.rs` of its crate, made
//! by the same macro ([`families`](crate::families)); a family needs no registration, since each sample carries its own.
//!
//! To add a metric, add a family to one of these files and a row to docs/metrics.md (a test compares them), then take a handle with
//! [`Measure::counter`](crate::Measure::counter) or [`Measure::gauge`](crate::Measure::gauge), or write it from a
//! [`Collect`](crate::Collect). Conventions: prefix `weir_` (then `mongo_`, `dynamodb_`, `grpc_` for what only one protocol
//! has), base units (seconds, bytes), counters end in `_total` and differ from every other name in more than that, label
//! values from closed or capped sets only.

use std::hash::{Hash, Hasher};

/// What kind of number a family holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only ever grows while the process lives.
    Counter,
    /// Goes up and down.
    Gauge,
    /// A distribution of durations, in the buckets of [`crate::histogram::BOUNDS`].
    Histogram,
    /// A distribution of times that may be long, in the buckets of [`crate::histogram::SPANS`].
    Spans,
    /// A distribution of whole numbers, in the buckets of [`crate::histogram::COUNTS`].
    Counts,
    /// Always 1; what matters is in the labels.
    Info,
}

impl Kind {
    /// The word of the Prometheus text format's `TYPE` line.
    pub fn word(self) -> &'static str {
        match self {
            Kind::Counter => "counter",
            Kind::Histogram | Kind::Spans | Kind::Counts => "histogram",
            Kind::Gauge | Kind::Info => "gauge",
        }
    }
}

/// One metric: its name, what it says, its labels, and how many series it may have.
///
/// Its name is its identity: two families of one name are the same.
#[derive(Debug, Eq)]
pub struct Family {
    /// The full name as exposed in the text format; counters end in `_total`.
    pub name: &'static str,
    /// One sentence for the `HELP` line.
    pub help: &'static str,
    /// The type.
    pub kind: Kind,
    /// Label names, in the order in which values are given.
    pub labels: &'static [&'static str],
    /// The most series the family may have; what is beyond is added up in one series whose labels are all `_other`. `None`
    /// where the cap is that of the workers' tables, [`Limits`](crate::Limits).
    pub max_series: Option<usize>,
}

impl PartialEq for Family {
    fn eq(&self, other: &Family) -> bool {
        self.name == other.name
    }
}

impl Hash for Family {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

/// Series per family unless it says otherwise.
pub const MAX_SERIES: usize = 1024;

/// Declares families, and `ALL` with every one of them: `IDENT = Kind "name" ["label", ..] max N: "help";`. `max tables`: the cap is
/// that of the workers' tables; no `max`: [`MAX_SERIES`].
#[macro_export]
macro_rules! families {
    ($($ident:ident = $kind:ident $name:literal [$($label:literal),*] $(max $max:tt)? : $help:literal;)*) => {
        $(#[doc = $help] pub static $ident: $crate::names::Family = $crate::names::Family {
            name: $name,
            help: $help,
            kind: $crate::names::Kind::$kind,
            labels: &[$($label),*],
            max_series: $crate::families!(@max $($max)?),
        };)*
        /// Every family of this file.
        pub static ALL: &[&$crate::names::Family] = &[$(&$ident),*];
    };
    (@max) => { Some($crate::names::MAX_SERIES) };
    (@max tables) => { None };
    (@max $max:literal) => { Some($max) };
}

crate::families! {
    // Operations: the same for every protocol. Written from the workers' tables; their caps are `Limits`.
    OPERATIONS = Counter "weir_operations_total" ["listener", "cluster", "protocol", "operation", "resource", "result", "code"] max tables:
        "Operations that have ended, by how they ended.";
    OPERATIONS_RETIRED = Counter "weir_operations_retired_total" ["listener", "result"] max tables:
        "Operations of series of weir_operations_total that have ended, because one of their names gave way to others: with those, all operations that there were.";
    OPERATION_DURATION = Histogram "weir_operation_duration_seconds" ["listener", "cluster", "protocol", "operation", "resource"] max tables:
        "Time from the first byte of the request in to the last byte of the reply out (with message protocols in, where the client's socket takes it at once); long polls are left out.";
    OPERATION_FIRST_BYTE = Histogram "weir_operation_first_byte_seconds" ["listener", "cluster", "protocol", "operation", "resource"] max tables:
        "Time from the first byte of the request in to the first byte of the reply; long polls are left out.";
    OPERATION_REQUEST_BYTES = Counter "weir_operation_request_bytes_total" ["listener", "cluster", "protocol", "operation", "resource"] max tables:
        "Bytes of requests, as they came from clients.";
    OPERATION_REPLY_BYTES = Counter "weir_operation_reply_bytes_total" ["listener", "cluster", "protocol", "operation", "resource"] max tables:
        "Bytes of replies, as they went to clients.";
    OPERATION_ITEMS_SENT = Counter "weir_operation_items_sent_total" ["listener", "cluster", "protocol", "operation", "resource"] max tables:
        "Documents and statements in requests; by weir_operations_total, the size of batches.";
    OPERATION_ITEMS_RETURNED = Counter "weir_operation_items_returned_total" ["listener", "cluster", "protocol", "operation", "resource"] max tables:
        "Documents in replies.";
    OPERATION_ITEMS_AFFECTED = Counter "weir_operation_items_affected_total" ["listener", "cluster", "protocol", "operation", "resource"] max tables:
        "Documents that writes inserted, matched, upserted or removed, as the server says.";
    OPERATION_ITEMS_MODIFIED = Counter "weir_operation_items_modified_total" ["listener", "cluster", "protocol", "operation", "resource"] max tables:
        "Documents that updates changed, as the server says.";
    OPERATION_BATCH_ITEMS = Counts "weir_operation_batch_items" ["listener", "cluster", "protocol", "operation", "direction"] max 8192:
        "Documents and statements of each request that brings any, documents of each reply that holds a batch, by direction (request, reply).";
    OPERATION_TRAITS = Counter "weir_operation_traits_total" ["listener", "cluster", "protocol", "operation", "resource", "trait"] max 65536:
        "Operations that have ended and were also this: many, watch, writes_result, unbounded, no_deadline, transaction, resent, recognised.";
    SLOW_OPERATIONS = Counter "weir_slow_operations_total" ["listener", "protocol", "why"]:
        "Operations that were kept for /slow, by why: slow, failed.";
    SLOW_UNLOGGED = Counter "weir_slow_operations_unlogged_total" ["listener", "protocol"]:
        "Operations that were kept for /slow but not logged, because many had been in that second.";
    SLOW_CROWDED = Counter "weir_slow_operations_crowded_total" ["listener", "protocol"]:
        "Operations that took the place of an older one of their kind in /slow, because there were too many of that kind.";
    OPERATION_RETRIES = Counter "weir_operation_retries_total" ["listener", "cluster", "protocol"] max tables:
        "Tries after the first one, of operations that have ended.";
    OPERATIONS_IN_FLIGHT = Gauge "weir_operations_in_flight" ["listener", "cluster", "protocol"] max tables:
        "Operations that have begun and not ended, long polls left out.";
    OPERATIONS_PARKED = Gauge "weir_operations_parked" ["listener", "cluster", "protocol"] max tables:
        "Long polls under way: outside latencies and the request limit.";
    REFUSALS = Counter "weir_refusals_total" ["listener", "cluster", "protocol", "reason"] max tables:
        "Operations that Weir refused by its own decision.";
    FAILURES = Counter "weir_failures_total" ["listener", "cluster", "protocol", "side", "phase", "reason"] max tables:
        "Operations that failed: whose fault, how far they had got, and why. Refusals are not among them.";
    APPLICATION_OPERATIONS = Counter "weir_application_operations_total" ["listener", "cluster", "protocol", "application", "operation", "result"] max tables:
        "Operations that have ended, by the name that the client's application gives itself.";
    APPLICATION_OPERATIONS_RETIRED = Counter "weir_application_operations_retired_total" ["listener", "result"] max tables:
        "The same of weir_application_operations_total.";
    APPLICATION_DURATION = Histogram "weir_application_duration_seconds" ["listener", "cluster", "protocol", "application"] max tables:
        "How long the operations of an application took, as weir_operation_duration_seconds has it; long polls are left out.";
    APPLICATION_REQUEST_BYTES = Counter "weir_application_request_bytes_total" ["listener", "cluster", "protocol", "application"] max tables:
        "Bytes of an application's requests, as they came from it.";
    APPLICATION_REPLY_BYTES = Counter "weir_application_reply_bytes_total" ["listener", "cluster", "protocol", "application"] max tables:
        "Bytes of replies to an application, as they went to it.";

    CALL_SITE_OPERATIONS = Counter "weir_call_site_operations_total" ["listener", "cluster", "protocol", "call_site", "operation", "result"] max tables:
        "Operations that have ended, by the place in the application's code that they name.";
    CALL_SITE_OPERATIONS_RETIRED = Counter "weir_call_site_operations_retired_total" ["listener", "result"] max tables:
        "The same of weir_call_site_operations_total.";
    CALL_SITE_SECONDS = Counter "weir_call_site_seconds_total" ["listener", "cluster", "protocol", "call_site", "operation"] max tables:
        "How long the operations of a call site took in all, long polls left out.";

    // Connections from clients.
    LISTENER_CONNECTIONS_TOTAL = Counter "weir_listener_connections_total" ["listener"]:
        "Connections that were accepted, those refused at once included.";
    LISTENER_CONNECTIONS = Gauge "weir_listener_connections_open" ["listener"]:
        "Connections from clients that are open.";
    LISTENER_REFUSED = Counter "weir_listener_connections_refused_total" ["listener", "reason"]:
        "Connections that were closed at once, by why: max_connections, max_connections_per_address, process_max_connections, source, draining (a header or a TLS handshake was not done).";
    LISTENER_DELAYED = Counter "weir_listener_connections_delayed_total" ["listener"]:
        "Connections that were accepted later than they could have been, because of accept_rate.";
    LISTENER_PROXY_HEADERS = Counter "weir_listener_proxy_headers_total" ["listener", "result"]:
        "PROXY protocol headers by what they say (client, proxy, unknown), and connections closed for want of one: absent, malformed, too_long, checksum, timeout, closed.";
    LISTENER_ACCEPT_ERRORS = Counter "weir_listener_accept_errors_total" ["listener"]:
        "Times that accepting failed: no descriptors, no memory.";
    LISTENER_TLS_HANDSHAKES = Counter "weir_listener_tls_handshakes_total" ["listener", "result", "reason"] max 4096:
        "TLS handshakes with clients, by result: ok, resumed, passed (left to the server), failed (why is in reason), timeout.";
    LISTENER_PANICS = Counter "weir_listener_panics_total" ["listener"]:
        "Connections that a bug in Weir has cost.";
    MAX_CONNECTIONS = Gauge "weir_connections_max" []:
        "The most connections from clients that there may be: limits.max_connections, or what the limit of open files allows for.";
    WORKER_CONNECTIONS = Gauge "weir_worker_connections_open" ["worker"]:
        "Connections from clients that are open, by worker.";
    WORKER_HANDED_OVER = Counter "weir_worker_connections_handed_over_total" []:
        "Connections that one worker accepted and handed to another.";
    WORKERS_LOST = Counter "weir_workers_lost_total" []:
        "Workers that have ended by a bug.";

    // Connections of message protocols.
    MALFORMED = Counter "weir_malformed_total" ["listener", "protocol", "side", "reason"]:
        "Times that bytes came from a client or an upstream that are no message of the protocol.";
    MESSAGE_DEGRADED = Counter "weir_connections_degraded_total" ["listener", "protocol"]:
        "Connections that went on as bytes, because a message on them could not be read.";
    MESSAGE_DEGRADED_OPEN = Gauge "weir_connections_degraded_open" ["listener", "protocol"]:
        "Connections that go on as bytes.";
    MESSAGE_UNMATCHED = Counter "weir_replies_unmatched_total" ["listener", "protocol"]:
        "Replies that answer no operation under way; they were passed on.";
    MESSAGE_LIMITS = Counter "weir_message_limits_total" ["listener", "protocol", "limit"]:
        "Times that a limit of a message connection was met: operations under way, a reply held back, what is held of requests until rules can be decided, a message to be rewritten, the time that a message has to come, cursors and transactions that are open.";

    // Clusters and their endpoints, read from the clusters at each scrape.
    CLUSTER_ATTEMPTS = Counter "weir_cluster_attempts_total" ["cluster", "outcome"]:
        "Attempts that have ended, retries included, by what they mean to the cluster: success, rejected, failed, cancelled, refused.";
    CLUSTER_RETRIES = Counter "weir_cluster_retries_total" ["cluster"]:
        "Retries that the limits and the budget granted.";
    CLUSTER_REPICKS = Counter "weir_cluster_repicks_total" ["cluster"]:
        "Attempts that went to another endpoint because no connection could be made to the one before, or nothing whole was written on it. They are no retries.";
    CLUSTER_ACTIVE = Gauge "weir_cluster_requests_active" ["cluster"]:
        "Operations under way, those included that wait for their retry, without long polls.";
    CLUSTER_RETRYING = Gauge "weir_cluster_retries_active" ["cluster"]:
        "Retries under way or waiting.";
    CLUSTER_PARKED = Gauge "weir_cluster_parked_active" ["cluster"]:
        "Long polls under way.";
    CLUSTER_PENDING = Gauge "weir_cluster_pending_active" ["cluster"]:
        "Operations that wait for a connection.";
    CLUSTER_CONNECTIONS = Gauge "weir_cluster_connections_open" ["cluster"]:
        "Upstream connections there are, idle ones included.";
    CLUSTER_CONNECTIONS_OPENED = Counter "weir_cluster_connections_total" ["cluster"]:
        "Upstream connections that were begun.";
    CLUSTER_CONNECT_FAILURES = Counter "weir_cluster_connect_failures_total" ["cluster"]:
        "Upstream connections that could not be made.";
    CLUSTER_EVICTED = Counter "weir_cluster_connections_evicted_total" ["cluster"]:
        "Idle upstream connections that were closed to make room for another.";
    CLUSTER_LIMIT = Gauge "weir_cluster_limit" ["cluster", "limit"] max 8192:
        "The circuit breaker's limits: max_connections, max_pending, max_requests, max_retries, max_parked.";
    CLUSTER_OVERFLOWS = Counter "weir_cluster_overflows_total" ["cluster", "limit"] max 8192:
        "Times that a limit of the circuit breaker was met: those of `weir_cluster_limit`, and retry_budget.";
    CLUSTER_NO_ENDPOINT = Counter "weir_cluster_no_endpoint_total" ["cluster"]:
        "Operations that found no endpoint.";
    CLUSTER_ENDPOINTS = Gauge "weir_cluster_endpoints" ["cluster"]:
        "Endpoints there are.";
    CLUSTER_ENDPOINTS_EJECTED = Gauge "weir_cluster_endpoints_ejected" ["cluster"]:
        "Endpoints that are ejected.";
    CLUSTER_EJECTIONS = Counter "weir_cluster_ejections_total" ["cluster"]:
        "Ejections of endpoints.";
    CLUSTER_EJECTIONS_WITHHELD = Counter "weir_cluster_ejections_withheld_total" ["cluster"]:
        "Ejections that were due but would have been one too many.";
    CLUSTER_EVENTS_DROPPED = Counter "weir_cluster_events_dropped_total" ["cluster"]:
        "Events of ejection that did not reach the log in time.";
    CLUSTER_RESOLUTIONS = Counter "weir_cluster_dns_resolutions_total" ["cluster", "result"]:
        "Resolutions of names, by result: ok, failed.";
    CLUSTER_TLS_HANDSHAKES = Counter "weir_cluster_tls_handshakes_total" ["cluster", "result"] max 4096:
        "TLS handshakes with endpoints, by result: ok, resumed, failed.";
    ENDPOINT_ATTEMPTS = Counter "weir_endpoint_attempts_total" ["cluster", "endpoint", "outcome"] max 20480:
        "Attempts that have ended, by what they mean to the endpoint: success, rejected, failed, cancelled, refused.";
    ENDPOINT_ACTIVE = Gauge "weir_endpoint_requests_active" ["cluster", "endpoint"] max 4096:
        "Attempts under way, without long polls.";
    ENDPOINT_PARKED = Gauge "weir_endpoint_parked_active" ["cluster", "endpoint"] max 4096:
        "Long polls under way.";
    ENDPOINT_CONNECTIONS = Gauge "weir_endpoint_connections_open" ["cluster", "endpoint"] max 4096:
        "Connections there are, idle ones included.";
    ENDPOINT_CONNECTIONS_OPENED = Counter "weir_endpoint_connections_total" ["cluster", "endpoint"] max 4096:
        "Connections that were begun.";
    ENDPOINT_CONNECT_FAILURES = Counter "weir_endpoint_connect_failures_total" ["cluster", "endpoint"] max 4096:
        "Connections that could not be made.";
    ENDPOINT_EJECTED = Gauge "weir_endpoint_ejected" ["cluster", "endpoint"] max 4096:
        "1 while the endpoint is ejected.";
    ENDPOINT_EJECTIONS = Counter "weir_endpoint_ejections_total" ["cluster", "endpoint"] max 4096:
        "Ejections of the endpoint.";
    ENDPOINT_CONSECUTIVE_ERRORS = Gauge "weir_endpoint_consecutive_errors" ["cluster", "endpoint"] max 4096:
        "Failures since the last success.";

    // The admin API.
    ADMIN_REQUESTS = Counter "weir_admin_requests_total" ["endpoint", "status"]:
        "Requests to the admin API, by endpoint (`other`: none of them) and HTTP status.";
    ADMIN_CONNECTIONS_REFUSED = Counter "weir_admin_connections_refused_total" []:
        "Connections to the admin API that were closed because there are too many: the longest idle one, or the new one.";

    // The process.
    BUILD_INFO = Info "weir_build_info" ["version"]:
        "Which Weir this is.";
    LOG_LINES_DROPPED = Counter "weir_log_lines_dropped_total" []:
        "Log lines that were dropped: nobody read them in time, or they could not be written.";
    RELOADS = Counter "weir_reloads_total" ["result"]:
        "Reloads of the configuration, by whether they were applied or rejected.";
    CERTIFICATE_RELOADS = Counter "weir_certificate_reloads_total" ["result"]:
        "Listeners and clusters whose certificates, keys or roots were read anew because a file had changed, by result: ok, failed (what was before stays).";
    CERTIFICATE_EXPIRES = Gauge "weir_certificate_expires_timestamp_seconds" ["side", "name", "file"]:
        "When the first of the certificates in a file ends, in seconds since 1970: of the files that Weir shows, to the clients of a listener or to the servers of a cluster.";
    WORKERS = Gauge "weir_workers" []:
        "Workers that have been started.";
    PROCESS_CPU = Counter "process_cpu_seconds_total" []:
        "CPU time, user and system.";
    PROCESS_RESIDENT = Gauge "process_resident_memory_bytes" []:
        "Resident memory.";
    PROCESS_VIRTUAL = Gauge "process_virtual_memory_bytes" []:
        "Virtual memory.";
    PROCESS_OPEN_FDS = Gauge "process_open_fds" []:
        "Open file descriptors.";
    PROCESS_MAX_FDS = Gauge "process_max_fds" []:
        "The most file descriptors that may be open.";
    PROCESS_START = Gauge "process_start_time_seconds" []:
        "When the process began, in seconds since 1970.";
    PROCESS_THREADS = Gauge "process_threads" []:
        "Threads.";

    // The caps of the numbers themselves.
    CAPS_MET = Counter "weir_caps_met_total" ["cap"]:
        "Times that a cap of Weir's own was met: handed_over (a connection stayed with the worker that accepted it), idle_connections (of one pool and endpoint; the oldest was closed), dns_addresses (of one answer; the others were left out), held_reply (it went on before it was known whether to try again), replay_memory (a request's body was not kept, since all of `limits.replay_memory` was taken: it is not tried again), name_length (a name was cut), cursor_collections (a cursor ended on a collection for which there was no room among those of its listener).";
    NAMES = Gauge "weir_names" ["listener", "kind", "standing"] max 65536:
        "Names that came from the wire, by kind (operation, resource, code, application, call_site) and standing: probation (not yet believed), established.";
    NAMES_GONE = Counter "weir_names_gone_total" ["listener", "kind"] max 65536:
        "Names that gave way to others, the one that was silent for longest first; their series ended.";
    INTERNER_OVERFLOW = Counter "weir_interner_overflow_total" ["kind"]:
        "Times that a name of a closed set or of the configuration was counted as `_other` because there are too many.";
    ROWS_OVERFLOW = Counter "weir_rows_overflow_total" ["table"]:
        "Times that something was counted as `_other` because the cap of a table is met: operations, outcomes, applications, call_sites, tallies (by table, of DynamoDB), places.";
    SERIES_OVERFLOW = Counter "weir_series_overflow_total" ["family"]:
        "Requests for a series that were given `_other` because the cap of the family is met.";
}
