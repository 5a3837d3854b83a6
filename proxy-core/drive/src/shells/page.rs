//! A page of the admin API that a protocol brings: the console serves it beside its own, and knows no more of it than this.

use std::sync::Arc;
use weir_decide::cluster::ClusterStats;
use weir_decide::exchange::Now;
use weir_measure::Measure;

/// A cluster at one moment.
#[derive(Debug, Clone)]
pub struct ClusterStatus {
    /// Its configuration.
    pub config: Arc<weir_config::Cluster>,
    /// Limits, endpoints, ejections.
    pub stats: ClusterStats,
}

/// Clusters, one after the other.
pub type Clusters = Box<dyn Iterator<Item = ClusterStatus> + Send>;

/// The items of a page, each as JSON in the form of `serde_json`'s pretty printer.
pub type Items = Box<dyn Iterator<Item = Vec<u8>> + Send>;

/// A JSON object with one list, under a path of its own.
#[derive(Debug, Clone, Copy)]
pub struct Page {
    /// The path, with its slash.
    pub path: &'static str,
    /// What it is for, in one line.
    pub what: &'static str,
    /// The name of the list.
    pub list: &'static str,
    /// The list's items at this moment, asked for on the admin thread; `None` while the process is starting and has none to tell of.
    pub items: fn(&Asked<'_>) -> Option<Items>,
}

/// What a page is made of.
#[derive(Clone, Copy)]
pub struct Asked<'a> {
    /// The process's numbers.
    pub measure: &'a Arc<Measure>,
    /// The clusters, each as it is when it is come to; `None` while starting.
    pub clusters: &'a dyn Fn() -> Option<Clusters>,
    /// The time.
    pub now: Now,
}

impl std::fmt::Debug for Asked<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Asked").field("now", &self.now).finish_non_exhaustive()
    }
}
