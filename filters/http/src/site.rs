//! A listener's settings as one worker runs on them: routes with the clusters, dialects and ids behind them. Replaced whole on a
//! reload; an exchange keeps the one it began with.

use crate::config::Said;
use crate::dialect::Dialect;
use crate::h1;
use crate::h2;
use crate::names;
use crate::plain::Vocabulary;
use crate::times::{HalfClose, Times};
use std::collections::HashMap;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use weir_codecs::http1::Limits;
use weir_decide::exchange::{NameId, Now};
use weir_decide::policy::RetryPolicy;
use weir_decide::route::RouteTable;
use weir_decide::sources::Trusted;
use weir_drive::tls::covered::Covered;
use weir_drive::{Address, Cluster, Pool, Told, Worker};
use weir_measure::{Counter, Measure, Naming, Place};

/// A listener on one worker.
pub struct Site {
    pub worker: Rc<Worker>,
    pub words: Rc<Vocabulary>,
    pub numbers: Rc<Numbers>,
    pub table: RouteTable,
    pub routes: Vec<Route>,
    /// By the cluster's name.
    pub targets: HashMap<Arc<str>, Rc<Target>>,
    /// Whose word about the client counts.
    pub trusted: Trusted,
    /// What is done with what requests say.
    pub said: Said,
    /// Requests get a Via, whichever cluster they go to.
    pub via: bool,
    /// The names of fields that routes look at, and as what servers may read them.
    pub looked_at: Vec<(Box<str>, Box<[u8]>)>,
    /// Among them are some that may be read as others.
    pub looks_at_odd: bool,
    /// Somebody else's has been seen, by any worker.
    pub first_sight: Arc<AtomicBool>,
    pub limits: Limits,
    pub head_timeout: Duration,
    pub keep_alive: Duration,
    pub idle_timeout: Option<Duration>,
    /// What becomes of requests whose client has ended its direction.
    pub half_closed: HalfClose,
    /// Its HTTP/2 connections.
    pub h2: Http2,
    /// The dialect of routes that name none: it words what no route takes.
    pub dialect: Option<Rc<dyn Dialect>>,
    /// Where requests are counted that no route takes, and malformed ones.
    pub nowhere: Place,
    /// Where those are counted that no route takes, nor the dialect.
    pub plain_nowhere: Place,
}

/// What clients' HTTP/2 connections may do.
#[derive(Debug, Clone, Copy)]
pub struct Http2 {
    /// The most streams at a time.
    pub streams: u32,
    /// After how long a silence the client is asked whether it is there, as configured.
    pub keepalive: Option<Duration>,
    /// How old one gets.
    pub max_age: Option<Duration>,
}

impl Site {
    /// When a client's HTTP/2 connection that began then is too old.
    pub fn old(&self, began: Now) -> Now {
        h2::pool::old(self.h2.max_age, began, self.worker.random())
    }

    /// What names are interned with.
    pub fn names(&self) -> Naming<'_> {
        self.worker.measure().names(self.nowhere)
    }
}

/// A route.
pub struct Route {
    /// The `resource` of plain HTTP.
    pub label: NameId,
    pub action: Action,
    pub timeout: Option<Duration>,
    pub times: Times,
    pub per_try_timeout: Option<Duration>,
    /// `None`: nothing is said.
    pub policy: Option<RetryPolicy>,
    /// Methods that may be done twice.
    pub idempotent: Arc<[crate::config::Listed]>,
    pub replay_limit: usize,
    /// A request with a signature is left as it is.
    pub signed: bool,
    pub dialect: Option<Rc<dyn Dialect>>,
    /// What a connection may become here.
    pub switches: crate::config::Switches,
    /// The methods that it names; none: all.
    pub methods: Vec<Box<str>>,
    /// Where its plain requests are counted, and those of its dialect.
    pub place: Place,
    pub dialect_place: Place,
}

impl Route {
    /// Whether it says of the method with this path that it may be done twice.
    pub fn lists(&self, path: &[u8]) -> bool {
        self.idempotent.iter().any(|listed| listed.takes(path))
    }
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
    /// Those for which there was no memory left (`limits.replay_memory`).
    pub replay_memory: Counter,
    /// Replies that were held to be judged, and went on because they grew too large for that.
    pub outgrown: Counter,
    /// Client connections ended for resetting too many streams, or for other floods.
    pub floods: Counter,
    /// Tries that found the server's connection closed before it had seen the request, and went on another.
    pub stale: Counter,
    /// Requests that said who the client is and came from nobody who is trusted.
    pub client_fields: Counter,
    /// Clients' connections that came to as many streams as they may have.
    pub streams_met: Counter,
    /// Connections left because the peer did not answer a PING: clients', servers'.
    pub dead_clients: Counter,
    pub dead_servers: Counter,
    /// Requests from which fields were removed whose names can be read as others.
    pub ambiguous: Counter,
    signed: [Counter; 2],
}

impl Numbers {
    pub fn new(measure: &Arc<Measure>, listener: &Arc<str>) -> Numbers {
        Numbers {
            measure: Arc::clone(measure),
            listener: Arc::clone(listener),
            replay_exceeded: measure.counter(&names::HTTP_REPLAY_EXCEEDED, &[listener]),
            replay_memory: measure.counter(&weir_measure::names::CAPS_MET, &["replay_memory"]),
            outgrown: measure.counter(&weir_measure::names::CAPS_MET, &["held_reply"]),
            floods: measure.counter(&names::HTTP_FLOODS, &[listener]),
            stale: measure.counter(&names::HTTP_STALE_CONNECTIONS, &[listener]),
            client_fields: measure.counter(&names::HTTP_CLIENT_FIELDS, &[listener]),
            streams_met: measure.counter(&names::HTTP_MAX_STREAMS_MET, &[listener]),
            dead_clients: measure.counter(&names::HTTP_DEAD_CONNECTIONS, &[listener, "client"]),
            dead_servers: measure.counter(&names::HTTP_DEAD_CONNECTIONS, &[listener, "upstream"]),
            ambiguous: measure.counter(&names::HTTP_AMBIGUOUS_FIELDS, &[listener]),
            signed: ["untouched", "changed"]
                .map(|result| measure.counter(&names::HTTP_SIGNED, &[listener, result])),
        }
    }

    /// A signed request goes on; `changed`: not quite as it came.
    pub fn signed(&self, changed: bool) {
        let [untouched, touched] = &self.signed;
        if changed { touched.inc() } else { untouched.inc() }
    }

    /// A message broke this rule. Rare enough to look its counter up.
    pub fn rejected(&self, rule: &str) {
        self.measure.counter(&names::HTTP_REJECTS, &[&self.listener, rule]).inc();
    }
}

impl Site {
    /// Whether what this peer says about its clients counts, by the settings of now.
    pub fn trusts(&self, peer: &Peer) -> bool {
        !peer.is_unknown && self.trusted.trusts(peer.ip)
    }

    /// Somebody who is not trusted says who the client is. From a private address that is most likely a proxy whose operator
    /// forgot to say so: told once.
    pub fn first_sight(&self, peer: &Peer) {
        let near = peer.ip.is_none_or(crate::client::is_private);
        if near && !self.first_sight.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                listener = %self.numbers.listener, peer = %peer.address,
                "what a request says about the client (x-forwarded-for and the like) is removed: if this is a proxy in front, \
                 put its network into `trusted` of this listener",
            );
        }
    }
}

/// Who speaks with us: the client, or a proxy in front.
#[derive(Debug, Clone)]
pub struct Peer {
    /// Its address; `None`: it has none.
    pub ip: Option<IpAddr>,
    /// A PROXY protocol header said that it is nobody knows whose connection: the address is the proxy's.
    pub is_unknown: bool,
    /// Its address in text, without the port; `unix:` where it has none.
    pub address: Box<str>,
    /// Whether it speaks TLS with us, or with the proxy in front that says so in a PROXY protocol header.
    pub secure: bool,
    /// Which hosts may be asked for on its connection; `None`: any.
    pub covered: Option<Rc<Covered>>,
}

impl Peer {
    pub fn new(address: Address, told: Told, secure: bool) -> Peer {
        let ip = address.ip().map(|address| address.ip().to_canonical());
        let text = ip.map_or_else(|| address.to_string(), |ip| ip.to_string());
        let (is_unknown, secure) = (told.unknown, secure || told.tls);
        Peer { ip, is_unknown, address: text.into(), secure, covered: None }
    }
}
