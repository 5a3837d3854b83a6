//! The numbers of clusters and endpoints, from what the clusters themselves count. Whoever knows which clusters there are by now
//! (the server) is the [`Collect`](crate::Collect)or and calls these for each of them.

use crate::Samples;
use crate::names::{self, Family};
use weir_decide::cluster::{Cluster, ClusterStats, EndpointStats, Totals};

/// Writes the numbers of `cluster` and of its endpoints.
pub fn cluster_samples(cluster: &Cluster, out: &mut Samples) {
    let stats = cluster.stats();
    let ClusterStats { name, settings, endpoints, ejected, totals, overflows, .. } = &stats;
    let cluster: &str = name;
    let limits = &settings.limits;
    let counts: [(&Family, u64); 15] = [
        (&names::CLUSTER_RETRIES, stats.retries),
        (&names::CLUSTER_REPICKS, stats.repicks),
        (&names::CLUSTER_ACTIVE, stats.active.into()),
        (&names::CLUSTER_RETRYING, stats.retrying.into()),
        (&names::CLUSTER_PARKED, stats.parked.into()),
        (&names::CLUSTER_PENDING, stats.pending.into()),
        (&names::CLUSTER_CONNECTIONS, stats.connections.into()),
        (&names::CLUSTER_CONNECTIONS_OPENED, totals.connections),
        (&names::CLUSTER_CONNECT_FAILURES, totals.connect_failures),
        (&names::CLUSTER_NO_ENDPOINT, stats.no_endpoint),
        (&names::CLUSTER_ENDPOINTS, endpoints.len() as u64),
        (&names::CLUSTER_ENDPOINTS_EJECTED, *ejected as u64),
        (&names::CLUSTER_EJECTIONS, totals.ejections),
        (&names::CLUSTER_EJECTIONS_WITHHELD, stats.ejections_withheld),
        (&names::CLUSTER_EVENTS_DROPPED, stats.events_dropped),
    ];
    for (family, count) in counts {
        out.add(family, &[cluster], count);
    }
    for (limit, most, met) in [
        ("max_connections", limits.max_connections, overflows.connections),
        ("max_pending", limits.max_pending, overflows.pending),
        ("max_requests", limits.max_requests, overflows.requests),
        ("max_retries", limits.max_retries, overflows.retries),
        ("max_parked", limits.max_parked, overflows.parked),
    ] {
        out.add(&names::CLUSTER_LIMIT, &[cluster, limit], u64::from(most));
        out.add(&names::CLUSTER_OVERFLOWS, &[cluster, limit], met);
    }
    // A share of what is under way rather than a number of its own: no limit to show.
    out.add(&names::CLUSTER_OVERFLOWS, &[cluster, "retry_budget"], overflows.retry_budget);
    for (outcome, count) in outcomes(totals) {
        out.add(&names::CLUSTER_ATTEMPTS, &[cluster, outcome], count);
    }
    for endpoint in endpoints {
        endpoint_samples(cluster, endpoint, out);
    }
}

/// Writes the numbers of one endpoint of `cluster`.
pub fn endpoint_samples(cluster: &str, endpoint: &EndpointStats, out: &mut Samples) {
    let labels = [cluster, &*endpoint.address];
    let totals = &endpoint.totals;
    let counts: [(&Family, u64); 8] = [
        (&names::ENDPOINT_ACTIVE, endpoint.active.into()),
        (&names::ENDPOINT_PARKED, endpoint.parked.into()),
        (&names::ENDPOINT_CONNECTIONS, endpoint.connections.into()),
        (&names::ENDPOINT_CONNECTIONS_OPENED, totals.connections),
        (&names::ENDPOINT_CONNECT_FAILURES, totals.connect_failures),
        (&names::ENDPOINT_EJECTED, endpoint.ejected_until.is_some().into()),
        (&names::ENDPOINT_EJECTIONS, totals.ejections),
        (&names::ENDPOINT_CONSECUTIVE_ERRORS, endpoint.consecutive_errors.into()),
    ];
    for (family, count) in counts {
        out.add(family, &labels, count);
    }
    for (outcome, count) in outcomes(totals) {
        let [cluster, address] = labels;
        out.add(&names::ENDPOINT_ATTEMPTS, &[cluster, address, outcome], count);
    }
}

fn outcomes(totals: &Totals) -> [(&'static str, u64); 5] {
    [
        ("success", totals.success),
        ("rejected", totals.rejected),
        ("failed", totals.failed),
        ("cancelled", totals.cancelled),
        ("refused", totals.refused),
    ]
}
