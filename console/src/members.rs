//! `/members`: the servers behind MongoDB listeners.

use serde::Serialize;
use weir_decide::cluster::EndpointStats;
use weir_decide::exchange::Now;
use weir_drive::Status;
use weir_measure::Measure;
use weir_measure::topology::{Servers, Topology};

/// By listener.
#[derive(Serialize)]
pub(crate) struct Members {
    sets: Vec<Set>,
}

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

impl Members {
    pub(crate) fn of(measure: &Measure, process: &Status, now: Now) -> Members {
        let known = measure.topologies();
        let set = |(listener, topology): &(std::sync::Arc<str>, std::sync::Arc<Topology>)| {
            let Servers { cluster, set, elections, members } = topology.servers();
            let stats = process.clusters.iter().find(|one| *one.stats.name == *cluster);
            let endpoint =
                |name: &str| stats?.stats.endpoints.iter().find(|endpoint| *endpoint.address == *name);
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
                listener: listener.to_string(),
                cluster: cluster.to_string(),
                set: set.map(|set| set.to_string()),
                elections,
                members: members.iter().map(member).collect(),
            }
        };
        let sets = known.iter().map(set).filter(|set| !set.members.is_empty());
        Members { sets: sets.collect() }
    }
}

/// Those that have ended.
fn operations(endpoint: &EndpointStats) -> u64 {
    let totals = &endpoint.totals;
    totals.success + totals.rejected + totals.failed + totals.cancelled
}
