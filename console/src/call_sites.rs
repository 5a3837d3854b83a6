//! `/call_sites`: what the places in an application's code do.

use crate::body::{List, json};
use serde::Serialize;
use weir_measure::CallSiteRow;

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

/// All that are known, sorted by their labels. Rows that differ in their result alone stand one after the other.
pub(crate) fn list(rows: Vec<CallSiteRow>) -> List {
    let mut rows = rows.into_iter().peekable();
    let items = std::iter::from_fn(move || {
        let mut of_one = vec![rows.next()?];
        let is_same = |a: &CallSiteRow, b: &CallSiteRow| a.labels.get(..5) == b.labels.get(..5);
        while let Some(next) = rows.next_if(|next| of_one.first().is_some_and(|first| is_same(first, next))) {
            of_one.push(next);
        }
        Some(call_site(&of_one).map_or_else(Vec::new, |site| json(&site)))
    });
    List::new(&[], "call_sites", items)
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
