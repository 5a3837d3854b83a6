//! Weir's admin API: what the process is doing, over HTTP, for people, probes and scrapers.
//!
//! How a request passes through: [`server`] accepts on a thread of its own, so that nothing asked here ever holds up traffic;
//! `guard` refuses what does not come from where it should (methods that change something, names that a browser was led to by
//! a foreign page); `routes` chooses the answer; `shapes` makes its JSON from the process's own snapshots; `body` streams what
//! may be long in chunks. Everything is read-only.
//!
//! What the process is, is told by a [`Status`], which the binary implements over the server.

mod body;
mod call_sites;
mod connections;
mod guard;
mod life;
mod routes;
pub mod server;
mod shapes;
mod slow;

pub use routes::ENDPOINTS;
pub use server::{Bound, Bounds, Console, Settings, StartError};
pub use weir_drive::page::Clusters;

use std::sync::Arc;
use weir_config::Config;
use weir_measure::Measure;

/// How far the process is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Not every listener accepts yet.
    Starting,
    /// Serving.
    Ready,
    /// Going away: says so, and still accepts.
    Leaving,
    /// Going away: accepts no more.
    Draining,
}

impl Phase {
    /// The word shown.
    pub fn label(self) -> &'static str {
        match self {
            Phase::Starting => "starting",
            Phase::Ready => "ready",
            // For those who ask it is the same: nothing is to be sent here any more.
            Phase::Leaving | Phase::Draining => "draining",
        }
    }
}

/// What the admin API asks of the process. Called on the admin thread; must not wait for traffic.
pub trait Status: Send + Sync + 'static {
    /// How far it is in its life.
    fn phase(&self) -> Phase;
    /// Listeners and connections by now, without the clusters; `None` while starting.
    fn process(&self) -> Option<weir_drive::Status>;
    /// The clusters, each as it is when it is come to; `None` while starting.
    fn clusters(&self) -> Option<Clusters>;
    /// The configuration in force; `None` while there is none.
    fn config(&self) -> Option<Arc<Config>>;
}

/// Where the answers come from.
#[derive(Clone)]
pub struct State {
    /// The numbers.
    pub measure: Arc<Measure>,
    /// Everything else.
    pub status: Arc<dyn Status>,
}
