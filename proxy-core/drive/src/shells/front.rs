//! What a filter may ask of the process while it runs: further addresses for its listener, endpoints for its cluster.

use std::net::SocketAddr;
use std::sync::Arc;
use tokio::sync::oneshot;

/// What a listener is to have from now on, beside what the configuration says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Front {
    /// Who asks: more than 0, and more the later one came. A listener that is drained may still have a filter when another one
    /// has its name, and several listeners may have one cluster: nobody takes from others what is theirs.
    pub by: u64,
    /// The listener. Where somebody later than `by` has doors, it keeps them.
    pub listener: Arc<str>,
    /// Its doors: those that are not open yet open, others close once what is queued on them is accepted. Connections
    /// stay.
    pub doors: Vec<SocketAddr>,
    /// The cluster that the endpoints are for.
    pub cluster: Arc<str>,
    /// Endpoints, `host:port`, beside those that the configuration lists and those that others found. Names are resolved and
    /// refreshed like those.
    pub endpoints: Vec<Arc<str>>,
    /// Where some of those really are, `host:port`, from here: in place of what their own names stand for.
    pub at: Vec<(Arc<str>, Arc<str>)>,
}

/// What became of it.
#[derive(Debug)]
pub struct Fronted {
    /// Doors that could not be opened, and why.
    pub failed: Vec<(SocketAddr, std::io::Error)>,
}

/// What a worker sends to the server.
pub(crate) type Request = (Front, oneshot::Sender<Fronted>);
