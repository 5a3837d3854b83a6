//! The JSON of each endpoint. Names and units are those of the metrics: seconds and bytes.

use serde_json::{Value, json};
use std::io::Write as _;
use weir_config::{Balance, Config, Source, Upstream};
use weir_decide::cluster::{EndpointStats, Totals};
use weir_decide::exchange::Now;
use weir_drive::Status;
use weir_drive::server::{ClusterStatus, ListenerStatus};
use weir_measure::OperationRow;
use weir_measure::histogram::Distribution;

/// One operation on one resource, as a JSON object on a line of its own.
pub(crate) fn operation(row: &OperationRow, out: &mut Vec<u8>) {
    let outcome =
        |o: &weir_measure::OutcomeRow| json!({ "result": *o.result, "code": *o.code, "count": o.count });
    let value = json!({
        "listener": *row.listener,
        "cluster": *row.cluster,
        "protocol": *row.protocol,
        "operation": *row.operation,
        "resource": *row.resource,
        "count": row.total(),
        "ok": row.ok(),
        "outcomes": row.outcomes.iter().map(outcome).collect::<Vec<_>>(),
        "request_bytes": row.request_bytes,
        "reply_bytes": row.reply_bytes,
        "duration": distribution(&row.duration),
        "first_byte": distribution(&row.first_byte),
    });
    // Writing to a vector does not fail.
    let _ = write!(out, "{value}");
}

/// The same as a line of text, fields separated by tabs.
pub(crate) fn operation_line(row: &OperationRow, out: &mut Vec<u8>) {
    let millis = |of| row.duration.percentile(of).map_or(f64::NAN, |nanos| nanos as f64 / 1e6);
    let _ = writeln!(
        out,
        "{}\t{}\t{}\t{}\t{}\t{}\t{}\t{:.3}\t{:.3}\t{}\t{}",
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
    );
}

/// The headings of [`operation_line`].
pub(crate) const OPERATION_HEADINGS: &str = "listener\tcluster\tprotocol\toperation\tresource\tcount\tnot_ok\tp50_ms\tp99_ms\trequest_bytes\treply_bytes\n";

/// `null` where nothing was measured; otherwise seconds, percentiles estimated.
fn distribution(of: &Distribution) -> Value {
    let count = of.count();
    if count == 0 {
        return Value::Null;
    }
    let at = |share| of.percentile(share).map(seconds);
    json!({
        "count": count,
        "mean": seconds(of.sum() / count),
        "p50": at(0.5),
        "p90": at(0.9),
        "p99": at(0.99),
    })
}

fn seconds(nanos: u64) -> f64 {
    nanos as f64 / 1e9
}

/// `/clusters`.
pub(crate) fn clusters(status: &Status, now: Now) -> Value {
    json!({ "clusters": status.clusters.iter().map(|c| cluster(c, now)).collect::<Vec<_>>() })
}

fn cluster(cluster: &ClusterStatus, now: Now) -> Value {
    let ClusterStatus { config, stats } = cluster;
    let (limits, met) = (&stats.settings.limits, &stats.overflows);
    let limit = |most: u32, used: u32, met: u64| json!({ "limit": most, "used": used, "met": met });
    json!({
        "name": *config.name,
        "source": match &config.source {
            Source::Endpoints(_) => "endpoints",
            Source::Dns { .. } => "dns",
        },
        "protocol": match config.protocol {
            Upstream::Http1 => "http1",
            Upstream::Http2 => "http2",
        },
        "tls": config.tls.is_some(),
        "balance": match config.balance {
            Balance::RoundRobin => "round_robin",
            Balance::LeastRequest => "least_request",
        },
        "circuit_breaker": {
            "max_connections": limit(limits.max_connections, stats.connections, met.connections),
            "max_pending": limit(limits.max_pending, stats.pending, met.pending),
            "max_requests": limit(limits.max_requests, stats.active, met.requests),
            "max_retries": limit(limits.max_retries, stats.retrying, met.retries),
            "max_parked": limit(limits.max_parked, stats.parked, met.parked),
        },
        "attempts": attempts(&stats.totals),
        "retries": stats.retries,
        "no_endpoint": stats.no_endpoint,
        "connections": connections(stats.connections, &stats.totals),
        "ejections": { "ejected": stats.ejected, "total": stats.totals.ejections, "withheld": stats.ejections_withheld },
        "endpoints": stats.endpoints.iter().map(|e| endpoint(e, now)).collect::<Vec<_>>(),
    })
}

fn endpoint(endpoint: &EndpointStats, now: Now) -> Value {
    let left = endpoint.ejected_until.map(|until| seconds(until.since(now)));
    json!({
        "address": *endpoint.address,
        "weight": endpoint.weight,
        "state": if left.is_some() { "ejected" } else { "available" },
        "ejected_for_seconds": left,
        "active": endpoint.active,
        "parked": endpoint.parked,
        "consecutive_errors": endpoint.consecutive_errors,
        "ejections": endpoint.totals.ejections,
        "attempts": attempts(&endpoint.totals),
        "connections": connections(endpoint.connections, &endpoint.totals),
    })
}

fn attempts(totals: &Totals) -> Value {
    json!({
        "total": totals.attempts(),
        "success": totals.success,
        "rejected": totals.rejected,
        "failed": totals.failed,
        "cancelled": totals.cancelled,
        "refused": totals.refused,
    })
}

fn connections(open: u32, totals: &Totals) -> Value {
    json!({ "open": open, "total": totals.connections, "failed": totals.connect_failures })
}

/// `/listeners`.
pub(crate) fn listeners(status: &Status) -> Value {
    let listener = |listener: &ListenerStatus| {
        json!({
            "name": *listener.config.name,
            "protocol": listener.config.protocol,
            "address": listener.address.to_string(),
            "tls": listener.config.tls.is_some(),
            "connections": listener.connections,
            "max_connections": listener.config.max_connections,
        })
    };
    json!({
        "listeners": status.listeners.iter().map(listener).collect::<Vec<_>>(),
        "connections": status.connections,
        "workers": status.worker_connections.iter().map(|n| json!({ "connections": n })).collect::<Vec<_>>(),
    })
}

/// `/config`: as it was written, `${..}` not replaced.
pub(crate) fn config(config: &Config) -> String {
    config.to_json()
}
