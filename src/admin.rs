//! What the admin API and the metrics are told about the process: the server, behind the small trait that the console asks.

use crate::ask::{self, Holder};
use crate::filters::{self, FILTERS};
use anyhow::{Context as _, Result};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use weir_config::Config;
use weir_console::{Bound, Bounds, Clusters, Console, Phase, Settings, State, Status};
use weir_drive::Server;
use weir_measure::{Collect, Limits, Measure, Process, Samples, names};

/// The caps of the numbers.
pub fn limits(limits: &weir_config::Limits) -> Limits {
    let whole = |n: u32| usize::try_from(n).unwrap_or(usize::MAX);
    Limits {
        operations: whole(limits.operations),
        resources: whole(limits.resources),
        codes: whole(limits.codes),
        applications: whole(limits.applications),
        places: whole(limits.places),
        rows: whole(limits.rows),
        outcomes: whole(limits.outcomes),
        application_rows: whole(limits.application_rows),
        call_sites: whole(limits.call_sites),
        call_site_rows: whole(limits.call_site_rows),
    }
}

/// What the console is told of, also while there is no server yet.
pub type Shared = Arc<OnceLock<Arc<Server>>>;

/// Where the admin API is to be.
pub enum Place {
    /// Nowhere.
    Nowhere,
    /// At an address that is ours.
    Ours(Bound),
    /// At this address, as soon as the Weir that goes away there has gone.
    Later(SocketAddr),
}

/// How often an address is tried for that somebody who goes away still has.
const TRY_EVERY: Duration = Duration::from_millis(100);
/// How often we ask who has an address that nobody has when we ask.
const ASKED: u32 = 5;

impl Place {
    /// Takes the address of the admin API, before anything else: a start that cannot have it accepts nothing.
    pub fn take(config: &Config) -> Result<Place> {
        let Some(address) = config.admin else { return Ok(Place::Nowhere) };
        for _ in 0..ASKED {
            match Bound::take(address) {
                Ok(bound) => return Ok(Place::Ours(bound)),
                Err(error) if error.is_taken() => match ask::holder(address) {
                    Holder::Nobody => {}
                    Holder::Leaving { .. } => {
                        tracing::info!(%address, "a Weir that drains has the admin address: it is taken over when that one has gone");
                        return Ok(Place::Later(address));
                    }
                    Holder::Weir => {
                        return Err(anyhow::anyhow!("{error}: another Weir, which stays, has it"));
                    }
                    Holder::Other => return Err(error.into()),
                },
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Place::Ours(Bound::take(address)?))
    }

    /// Whether the addresses of listeners may be free soon: somebody who goes away may still have them.
    pub fn is_worth_waiting(&self) -> bool {
        let Place::Later(address) = self else { return false };
        ask::holder(*address) == Holder::Leaving { accepting: true }
    }
}

/// The numbers of the process.
pub fn count(measure: &Arc<Measure>) {
    FILTERS.iter().for_each(|filter| filter.count(measure));
    measure.collect(Arc::new(Process::new(env!("CARGO_PKG_VERSION"))));
}

/// Answers at `bound`.
pub fn serve(bound: Bound, config: &Config, server: &Shared, measure: &Arc<Measure>) -> Result<Console> {
    let address = config.admin.context("there is an admin address")?;
    let settings = Settings {
        address,
        hosts: config.admin_hosts.iter().map(|host| host.to_string()).collect(),
        version: env!("CARGO_PKG_VERSION"),
        protocols: FILTERS.iter().map(|filter| filter.section().key()).collect(),
        pages: filters::pages(),
        bounds: Bounds::default(),
    };
    let state = State { measure: Arc::clone(measure), status: Arc::new(Shown(Arc::clone(server))) };
    Ok(Console::serve(bound, settings, state)?)
}

/// Answers at `address` as soon as it is free, until this is dropped.
pub async fn serve_later(address: SocketAddr, config: Arc<Config>, server: Shared, measure: Arc<Measure>) {
    let bound = loop {
        match Bound::take(address) {
            Ok(bound) => break bound,
            Err(error) if error.is_taken() => tokio::time::sleep(TRY_EVERY).await,
            Err(error) => return tracing::error!("{error}: there is no admin API"),
        }
    };
    match serve(bound, &config, &server, &measure) {
        Ok(console) => {
            tracing::info!(address = %console.address(), "admin listening");
            std::future::pending::<()>().await;
        }
        Err(error) => tracing::error!("{error:#}: there is no admin API"),
    }
}

/// Log lines that were dropped because nobody read them.
pub struct Dropped(pub Arc<AtomicU64>);

impl Collect for Dropped {
    fn collect(&self, out: &mut Samples) {
        out.add(&names::LOG_LINES_DROPPED, &[], self.0.load(Ordering::Relaxed));
    }
}

struct Shown(Shared);

impl Status for Shown {
    fn phase(&self) -> Phase {
        match self.0.get() {
            None => Phase::Starting,
            Some(server) if server.is_draining() => Phase::Draining,
            Some(server) if server.is_going() => Phase::Leaving,
            Some(_) => Phase::Ready,
        }
    }

    fn process(&self) -> Option<weir_drive::server::Status> {
        self.0.get().map(|server| server.outline())
    }

    fn clusters(&self) -> Option<Clusters> {
        self.0.get().map(|server| Box::new(server.clusters()) as Clusters)
    }

    fn config(&self) -> Option<Arc<Config>> {
        self.0.get().map(|server| server.config())
    }
}
