//! Names to addresses, off the request path: one thread asks the system's resolver (getaddrinfo, on a few threads of its own)
//! at start, after a reload, and every `dns_refresh`. What it finds is published; a failure is counted, logged when it
//! begins, changes or ends, and what was known before stays.

use super::answers::{Answer, Changes};
use super::book::{Found, is_name};
use super::failing::{Failing, Told};
use super::family::{Families, of_endpoint};
use super::shared::{Near, Shared};
use crate::ground::sync::lock;
use crate::ground::time;
use hashbrown::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use weir_config::Source;
use weir_decide::cluster::EndpointSpec;

/// The most addresses taken from one answer; of a longer one the rest is left out, and `weir_caps_met_total{cap="dns_addresses"}`
/// moves.
const MAX_ADDRESSES: usize = 256;
/// How many names are asked for at a time; a resolver that hangs blocks this many threads and nothing else.
const PARALLEL: usize = 8;
/// An answer that takes longer counts as a failure.
const PATIENCE: Duration = Duration::from_secs(15);

/// Asks the resolver thread to look after a cluster's names from now on.
#[derive(Debug, Clone)]
pub(crate) struct Resolver(mpsc::UnboundedSender<Request>);

#[derive(Debug)]
struct Request {
    shared: Arc<Shared>,
    /// Answered when every name has been asked for once.
    asked: oneshot::Sender<()>,
}

impl Resolver {
    /// Starts the thread, which ends when the last handle goes.
    pub(crate) fn start() -> std::io::Result<Resolver> {
        let (sender, receiver) = mpsc::unbounded_channel();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(PARALLEL)
            .thread_name("weir-resolve")
            .build()?;
        std::thread::Builder::new().name("weir-resolver".into()).spawn(move || {
            runtime.block_on(serve(receiver));
            runtime.shutdown_background();
        })?;
        Ok(Resolver(sender))
    }

    /// Looks after the names of `shared` as it is configured now; the receiver learns when each has been asked for once.
    pub(crate) fn watch(&self, shared: &Arc<Shared>) -> oneshot::Receiver<()> {
        let (asked, answered) = oneshot::channel();
        self.0.send(Request { shared: Arc::clone(shared), asked }).ok();
        answered
    }
}

async fn serve(mut requests: mpsc::UnboundedReceiver<Request>) {
    let mut watches: HashMap<Arc<str>, tokio::task::JoinHandle<()>> = HashMap::new();
    while let Some(request) = requests.recv().await {
        watches.retain(|_, watch| !watch.is_finished());
        let name = Arc::clone(request.shared.decide.name());
        let watch = tokio::spawn(watch(request));
        if let Some(before) = watches.insert(name, watch) {
            before.abort();
        }
    }
    watches.into_values().for_each(|watch| watch.abort());
}

/// Keeps one cluster's names fresh until the cluster is gone or has none.
async fn watch(request: Request) {
    let shared = Arc::downgrade(&request.shared);
    let mut asked = Some(request.asked);
    let mut latest = Some(request.shared);
    let mut changes = HashMap::new();
    let mut families = Families::default();
    let mut failing = Failing::default();
    while let Some(shared) = latest.take().or_else(|| shared.upgrade()) {
        let config = shared.current().config;
        let mut names = look_up_endpoints(&shared, &mut changes, &mut failing).await;
        if let Source::Dns { host, port } = &config.source {
            look_up_members(&shared, host, *port, &mut families, &mut failing).await;
            names = true;
        }
        if let Some(asked) = asked.take() {
            asked.send(()).ok();
        }
        if !names {
            return;
        }
        failing.round();
        drop((shared, config.clone()));
        tokio::time::sleep(config.dns_refresh).await;
    }
}

/// A `dns` cluster: every address is an endpoint, and what a filter found is too.
async fn look_up_members(
    shared: &Shared,
    host: &str,
    port: u16,
    families: &mut Families,
    failing: &mut Failing,
) {
    let found = look_up(shared, host, port).await;
    tell(shared, host, failing.next(host, &found));
    if let Ok(found) = found {
        *lock(&shared.dns_near) =
            found.iter().map(|address| Near::of(address.ip())).fold(Near::default(), Near::and);
        let found = families.choose(shared.current().config.dns_family, found).await;
        let spec = |address: &SocketAddr| EndpointSpec { address: address.to_string().into(), weight: 1 };
        let endpoints: Vec<_> = found.iter().map(spec).chain(shared.listed()).collect();
        shared.decide.set_endpoints(&endpoints, time::now());
    }
}

/// Listed endpoints: those that are names. Says whether there are any.
async fn look_up_endpoints(
    shared: &Arc<Shared>,
    changes: &mut HashMap<Arc<str>, Changes>,
    failing: &mut Failing,
) -> bool {
    let list = shared.listed();
    let before = shared.book.read();
    let family = shared.current().config.dns_family;
    changes.retain(|name, _| before.contains_key(name));
    let mut asked = tokio::task::JoinSet::new();
    for spec in &list {
        let at = shared.really_at(&spec.address);
        if at.is_none() && !is_name(&spec.address) {
            continue;
        }
        let (shared, address) = (Arc::clone(shared), Arc::clone(&spec.address));
        let really = at.map(|address| EndpointSpec { address, weight: 1 });
        let (host, port) = really.as_ref().unwrap_or(spec).host_port();
        let host = host.to_owned();
        asked.spawn(async move {
            let answer = look_up(&shared, &host, port).await;
            (address, host, answer)
        });
    }
    if asked.is_empty() {
        return false;
    }
    let mut found = Found::default();
    while let Some(answer) = asked.join_next().await {
        let Ok((address, host, answer)) = answer else { continue };
        tell(shared, &host, failing.next(&address, &answer));
        let known = before.get(&address);
        let answer = answer.ok().map(|addresses| {
            let changes = changes.entry(Arc::clone(&address)).or_default();
            changes.next(known, of_endpoint(family, addresses), time::now())
        });
        if let Some(answer) = answer.or_else(|| known.cloned()) {
            found.insert(address, answer);
        }
    }
    keep_afar(shared, &mut found);
    if found != *before {
        shared.book.publish(found);
    }
    true
}

/// What a server told of, and a name that is its own to choose stands for, is not to be looked for on this host or this link, unless
/// the configuration itself lists such servers, or says where it is.
fn keep_afar(shared: &Shared, found: &mut Found) {
    let near = shared.seeds_near(|name| found.get(name).map(|answer| Arc::clone(&answer.addresses)));
    for (name, Answer { addresses, .. }) in found.iter_mut() {
        if addresses.iter().all(|address| near.allows(address.ip()))
            || shared.is_seed(name)
            || shared.really_at(name).is_some()
        {
            continue;
        }
        tracing::warn!(
            cluster = %shared.decide.name(), endpoint = %name,
            "a server told of another one whose name stands for this host or its link: it is not connected to there"
        );
        *addresses = addresses.iter().filter(|address| near.allows(address.ip())).copied().collect();
    }
}

/// Logs what has changed about a name that fails.
fn tell(shared: &Shared, host: &str, told: Option<Told<'_>>) {
    let cluster = shared.decide.name();
    match told {
        Some(Told::Failed(error)) => {
            tracing::warn!(%cluster, host, error, "a name was not resolved; what was known of it stays");
        }
        Some(Told::Recovered) => tracing::info!(%cluster, host, "a name is resolved again"),
        None => {}
    }
}

/// The addresses of one name, in the order of the resolver (RFC 6724), each once; or why there are none, which is counted.
async fn look_up(shared: &Shared, host: &str, port: u16) -> Result<Vec<SocketAddr>, String> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let failure = match tokio::time::timeout(PATIENCE, tokio::net::lookup_host((host, port))).await {
        Ok(Ok(found)) => {
            let mut found: Vec<_> = found.take(MAX_ADDRESSES + 1).collect();
            if found.len() > MAX_ADDRESSES {
                shared.numbers().addresses.inc();
                found.truncate(MAX_ADDRESSES);
            }
            let mut seen = hashbrown::HashSet::new();
            found.retain(|address| seen.insert(*address));
            if !found.is_empty() {
                shared.numbers().resolved.inc();
                return Ok(found);
            }
            "no addresses".to_owned()
        }
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("no answer within {} s", PATIENCE.as_secs()),
    };
    shared.numbers().unresolved.inc();
    Err(failure)
}
