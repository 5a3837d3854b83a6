//! `weir run`: the life of the process. Start, reload at a signal or when the file changes, drain, end.

use crate::filters::{self, FILTERS};
use crate::log::Logs;
use crate::watch::{Contents, Watched};
use anyhow::{Context as _, Result};
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use weir_config::{Changes, Config};
use weir_drive::Server;
use weir_measure::{Measure, names};

/// How often the configuration file is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// Where the configuration came from.
pub enum Origin<'a> {
    /// A file, which is followed.
    File(&'a Path),
    /// A text, which does not change.
    #[cfg_attr(not(feature = "mongo"), allow(dead_code, reason = "of `weir mongo` and `weir demo`"))]
    Text(&'a str),
}

impl Origin<'_> {
    /// Reads it; every error is printed.
    #[allow(clippy::print_stderr, reason = "before logging has begun, and for people")]
    pub fn read(&self) -> Option<Config> {
        let sections = filters::sections();
        let read = match self {
            Origin::File(path) => weir_config::load(path, &sections),
            Origin::Text(text) => weir_config::parse(text, "weir.yaml", &sections),
        };
        read.map_err(|errors| {
            for error in errors.list() {
                eprintln!("error: {error}");
            }
            if errors.omitted() > 0 {
                eprintln!("and {} more", errors.omitted());
            }
        })
        .ok()
    }
}

/// Runs until a signal ends it.
pub fn run(origin: &Origin<'_>) -> Result<ExitCode> {
    run_beside(origin, |_, _| std::future::pending())
}

/// Runs until a signal ends it or `beside` does, which is begun once everything listens, and told where the admin API does.
pub fn run_beside<F: Future<Output = ()>>(
    origin: &Origin<'_>,
    beside: impl FnOnce(&Arc<Server>, Option<SocketAddr>) -> F,
) -> Result<ExitCode> {
    let Some(config) = origin.read() else { return Ok(ExitCode::FAILURE) };
    let logs = Arc::new(Logs::start(&config.log)?);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let ended = runtime.block_on(async {
        let mut process = Process::start(config, Arc::clone(&logs), origin).await?;
        let admin = process.console.as_ref().map(weir_console::Console::address);
        let beside = beside(&process.server, admin);
        process.live(beside).await
    });
    logs.finish();
    ended
}

/// The running process.
struct Process {
    server: Arc<Server>,
    measure: Arc<Measure>,
    console: Option<weir_console::Console>,
    logs: Arc<Logs>,
    file: Option<Watched>,
    certificates: Contents,
    path: std::path::PathBuf,
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
}

impl Process {
    async fn start(config: Config, logs: Arc<Logs>, origin: &Origin<'_>) -> Result<Process> {
        // Handlers first: a signal that comes while we start is not to kill us half-way.
        let (hangup, terminate, interrupt) = (
            signal(SignalKind::hangup())?,
            signal(SignalKind::terminate())?,
            signal(SignalKind::interrupt())?,
        );
        for warning in &config.warnings {
            tracing::warn!("{warning}");
        }
        let config = Arc::new(config);
        let measure = Measure::new(crate::admin::limits(&config.limits));
        measure.collect(Arc::new(crate::admin::Dropped(logs.dropped())));
        let server = Arc::new(Server::start(Arc::clone(&config), FILTERS, &measure).await?);
        let tended = Arc::clone(&server);
        tokio::spawn(async move { tended.tend().await });
        let console =
            crate::admin::start(&config, &server, &measure).context("the admin API cannot start")?;
        let (file, path) = match origin {
            Origin::File(path) => (Some(Watched::new(path)), path.to_path_buf()),
            Origin::Text(_) => (None, std::path::PathBuf::new()),
        };
        let certificates = Contents::default();
        let process = Process {
            server,
            measure,
            console,
            logs,
            file,
            certificates,
            path,
            hangup,
            terminate,
            interrupt,
        };
        process.say_where(&[]);
        if let Some(console) = &process.console {
            tracing::info!(address = %console.address(), "admin listening");
        }
        tracing::info!(version = env!("CARGO_PKG_VERSION"), "ready");
        Ok(process)
    }

    /// Logs where the listeners are, those with `known` names left out.
    fn say_where(&self, known: &[Arc<str>]) {
        for listener in self.server.status().listeners {
            if !known.contains(&listener.config.name) {
                let (name, protocol) = (&listener.config.name, listener.config.protocol);
                tracing::info!(listener = &**name, address = %listener.address, protocol, "listening");
            }
        }
    }

    async fn live(&mut self, beside: impl Future<Output = ()>) -> Result<ExitCode> {
        let mut beside = std::pin::pin!(beside);
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        loop {
            tokio::select! {
                _ = self.terminate.recv() => break,
                _ = self.interrupt.recv() => break,
                () = &mut beside => break,
                _ = self.hangup.recv() => self.reload("signal").await,
                _ = look.tick() => {
                    if self.file.as_mut().is_some_and(Watched::changed) {
                        self.reload("the file has changed").await;
                    }
                    self.renew().await;
                }
                () = self.server.failed() => {
                    tracing::error!("a worker has ended by a fault of Weir: going down, to be started anew");
                    return Ok(ExitCode::FAILURE);
                }
            }
        }
        Ok(self.drain().await)
    }

    async fn drain(&mut self) -> ExitCode {
        let limit = self.server.config().drain_timeout;
        tracing::info!(?limit, "draining");
        let server = Arc::clone(&self.server);
        tokio::select! {
            drained = server.drain(limit) => {
                tracing::info!(finished = drained.finished, cut_off = drained.cut, "drained");
                ExitCode::SUCCESS
            }
            _ = self.terminate.recv() => cut_short(),
            _ = self.interrupt.recv() => cut_short(),
        }
    }

    async fn reload(&mut self, why: &str) {
        if let Some(file) = &mut self.file {
            file.known();
        } else {
            tracing::warn!("there is no configuration file to read anew");
            return;
        }
        let result = match weir_config::load(&self.path, &filters::sections()) {
            Err(errors) => {
                for error in errors.list() {
                    tracing::error!("{error}");
                }
                tracing::error!(
                    why,
                    errors = errors.list().len() + errors.omitted(),
                    "the new configuration is not taken"
                );
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
        if let Err(error) = self.server.renew(&changed).await {
            tracing::error!(%error, "certificates that have changed are not taken");
        }
    }

    async fn take(&mut self, config: Arc<Config>, why: &str) -> &'static str {
        let known: Vec<Arc<str>> =
            self.server.status().listeners.iter().map(|l| Arc::clone(&l.config.name)).collect();
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
                tracing::info!(why, listeners, clusters, "reloaded");
                "applied"
            }
        }
    }
}

/// What became of the listeners, or the clusters: `+new -gone ~changed`.
fn brief(changes: &Changes) -> String {
    let mut words = Vec::new();
    for (sign, names) in [('+', &changes.added), ('-', &changes.removed), ('~', &changes.changed)] {
        words.extend(names.iter().map(|name| format!("{sign}{name}")));
    }
    if words.is_empty() { "unchanged".to_owned() } else { words.join(" ") }
}

fn cut_short() -> ExitCode {
    tracing::warn!("a second signal: ending at once");
    ExitCode::from(130)
}
