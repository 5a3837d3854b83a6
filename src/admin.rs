//! What the admin API and the metrics are told about the process: the server, behind the small trait that the console asks.

use crate::filters::FILTERS;
use anyhow::Result;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use weir_config::Config;
use weir_console::{Bounds, Console, Phase, Settings, State, Status};
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

/// Starts the admin API, where the configuration wants one, and has the numbers include those of the process.
pub fn start(config: &Config, server: &Arc<Server>, measure: &Arc<Measure>) -> Result<Option<Console>> {
    measure.collect(Arc::new(Process::new(env!("CARGO_PKG_VERSION"))));
    let Some(address) = config.admin else { return Ok(None) };
    let settings = Settings {
        address,
        hosts: config.admin_hosts.iter().map(|host| host.to_string()).collect(),
        version: env!("CARGO_PKG_VERSION"),
        protocols: FILTERS.iter().map(|filter| filter.section().key()).collect(),
        bounds: Bounds::default(),
    };
    let state = State { measure: Arc::clone(measure), status: Arc::new(Shown(Arc::clone(server))) };
    Ok(Some(Console::start(settings, state)?))
}

/// Log lines that were dropped because nobody read them.
pub struct Dropped(pub Arc<AtomicU64>);

impl Collect for Dropped {
    fn collect(&self, out: &mut Samples) {
        out.add(&names::LOG_LINES_DROPPED, &[], self.0.load(Ordering::Relaxed));
    }
}

struct Shown(Arc<Server>);

impl Status for Shown {
    fn phase(&self) -> Phase {
        if self.0.is_draining() { Phase::Draining } else { Phase::Ready }
    }

    fn process(&self) -> Option<weir_drive::server::Status> {
        Some(self.0.status())
    }

    fn config(&self) -> Option<Arc<Config>> {
        Some(self.0.config())
    }
}
