//! Certificates, keys and roots that change while Weir runs.
//!
//! Each listener and each cluster goes by itself: one whose files are of no use keeps what it has, whatever becomes of the
//! others. Connections stay as they are; the next ones get what is new.

use super::plan::Plan;
use super::{Server, StartError, State, secured};
use crate::cluster::shared::Current;
use crate::process::lock;
use crate::tls::Ends;
use std::collections::{BTreeSet, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, Weak};
use weir_config::File;
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
        let _changing = self.changing.lock().await;
        let before = {
            let state = lock(&self.state);
            if state.draining {
                return Err(StartError::Draining);
            }
            Arc::clone(&state.plan)
        };
        let mut listeners = before.listeners.clone();
        let mut renewed = Vec::new();
        for planned in &mut listeners {
            if !planned.config.tls.as_ref().is_some_and(|tls| any_of(tls.files(), changed)) {
                continue;
            }
            match secured::listener_tls(&planned.config, Some(&before), self.filters) {
                Ok(now) if same(now.as_ref(), planned.tls.as_ref()) => {}
                Ok(now) => {
                    planned.tls = now;
                    renewed.push(format!("listener {}", planned.config.name));
                }
                Err(errors) => self.not_renewed(&errors),
            }
        }
        let mut undo = Vec::new();
        for cluster in &before.clusters {
            let current = cluster.current();
            if !current.config.tls.as_ref().is_some_and(|tls| any_of(tls.files(), changed)) {
                continue;
            }
            match secured::cluster_tls(&current.config, Some(&before)) {
                Ok(now) if same(now.as_ref(), current.tls.as_ref()) => {}
                Ok(tls) => {
                    cluster.configure(Current { config: Arc::clone(&current.config), tls });
                    renewed.push(format!("cluster {}", current.config.name));
                    undo.push((Arc::clone(cluster), current));
                }
                Err(errors) => self.not_renewed(&errors),
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

    fn not_renewed(&self, errors: &[StartError]) {
        self.process.measure.counter(&names::CERTIFICATE_RELOADS, &["failed"]).inc();
        for error in errors {
            tracing::error!("{error}; what was read before stays in use");
        }
    }
}

/// Tells a scrape when certificates end.
pub(super) struct CertificateEnds(pub(super) Weak<Mutex<State>>);

impl Collect for CertificateEnds {
    fn collect(&self, out: &mut Samples) {
        let Some(state) = self.0.upgrade() else { return };
        let plan = Arc::clone(&lock(&state).plan);
        let mut all = BTreeSet::new();
        let mut take = |side, name: &str, ends: &Ends| {
            all.extend(
                ends.iter().map(|(file, at)| (*at, side, name.to_owned(), file.display().to_string())),
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
