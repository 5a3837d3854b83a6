//! The message loop: serves one client connection of a message protocol (`weir_decide::protocol::Protocol`) over one upstream
//! connection that it is pinned to.
//!
//! A filter's service makes one [`Context`] and calls, for each connection it is given:
//! `message::serve(Rc<P>, Rc<Context>, Accepted) -> impl Future<Output = ()>`.

use crate::cluster::Cluster;
use crate::worker::Worker;
use std::rc::Rc;
use std::time::Duration;
use weir_config::Listener;
use weir_decide::exchange::RetryOn;
use weir_decide::policy::RetryPolicy;
use weir_measure::Place;

/// The most operations under way on one connection; beyond it nothing more is read from the client until one has ended.
pub const MAX_PENDING: usize = 1024;

/// What the connections of a listener have in common, on one worker. A reload makes a new one; connections keep theirs.
pub struct Context {
    /// The worker.
    pub worker: Rc<Worker>,
    /// Where the operations go.
    pub cluster: Rc<Cluster>,
    /// Under which labels they are counted.
    pub place: Place,
    /// When connecting is tried again. Nothing else can be: a connection is pinned once anything has been sent.
    pub retry: RetryPolicy,
    /// A connection on which nothing moved for so long is closed.
    pub idle_timeout: Option<Duration>,
}

impl Context {
    /// The context of `listener`, whose operations go to `cluster`. A connection that cannot be made is tried twice more, at
    /// other endpoints where there are any.
    pub fn new(worker: &Rc<Worker>, listener: &Listener, cluster: &Rc<Cluster>) -> Rc<Context> {
        let measure = worker.measure().measure();
        Rc::new(Context {
            place: measure.place(&listener.name, cluster.name(), listener.protocol),
            worker: Rc::clone(worker),
            cluster: Rc::clone(cluster),
            retry: RetryPolicy { max_retries: 2, ..RetryPolicy::on(RetryOn::CONNECT_FAILURE) },
            idle_timeout: listener.idle_timeout,
        })
    }
}
