//! What the server asks of a worker.

use crate::process::server::plan::Plan;
use crate::shells::filter::BuildError;
use std::sync::Arc;
use tokio::sync::oneshot;

/// What the server asks of a worker.
#[derive(Debug)]
pub(crate) enum Control {
    /// Take over this configuration, and say whether that worked.
    Apply(Arc<Plan>, oneshot::Sender<Result<(), BuildError>>),
    /// Accept no more, bring to an end what is under way; answer when all sockets are closed.
    Drain(oneshot::Sender<()>),
    /// End now.
    Stop,
}
