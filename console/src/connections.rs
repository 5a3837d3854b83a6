//! `/connections`: the connections from clients that are open.

use crate::body::{List, json};
use serde::Serialize;
use std::cmp::Reverse;
use std::sync::Arc;
use weir_decide::exchange::Now;
use weir_decide::protocol::About;
use weir_measure::Measure;
use weir_measure::connections::{Doings, Known, OpenConnection};

/// The most that are shown.
pub(crate) const MOST: usize = 4096;

/// Times are in seconds; `null` where the protocol does not tell.
#[derive(Serialize)]
struct Connection {
    listener: String,
    protocol: &'static str,
    peer: String,
    tls: bool,
    application: Option<Box<str>>,
    driver: Option<Box<str>>,
    driver_version: Option<Box<str>>,
    framework: Option<Box<str>>,
    compression: Option<&'static str>,
    mechanism: Option<&'static str>,
    endpoint: Option<String>,
    open_for: u64,
    idle_for: Option<u64>,
    under_way_for: Option<f64>,
    operations: Option<u64>,
    request_bytes: Option<u64>,
    reply_bytes: Option<u64>,
}

/// Those that have been idle the longest, `limit` at most.
pub(crate) fn list(measure: &Measure, limit: usize, now: Now) -> List {
    let mut all: Vec<_> = measure.connections().into_iter().map(|one| (one.doings(), one)).collect();
    let open = all.len();
    // What has something under way is not idle; what does not tell has been idle since it was opened, for all we know.
    let idle_since = |(doings, one): &(Option<Doings>, Arc<OpenConnection>)| match doings {
        Some(Doings { since: Some(_), .. }) => (1, Reverse(0)),
        Some(doings) => (0, Reverse(now.since(doings.moved))),
        None => (0, Reverse(now.since(one.opened))),
    };
    let shown = limit.min(open);
    if shown < open && shown > 0 {
        all.select_nth_unstable_by_key(shown - 1, idle_since);
    }
    all.truncate(shown);
    all.sort_by_cached_key(idle_since);
    let items = all.into_iter().map(move |(doings, one)| json(&connection(&one, doings, now)));
    List::new(&[("open", open), ("shown", shown)], "connections", items)
}

fn connection(one: &OpenConnection, doings: Option<Doings>, now: Now) -> Connection {
    let Known { peer, tls, endpoint, about } = one.known();
    let About { software, compressor, mechanism } = about;
    let since = |then: Now| now.since(then) / 1_000_000_000;
    // What a client does not say is nothing, not an empty name.
    let said = |name: &str| (!name.is_empty()).then(|| name.into());
    let software = software.as_deref();
    Connection {
        listener: one.listener.to_string(),
        protocol: one.protocol,
        peer: peer.map_or_else(|| "unix:".to_owned(), |peer| peer.to_string()),
        tls,
        application: software.and_then(|software| said(&software.application)),
        driver: software.and_then(|software| said(&software.driver)),
        driver_version: software.and_then(|software| said(&software.version)),
        framework: software.and_then(|software| said(&software.framework)),
        compression: compressor,
        mechanism,
        endpoint: endpoint.map(|endpoint| endpoint.to_string()),
        open_for: since(one.opened),
        idle_for: doings.filter(|doings| doings.since.is_none()).map(|doings| since(doings.moved)),
        under_way_for: doings
            .and_then(|doings| doings.since)
            .map(|then| (now.since(then) / 1_000_000) as f64 / 1e3),
        operations: doings.filter(|_| one.protocol != "tcp").map(|doings| doings.operations),
        request_bytes: doings.map(|doings| doings.request_bytes),
        reply_bytes: doings.map(|doings| doings.reply_bytes),
    }
}
