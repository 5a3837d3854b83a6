//! `/call_sites`: what the places in an application's code do.

use serde::Serialize;
use weir_measure::CallSiteRow;

/// All that are known, sorted by their labels.
#[derive(Serialize)]
pub(crate) struct CallSites<'a> {
    call_sites: Vec<CallSite<'a>>,
}

#[derive(Serialize)]
struct CallSite<'a> {
    listener: &'a str,
    cluster: &'a str,
    protocol: &'a str,
    call_site: &'a str,
    operation: &'a str,
    count: u64,
    ok: u64,
    outcomes: Vec<Outcome<'a>>,
    /// In all.
    seconds: f64,
}

#[derive(Serialize)]
struct Outcome<'a> {
    result: &'a str,
    count: u64,
}

impl<'a> CallSites<'a> {
    /// Rows that differ in their result alone stand one after the other.
    pub(crate) fn of(rows: &'a [CallSiteRow]) -> CallSites<'a> {
        let of_one = |a: &CallSiteRow, b: &CallSiteRow| a.labels.get(..5) == b.labels.get(..5);
        CallSites { call_sites: rows.chunk_by(of_one).filter_map(call_site).collect() }
    }
}

fn call_site(rows: &[CallSiteRow]) -> Option<CallSite<'_>> {
    let [listener, cluster, protocol, call_site, operation, _] = rows.first()?.labels.each_ref();
    let outcomes: Vec<_> = rows
        .iter()
        .map(|CallSiteRow { labels: [.., result], count, .. }| Outcome { result, count: *count })
        .collect();
    Some(CallSite {
        listener,
        cluster,
        protocol,
        call_site,
        operation,
        count: outcomes.iter().map(|outcome| outcome.count).sum(),
        ok: outcomes.iter().filter(|outcome| outcome.result == "ok").map(|outcome| outcome.count).sum(),
        outcomes,
        seconds: rows.iter().map(|row| row.time.as_secs_f64()).sum(),
    })
}
