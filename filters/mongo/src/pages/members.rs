//! `/members`: the servers behind MongoDB listeners.

use super::json;
use crate::measure::listeners::Listeners;
use crate::measure::topology::{self, Servers, Topology};
use serde::Serialize;
use std::sync::Arc;
use weir_decide::cluster::EndpointStats;
use weir_decide::exchange::Now;
use weir_drive::page::{Asked, Items};
use weir_drive::server::ClusterStatus;

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
pub(super) fn items(&Asked { measure, clusters, now }: &Asked<'_>) -> Option<Items> {
    let clusters = clusters()?;
    let known = Listeners::<Topology>::of(measure).all();
    let wanted: Vec<Servers> = known.iter().map(|(_, topology)| topology.servers()).collect();
    // Of thousands of clusters those of a set are few.
    let is_wanted = |cluster: &ClusterStatus| wanted.iter().any(|set| *set.cluster == *cluster.stats.name);
    let clusters: Vec<_> = clusters.filter(is_wanted).collect();
    let sets: Vec<_> =
        known.into_iter().zip(wanted).filter(|(_, servers)| !servers.members.is_empty()).collect();
    let item =
        move |((listener, _), servers): ((Arc<str>, _), _)| json(&set(&listener, servers, &clusters, now));
    Some(Box::new(sets.into_iter().map(item)))
}

fn set(listener: &str, servers: Servers, clusters: &[ClusterStatus], now: Now) -> Set {
    let Servers { cluster, set, elections, members } = servers;
    let stats = clusters.iter().find(|one| *one.stats.name == *cluster);
    let endpoint = |name: &str| stats?.stats.endpoints.iter().find(|endpoint| *endpoint.address == *name);
    let member = |member: &topology::Member| {
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
