//! What the connections of a listener that goes to one cluster have in common, and how such a connection gets its upstream one.

use crate::ground::address::Client;
use crate::ground::numbers::MessageNumbers;
use crate::ground::tls::alpn::Offer;
use crate::shells::cuts::Cuts;
use crate::shells::worker::Worker;
use crate::upstream::cluster::{Cluster, Connected};
use std::cell::OnceCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use weir_config::Listener;
use weir_decide::cluster::{Ticket, Tries};
use weir_decide::exchange::{Class, Fault, NameId, NameKind, Operation, Outcome, RetryOn, Side};
use weir_decide::policy::{Known, Replay, RetryPolicy, Verdict};
use weir_measure::{Naming, Place};

/// How long a message may take to come, whatever its length (`message_timeout`).
pub const MESSAGE_TIMEOUT: Duration = Duration::from_secs(30);

/// What applications without a name are called in the numbers.
const UNNAMED: &[u8] = b"_unnamed";

/// What the connections of a listener that goes to one cluster have in common, on one worker. A reload makes a new one; connections keep theirs.
pub struct Context {
    /// The worker.
    pub worker: Rc<Worker>,
    /// Where the operations go.
    pub cluster: Rc<Cluster>,
    /// Under which labels they are counted.
    pub place: Place,
    /// A connection on which nothing moved for so long is closed.
    pub idle_timeout: Option<Duration>,
    /// How long a message that has begun may take to come, with what its rate earns it (see [`message`](crate::shells::message)).
    pub message_timeout: Option<Duration>,
    pub(crate) listener: Arc<str>,
    pub(crate) cuts: Cuts,
    /// The name of applications without one, once it is needed.
    unnamed: OnceCell<NameId>,
    messages: OnceCell<MessageNumbers>,
    protocol: &'static str,
}

impl Context {
    /// The context of `listener`, whose operations go to `cluster`.
    pub fn new(worker: &Rc<Worker>, listener: &Listener, cluster: &Rc<Cluster>) -> Rc<Context> {
        Context::of(worker, listener, cluster, listener.protocol, Some(MESSAGE_TIMEOUT))
    }

    /// The same, where a message that has begun may take so long to come.
    pub fn timed(
        worker: &Rc<Worker>,
        listener: &Listener,
        cluster: &Rc<Cluster>,
        message_timeout: Option<Duration>,
    ) -> Rc<Context> {
        Context::of(worker, listener, cluster, listener.protocol, message_timeout)
    }

    /// That of connections of `listener` that are passed on to `cluster` as they are: they count as the protocol `tcp`.
    pub(crate) fn passed(worker: &Rc<Worker>, listener: &Listener, cluster: &Rc<Cluster>) -> Rc<Context> {
        Context::of(worker, listener, cluster, "tcp", None)
    }

    fn of(
        worker: &Rc<Worker>,
        listener: &Listener,
        cluster: &Rc<Cluster>,
        protocol: &'static str,
        message_timeout: Option<Duration>,
    ) -> Rc<Context> {
        let measure = worker.measure().measure();
        Rc::new(Context {
            place: measure.place(&listener.name, cluster.name(), protocol),
            worker: Rc::clone(worker),
            cluster: Rc::clone(cluster),
            idle_timeout: listener.idle_timeout,
            message_timeout,
            listener: Arc::clone(&listener.name),
            cuts: Cuts::default(),
            unnamed: OnceCell::new(),
            messages: OnceCell::new(),
            protocol,
        })
    }

    /// What names of this listener are interned with.
    pub(crate) fn names(&self) -> Naming<'_> {
        self.worker.measure().names(self.place)
    }

    /// Under which name operations of an application are counted. One that does not say its own has a name too: left out, the numbers by
    /// application would not add up.
    pub(crate) fn application(&self, named: NameId) -> NameId {
        match named {
            NameId::NONE => {
                *self.unnamed.get_or_init(|| self.worker.measure().intern(NameKind::Application, &[UNNAMED]))
            }
            named => named,
        }
    }

    /// From now on [`cut`](Context::cut) finds the upstream connections that are made.
    pub fn may_cut(&self) {
        self.cuts.want();
    }

    /// Ends the upstream connections to the endpoint `address`, as if the server had closed them. Says how many.
    pub fn cut(&self, address: &str) -> usize {
        self.cuts.cut(address)
    }

    /// The numbers of message connections; made when the first one asks.
    pub(crate) fn messages(&self) -> &MessageNumbers {
        let measure = self.worker.measure().measure();
        self.messages.get_or_init(|| MessageNumbers::new(measure, &self.listener, self.protocol))
    }

    /// Admits `op`, picks an endpoint and connects to it; where that is not possible another one is picked, each at most once.
    /// Nothing else can be tried again: a connection is pinned once anything has been sent. `tries` tells afterwards what was
    /// tried. The connection is `client`'s, and nobody else's.
    pub(crate) async fn connect(
        &self,
        op: &Operation,
        tries: &mut Tries,
        client: &Client,
    ) -> Result<(Ticket, Connected), Fault> {
        loop {
            let began = self.worker.now();
            let ticket = self.cluster.view.admit(op, tries, began)?;
            let fault =
                match self.cluster.connect_for(ticket.pick(), Offer::Nothing, None, Some(client)).await {
                    Ok(connected) => return Ok((ticket, connected)),
                    Err(fault) => fault,
                };
            let now = self.worker.now();
            let refused = fault.side == Side::Proxy;
            let outcome = Outcome {
                class: if refused { Class::Refused } else { Class::Failed },
                result: fault.reason.label(),
                code: NameId::NONE,
                retryable: RetryOn::of_fault(&fault, RetryOn::NONE),
                fault: Some(fault),
                latency: now.since(began),
            };
            let known = Known::unsent(Replay::Possible);
            match ticket.finish(&outcome, &RetryPolicy::UNASKED, &known, tries, now) {
                Verdict::Elsewhere => {}
                Verdict::Done | Verdict::Retry { .. } => return Err(fault),
            }
        }
    }
}
