//! One request, from its head to its record: the loop that joins any [`Downstream`] to any [`Upstream`].
//!
//! ```text
//! route ── no route, redirect, direct response ──▶ answer
//!   │ forward
//! admit (limits, endpoint) ◀───────────────┐ again: another endpoint, after the back-off
//!   │                                      │
//! open (pool or connect)                   │
//!   │                                      │
//! attempt: request up, reply down ─────────┘
//!   │ over
//! record: exactly one, whatever happened (`account`)
//! ```
//!
//! `Flow::poll` (`flow`) moves bytes and says what happened; the decisions are made in [`attempt`](Exchange::attempt), in the
//! order in which they are read. Nothing is tried again once a byte of a reply has gone to the client.

mod account;
mod answer;
mod attempt;
mod blame;
mod clocks;
mod flow;
mod last;
mod pump;
mod repeat;
mod replay;
mod switch;

pub use account::Account;
pub use replay::REPLAY_LIMIT;

use crate::again;
use crate::client::{self, Seen};
use crate::dialect::{Dialect, End, RequestHead};
use crate::fields::Fields;
use crate::plain;
use crate::seam::{Broken, Downstream, Reply, Request, Upstream};
use crate::signed;
use crate::site::{Action, Peer, Route, Site, Target};
use crate::timer::{NEVER, Timer};
use crate::watcher::Watcher;
use crate::websocket;
use attempt::Step;
use replay::Replay;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use weir_codecs::http1::Method;
use weir_config::Upstream as Protocol;
use weir_decide::cluster::{Pick, Tries};
use weir_decide::exchange::{Fault, NameId, Now, Operation, Outcome, Phase, Reason, Side};
use weir_decide::policy::{RetryPolicy, Sent};
use weir_decide::route;
use weir_drive::time;

/// The client's part of opening a WebSocket in HTTP/1.
pub const WEBSOCKET_KEY: &[u8] = b"sec-websocket-key";
/// The server's.
pub const WEBSOCKET_ACCEPT: &[u8] = b"sec-websocket-accept";

/// How a try gets its connection.
pub trait Open {
    /// What it gives.
    type Up: Upstream;

    /// A connection to `pick` with the request's head on its way. `fresh`: one that has served nothing before.
    fn open(
        &self,
        pick: &Pick,
        request: &Request,
        fresh: bool,
        deadline: Option<Now>,
        site: &Site,
    ) -> impl Future<Output = Result<Self::Up, Opening>>;
}

/// Why there is no connection.
#[derive(Debug, Clone, Copy)]
pub enum Opening {
    /// It could not be made.
    Failed(Fault),
    /// It broke before the request was on it.
    Broken(Broken),
    /// It is there, and what the client asks for cannot go on it: nothing that the endpoint did.
    Unfit(Fault),
}

impl Opening {
    /// The request cannot be put into the version that the server speaks.
    pub fn unfit(_: Broken) -> Opening {
        Opening::Unfit(Fault::new(Side::Client, Phase::Connecting, Reason::Malformed))
    }
}

/// What a connection's loop lends to each exchange.
pub struct Exchange<'a, D> {
    pub site: &'a Rc<Site>,
    pub peer: &'a Peer,
    pub down: &'a mut D,
    pub request: &'a mut Request,
    pub reply: &'a mut Reply,
    pub timer: &'a mut Timer,
    /// When the first byte of the request arrived.
    pub began: Now,
}

/// Limits in time of one exchange.
#[derive(Clone, Copy)]
struct Until {
    /// Of the whole exchange.
    deadline: Now,
    /// Whether that is the client's own.
    clients: bool,
    /// Of this try, up to the reply's head.
    per_try: Now,
}

impl<D: Downstream> Exchange<'_, D> {
    /// Serve it, and count it.
    pub async fn run(&mut self) {
        let site = Rc::clone(self.site);
        let trusted = site.trusts(self.peer);
        if !trusted && self.is_misdirected() {
            return self.refuse_misdirected(&site).await;
        }
        let seen = Seen { fields: &self.request.fields, trusted };
        let asked = route::Request {
            host: &self.request.authority,
            path: self.request.path(),
            method: &self.request.method_text,
            headers: &seen,
        };
        let route = site.table.find(&asked).and_then(|index| site.routes.get(index));
        if let Some(text) = self.closed(route) {
            return self.refuse_switch(&site, route, text).await;
        }
        self.request.hops = site.worker.hops(&self.request.hop);
        if self.request.hops > client::MAX_HOPS {
            return self.refuse_loop(&site, route).await;
        }
        let Some(route) = route else { return self.refuse_unrouted(&site).await };
        if route.signed {
            signed::read(self.request);
        }
        let read = client::read(self.request, self.peer, &site, trusted);
        if let Err(rule) = read.and_then(|()| self.names(&site, route)) {
            site.numbers.rejected(rule);
            return self.reject(&site, 400, rule, Reason::Malformed, route.place).await;
        }
        match &route.action {
            Action::Forward(_) if self.ends_here() => self.answer_here(&site, route).await,
            Action::Forward(target) => {
                let via = site.via || target.cluster.config().via;
                client::tell(self.request, self.peer, &site, trusted, via);
                self.forward(&site, route, target).await;
            }
            Action::Redirect(redirect) => self.redirect(&site, route, redirect).await,
            Action::Direct(direct) => self.direct(&site, route, direct).await,
        }
    }

    async fn forward(&mut self, site: &Rc<Site>, route: &Route, target: &Rc<Target>) {
        let watcher = self.watch(site, route.dialect.as_ref(), route.label);
        let place = if watcher.is_plain() { route.place } else { route.dialect_place };
        let mut account = Account::new(site, place, &watcher, self.began, self.request.head_bytes);
        if let Some(text) = watcher.refused() {
            let outcome = self.refuse_by_head(site, watcher, &mut account, text).await;
            return account.close(&outcome);
        }
        let protocol = target.cluster.config().protocol;
        if protocol == Protocol::Http1 {
            self.websocket_key();
        }
        let outcome = match protocol {
            Protocol::Http1 => self.tries(site, route, target, &target.h1, watcher, &mut account).await,
            Protocol::Http2 => self.tries(site, route, target, &target.h2, watcher, &mut account).await,
        };
        account.close(&outcome);
    }

    /// Who names, watches and judges it: the dialect, if it is of one.
    fn watch(&self, site: &Site, dialect: Option<&Rc<dyn Dialect>>, label: NameId) -> Watcher {
        let head = RequestHead {
            version: self.request.version.number(),
            method: &self.request.method_text,
            scheme: if self.request.secure { b"https" } else { b"http" },
            authority: &self.request.authority,
            path: self.request.path(),
            query: self.request.query(),
            fields: &self.request.fields,
            route: label,
            began: self.began,
        };
        let watch = dialect.and_then(|d| d.watch(&mut site.names(), &head));
        watch.map_or_else(|| self.plain(site, label), Watcher::Dialect)
    }

    /// What plain HTTP calls it.
    fn plain(&self, site: &Site, resource: NameId) -> Watcher {
        let operation = Operation {
            idempotent: plain::is_idempotent(self.request.method) && self.request.upgrade.is_empty(),
            ..Operation::new(site.words.method(self.request.method), resource)
        };
        Watcher::plain(operation, 0)
    }

    /// See to names that a server may read as those of other fields. Hardly any request has such.
    fn names(&mut self, site: &Site, route: &Route) -> Result<(), &'static str> {
        if !self.request.ambiguous && !site.looks_at_odd {
            return Ok(());
        }
        let exact = |dialect: &Rc<dyn Dialect>| {
            dialect.takes_names_exactly(self.request.version.number(), &self.request.fields)
        };
        if route.dialect.as_ref().is_some_and(exact) {
            return Ok(());
        }
        client::names(self.request, site, &mut Vec::new())
    }

    /// A WebSocket that comes by HTTP/2 has no key, and a server that speaks HTTP/1 wants one.
    fn websocket_key(&mut self) {
        let fields = &mut self.request.fields;
        if self.request.upgrade.eq_ignore_ascii_case(b"websocket") && fields.value(WEBSOCKET_KEY).is_none() {
            let worker = &self.site.worker;
            fields.push(WEBSOCKET_KEY, &websocket::key(worker.random(), worker.random()));
        }
    }

    async fn tries<O: Open>(
        &mut self,
        site: &Rc<Site>,
        route: &Route,
        target: &Target,
        open: &O,
        mut watcher: Watcher,
        account: &mut Account,
    ) -> Outcome {
        let policy = route.policy.as_ref().unwrap_or(&RetryPolicy::UNASKED);
        let limit = self.replay_limit(route, target, policy, &watcher);
        let mut replay = Replay::new(limit, self.request.end);
        let mut until = self.until(route, &watcher);
        let mut tries = Tries::new();
        let mut now = self.began;
        let outcome = loop {
            let ticket = match target.cluster.view.admit(watcher.operation(), &mut tries, now) {
                Ok(ticket) => ticket,
                Err(fault) => {
                    self.read_rest(site, &mut watcher, &mut replay, &fault).await;
                    break self.refuse(site, &mut watcher, account, &fault, None).await;
                }
            };
            watcher.attempt(tries.retries(), now, &mut self.request.fields);
            account.record.retries = tries.retries();
            until.per_try = route.per_try_timeout.map_or(NEVER, |limit| now.after(limit));
            let mut attempt = attempt::Attempt {
                site,
                policy,
                route,
                sent: Sent::Nothing,
                watcher: &mut watcher,
                replay: &mut replay,
                tries: &mut tries,
                account,
                until,
                times: route.times,
                began: now,
                clients: false,
                connect: self.request.method == Method::Connect,
            };
            match self.attempt(&mut attempt, open, ticket).await {
                Step::Over(outcome) => break outcome,
                Step::Again { after } => {
                    now = time::now();
                    if let Err(fault) = self.pause(now.after(after), until, &replay).await {
                        self.read_rest(site, &mut watcher, &mut replay, &fault).await;
                        break self.refuse(site, &mut watcher, account, &fault, None).await;
                    }
                    now = time::now();
                }
            }
        };
        if replay.take_exceeded() {
            site.numbers.replay_exceeded.inc();
        }
        if replay.take_crowded() {
            site.numbers.replay_memory.inc();
        }
        account.learn(&watcher, replay.bytes);
        watcher.finished(&outcome);
        outcome
    }

    /// How much of the body is worth keeping: all that is kept, where the request may be repeated though a server may have seen it.
    fn replay_limit(&self, route: &Route, target: &Target, policy: &RetryPolicy, watcher: &Watcher) -> usize {
        if self.request.end || !self.request.upgrade.is_empty() {
            return 0;
        }
        // A server that speaks HTTP/2 may say that it did not look at it.
        let may_be_refused = target.cluster.config().protocol == Protocol::Http2;
        let may_repeat = || {
            let idempotent = watcher.may_be_idempotent() || route.lists(self.request.path());
            policy.may_repeat(idempotent, self.client_repeats(watcher))
        };
        if may_be_refused || may_repeat() { route.replay_limit } else { 0 }
    }

    /// Whether the client tries again by itself.
    fn client_repeats(&self, watcher: &Watcher) -> bool {
        watcher.client_repeats() || again::client_repeats(&self.request.fields)
    }

    fn until(&self, route: &Route, watcher: &Watcher) -> Until {
        let own = watcher.timeout(route.timeout).filter(|_| self.request.upgrade.is_empty());
        Until {
            deadline: own.map_or(NEVER, |limit| self.began.after(limit)),
            clients: own.is_some() && own != route.timeout,
            per_try: NEVER,
        }
    }

    /// Wait for the next try's time, or until there is no point in it.
    async fn pause(&mut self, resume: Now, until: Until, replay: &Replay) -> Result<(), Fault> {
        poll_fn(|cx| {
            if replay.is_ended()
                && let Poll::Ready(broken) = self.down.poll_gone(cx)
            {
                return Poll::Ready(Err(Fault::new(Side::Client, Phase::Admitted, gone(&broken))));
            }
            match self.timer.poll(cx, resume.min(until.deadline)) {
                Poll::Ready(now) if now >= until.deadline => Poll::Ready(Err(until.fault(Phase::Admitted))),
                Poll::Ready(_) => Poll::Ready(Ok(())),
                Poll::Pending => Poll::Pending,
            }
        })
        .await
    }

    /// Get a connection for a try, unless the client goes or time runs out first.
    async fn open<O: Open>(
        &mut self,
        open: &O,
        pick: &Pick,
        fresh: bool,
        until: Until,
    ) -> Result<Result<O::Up, Opening>, Fault> {
        let at = until.deadline.min(until.per_try);
        let (down, timer, request) = (&mut *self.down, &mut *self.timer, &*self.request);
        let deadline = (until.deadline != NEVER).then_some(until.deadline);
        let mut opening = pin!(open.open(pick, request, fresh, deadline, self.site));
        poll_fn(|cx| {
            if let Poll::Ready(opened) = opening.as_mut().poll(cx) {
                return Poll::Ready(Ok(opened));
            }
            if let Poll::Ready(broken) = down.poll_gone(cx) {
                return Poll::Ready(Err(Fault::new(Side::Client, Phase::Connecting, gone(&broken))));
            }
            match timer.poll(cx, at) {
                Poll::Ready(now) if now >= until.deadline => Poll::Ready(Err(until.fault(Phase::Connecting))),
                Poll::Ready(_) => {
                    let fault = Fault::new(Side::Network, Phase::Connecting, Reason::TryTimeout);
                    Poll::Ready(Ok(Err(Opening::Failed(fault))))
                }
                Poll::Pending => Poll::Pending,
            }
        })
        .await
    }
}

impl Until {
    /// The whole exchange's time is over.
    fn fault(&self, phase: Phase) -> Fault {
        match self.clients {
            true => Fault::new(Side::Upstream, phase, Reason::Deadline),
            false => Fault::new(Side::Upstream, phase, Reason::Timeout),
        }
    }
}

/// The client is no longer there: how one says it.
fn gone(broken: &Broken) -> Reason {
    match broken.reason {
        Reason::Reset if broken.code.is_some() => Reason::Cancelled,
        reason => reason,
    }
}

impl route::Headers for Fields {
    fn any(&self, name: &str, test: &mut dyn FnMut(&[u8]) -> bool) -> bool {
        self.values(name.as_bytes()).any(test)
    }
}
