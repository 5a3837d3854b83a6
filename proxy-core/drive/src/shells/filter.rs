//! What a protocol is to the core: it reads its section of a listener, and serves the connections that the listener
//! accepts. `Filter` is one per process and protocol, `Service` one per worker and listener.

use crate::ground::address::{Address, Client, Told};
use crate::ground::counted::Held;
use crate::ground::drain::Drain;
use crate::ground::io::Io;
use crate::ground::tls::alpn::Alpn;
use crate::ground::tls::covered::Covered;
use crate::shells::page::Page;
use crate::shells::worker::Worker;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use weir_config::{Config, Listener, Section};
use weir_measure::Measure;

/// A protocol that a listener can speak. The binary names its filters in one list.
pub trait Filter: Sync {
    /// The section under which a listener's settings for this protocol stand (`mongo`, `http`), and how to read it.
    fn section(&self) -> &'static dyn Section;

    /// Its pages of the admin API.
    fn pages(&self) -> &'static [Page] {
        &[]
    }

    /// Counts, from the start of the process on, what only this protocol has and is always shown.
    fn count(&self, measure: &Arc<Measure>) {
        let _ = measure;
    }

    /// What TLS clients are offered by ALPN (RFC 7301), the best first. None: no ALPN, whatever the client offers.
    fn alpn(&self) -> &'static [Alpn] {
        &[]
    }

    /// Whether a listener makes sense beside the rest of the configuration, as far as can be told without listening or
    /// asking a server. `Ok(Some(..))`: it can be run, and the operator should know this.
    fn check(&self, listener: &Listener, config: &Config) -> Result<Option<Advice>, BuildError> {
        let _ = (listener, config);
        Ok(None)
    }

    /// Makes the service of one listener on one worker. Called on the worker's thread, with all clusters of the new
    /// configuration in place. Must come out the same on every worker.
    fn service(&self, listener: &Arc<Listener>, worker: &Rc<Worker>) -> Result<Rc<dyn Service>, BuildError>;
}

/// What an operator should know of a listener that can be run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Advice {
    /// It is probably not what is meant: told at the start too.
    Warning(String),
    /// It may be what is meant, and only who asks ([`Server::check`](crate::Server::check)) is told.
    Note(String),
}

impl Advice {
    /// What is to be known.
    pub fn message(&self) -> &str {
        match self {
            Advice::Warning(message) | Advice::Note(message) => message,
        }
    }
}

/// Serves the connections of one listener on one worker, for as long as the listener exists.
pub trait Service {
    /// Serves one connection to its end. Runs as a task of the worker's; a panic costs this connection only.
    /// Observe [`Accepted::drain`].
    fn serve(self: Rc<Self>, connection: Accepted) -> Pin<Box<dyn Future<Output = ()>>>;

    /// The listener's settings have changed: swap them for what comes, leave alone what is under way (it keeps the
    /// settings it began with). An error changes nothing. Runs between tasks, so nobody sees a half-applied reload.
    fn reload(&self, listener: &Arc<Listener>, worker: &Rc<Worker>) -> Result<(), BuildError>;
}

/// Why a listener's service could not be made from a configuration that was read without an error.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("listener {listener}: {message}")]
pub struct BuildError {
    /// The listener.
    pub listener: Arc<str>,
    /// What is wrong, for the operator.
    pub message: String,
}

impl BuildError {
    /// An error about `listener`.
    pub fn new(listener: &Listener, message: impl Into<String>) -> BuildError {
        BuildError { listener: Arc::clone(&listener.name), message: message.into() }
    }

    /// A cluster that is not there.
    pub fn no_cluster(listener: &Listener, cluster: &str) -> BuildError {
        BuildError::new(listener, format!("there is no cluster {cluster}"))
    }
}

/// A connection that a listener has accepted, with TLS behind it.
#[derive(Debug)]
pub struct Accepted {
    /// The bytes.
    pub io: Io,
    /// The client's address: as the proxy before Weir says, if it is believed.
    pub peer: Address,
    /// What else the proxy before Weir says.
    pub told: Told,
    /// Weir's own address, to which the client, or the proxy before Weir, connected.
    pub local: Address,
    /// The address that the client connected to: [`Accepted::local`], unless a proxy says otherwise.
    pub destination: Address,
    /// What TLS agreed upon, if anything.
    pub alpn: Option<Alpn>,
    /// The server name that the TLS client asked for.
    pub sni: Option<Arc<str>>,
    /// Which hosts may be asked for on it; `None`: any.
    pub covered: Option<Rc<Covered>>,
    /// Begins when the listener is removed or Weir goes away: finish what is under way, then close. After `drain_timeout` the
    /// future of [`Service::serve`] is dropped.
    pub drain: Rc<Drain>,
    /// Keeps the connection counted. It is, until the future of [`Service::serve`] has ended; who goes on with the connection
    /// elsewhere keeps this.
    pub held: Held,
}

impl Accepted {
    /// On whose behalf it is served.
    pub fn client(&self) -> Client {
        Client { address: self.peer, destination: self.destination }
    }
}
