//! Room for connections: permits that give back what they hold when they are dropped, on whatever thread.

use super::{
    Cluster,
    endpoint::{Endpoint, Pick},
    sync::Ordering,
};
use crate::exchange::{Fault, Phase, Reason, Side};
use std::sync::Arc;

/// The cluster's `max_connections` is met.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the cluster's max_connections is met")]
pub struct Full;

impl From<Full> for Fault {
    fn from(_: Full) -> Fault {
        Fault::new(Side::Proxy, Phase::Connecting, Reason::MaxConnections)
    }
}

/// Room for one upstream connection, from before it is made until it is closed.
#[derive(Debug)]
pub struct Permit {
    cluster: Arc<Cluster>,
    endpoint: Arc<Endpoint>,
}

impl Permit {
    fn new(cluster: Arc<Cluster>, pick: &Pick) -> Permit {
        let endpoint = pick.endpoint().clone();
        endpoint.connections.fetch_add(1, Ordering::Relaxed);
        endpoint.connections_total.fetch_add(1, Ordering::Relaxed);
        Permit { cluster, endpoint }
    }

    /// The connection could not be made: counts that.
    pub fn failed(self) {
        self.endpoint.connect_failures.fetch_add(1, Ordering::Relaxed);
    }

    /// The address that it is for.
    pub fn address(&self) -> &Arc<str> {
        &self.endpoint.address
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.endpoint.connections.fetch_sub(1, Ordering::Relaxed);
        self.cluster.connections.0.leave_low();
    }
}

/// One operation's place among those that wait for a connection.
#[derive(Debug)]
pub struct Pending {
    cluster: Option<Arc<Cluster>>,
}

impl Pending {
    /// From waiting to connecting, in one step; the place is kept when there is still no room.
    pub fn connect(mut self, pick: &Pick) -> Result<Permit, Pending> {
        match self.cluster.take() {
            Some(cluster)
                if cluster.connections.0.promote(Cluster::limit(&cluster.limits.0.max_connections)) =>
            {
                Ok(Permit::new(cluster, pick))
            }
            kept => Err(Pending { cluster: kept }),
        }
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if let Some(cluster) = &self.cluster {
            cluster.connections.0.leave_high();
        }
    }
}

impl Cluster {
    /// Room for one more connection to the picked endpoint. That there is none counts as having met `max_connections`.
    pub fn connection(self: &Arc<Self>, pick: &Pick) -> Result<Permit, Full> {
        self.room(pick).inspect_err(|Full| {
            self.overflow.connections.fetch_add(1, Ordering::Relaxed);
        })
    }

    /// The same for a connection that operations will share: each of them counts for itself whether it met the limit.
    pub fn room(self: &Arc<Self>, pick: &Pick) -> Result<Permit, Full> {
        match self.connections.0.enter_low(Cluster::limit(&self.limits.0.max_connections)) {
            true => Ok(Permit::new(self.clone(), pick)),
            false => Err(Full),
        }
    }

    /// For an operation that does not ask for room, because others have waited for longer: counts it if it meets
    /// `max_connections` as they do.
    pub fn stands_behind(&self) {
        if self.connections.0.counts().0 >= Cluster::limit(&self.limits.0.max_connections) {
            self.overflow.connections.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A place among the operations that wait for a connection; the fault says that `max_pending` are waiting already.
    pub fn pend(self: &Arc<Self>) -> Result<Pending, Fault> {
        if self.connections.0.enter_high(Cluster::limit(&self.limits.0.max_pending)) {
            Ok(Pending { cluster: Some(self.clone()) })
        } else {
            self.overflow.pending.fetch_add(1, Ordering::Relaxed);
            Err(Fault::new(Side::Proxy, Phase::Connecting, Reason::MaxPending))
        }
    }
}
