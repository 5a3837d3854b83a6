//! What the workers are to take over: a configuration with everything that has to be there before they begin (sockets bound,
//! certificates read, clusters made), so that little can fail on a worker, and nothing on one alone.

use super::error::StartError;
use crate::edge::listener;
use crate::edge::tls::ServerTls;
use crate::ground::counted;
use crate::ground::drain::Company;
use crate::shells::filter::Advice;
use crate::shells::filter::Filter;
use crate::upstream::cluster::shared as cluster;
use std::sync::Arc;
use weir_config::Config;

/// A configuration, ready to be taken over.
pub(crate) struct Plan {
    pub(crate) config: Arc<Config>,
    pub(crate) listeners: Vec<Planned>,
    pub(crate) clusters: Vec<Arc<cluster::Shared>>,
}

impl Plan {
    /// The listener called `name`.
    pub(super) fn listener(&self, name: &str) -> Option<&Planned> {
        self.listeners.iter().find(|planned| &*planned.config.name == name)
    }

    /// The cluster called `name`.
    pub(super) fn cluster(&self, name: &str) -> Option<&Arc<cluster::Shared>> {
        self.clusters.iter().find(|cluster| &**cluster.decide.name() == name)
    }

    /// Whether the sockets of `before` go on as those of another listener.
    pub(crate) fn moves(&self, before: &Arc<listener::Sockets>) -> bool {
        let mut now = self.listeners.iter().flat_map(Planned::all_sockets);
        now.any(|now| now.local == before.local && !Arc::ptr_eq(now, before))
    }
}

/// Something to be known of a configuration, and what it is about.
#[derive(Debug, Clone)]
pub struct Told {
    /// Where that stands.
    pub at: weir_config::Position,
    /// The path of its key.
    pub path: String,
    /// What is to be known.
    pub advice: Advice,
}

/// One listener of it.
#[derive(Clone)]
pub(crate) struct Planned {
    pub(crate) config: Arc<weir_config::Listener>,
    pub(crate) filter: &'static dyn Filter,
    pub(crate) shared: Arc<counted::Shared>,
    pub(crate) sockets: Arc<listener::Sockets>,
    /// Further addresses, which the filter asked for.
    pub(crate) doors: Vec<Arc<listener::Sockets>>,
    /// Who asked for them ([`Front::by`](crate::Front::by)); 0: nobody.
    pub(crate) fronted_by: u64,
    pub(crate) admission: Arc<listener::Admission>,
    pub(crate) tls: Option<Arc<ServerTls>>,
    /// Of the connections that are served alike.
    pub(crate) company: Arc<Company>,
}

impl Planned {
    /// Its own sockets, then those of its doors.
    pub(crate) fn all_sockets(&self) -> impl Iterator<Item = &Arc<listener::Sockets>> {
        std::iter::once(&self.sockets).chain(&self.doors)
    }
}

/// What a cluster is to become, once everything else has succeeded.
pub(crate) type Changes = Vec<(Arc<cluster::Shared>, cluster::Current)>;

impl std::fmt::Debug for Plan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Plan").field("file", &self.config.file).finish_non_exhaustive()
    }
}

/// The filter whose protocol a listener speaks.
pub(super) fn filter_of(
    config: &weir_config::Listener,
    filters: &[&'static dyn Filter],
) -> Result<&'static dyn Filter, StartError> {
    let filter = filters.iter().find(|filter| filter.section().key() == config.protocol);
    filter
        .copied()
        .ok_or_else(|| StartError::NoFilter { listener: Arc::clone(&config.name), protocol: config.protocol })
}
