//! `weir run`: the life of the process. Start, reload at a signal or when a file changes, drain, end.
//!
//! This is the loop that takes signals: it opens no file and resolves no name, so that it answers whatever hangs. Who does is
//! the [`Keeper`].

use crate::admin;
use crate::keeper::{Keeper, Reload, Started};
use crate::log::{Kept, Logs};
use crate::origin::{Origin, PATIENCE};
use crate::signals::Signals;
use anyhow::{Result, bail};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::watch;
use weir_drive::Server;

/// How long files may take to be read before that is said.
const SLOW: Duration = Duration::from_secs(10);

/// Runs until a signal ends it.
pub fn run(origin: Origin) -> Result<ExitCode> {
    run_beside(origin, None, |_, _| std::future::pending())
}

/// Runs until a signal ends it or `beside` does, which is begun once everything listens, and told where the admin API does. Log
/// lines go to `kept`, or to standard error.
pub fn run_beside<F: Future<Output = ()>>(
    origin: Origin,
    kept: Option<Kept>,
    beside: impl FnOnce(&Arc<Server>, Option<SocketAddr>) -> F,
) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let logs: Arc<OnceLock<Arc<Logs>>> = Arc::default();
    let ended = runtime.block_on(live(origin, kept, Arc::clone(&logs), beside));
    // Nobody waits for a file that hangs.
    runtime.shutdown_background();
    if let Some(logs) = logs.get() {
        logs.finish();
    }
    ended
}

async fn live<F: Future<Output = ()>>(
    origin: Origin,
    kept: Option<Kept>,
    logs: Arc<OnceLock<Arc<Logs>>>,
    beside: impl FnOnce(&Arc<Server>, Option<SocketAddr>) -> F,
) -> Result<ExitCode> {
    // Handlers first: a signal that comes while we start is not to kill us half-way.
    let mut signals = Signals::catch()?;
    let (name, is_typed) = (origin.name(), origin.is_typed());
    let mut keeper = Keeper::start(origin, kept, logs)?;
    tokio::select! {
        _ = &mut keeper.read => {}
        () = signals.end() => return Ok(ExitCode::SUCCESS),
        () = tokio::time::sleep(PATIENCE), if !is_typed => {
            bail!("{name}: cannot read the file: nothing has come of it for {} s", PATIENCE.as_secs())
        }
    }
    let started = tokio::select! {
        started = &mut keeper.started => started??,
        () = signals.end() => return Ok(ExitCode::SUCCESS),
    };
    let Some(Started { server, measure, console, later, shown }) = started else {
        return Ok(ExitCode::FAILURE);
    };
    let tended = Arc::clone(&server);
    tokio::spawn(async move { tended.tend().await });
    let address = console.as_ref().map(weir_console::Console::address).or(later);
    if let Some(later) = later {
        tokio::spawn(admin::serve_later(later, server.config(), shown, measure));
    }
    let mut beside = std::pin::pin!(beside(&server, address));
    tokio::spawn(watch_over(keeper.busy.clone()));
    loop {
        tokio::select! {
            ends = signals.next() => if ends {
                break;
            } else {
                // One that waits already will do.
                let _ = keeper.reloads.try_send(Reload);
            },
            () = &mut beside => break,
            () = server.failed() => {
                tracing::error!("a worker has ended by a fault of Weir: going down, to be started anew");
                server.end();
                return Ok(ExitCode::FAILURE);
            }
        }
    }
    let code = drain(&server, &mut signals).await;
    server.end();
    Ok(code)
}

/// Says when files take long, and when they are read again.
async fn watch_over(mut busy: watch::Receiver<bool>) {
    loop {
        if busy.wait_for(|busy| *busy).await.is_err() {
            return;
        }
        let done = tokio::time::timeout(SLOW, busy.wait_for(|busy| !*busy)).await.is_ok();
        if done {
            continue;
        }
        tracing::warn!(waiting = ?SLOW, "a file of the configuration cannot be read: no change is taken until it can");
        if busy.wait_for(|busy| !*busy).await.is_err() {
            return;
        }
        tracing::info!("files can be read again");
    }
}

/// Says that it is not ready for as long as `drain_delay`, then accepts no more.
async fn drain(server: &Arc<Server>, signals: &mut Signals) -> ExitCode {
    let config = server.config();
    if !config.drain_delay.is_zero() {
        server.leave();
        tracing::info!(delay = ?config.drain_delay, "not ready any more, still accepting");
        tokio::select! {
            () = tokio::time::sleep(config.drain_delay) => {}
            () = signals.end() => return cut_short(),
        }
    }
    let limit = server.config().drain_timeout;
    tracing::info!(?limit, "draining");
    tokio::select! {
        drained = server.drain(limit) => {
            tracing::info!(finished = drained.finished, cut_off = drained.cut, "drained");
            ExitCode::SUCCESS
        }
        () = signals.end() => cut_short(),
    }
}

fn cut_short() -> ExitCode {
    tracing::warn!("a second signal: ending at once");
    ExitCode::from(130)
}
