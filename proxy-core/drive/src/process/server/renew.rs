//! Certificates, keys and roots that change while Weir runs.
//!
//! Each listener and each cluster goes by itself: one whose files are of no use keeps what it has, whatever becomes of the
//! others. Connections stay as they are; the next ones get what is new.

use super::error::StartError;
use super::plan::Plan;
use super::{Server, State, secured};
use crate::edge::tls::ServerTls;
use crate::ground::sync::lock;
use crate::ground::tls::{Terms, terms};
use crate::upstream::cluster::shared::Current;
use crate::upstream::tls::ClientTls;
use std::collections::{BTreeSet, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, Weak};
use weir_config::{Cluster, File, Listener};
use weir_measure::{Collect, Samples, names};

impl Server {
    /// The files that listeners and clusters have their certificates, keys and roots from, each once.
    pub fn tls_files(&self) -> HashSet<PathBuf> {
        let config = self.config();
        let listeners = config.listeners.iter().filter_map(|listener| listener.tls.as_ref());
        let clusters = config.clusters.iter().filter_map(|cluster| cluster.tls.as_ref());
        let files = listeners.flat_map(|tls| tls.files()).chain(clusters.flat_map(|tls| tls.files()));
        files.map(|file| file.path.clone()).collect()
    }

    /// Reads the files anew of those listeners and clusters that name one of `changed`, and takes over what is of use. What
    /// became of each is logged and counted.
    ///
    /// # Errors
    /// When the workers could not take it over; nothing has changed then.
    pub async fn renew(&self, changed: &HashSet<PathBuf>) -> Result<(), StartError> {
        // Files may keep us waiting, which nobody else is to wait for.
        let read = self.read_anew(&*self.in_force()?, changed);
        let _changing = self.changing.lock().await;
        let before = self.in_force()?;
        let mut listeners = before.listeners.clone();
        let mut renewed = Vec::new();
        for planned in &mut listeners {
            let of_it = |(config, _): &&(Arc<Listener>, _)| Arc::ptr_eq(config, &planned.config);
            if let Some((config, tls)) = read.listeners.iter().find(of_it) {
                for (_, message) in
                    told(config.tls.as_ref().map(|from| from.files()), tls.as_ref().map(|tls| &tls.ends))
                {
                    tracing::warn!(listener = %config.name, "{message}");
                }
                planned.tls = tls.clone();
                renewed.push(format!("listener {}", planned.config.name));
            }
        }
        let mut undo = Vec::new();
        for cluster in &before.clusters {
            let current = cluster.current();
            let of_it = |(config, _): &&(Arc<Cluster>, _)| Arc::ptr_eq(config, &current.config);
            if let Some((config, tls)) = read.clusters.iter().find(of_it) {
                for (_, message) in
                    told(config.tls.as_ref().map(|from| from.files()), tls.as_ref().map(|tls| &tls.ends))
                {
                    tracing::warn!(cluster = %config.name, "{message}");
                }
                cluster.configure(Current { config: Arc::clone(&current.config), tls: tls.clone() });
                renewed.push(format!("cluster {}", current.config.name));
                undo.push((Arc::clone(cluster), current));
            }
        }
        if renewed.is_empty() {
            return Ok(());
        }
        let (config, clusters) = (Arc::clone(&before.config), before.clusters.clone());
        let plan = Arc::new(Plan { config, listeners, clusters });
        if let Err(error) = self.apply(&plan).await {
            undo.into_iter().for_each(|(cluster, current)| cluster.configure(current));
            return Err(error);
        }
        lock(&self.state).plan = plan;
        for of in renewed {
            self.process.measure.counter(&names::CERTIFICATE_RELOADS, &["ok"]).inc();
            tracing::info!("{of}: its certificates were read anew");
        }
        Ok(())
    }

    /// What has changed, read. What is of no use is told of.
    fn read_anew(&self, before: &Plan, changed: &HashSet<PathBuf>) -> Anew {
        let mut anew = Anew { listeners: Vec::new(), clusters: Vec::new() };
        for planned in &before.listeners {
            if !planned.config.tls.as_ref().is_some_and(|tls| any_of(tls.files(), changed)) {
                continue;
            }
            match secured::listener_tls(&planned.config, Some(before), self.filters) {
                Ok(now) if same(now.as_ref(), planned.tls.as_ref()) => {}
                Ok(now) => anew.listeners.push((Arc::clone(&planned.config), now)),
                Err(errors) => self.not_renewed(&errors),
            }
        }
        for cluster in &before.clusters {
            let current = cluster.current();
            if !current.config.tls.as_ref().is_some_and(|tls| any_of(tls.files(), changed)) {
                continue;
            }
            match secured::cluster_tls(&current.config, Some(before)) {
                Ok(now) if same(now.as_ref(), current.tls.as_ref()) => {}
                Ok(now) => anew.clusters.push((Arc::clone(&current.config), now)),
                Err(errors) => self.not_renewed(&errors),
            }
        }
        anew
    }

    fn not_renewed(&self, errors: &[StartError]) {
        self.process.measure.counter(&names::CERTIFICATE_RELOADS, &["failed"]).inc();
        for error in errors {
            tracing::error!("{error}; what was read before stays in use");
        }
    }
}

/// What is to be said of certificates that were read.
fn told<'f>(files: Option<impl Iterator<Item = &'f File>>, terms: Option<&Terms>) -> Vec<(&'f File, String)> {
    let (Some(files), Some(of)) = (files, terms) else { return Vec::new() };
    terms::of(files, of, crate::ground::time::wall())
}

/// The TLS of listeners and clusters whose files have changed.
struct Anew {
    listeners: Vec<(Arc<Listener>, Option<Arc<ServerTls>>)>,
    clusters: Vec<(Arc<Cluster>, Option<Arc<ClientTls>>)>,
}

/// Tells a scrape when certificates end.
pub(super) struct CertificateEnds(pub(super) Weak<Mutex<State>>);

impl Collect for CertificateEnds {
    fn collect(&self, out: &mut Samples) {
        let Some(state) = self.0.upgrade() else { return };
        let plan = Arc::clone(&lock(&state).plan);
        let mut all = BTreeSet::new();
        let mut take = |side, name: &str, terms: &Terms| {
            all.extend(
                terms.iter().map(|of| (of.ends, side, name.to_owned(), of.file.display().to_string())),
            );
        };
        for planned in &plan.listeners {
            planned.tls.iter().for_each(|tls| take("listener", &planned.config.name, &tls.ends));
        }
        for cluster in &plan.clusters {
            cluster.current().tls.iter().for_each(|tls| take("cluster", cluster.decide.name(), &tls.ends));
        }
        // Beyond the cap samples are added up, which is no time: only the first of the rest is told.
        let most = names::CERTIFICATE_EXPIRES.max_series.unwrap_or(usize::MAX);
        for (at, side, name, file) in all.into_iter().take(most + 1) {
            out.add(&names::CERTIFICATE_EXPIRES, &[side, &name, &file], at);
        }
    }
}

fn any_of<'a>(mut files: impl Iterator<Item = &'a File>, changed: &HashSet<PathBuf>) -> bool {
    files.any(|file| changed.contains(&file.path))
}

fn same<T>(now: Option<&Arc<T>>, before: Option<&Arc<T>>) -> bool {
    now.zip(before).is_some_and(|(now, before)| Arc::ptr_eq(now, before))
}
