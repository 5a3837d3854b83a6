//! The filter and its services: one per listener and worker, which keeps the present [`Site`] and tells HTTP/2 from HTTP/1.

use crate::config;
use crate::dialect::Dialect;
use crate::h1;
use crate::h2;
use crate::plain::Vocabulary;
use crate::site::{Action, Numbers, Peer, Route, Site, Target};
use crate::timer::{Timer, given_up};
use bytes::BytesMut;
use std::cell::RefCell;
use std::collections::HashMap;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use weir_codecs::http1::{Limits, client_field, is_ambiguous, read_as};
use weir_config::{Config, Listener, Node, Section, Settings, Table, Upstream, Walk};
use weir_decide::exchange::{NameKind, RetryOn};
use weir_decide::route::RouteTable;
use weir_decide::sources::Trusted;
use weir_drive::{Accepted, Advice, Alpn, BuildError, Filter, Io, Pool, Service, Worker, time};

/// Makes a dialect's instances.
pub trait DialectFactory: Sync {
    /// Its name in `dialect:` and in the `protocol` label.
    fn name(&self) -> &'static str;

    /// Whether servers of it answer only over HTTP/2.
    fn needs_http2(&self) -> bool {
        false
    }

    /// Whether its requests are signed, so that they are left as they are unless a route says otherwise.
    fn is_signed(&self) -> bool {
        false
    }

    /// The conditions of a retry that its calls may meet.
    fn conditions(&self) -> RetryOn {
        RetryOn::HTTP
    }

    /// Whether its calls are methods of services, which may be listed as idempotent.
    fn has_methods(&self) -> bool {
        false
    }

    /// One instance for a listener on a worker.
    fn dialect(&self, listener: &Arc<Listener>, worker: &Rc<Worker>) -> Rc<dyn Dialect>;
}

/// A kind of HTTP listener: `http:` itself, or one whose routes all have a dialect.
pub struct HttpSection {
    /// The key of the section.
    pub key: &'static str,
    /// Its table: [`config::HTTP`], or one made by [`config::table`].
    pub table: &'static Table,
    /// The dialect of routes that name none.
    pub dialect: Option<&'static dyn DialectFactory>,
    /// The dialects that routes may name.
    pub dialects: &'static [&'static dyn DialectFactory],
}

impl HttpSection {
    fn factories(&self) -> impl Iterator<Item = &'static dyn DialectFactory> {
        self.dialect.into_iter().chain(self.dialects.iter().copied())
    }
}

impl Section for HttpSection {
    fn key(&self) -> &'static str {
        self.key
    }

    fn table(&self) -> &'static Table {
        self.table
    }

    fn has_fields(&self) -> bool {
        true
    }

    fn read(&self, walk: &mut Walk<'_>, node: &Node) -> Option<Settings> {
        let mut dialects: Vec<_> = self.factories().collect();
        dialects.sort_unstable_by_key(|dialect| dialect.name());
        dialects.dedup_by_key(|dialect| dialect.name());
        config::read(walk, node, self.table, &dialects, self.dialect)
    }
}

/// The filter of one kind of HTTP listener.
pub struct Http(pub &'static HttpSection);

impl Filter for Http {
    fn section(&self) -> &'static dyn Section {
        self.0
    }

    fn alpn(&self) -> &'static [Alpn] {
        &[Alpn::H2, Alpn::Http1]
    }

    fn check(&self, listener: &Listener, config: &Config) -> Result<Option<Advice>, BuildError> {
        let Some(settings) = listener.settings.downcast_ref::<config::Http>() else { return Ok(None) };
        // Thousands of routes may lead to thousands of clusters: each is looked up, not looked for.
        let clusters: HashMap<&str, _> =
            config.clusters.iter().map(|cluster| (&*cluster.name, &**cluster)).collect();
        if listener.trusted.networks.is_empty()
            && !listener.trusted.unix
            && let Some(header) = settings
                .routes
                .iter()
                .flat_map(|route| &route.spec.headers)
                .find(|header| client_field(header.name.as_bytes()).is_some())
        {
            return Err(BuildError::new(
                listener,
                format!(
                    "a route asks for `{}`, which is taken off all requests of peers that are not in `trusted`, and this listener trusts nobody",
                    header.name
                ),
            ));
        }
        for route in &settings.routes {
            let config::Action::Cluster(name) = &route.action else { continue };
            let cluster = clusters.get(&**name);
            let dialect = self.0.factories().find(|factory| Some(factory.name()) == route.dialect.as_deref());
            if cluster.is_some_and(|cluster| cluster.proxy_protocol.is_some()) {
                return Ok(Some(Advice::Warning(format!(
                    "the cluster `{name}` has `proxy_protocol`, and clients of this listener share its connections: their headers \
                     say that they are Weir's own; clients' addresses are in x-forwarded-for"
                ))));
            }
            let refusable =
                route.retry.as_ref().is_some_and(|retry| retry.policy.on.meets(RetryOn::REFUSED_STREAM));
            let over_http1 = cluster.is_some_and(|cluster| cluster.protocol == Upstream::Http1);
            if over_http1 && dialect.is_some_and(|dialect| dialect.needs_http2()) {
                return Ok(Some(Advice::Warning(format!(
                    "the cluster `{name}` speaks HTTP/1.1, over which no server answers {}: give it `protocol: http2`",
                    dialect.map_or("", |dialect| dialect.name())
                ))));
            }
            if over_http1 && refusable {
                return Ok(Some(Advice::Warning(format!(
                    "`refused-stream` of the route `{}` never applies: the cluster `{name}` speaks HTTP/1.1, in which a server cannot \
                     say that it has not processed a request",
                    route.name
                ))));
            }
        }
        if settings.said.underscores == config::Underscores::Drop {
            let signs = |route: &&config::Route| {
                let dialect =
                    self.0.factories().find(|factory| Some(factory.name()) == route.dialect.as_deref());
                route.signed.unwrap_or(dialect.is_some_and(|dialect| dialect.is_signed()))
            };
            if let Some(route) = settings.routes.iter().find(signs) {
                return Ok(Some(Advice::Warning(format!(
                    "`underscores: drop` removes fields from signed requests of the route `{}` too, whose signatures may cover them",
                    route.name
                ))));
            }
        }
        Ok(crate::circle::find(listener, config).map(Advice::Warning))
    }

    fn service(&self, listener: &Arc<Listener>, worker: &Rc<Worker>) -> Result<Rc<dyn Service>, BuildError> {
        let nowhere = worker.measure().measure().place(&listener.name, "", self.0.key);
        let mut names = worker.measure().names(nowhere);
        let parts = Parts {
            section: self.0,
            words: Rc::new(Vocabulary::new(&mut names)),
            numbers: Rc::new(Numbers::new(worker.measure().measure(), &listener.name)),
        };
        let site = parts.site(listener, worker, &HashMap::new())?;
        Ok(Rc::new(HttpService { parts, site: RefCell::new(Rc::new(site)) }))
    }
}

/// What outlives a reload.
struct Parts {
    section: &'static HttpSection,
    words: Rc<Vocabulary>,
    numbers: Rc<Numbers>,
}

/// A listener's service on one worker.
pub struct HttpService {
    parts: Parts,
    site: RefCell<Rc<Site>>,
}

impl HttpService {
    /// The settings by now. Hold them for one exchange, not longer.
    pub fn site(&self) -> Rc<Site> {
        Rc::clone(&self.site.borrow())
    }
}

impl Service for HttpService {
    fn serve(self: Rc<Self>, connection: Accepted) -> Pin<Box<dyn Future<Output = ()>>> {
        Box::pin(serve(self, connection))
    }

    fn reload(&self, listener: &Arc<Listener>, worker: &Rc<Worker>) -> Result<(), BuildError> {
        let known = self.site().targets.clone();
        let site = self.parts.site(listener, worker, &known)?;
        *self.site.borrow_mut() = Rc::new(site);
        Ok(())
    }
}

impl Parts {
    fn site(
        &self,
        listener: &Arc<Listener>,
        worker: &Rc<Worker>,
        known: &HashMap<Arc<str>, Rc<Target>>,
    ) -> Result<Site, BuildError> {
        let settings = listener.settings.downcast_ref::<config::Http>();
        let settings = settings.ok_or_else(|| BuildError::new(listener, "its settings are not of http"))?;
        let mut targets = HashMap::new();
        let mut dialects: HashMap<&'static str, Rc<dyn Dialect>> = HashMap::new();
        let mut routes = Vec::with_capacity(settings.routes.len());
        for route in &settings.routes {
            routes.push(self.route(listener, worker, route, known, &mut targets, &mut dialects)?);
        }
        let dialect = self.section.dialect.map(|factory| {
            let made = dialects.entry(factory.name());
            Rc::clone(made.or_insert_with(|| factory.dialect(listener, worker)))
        });
        let mut looked_at: Vec<(Box<str>, Box<[u8]>)> = Vec::new();
        for header in settings.routes.iter().flat_map(|route| &route.spec.headers) {
            if !looked_at.iter().any(|(name, _)| *name == header.name) {
                let mut read = Vec::new();
                read_as(header.name.as_bytes(), &mut read);
                looked_at.push((header.name.clone(), read.into()));
            }
        }
        let nowhere = |protocol| worker.measure().measure().place(&listener.name, "", protocol);
        Ok(Site {
            worker: Rc::clone(worker),
            words: Rc::clone(&self.words),
            numbers: Rc::clone(&self.numbers),
            table: RouteTable::new(settings.routes.iter().map(|route| route.spec.clone()).collect()),
            routes,
            targets,
            trusted: Trusted::new(&listener.trusted),
            first_sight: Arc::clone(&settings.first_sight),
            said: settings.said,
            via: listener.via,
            looks_at_odd: looked_at.iter().any(|(name, _)| is_ambiguous(name.as_bytes())),
            looked_at,
            limits: Limits::default(),
            head_timeout: settings.head_timeout,
            // A connection without a request does not move either.
            keep_alive: listener
                .idle_timeout
                .map_or(settings.keep_alive, |idle| idle.min(settings.keep_alive)),
            idle_timeout: listener.idle_timeout,
            h2: self.http2(settings),
            half_closed: settings.half_closed,
            plain_nowhere: nowhere("http"),
            nowhere: nowhere(dialect.as_ref().map_or("http", |dialect| dialect.name())),
            dialect,
        })
    }

    /// Calls of a dialect that lives on HTTP/2 may be open for long, and many at a time.
    fn http2(&self, settings: &config::Http) -> crate::site::Http2 {
        let calls = self.section.dialect.is_some_and(|dialect| dialect.needs_http2());
        let usual = if calls { h2::MAX_CALLS } else { h2::MAX_STREAMS };
        let weir_config::Http2 { max_streams, keepalive, max_age } = settings.http2;
        crate::site::Http2 { streams: max_streams.unwrap_or(usual), keepalive, max_age }
    }

    fn route(
        &self,
        listener: &Arc<Listener>,
        worker: &Rc<Worker>,
        route: &config::Route,
        known: &HashMap<Arc<str>, Rc<Target>>,
        targets: &mut HashMap<Arc<str>, Rc<Target>>,
        dialects: &mut HashMap<&'static str, Rc<dyn Dialect>>,
    ) -> Result<Route, BuildError> {
        let (action, cluster) = match &route.action {
            config::Action::Redirect(redirect) => (Action::Redirect(Arc::clone(redirect)), ""),
            config::Action::Direct(direct) => (Action::Direct(Arc::clone(direct)), ""),
            config::Action::Cluster(name) => {
                let cluster = worker.cluster(name).ok_or_else(|| BuildError::no_cluster(listener, name))?;
                let same = |target: &&Rc<Target>| Rc::ptr_eq(&target.cluster, &cluster);
                let target = targets.get(name).or(known.get(name)).filter(same).cloned();
                let target = target.unwrap_or_else(|| {
                    Rc::new(Target {
                        h1: Pool::new(&cluster),
                        h2: h2::Pool::new(&cluster),
                        cluster: Rc::clone(&cluster),
                    })
                });
                targets.insert(Arc::clone(name), Rc::clone(&target));
                (Action::Forward(target), &**name)
            }
        };
        let factory =
            route.dialect.as_deref().and_then(|name| self.section.factories().find(|f| f.name() == name));
        let dialect = factory.map(|factory| {
            let made = dialects.entry(factory.name());
            Rc::clone(made.or_insert_with(|| factory.dialect(listener, worker)))
        });
        let measure = worker.measure();
        let place = |protocol| measure.measure().place(&listener.name, cluster, protocol);
        Ok(Route {
            signed: route.signed.unwrap_or(factory.is_some_and(|factory| factory.is_signed())),
            label: measure.intern(NameKind::Resource, &[route.name.as_bytes()]),
            action,
            timeout: route.timeout,
            times: route.times,
            per_try_timeout: route.retry.as_ref().and_then(|retry| retry.per_try_timeout),
            policy: route.retry.as_ref().map(|retry| retry.policy.clone()),
            idempotent: Arc::clone(&route.idempotent),
            replay_limit: route.retry.as_ref().map_or(crate::exchange::REPLAY_LIMIT, |retry| retry.buffer),
            place: place("http"),
            dialect_place: dialect.as_ref().map_or_else(|| place("http"), |dialect| place(dialect.name())),
            dialect,
            switches: route.switches.clone(),
            methods: route.spec.methods.clone(),
        })
    }
}

/// The first bytes of an HTTP/2 connection (RFC 9113 section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What the first bytes say.
enum Speaks {
    Http1(BytesMut),
    Http2(BytesMut),
    Nothing,
}

async fn serve(service: Rc<HttpService>, connection: Accepted) {
    let Accepted { mut io, peer, told, alpn, covered, drain, held, .. } = connection;
    let mut peer = Peer::new(peer, told, io.is_tls());
    peer.covered = covered;
    let speaks = match alpn {
        Some(Alpn::H2) => Speaks::Http2(BytesMut::new()),
        Some(Alpn::Http1) => Speaks::Http1(BytesMut::new()),
        None => sniff(&service, &mut io, &drain).await,
    };
    match speaks {
        Speaks::Http1(read) => h1::serve::serve(service, io, read, peer, drain).await,
        Speaks::Http2(read) => Box::pin(h2::serve::serve(service, io, read, peer, drain)).await,
        Speaks::Nothing => {}
    }
    drop(held);
}

/// Read until it is clear which version the client speaks: HTTP/2 with prior knowledge begins with a preface that no HTTP/1
/// request begins with.
async fn sniff(service: &HttpService, io: &mut Io, drain: &weir_drive::Drain) -> Speaks {
    let site = service.site();
    let since = time::now();
    let until = since.after(site.keep_alive);
    let mut read = BytesMut::new();
    let (mut timer, mut began) = (Timer::default(), None);
    let known = poll_fn(|cx| {
        loop {
            if read.capacity() == 0 {
                match io.poll_readable(cx) {
                    Poll::Ready(Ok(())) => read = site.worker.buffers().take(),
                    Poll::Ready(Err(_)) => return Poll::Ready(None),
                    Poll::Pending => return Poll::Pending,
                }
            }
            match io.poll_read_buf(cx, &mut read) {
                Poll::Ready(Ok(1..)) => {}
                Poll::Ready(_) => return Poll::Ready(None),
                Poll::Pending => {
                    if read.is_empty() {
                        site.worker.buffers().give(std::mem::take(&mut read));
                        return Poll::Pending;
                    }
                    // So far it is a part of the preface, and may be one of a method.
                    let began = *began.get_or_insert_with(time::now);
                    let late = timer.poll(cx, began.after(site.head_timeout));
                    return late.map(|_| {
                        site.numbers.rejected(h2::serve::LATE);
                        None
                    });
                }
            }
            let common = read.iter().zip(PREFACE).take_while(|(a, b)| a == b).count();
            if common == PREFACE.len() {
                return Poll::Ready(Some(true));
            }
            if common < read.len() {
                return Poll::Ready(Some(false));
            }
        }
    });
    let known = tokio::select! {
        biased;
        known = known => known,
        () = given_up(drain, since, until) => None,
    };
    match known {
        Some(true) => Speaks::Http2(read),
        Some(false) => Speaks::Http1(read),
        None => {
            site.worker.buffers().give(read);
            Speaks::Nothing
        }
    }
}
