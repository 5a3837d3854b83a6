//! How a plan is made from a configuration, and from what is in force.

use super::error::StartError;
use super::plan::{Changes, Plan, Planned, Told, filter_of};
use super::secured::{Secured, secure};
use crate::edge::listener;
use crate::edge::tls::ServerTls;
use crate::ground::counted;
use crate::shells::filter::Advice;
use crate::shells::filter::Filter;
use crate::upstream::cluster::shared as cluster;
use crate::upstream::tls::ClientTls;
use hashbrown::HashMap;
use std::sync::Arc;
use weir_config::Config;
use weir_measure::Measure;

/// Plans the first configuration.
pub(crate) fn first(
    config: &Arc<Config>,
    filters: &[&'static dyn Filter],
    measure: &Arc<Measure>,
    workers: usize,
) -> Result<(Plan, Changes), StartError> {
    let secured = secure(config, None, filters).map_err(StartError::of_all)?;
    secured.tell(config, None);
    plan(config, secured, None, filters, measure, workers)
}

/// Plans `config`, keeping of `before` what stays: sockets by address, clusters and listeners by name. Changes nothing. What is
/// bound for it does not listen yet, but for Unix sockets, which come last.
pub(super) fn plan(
    config: &Arc<Config>,
    secured: Secured,
    before: Option<&Plan>,
    filters: &[&'static dyn Filter],
    measure: &Arc<Measure>,
    workers: usize,
) -> Result<(Plan, Changes), StartError> {
    let Secured { listeners: secured, clusters: tls } = secured;
    let (clusters, changes) = clusters(config, tls, before, measure, workers);
    let known: HashMap<&str, &Planned> = before
        .into_iter()
        .flat_map(|before| &before.listeners)
        .map(|planned| (&*planned.config.name, planned))
        .collect();
    for listener in &config.listeners {
        // Only what is new is told: a reload does not repeat what was said of a listener that stays as it is.
        let stays = known.get(&*listener.name).is_some_and(|known| known.config.same(listener));
        match sense_of(filter_of(listener, filters)?, listener, config)? {
            Some(Advice::Warning(warning)) if !stays => {
                tracing::warn!(listener = %listener.name, "{warning}")
            }
            _ => {}
        }
    }
    // What others listen on in the configuration before, and not in this one.
    let freed: Vec<&Planned> = before
        .into_iter()
        .flat_map(|before| &before.listeners)
        .filter(|planned| {
            let stays = |listener: &weir_config::Listener| {
                listener.name == planned.config.name && listener.bind == planned.config.bind
            };
            !config.listeners.iter().any(|listener| stays(listener))
        })
        .collect();
    let mut listeners: Vec<_> = config.listeners.iter().zip(secured).enumerate().collect();
    listeners.sort_by_key(|(_, (listener, _))| listener.bind.ip().is_none());
    let listeners = listeners.into_iter().map(|(at, (listener, tls))| {
        let known = known.get(&*listener.name).copied();
        let bind = || match freed.iter().find(|freed| freed.sockets.local == listener.bind) {
            Some(freed) => freed.sockets.for_another(),
            None => listener::Sockets::bind(&listener.bind, listener.unix_mode, workers),
        };
        Ok((at, listener_of(listener, tls, known, bind, filters, measure)?))
    });
    let mut listeners = listeners.collect::<Result<Vec<_>, StartError>>()?;
    listeners.sort_by_key(|(at, _)| *at);
    let listeners = listeners.into_iter().map(|(_, planned)| planned).collect();
    Ok((Plan { config: Arc::clone(config), listeners, clusters }, changes))
}

fn listener_of(
    config: &Arc<weir_config::Listener>,
    tls: Option<Arc<ServerTls>>,
    known: Option<&Planned>,
    bind: impl Fn() -> std::io::Result<listener::Sockets>,
    filters: &[&'static dyn Filter],
    measure: &Arc<Measure>,
) -> Result<Planned, StartError> {
    let filter = filter_of(config, filters)?;
    let (sockets, shared) = match known {
        Some(known) if known.config.bind == config.bind => {
            (Arc::clone(&known.sockets), Arc::clone(&known.shared))
        }
        known => {
            let sockets = bind().map_err(|error| StartError::Bind {
                listener: Arc::clone(&config.name),
                address: config.bind.clone(),
                error,
            })?;
            let shared = known.map(|known| Arc::clone(&known.shared));
            let shared = shared.unwrap_or_else(|| Arc::new(counted::Shared::new(measure, config)));
            (Arc::new(sockets), shared)
        }
    };
    let before = known.map(|known| (&known.config.admission, &*known.admission));
    let admission = listener::Admission::new(&config.admission, before);
    let host = |bind: &weir_config::Bind| bind.ip().map(|address| address.ip());
    let doors = known.filter(|known| {
        known.config.protocol == config.protocol && host(&known.config.bind) == host(&config.bind)
    });
    let (doors, fronted_by) = doors.map(|known| (known.doors.clone(), known.fronted_by)).unwrap_or_default();
    let company = known.filter(|known| known.config.protocol == config.protocol);
    let company = company.map(|known| Arc::clone(&known.company)).unwrap_or_default();
    let config = Arc::clone(config);
    Ok(Planned { config, filter, shared, sockets, doors, fronted_by, admission, tls, company })
}

/// What can be told of `config` without listening: what the operator should know of it, or everything that is wrong.
pub(crate) fn check(config: &Config, filters: &[&'static dyn Filter]) -> Result<Vec<Told>, Vec<StartError>> {
    let (mut advice, mut errors) = (Vec::new(), Vec::new());
    for listener in &config.listeners {
        let Ok(filter) = filter_of(listener, filters) else { continue };
        match sense_of(filter, listener, config) {
            Ok(found) => advice.extend(found.map(|advice| {
                let path = format!("listeners.{}", listener.name);
                Told { at: listener.at, path, advice }
            })),
            Err(error) => errors.push(error.into()),
        }
    }
    match secure(config, None, filters) {
        Ok(secured) => {
            advice.extend(secured.terms(config, crate::ground::time::wall()).map(|(file, message)| {
                let advice = Advice::Warning(message);
                Told { at: file.at, path: file.key.to_string(), advice }
            }))
        }
        Err(wrong) => errors.extend(wrong),
    }
    advice.sort_by_key(|told| told.at);
    if errors.is_empty() { Ok(advice) } else { Err(errors) }
}

/// Whether a listener makes sense, in the eyes of its filter and of what all have in common.
fn sense_of(
    filter: &'static dyn Filter,
    listener: &weir_config::Listener,
    config: &Config,
) -> Result<Option<Advice>, crate::shells::filter::BuildError> {
    if listener.tls.as_ref().is_some_and(|tls| tls.match_host) && filter.alpn().is_empty() {
        let message = "`tls.match_host` is of no use here: only requests of HTTP ask for a host";
        return Err(crate::shells::filter::BuildError::new(listener, message));
    }
    filter.check(listener, config)
}

fn clusters(
    config: &Config,
    tls: Vec<Option<Arc<ClientTls>>>,
    before: Option<&Plan>,
    measure: &Arc<Measure>,
    workers: usize,
) -> (Vec<Arc<cluster::Shared>>, Changes) {
    let known: HashMap<&str, &Arc<cluster::Shared>> = before
        .into_iter()
        .flat_map(|before| &before.clusters)
        .map(|cluster| (&**cluster.decide.name(), cluster))
        .collect();
    let mut clusters = Vec::with_capacity(config.clusters.len());
    let mut changes = Vec::new();
    for (config, tls) in config.clusters.iter().zip(tls) {
        let current = cluster::Current { config: Arc::clone(config), tls };
        clusters.push(match known.get(&*config.name) {
            None => cluster::Shared::new(measure, workers, current),
            Some(known) => {
                // Certificates are read anew even where the configuration says the same.
                if current.tls.is_some() || !known.current().config.same(config) {
                    changes.push((Arc::clone(known), current));
                }
                Arc::clone(known)
            }
        });
    }
    (clusters, changes)
}
