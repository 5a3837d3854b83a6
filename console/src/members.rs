//! `/members`: the servers behind MongoDB listeners.

use crate::Clusters;
use crate::body::{List, json};
use serde::Serialize;
use weir_decide::cluster::EndpointStats;
use weir_decide::exchange::Now;
use weir_drive::server::ClusterStatus;
use weir_measure::Measure;
use weir_measure::topology::Servers;

#[derive(Serialize)]
struct Set {
    listener: String,
    cluster: String,
    set: Option<String>,
    elections: u64,
    members: Vec<Member>,
}

/// Times are in seconds.
#[derive(Serialize)]
struct Member {
    member: String,
    role: &'static str,
    role_for: u64,
    advertised: Option<String>,
    round_trip: Option<f64>,
    elected: u64,
    connections: u32,
    operations: u64,
}

/// By listener.
pub(crate) fn list(measure: &Measure, clusters: Clusters, now: Now) -> List {
    let known = measure.topologies();
    let wanted: Vec<Servers> = known.iter().map(|(_, topology)| topology.servers()).collect();
    // Of thousands of clusters those of a set are few.
    let is_wanted = |cluster: &ClusterStatus| wanted.iter().any(|set| *set.cluster == *cluster.stats.name);
    let clusters: Vec<_> = clusters.filter(is_wanted).collect();
    let sets: Vec<_> =
        known.into_iter().zip(wanted).filter(|(_, servers)| !servers.members.is_empty()).collect();
    let items =
        sets.into_iter().map(move |((listener, _), servers)| json(&set(&listener, servers, &clusters, now)));
    List::new(&[], "sets", items)
}

fn set(listener: &str, servers: Servers, clusters: &[ClusterStatus], now: Now) -> Set {
    let Servers { cluster, set, elections, members } = servers;
    let stats = clusters.iter().find(|one| *one.stats.name == *cluster);
    let endpoint = |name: &str| stats?.stats.endpoints.iter().find(|endpoint| *endpoint.address == *name);
    let member = |member: &weir_measure::topology::Member| {
        let endpoint = endpoint(&member.name);
        Member {
            member: member.name.to_string(),
            role: member.role.label(),
            role_for: now.since(member.since) / 1_000_000_000,
            advertised: member.advertised.as_ref().map(ToString::to_string),
            round_trip: member.round_trip.map(|took| took.as_secs_f64()),
            elected: member.elected,
            connections: endpoint.map_or(0, |endpoint| endpoint.connections),
            operations: endpoint.map_or(0, operations),
        }
    };
    Set {
        listener: listener.to_owned(),
        cluster: cluster.to_string(),
        set: set.map(|set| set.to_string()),
        elections,
        members: members.iter().map(member).collect(),
    }
}

/// Those that have ended.
fn operations(endpoint: &EndpointStats) -> u64 {
    let totals = &endpoint.totals;
    totals.success + totals.rejected + totals.failed + totals.cancelled
}
