//! The JSON of each endpoint. Names and units are those of the metrics: seconds and bytes.

use crate::Clusters;
use crate::body::{List, json};
use serde::Serialize;
use std::io::Write as _;
use std::sync::Arc;
use weir_config::{Balance, Config, Source, Upstream};
use weir_decide::cluster::{ClusterStats, EndpointStats, Totals};
use weir_decide::exchange::Now;
use weir_drive::Status;
use weir_drive::server::{ClusterStatus, ListenerStatus};
use weir_measure::OperationRow;
use weir_measure::histogram::Distribution;

/// `/`.
#[derive(Serialize)]
pub(crate) struct Index<'a> {
    pub(crate) weir: &'static str,
    pub(crate) status: &'static str,
    pub(crate) accepting: bool,
    pub(crate) endpoints: &'a [Endpoint],
}

/// One of the API's endpoints.
#[derive(Serialize)]
pub(crate) struct Endpoint {
    pub(crate) path: &'static str,
    pub(crate) what: &'static str,
}

/// `/ready` and `/live`.
#[derive(Serialize)]
pub(crate) struct Health {
    pub(crate) status: &'static str,
}

/// `/version`.
#[derive(Serialize)]
pub(crate) struct Version<'a> {
    pub(crate) version: &'static str,
    pub(crate) protocols: &'a [&'static str],
}

/// Any answer that is none.
#[derive(Serialize)]
pub(crate) struct Failed<'a> {
    pub(crate) error: Error<'a>,
}

/// Why.
#[derive(Serialize)]
pub(crate) struct Error<'a> {
    pub(crate) status: u16,
    pub(crate) message: &'a str,
}

/// One operation on one resource.
#[derive(Serialize)]
struct Operation<'a> {
    listener: &'a str,
    cluster: &'a str,
    protocol: &'a str,
    operation: &'a str,
    resource: &'a str,
    count: u64,
    ok: u64,
    outcomes: Vec<Outcome<'a>>,
    request_bytes: u64,
    reply_bytes: u64,
    items: Items,
    duration: Option<Latency>,
    first_byte: Option<Latency>,
}

/// Documents, as far as the protocol tells.
#[derive(Serialize)]
pub(crate) struct Items {
    sent: u64,
    returned: u64,
    affected: u64,
    modified: u64,
}

impl Items {
    pub(crate) fn of(items: weir_decide::exchange::Items) -> Items {
        let weir_decide::exchange::Items { sent, returned, affected, modified, .. } = items;
        Items { sent, returned, affected, modified }
    }
}

/// Operations of one application that ended alike.
#[derive(Serialize)]
struct ApplicationOperations<'a> {
    listener: &'a str,
    cluster: &'a str,
    protocol: &'a str,
    application: &'a str,
    operation: &'a str,
    result: &'a str,
    count: u64,
}

/// `/applications`.
pub(crate) fn applications(rows: Vec<([Arc<str>; 6], u64)>) -> List {
    let items = rows.into_iter().map(|(labels, count)| {
        let [listener, cluster, protocol, application, operation, result] = labels.each_ref().map(|l| &**l);
        json(&ApplicationOperations { listener, cluster, protocol, application, operation, result, count })
    });
    List::new(&[], "applications", items)
}

#[derive(Serialize)]
struct Outcome<'a> {
    result: &'a str,
    code: &'a str,
    count: u64,
}

/// Seconds; percentiles are estimates.
#[derive(Serialize)]
struct Latency {
    count: u64,
    mean: f64,
    p50: Option<f64>,
    p90: Option<f64>,
    p99: Option<f64>,
}

impl Latency {
    /// `None` where nothing was measured.
    fn of(numbers: &Distribution) -> Option<Latency> {
        let count = numbers.count();
        let at = |share| numbers.percentile(share).map(seconds);
        (count > 0).then(|| Latency {
            count,
            mean: seconds(numbers.sum() / count),
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
        })
    }
}

/// Appends a row of `/operations` as JSON on a line of its own.
pub(crate) fn operation(row: &OperationRow, out: &mut Vec<u8>) {
    let outcomes = row.outcomes.iter();
    let shape = Operation {
        listener: &row.listener,
        cluster: &row.cluster,
        protocol: &row.protocol,
        operation: &row.operation,
        resource: &row.resource,
        count: row.total(),
        ok: row.ok(),
        outcomes: outcomes.map(|o| Outcome { result: &o.result, code: &o.code, count: o.count }).collect(),
        request_bytes: row.request_bytes,
        reply_bytes: row.reply_bytes,
        items: Items::of(row.items),
        duration: Latency::of(&row.duration),
        first_byte: Latency::of(&row.first_byte),
    };
    // Plain data always has a JSON form, and a vector takes it.
    serde_json::to_writer(out, &shape).ok();
}

/// The headings of [`operation_line`].
pub(crate) const OPERATION_HEADINGS: &str = "listener\tcluster\tprotocol\toperation\tresource\tcount\tnot_ok\tp50_ms\tp99_ms\trequest_bytes\treply_bytes\n";

/// Appends a row of `/operations` as a line of text: fields separated by tabs, which names never hold. `-` where nothing was
/// measured.
pub(crate) fn operation_line(row: &OperationRow, out: &mut Vec<u8>) {
    let millis = |of| match row.duration.percentile(of) {
        Some(nanos) => format!("{:.3}", nanos as f64 / 1e6),
        None => "-".into(),
    };
    // A vector takes anything.
    writeln!(
        out,
        "{}\t{}\t{}\t{}\t{}\t{}\t{}\t{}\t{}\t{}\t{}",
        row.listener,
        row.cluster,
        row.protocol,
        row.operation,
        row.resource,
        row.total(),
        row.total() - row.ok(),
        millis(0.5),
        millis(0.99),
        row.request_bytes,
        row.reply_bytes
    )
    .ok();
}

fn seconds(nanos: u64) -> f64 {
    nanos as f64 / 1e9
}

/// `/clusters`.
pub(crate) fn clusters(clusters: Clusters, now: Now) -> List {
    List::new(&[], "clusters", clusters.map(move |cluster| json(&Cluster::of(&cluster, now))))
}

#[derive(Serialize)]
struct Cluster<'a> {
    name: &'a str,
    source: &'static str,
    protocol: &'static str,
    tls: bool,
    balance: &'static str,
    circuit_breaker: Breaker,
    attempts: Attempts,
    retries: u64,
    repicks: u64,
    no_endpoint: u64,
    connections: Connections,
    ejections: Ejections,
    endpoints: Vec<Upstreams<'a>>,
}

/// The limits, by the names they have in the configuration. That of the retry budget is what it allows at this moment.
#[derive(Serialize)]
struct Breaker {
    max_connections: Limit,
    max_pending: Limit,
    max_requests: Limit,
    max_retries: Limit,
    retry_budget: Limit,
    max_parked: Limit,
}

/// How much there may be, how much there is, how often there would have been more.
#[derive(Serialize)]
struct Limit {
    limit: u32,
    used: u32,
    met: u64,
}

#[derive(Serialize)]
struct Attempts {
    total: u64,
    success: u64,
    rejected: u64,
    failed: u64,
    cancelled: u64,
    refused: u64,
}

impl Attempts {
    fn of(totals: &Totals) -> Attempts {
        let Totals { success, rejected, failed, cancelled, refused, .. } = *totals;
        Attempts { total: totals.attempts(), success, rejected, failed, cancelled, refused }
    }
}

#[derive(Serialize)]
struct Connections {
    open: u32,
    total: u64,
    failed: u64,
}

impl Connections {
    fn of(open: u32, totals: &Totals) -> Connections {
        Connections { open, total: totals.connections, failed: totals.connect_failures }
    }
}

#[derive(Serialize)]
struct Ejections {
    ejected: usize,
    total: u64,
    withheld: u64,
}

/// An endpoint of a cluster.
#[derive(Serialize)]
struct Upstreams<'a> {
    address: &'a str,
    weight: u32,
    state: &'static str,
    ejected_for_seconds: Option<f64>,
    last_ejection: Option<LastEjection>,
    consecutive_errors: u32,
    ejections: u64,
    active: u32,
    parked: u32,
    attempts: Attempts,
    connections: Connections,
}

#[derive(Serialize)]
struct LastEjection {
    at: f64,
    why: &'static str,
}

impl Cluster<'_> {
    fn of(cluster: &ClusterStatus, now: Now) -> Cluster<'_> {
        let ClusterStatus { config, stats } = cluster;
        Cluster {
            name: &config.name,
            source: match &config.source {
                Source::Endpoints(_) => "endpoints",
                Source::Dns { .. } => "dns",
            },
            protocol: match config.protocol {
                Upstream::Http1 => "http1",
                Upstream::Http2 => "http2",
            },
            tls: config.tls.is_some(),
            balance: match config.balance {
                Balance::RoundRobin => "round_robin",
                Balance::LeastRequest => "least_request",
            },
            circuit_breaker: Breaker::of(stats),
            attempts: Attempts::of(&stats.totals),
            retries: stats.retries,
            repicks: stats.repicks,
            no_endpoint: stats.no_endpoint,
            connections: Connections::of(stats.connections, &stats.totals),
            ejections: Ejections {
                ejected: stats.ejected,
                total: stats.totals.ejections,
                withheld: stats.ejections_withheld,
            },
            endpoints: stats.endpoints.iter().map(|endpoint| Upstreams::of(endpoint, now)).collect(),
        }
    }
}

impl Breaker {
    fn of(stats: &ClusterStats) -> Breaker {
        let (limits, met) = (&stats.settings.limits, &stats.overflows);
        let limit = |limit, used, met| Limit { limit, used, met };
        Breaker {
            max_connections: limit(limits.max_connections, stats.connections, met.connections),
            max_pending: limit(limits.max_pending, stats.pending, met.pending),
            max_requests: limit(limits.max_requests, stats.active, met.requests),
            max_retries: limit(limits.max_retries, stats.retrying, met.retries),
            retry_budget: limit(stats.retry_budget, stats.retry_budget_spent, met.retry_budget),
            max_parked: limit(limits.max_parked, stats.parked, met.parked),
        }
    }
}

impl Upstreams<'_> {
    fn of(endpoint: &EndpointStats, now: Now) -> Upstreams<'_> {
        let left = endpoint.ejected_until.map(|until| seconds(until.since(now)));
        Upstreams {
            address: &endpoint.address,
            weight: endpoint.weight,
            state: match (left.is_some(), endpoint.on_probation) {
                (true, _) => "ejected",
                (false, true) => "probation",
                (false, false) => "available",
            },
            ejected_for_seconds: left,
            last_ejection: endpoint
                .last_ejection
                .map(|(at, why)| LastEjection { at: weir_drive::time::wall_at(at), why: why.name() }),
            consecutive_errors: endpoint.consecutive_errors,
            ejections: endpoint.totals.ejections,
            active: endpoint.active,
            parked: endpoint.parked,
            attempts: Attempts::of(&endpoint.totals),
            connections: Connections::of(endpoint.connections, &endpoint.totals),
        }
    }
}

/// `/listeners`.
#[derive(Serialize)]
pub(crate) struct Listeners<'a> {
    listeners: Vec<Listener<'a>>,
    connections: u32,
    workers: Vec<Worker>,
}

/// Whole: a file has few listeners.
pub(crate) fn listeners(status: &Status) -> List {
    let text = serde_json::to_string_pretty(&Listeners::of(status)).unwrap_or_default() + "\n";
    List::pieces(std::iter::once(text.into_bytes()))
}

/// `/config`.
pub(crate) fn config(config: &Arc<Config>) -> List {
    let pieces = Config::json_pieces(config).chain(std::iter::once("\n".to_owned()));
    List::pieces(pieces.map(String::into_bytes))
}

#[derive(Serialize)]
struct Listener<'a> {
    name: &'a str,
    protocol: &'static str,
    address: String,
    tls: bool,
    connections: u32,
    max_connections: u32,
}

#[derive(Serialize)]
struct Worker {
    connections: u32,
}

impl Listeners<'_> {
    pub(crate) fn of(status: &Status) -> Listeners<'_> {
        Listeners {
            listeners: status.listeners.iter().map(Listener::of).collect(),
            connections: status.connections,
            workers: status.worker_connections.iter().map(|n| Worker { connections: *n }).collect(),
        }
    }
}

impl Listener<'_> {
    fn of(listener: &ListenerStatus) -> Listener<'_> {
        Listener {
            name: &listener.config.name,
            protocol: listener.config.protocol,
            address: listener.address.to_string(),
            tls: listener.config.tls.is_some(),
            connections: listener.connections,
            max_connections: listener.config.max_connections,
        }
    }
}
