//! What TLS needs of files, read for a whole configuration before anything of it takes effect.

use super::error::StartError;
use super::plan::{Plan, filter_of};
use crate::edge::tls::ServerTls;
use crate::ground::tls::TlsErrors;
use crate::ground::tls::terms;
use crate::shells::filter::Filter;
use crate::upstream::tls::ClientTls;
use std::sync::Arc;
use std::time::Duration;
use weir_config::{Cluster, Config, File, Listener};

/// The TLS of each listener and cluster of a configuration, in their order.
pub(super) struct Secured {
    pub(super) listeners: Vec<Option<Arc<ServerTls>>>,
    pub(super) clusters: Vec<Option<Arc<ClientTls>>>,
}

impl Secured {
    /// The certificates that are of no use at `now` (since 1970), or will soon be of none, by the files that they are in.
    pub(super) fn terms<'c>(
        &self,
        config: &'c Config,
        now: Duration,
    ) -> impl Iterator<Item = (&'c File, String)> + use<'c> {
        let mut told = Vec::new();
        for (listener, tls) in config.listeners.iter().zip(&self.listeners) {
            if let (Some(from), Some(tls)) = (&listener.tls, tls) {
                told.extend(terms::of(from.files(), &tls.ends, now));
            }
        }
        for (cluster, tls) in config.clusters.iter().zip(&self.clusters) {
            if let (Some(from), Some(tls)) = (&cluster.tls, tls) {
                told.extend(terms::of(from.files(), &tls.ends, now));
            }
        }
        told.into_iter()
    }

    /// Warns of those, but for what is the same as in `before`.
    pub(super) fn tell(&self, config: &Config, before: Option<&Plan>) {
        let now = crate::ground::time::wall();
        for (listener, tls) in config.listeners.iter().zip(&self.listeners) {
            let known = before.and_then(|before| before.listener(&listener.name)?.tls.as_ref());
            if let (Some(from), Some(tls)) = (&listener.tls, tls)
                && !known.is_some_and(|known| Arc::ptr_eq(known, tls))
            {
                for (_, message) in terms::of(from.files(), &tls.ends, now) {
                    tracing::warn!(listener = %listener.name, "{message}");
                }
            }
        }
        for (cluster, tls) in config.clusters.iter().zip(&self.clusters) {
            let known = before.and_then(|before| before.cluster(&cluster.name)?.current().tls);
            if let (Some(from), Some(tls)) = (&cluster.tls, tls)
                && !known.is_some_and(|known| Arc::ptr_eq(&known, tls))
            {
                for (_, message) in terms::of(from.files(), &tls.ends, now) {
                    tracing::warn!(cluster = %cluster.name, "{message}");
                }
            }
        }
    }
}

/// Reads all files that `config` names. What is the same as in `before` is taken from there. Fails with everything that is wrong.
pub(super) fn secure(
    config: &Config,
    before: Option<&Plan>,
    filters: &[&'static dyn Filter],
) -> Result<Secured, Vec<StartError>> {
    let mut errors = Vec::new();
    let listeners = config.listeners.iter().map(|listener| {
        listener_tls(listener, before, filters).unwrap_or_else(|wrong| {
            errors.extend(wrong);
            None
        })
    });
    let listeners = listeners.collect();
    let clusters = config.clusters.iter().map(|cluster| {
        cluster_tls(cluster, before).unwrap_or_else(|wrong| {
            errors.extend(wrong);
            None
        })
    });
    let clusters = clusters.collect();
    if errors.is_empty() { Ok(Secured { listeners, clusters }) } else { Err(errors) }
}

pub(super) fn listener_tls(
    config: &Arc<Listener>,
    before: Option<&Plan>,
    filters: &[&'static dyn Filter],
) -> Result<Option<Arc<ServerTls>>, Vec<StartError>> {
    let Some(tls) = &config.tls else { return Ok(None) };
    let filter = filter_of(config, filters).map_err(|error| vec![error])?;
    let known = before.and_then(|before| before.listener(&config.name));
    let loaded = crate::edge::tls::load(tls, filter.alpn(), known.and_then(|known| known.tls.as_ref()));
    loaded.map(Some).map_err(|errors| of_listener(config, errors))
}

pub(super) fn cluster_tls(
    config: &Arc<Cluster>,
    before: Option<&Plan>,
) -> Result<Option<Arc<ClientTls>>, Vec<StartError>> {
    let Some(tls) = &config.tls else { return Ok(None) };
    let known = before.and_then(|before| before.cluster(&config.name));
    let known = known.and_then(|known| known.current().tls);
    ClientTls::load(tls, known.as_ref()).map(Some).map_err(|errors| of_cluster(config, errors))
}

fn of_listener(config: &Listener, errors: TlsErrors) -> Vec<StartError> {
    let of = |error| StartError::ListenerTls { listener: Arc::clone(&config.name), error: Box::new(error) };
    errors.into_iter().map(of).collect()
}

fn of_cluster(config: &Cluster, errors: TlsErrors) -> Vec<StartError> {
    let of = |error| StartError::ClusterTls { cluster: Arc::clone(&config.name), error: Box::new(error) };
    errors.into_iter().map(of).collect()
}
