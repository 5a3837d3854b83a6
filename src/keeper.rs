//! Whoever reads files: at the start, and whenever the configuration or a certificate has changed. A file may keep its reader waiting
//! for ever (a mount that hangs, a pipe to which nobody writes), so this is a thread of its own. It starts the server and
//! changes it; signals are answered elsewhere, whatever becomes of this one.

use crate::admin::{self, Place};
use crate::filters::{self, FILTERS};
use crate::log::{Kept, Logs};
use crate::origin::Origin;
use crate::say;
use crate::watch::{Contents, Watched};
use anyhow::{Context as _, Result};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use weir_config::{Changes, Config, Errors};
use weir_console::Console;
use weir_drive::{Server, StartError};
use weir_measure::{Measure, names};

/// How often files are looked at.
const LOOK: Duration = Duration::from_secs(1);
/// How often an address is tried for that a Weir which goes away still has.
const TRY_EVERY: Duration = Duration::from_millis(50);
/// How many more times, once that one says that it accepts no more.
const TRIES: u32 = 40;

/// Somebody asks for the configuration to be read anew.
#[derive(Debug)]
pub struct Reload;

/// What is running.
pub struct Started {
    pub server: Arc<Server>,
    pub measure: Arc<Measure>,
    /// The admin API; `None`: there is none, or not yet.
    pub console: Option<Console>,
    /// Where it is going to be, once somebody else has gone.
    pub later: Option<std::net::SocketAddr>,
    /// What the admin API is to show then.
    pub shown: admin::Shared,
}

/// The thread that reads, as others see it.
pub struct Keeper {
    /// Told when the configuration has been read, of use or not.
    pub read: oneshot::Receiver<()>,
    /// Told when everything listens. `None`: what is wrong has been said.
    pub started: oneshot::Receiver<Result<Option<Started>>>,
    /// Asks for a reload.
    pub reloads: mpsc::Sender<Reload>,
    /// Whether it is at its files.
    pub busy: watch::Receiver<bool>,
}

impl Keeper {
    /// Starts the thread. The logs are put where they can be had when it hangs. It ends when nobody can ask any more.
    pub fn start(origin: Origin, kept: Option<Kept>, logs: Arc<OnceLock<Arc<Logs>>>) -> Result<Keeper> {
        let (tell_read, read) = oneshot::channel();
        let (tell_started, started) = oneshot::channel();
        let (reloads, asked) = mpsc::channel(1);
        let (busy, is_busy) = watch::channel(false);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        std::thread::Builder::new().name("weir-files".into()).spawn(move || {
            runtime.block_on(async {
                let (loaded, is_followed) = origin.read();
                let _ = tell_read.send(());
                let config = match loaded.config {
                    Ok(config) => Arc::new(config),
                    Err(errors) => {
                        print(&errors);
                        let _ = tell_started.send(Ok(None));
                        return;
                    }
                };
                let begun = begin(&config, kept, &logs).await;
                let (started, logs) = match begun {
                    Ok(begun) => begun,
                    Err(error) => {
                        let _ = tell_started.send(Err(error));
                        return;
                    }
                };
                let file = match &origin {
                    Origin::Path(path) if is_followed => {
                        Some((path.clone(), Watched::new(path, loaded.files)))
                    }
                    _ => None,
                };
                let (server, measure) = (Arc::clone(&started.server), Arc::clone(&started.measure));
                let keeping =
                    Keeping { server, measure, logs, origin, file, certificates: Contents::default(), busy };
                keeping.say_where(&[]);
                if let Some(console) = &started.console {
                    tracing::info!(address = %console.address(), "admin listening");
                }
                tracing::info!(version = env!("CARGO_PKG_VERSION"), "ready");
                if tell_started.send(Ok(Some(started))).is_ok() {
                    keeping.live(asked).await;
                }
            });
            runtime.shutdown_background();
        })?;
        Ok(Keeper { read, started, reloads, busy: is_busy })
    }
}

/// Starts everything: the admin address first, so that a start which cannot have it accepts nothing.
async fn begin(
    config: &Arc<Config>,
    kept: Option<Kept>,
    shared: &OnceLock<Arc<Logs>>,
) -> Result<(Started, Arc<Logs>)> {
    let logs = Arc::new(Logs::start(&config.log, kept)?);
    let logs = Arc::clone(shared.get_or_init(|| logs));
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    let mut place = Place::take(config).context("the admin API cannot start")?;
    let measure = Measure::new(admin::limits(&config.limits));
    measure.collect(Arc::new(admin::Dropped(logs.dropped())));
    admin::count(&measure);
    let shown: admin::Shared = Arc::default();
    let (mut console, mut later) = (None, None);
    match std::mem::replace(&mut place, Place::Nowhere) {
        Place::Ours(bound) => console = Some(admin::serve(bound, config, &shown, &measure)?),
        Place::Later(address) => (later, place) = (Some(address), Place::Later(address)),
        Place::Nowhere => {}
    }
    let server = Arc::new(serve(config, &measure, &place).await?);
    shown.get_or_init(|| Arc::clone(&server));
    Ok((Started { server, measure, console, later, shown }, logs))
}

/// Starts the server. What a Weir that goes away still has is waited for.
async fn serve(config: &Arc<Config>, measure: &Arc<Measure>, place: &Place) -> Result<Server, StartError> {
    let mut tries = if matches!(place, Place::Later(_)) { TRIES } else { 0 };
    let mut told = false;
    loop {
        match Server::start(Arc::clone(config), FILTERS, measure).await {
            Err(error) if error.is_taken() && tries > 0 => {
                if !place.is_worth_waiting() {
                    tries -= 1;
                } else if !std::mem::replace(&mut told, true) {
                    tracing::info!("{error}: waiting for the Weir that goes away to accept no more");
                }
                tokio::time::sleep(TRY_EVERY).await;
            }
            started => return started,
        }
    }
}

fn print(errors: &Errors) {
    for error in errors.list() {
        say::err(&format!("error: {error}"));
    }
    if errors.omitted() > 0 {
        say::err(&format!("and {} more", errors.omitted()));
    }
}

/// What changes as files do.
struct Keeping {
    server: Arc<Server>,
    measure: Arc<Measure>,
    logs: Arc<Logs>,
    origin: Origin,
    /// The configuration file and what it names; `None`: it cannot be read again.
    file: Option<(PathBuf, Watched)>,
    certificates: Contents,
    busy: watch::Sender<bool>,
}

impl Keeping {
    async fn live(mut self, mut asked: mpsc::Receiver<Reload>) {
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        loop {
            let wanted = tokio::select! {
                asked = asked.recv() => match asked {
                    Some(Reload) => true,
                    None => return,
                },
                _ = look.tick() => false,
            };
            self.busy.send_replace(true);
            if wanted {
                self.reload("signal").await;
            } else {
                if self.file.as_mut().is_some_and(|(_, watched)| watched.changed()) {
                    self.reload("a file has changed").await;
                }
                self.renew().await;
            }
            self.busy.send_replace(false);
        }
    }

    /// Logs where the listeners are, those with `known` names left out.
    fn say_where(&self, known: &[Arc<str>]) {
        for listener in self.server.outline().listeners {
            if !known.contains(&listener.config.name) {
                let (name, protocol) = (&listener.config.name, listener.config.protocol);
                tracing::info!(listener = &**name, address = %listener.address, protocol, "listening");
            }
        }
    }

    async fn reload(&mut self, why: &str) {
        let Some((path, watched)) = &mut self.file else {
            let origin = self.origin.name();
            tracing::warn!(origin, "the configuration came from no file, so it cannot be read anew");
            return;
        };
        let loaded = weir_config::load_traced(path, &filters::sections());
        watched.known(loaded.files);
        let result = match loaded.config {
            Err(errors) => {
                for error in errors.list() {
                    tracing::error!("{error}");
                }
                let errors = errors.list().len() + errors.omitted();
                tracing::error!(why, errors, "the new configuration is not taken");
                "rejected"
            }
            Ok(config) => self.take(Arc::new(config), why).await,
        };
        self.measure.counter(&names::RELOADS, &[result]).inc();
    }

    /// Takes over certificates whose files have changed.
    async fn renew(&mut self) {
        self.certificates.follow(self.server.tls_files());
        let changed = self.certificates.changed();
        if changed.is_empty() {
            return;
        }
        match self.server.renew(&changed).await {
            Ok(()) | Err(StartError::Draining) => {}
            Err(error) => tracing::error!(%error, "certificates that have changed are not taken"),
        }
    }

    async fn take(&mut self, config: Arc<Config>, why: &str) -> &'static str {
        let known: Vec<Arc<str>> =
            self.server.outline().listeners.iter().map(|l| Arc::clone(&l.config.name)).collect();
        match self.server.reload(Arc::clone(&config)).await {
            Err(error) => {
                for error in error.each() {
                    tracing::error!("{error}");
                }
                tracing::error!(why, errors = error.each().len(), "the new configuration is not taken");
                "rejected"
            }
            Ok(diff) => {
                for warning in &config.warnings {
                    tracing::warn!("{warning}");
                }
                self.logs.follow(&config.log);
                self.say_where(&known);
                for what in &diff.needs_restart {
                    tracing::warn!(what, "takes effect only when Weir is started anew");
                }
                let (listeners, clusters) = (brief(&diff.listeners), brief(&diff.clusters));
                let (at_once, not_yet) = (list(&diff.at_once), list(&diff.needs_restart));
                tracing::info!(why, listeners, clusters, at_once, not_yet, "reloaded");
                "applied"
            }
        }
    }
}

fn list(keys: &[&str]) -> Option<String> {
    if keys.is_empty() { None } else { Some(keys.join(" ")) }
}

/// What became of the listeners, or the clusters: `+new -gone ~changed`.
fn brief(changes: &Changes) -> String {
    let mut words = Vec::new();
    for (sign, names) in [('+', &changes.added), ('-', &changes.removed), ('~', &changes.changed)] {
        words.extend(names.iter().map(|name| format!("{sign}{name}")));
    }
    if words.is_empty() { "unchanged".to_owned() } else { words.join(" ") }
}
