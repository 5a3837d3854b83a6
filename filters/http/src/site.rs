//! A listener's settings as one worker runs on them: routes with the clusters, dialects and ids behind them. Replaced whole on a
//! reload; an exchange keeps the one it began with.

use crate::dialect::Dialect;
use crate::h1;
use crate::h2;
use crate::plain::Vocabulary;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use weir_codecs::http1::Limits;
use weir_decide::exchange::NameId;
use weir_decide::policy::RetryPolicy;
use weir_decide::route::RouteTable;
use weir_drive::{Address, Cluster, Pool, Worker};
use weir_measure::{Counter, Measure, Place, names};

/// A listener on one worker.
pub struct Site {
    pub worker: Rc<Worker>,
    pub words: Rc<Vocabulary>,
    pub numbers: Rc<Numbers>,
    pub table: RouteTable,
    pub routes: Vec<Route>,
    /// By the cluster's name.
    pub targets: HashMap<Arc<str>, Rc<Target>>,
    pub limits: Limits,
    pub head_timeout: Duration,
    pub keep_alive: Duration,
    pub idle_timeout: Option<Duration>,
    /// The dialect of routes that name none: it words what no route takes.
    pub dialect: Option<Rc<dyn Dialect>>,
    /// Where requests are counted that no route takes, and malformed ones.
    pub nowhere: Place,
    /// Where those are counted that no route takes, nor the dialect.
    pub plain_nowhere: Place,
}

/// A route.
pub struct Route {
    /// The `resource` of plain HTTP.
    pub label: NameId,
    pub action: Action,
    pub timeout: Option<Duration>,
    pub per_try_timeout: Option<Duration>,
    /// `None`: what the dialect says.
    pub policy: Option<RetryPolicy>,
    pub replay_limit: usize,
    pub dialect: Option<Rc<dyn Dialect>>,
    /// What a connection may become here.
    pub switches: crate::config::Switches,
    /// The methods that it names; none: all.
    pub methods: Vec<Box<str>>,
    /// Where its plain requests are counted, and those of its dialect.
    pub place: Place,
    pub dialect_place: Place,
}

/// What a route does.
pub enum Action {
    Forward(Rc<Target>),
    Redirect(Arc<crate::config::Redirect>),
    Direct(Arc<crate::config::Direct>),
}

/// A cluster, and this worker's connections to it.
pub struct Target {
    pub cluster: Rc<Cluster>,
    pub h1: Rc<Pool<h1::Pooled>>,
    pub h2: Rc<h2::Pool>,
}

/// Numbers of a listener beyond those of operations.
pub struct Numbers {
    measure: Arc<Measure>,
    listener: Arc<str>,
    /// Requests whose body was too large to be kept for another try.
    pub replay_exceeded: Counter,
    /// Replies that were held to be judged, and went on because they grew too large for that.
    pub outgrown: Counter,
    /// Client connections ended for resetting too many streams, or for other floods.
    pub floods: Counter,
    /// Tries that found the server's connection closed before it had seen the request, and went on another.
    pub stale: Counter,
}

impl Numbers {
    pub fn new(measure: &Arc<Measure>, listener: &Arc<str>) -> Numbers {
        Numbers {
            measure: Arc::clone(measure),
            listener: Arc::clone(listener),
            replay_exceeded: measure.counter(&names::HTTP_REPLAY_EXCEEDED, &[listener]),
            outgrown: measure.counter(&names::CAPS_MET, &["held_reply"]),
            floods: measure.counter(&names::HTTP_FLOODS, &[listener]),
            stale: measure.counter(&names::HTTP_STALE_CONNECTIONS, &[listener]),
        }
    }

    /// A message broke this rule. Rare enough to look its counter up.
    pub fn rejected(&self, rule: &str) {
        self.measure.counter(&names::HTTP_REJECTS, &[&self.listener, rule]).inc();
    }
}

/// The client.
#[derive(Debug, Clone)]
pub struct Peer {
    /// Its address in text, without the port; `unix:` where it has none.
    pub address: Box<str>,
    /// Whether it speaks TLS with us.
    pub secure: bool,
}

impl Peer {
    pub fn new(address: Address, secure: bool) -> Peer {
        let address = match address {
            Address::Ip(address) => address.ip().to_canonical().to_string(),
            Address::Unix => address.to_string(),
        };
        Peer { address: address.into(), secure }
    }
}
