//! Why a start or a reload changed nothing.

use crate::ground::tls::TlsError;
use crate::shells::filter::BuildError;
use std::io;
use std::sync::Arc;
use weir_config::Bind;

/// Why Weir did not start, or a reload changed nothing.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A listener's address cannot be had: most often because somebody else has it.
    #[error("listener {listener}: cannot listen on {address}: {error}")]
    Bind {
        /// Which listener.
        listener: Arc<str>,
        /// Which address.
        address: Bind,
        /// Why.
        error: io::Error,
    },
    /// A listener's certificate or key is of no use.
    #[error("listener {listener}: tls: {error}")]
    ListenerTls {
        /// Which listener.
        listener: Arc<str>,
        /// What is wrong.
        error: Box<TlsError>,
    },
    /// A cluster's roots, certificate or key are of no use.
    #[error("cluster {cluster}: tls: {error}")]
    ClusterTls {
        /// Which cluster.
        cluster: Arc<str>,
        /// What is wrong.
        error: Box<TlsError>,
    },
    /// More than one thing is wrong.
    #[error("{}", lines(.0))]
    Several(Vec<StartError>),
    /// The protocol is not part of this binary.
    #[error("listener {listener}: this binary has no {protocol}")]
    NoFilter {
        /// Which listener.
        listener: Arc<str>,
        /// Which protocol.
        protocol: &'static str,
    },
    /// A filter could not make its service.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// The system gives no thread.
    #[error("cannot start a thread: {0}")]
    Thread(io::Error),
    /// A worker has ended by a bug.
    #[error("worker {0} has ended")]
    WorkerLost(usize),
    /// Weir is going away.
    #[error("draining: nothing is changed any more")]
    Draining,
}

impl StartError {
    pub(super) fn of_all(mut errors: Vec<StartError>) -> StartError {
        match errors.len() {
            1 => errors.swap_remove(0),
            _ => StartError::Several(errors),
        }
    }

    /// Whether it is that somebody else has an address.
    pub fn is_taken(&self) -> bool {
        matches!(self, StartError::Bind { error, .. } if error.kind() == io::ErrorKind::AddrInUse)
    }

    /// Each thing that is wrong.
    pub fn each(&self) -> &[StartError] {
        match self {
            StartError::Several(errors) => errors,
            one => std::slice::from_ref(one),
        }
    }
}

fn lines(errors: &[StartError]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}
