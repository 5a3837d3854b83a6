//! Who the members of the replica set are: asked of every endpoint of the cluster, at start, every few seconds, and when a
//! hello has named somebody unknown. Runs as a task of one worker, off the path of any request.
//!
//! The primary's word is the truth. Without a primary a newer configuration counts, and otherwise what was known stays: a
//! set in an election must not lose its doors.

use super::belief::{Named, REASONS};
use super::map::Map;
use super::word::{Word, believed, remembered};
use super::{Members, role};
use crate::measure::listeners::Listeners;
use crate::measure::topology::{Heard, Topology};
use crate::names;
use bson::{Document, doc};
use bytes::BytesMut;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::{Notify, Semaphore};
use weir_codecs::mongo::{HEADER_LENGTH, Header, OpCode, op_msg};
use weir_config::Listener;
use weir_decide::exchange::Now;
use weir_drive::{Cluster, Connected, Front, Offer, Worker, time};
use weir_measure::Gauge;

/// How often the members are asked.
const REFRESH: Duration = Duration::from_secs(2);
/// How often while no primary is known, or somebody has not answered yet.
const UNSETTLED: Duration = Duration::from_millis(500);
/// The least time between two rounds, whatever hellos name.
const REST: Duration = Duration::from_millis(100);
/// How long a member may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a round waits for those who have not answered when somebody has; what they say later counts in the next.
const STRAGGLE: Duration = Duration::from_millis(200);
/// A member that has not answered for so long does not answer.
const SILENT: Duration = Duration::from_secs(1);
/// The most connections to members that are being made at a time.
const CONNECTING: usize = 10;
/// The longest answer that is read.
const LONGEST: usize = 1 << 20;
/// `OP_MSG` before the document: header, flags, the section's kind.
const BEFORE_DOCUMENT: usize = HEADER_LENGTH + 5;

/// The task; dropping it ends it.
pub(crate) struct Discovery {
    task: tokio::task::JoinHandle<()>,
    /// What to put back when members mode ends, once there is anything.
    front: Front,
    fronted: Rc<Cell<bool>>,
    worker: Rc<Worker>,
    topology: Arc<Topology>,
}

impl Discovery {
    pub(crate) fn start(
        worker: &Rc<Worker>,
        listener: &Arc<Listener>,
        cluster: &Rc<Cluster>,
        members: &Arc<Members>,
    ) -> Discovery {
        let front = Front {
            by: members.id,
            listener: Arc::clone(&listener.name),
            doors: Vec::new(),
            cluster: Arc::clone(cluster.name()),
            endpoints: Vec::new(),
            at: Vec::new(),
        };
        let fronted = Rc::new(Cell::new(false));
        let gauge = worker.measure().measure().gauge(&names::MONGO_MEMBERS, &[&listener.name]);
        let host = host(members.fronting.advertise.as_deref(), listener.bind.ip());
        let round = Round {
            worker: Rc::clone(worker),
            listener: Arc::clone(listener),
            cluster: Rc::clone(cluster),
            members: Arc::clone(members),
            host,
            connections: BTreeMap::new(),
            asking: BTreeMap::new(),
            answered: Rc::default(),
            connecting: Rc::new(Semaphore::new(CONNECTING)),
            primary: None,
            deposed: None,
            refused: Named::default(),
            fronted: Rc::clone(&fronted),
            stands: false,
            taken: Vec::new(),
            is_told: false,
            gauge,
            topology: Listeners::of(worker.measure().measure()).one(&listener.name),
        };
        let topology = Arc::clone(&round.topology);
        Discovery { task: worker.spawn(round.run()), front, fronted, worker: Rc::clone(worker), topology }
    }

    /// It ends: the doors and endpoints stay for `successor`, if it is one that has to put them back itself.
    pub(crate) fn hand_over(&self, successor: &Discovery) {
        if self.front.by == successor.front.by {
            let fronted = self.fronted.take() || successor.fronted.get();
            successor.fronted.set(fronted);
        }
    }
}

impl Drop for Discovery {
    fn drop(&mut self) {
        self.task.abort();
        if self.fronted.get() {
            self.topology.clear();
            drop(self.worker.front(self.front.clone()));
        }
    }
}

/// What drivers call the host: an IPv6 address is in brackets.
fn host(advertise: Option<&str>, bind: Option<SocketAddr>) -> Arc<str> {
    let bound = || bind.map(|bind| bind.ip().to_string());
    let host = advertise.map(str::to_owned).or_else(bound).unwrap_or_default();
    match host.parse::<std::net::Ipv6Addr>() {
        Ok(_) => format!("[{host}]").into(),
        Err(_) => host.into(),
    }
}

/// What a round needs, and what it leaves to the next.
struct Round {
    worker: Rc<Worker>,
    listener: Arc<Listener>,
    cluster: Rc<Cluster>,
    members: Arc<Members>,
    host: Arc<str>,
    /// To those who answered last time.
    connections: BTreeMap<Arc<str>, Connected>,
    /// Those who have not answered yet.
    asking: BTreeMap<Arc<str>, Asking>,
    /// Told when one has.
    answered: Rc<Notify>,
    connecting: Rc<Semaphore>,
    /// Who was primary last.
    primary: Option<Arc<str>>,
    /// Who was primary before another one was, until it answers or its connections have ended.
    deposed: Option<Arc<str>>,
    /// Who is not believed in, as the log says.
    refused: Named,
    /// The process has been asked for doors and endpoints.
    fronted: Rc<Cell<bool>>,
    /// This task has asked itself, and they are as they should be: a reload may have changed what its predecessor had.
    stands: bool,
    /// Ports that somebody else has, as the log says.
    taken: Vec<u16>,
    /// That there is no replica set has been told.
    is_told: bool,
    gauge: Gauge,
    topology: Arc<Topology>,
}

/// What came of asking an endpoint: what it says it is, and when it did; or when it was asked in vain.
type Answer = (Arc<str>, Option<Heard>, Now);

/// A member that is being asked.
struct Asking {
    task: tokio::task::JoinHandle<Option<Asked>>,
    since: Now,
}

impl Asking {
    fn is_silent(&self) -> bool {
        time::now().since(self.since) >= SILENT.as_nanos() as u64
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Round {
    async fn run(mut self) {
        loop {
            let (words, answers) = self.ask_all().await;
            let map = self.members.map();
            let is_endpoint = |member: &Arc<str>| self.cluster.view.endpoint_at(member).is_some();
            let lost = !self.stands || !map.members.iter().all(|(_, member)| is_endpoint(member));
            match believed(&map, &words).or_else(|| remembered(&map).filter(|_| lost)) {
                Some(word) => self.take(&map, &word).await,
                // One that has not answered yet may still be what it was.
                None if map.primary.as_ref().is_some_and(|primary| !self.is_pending(primary))
                    && !words.iter().any(|word| word.is_primary) =>
                {
                    self.members.publish(Map { primary: None, ..(*map).clone() });
                }
                None => {}
            }
            self.end_deposed();
            self.note(&answers);
            let settled = (self.members.map().primary.is_some() || self.is_told) && self.asking.is_empty();
            let pause = if settled { REFRESH } else { UNSETTLED };
            tokio::time::sleep(REST).await;
            tokio::time::timeout(pause, self.members.outdated.notified()).await.ok();
        }
    }

    /// Has everybody know who the members are by now, and what they say they are.
    fn note(&self, answers: &[Answer]) {
        let map = self.members.map();
        let Some(set) = &map.set else { return };
        let ported = map.members.iter().map(|(port, member)| (member, Some(map.address(*port).into())));
        let members = ported.chain(map.left_out.iter().map(|member| (member, None)));
        let members: Vec<_> = members.map(|(member, advertised)| (Arc::clone(member), advertised)).collect();
        self.topology.list(set, &members);
        for (member, heard, at) in answers {
            match heard {
                Some(heard) => self.topology.heard(member, heard, *at),
                None => self.topology.missed(member, *at),
            }
        }
    }

    /// Whether it has been asked, and has not been silent for long.
    fn is_pending(&self, member: &Arc<str>) -> bool {
        self.asking.get(member).is_some_and(|asking| !asking.is_silent())
    }

    /// Ends the connections to who was primary before, once another one is and it is silent: nothing more will come from there, and
    /// drivers would wait for it.
    fn end_deposed(&mut self) {
        let Some(now) = self.members.map().primary.clone() else { return };
        match self.primary.replace(Arc::clone(&now)) {
            Some(before) if before != now => self.deposed = Some(before),
            _ => {}
        }
        let Some(deposed) = self.deposed.clone() else { return };
        match self.asking.get(&deposed) {
            Some(asking) if asking.is_silent() => {
                self.members.cut(&deposed);
                self.deposed = None;
            }
            Some(_) => {}
            // It answers, or it is known to be gone.
            None => self.deposed = None,
        }
    }

    /// Asks every endpoint that is not being asked already, all at once. Those who do not answer at once keep nobody waiting.
    async fn ask_all(&mut self) -> (Vec<Word>, Vec<Answer>) {
        let addresses = self.cluster.view.addresses();
        self.connections.retain(|address, _| addresses.contains(address));
        self.asking.retain(|address, _| addresses.contains(address));
        for address in addresses {
            if !self.asking.contains_key(&address) {
                let asking = self.ask(&address);
                self.asking.insert(address, asking);
            }
        }
        let answered = self.wait_for_answers().await;
        let (mut words, mut answers) = (Vec::new(), Vec::new());
        let mut strangers = false;
        for (address, since, answer) in answered {
            let Some(Asked { connection, hello, took, at }) = answer else {
                answers.push((address, None, since));
                continue;
            };
            let heard = Heard { round_trip: Some(took), ..role::of_document(&hello) };
            answers.push((Arc::clone(&address), Some(heard), at));
            self.connections.insert(address, connection);
            strangers |= !hello.contains_key("setName") && !hello.contains_key("isreplicaset");
            match Word::of(&hello, |member| self.may_be_told_of(member)) {
                Some(word) if word.members.is_empty() => self.tell_refused(&word.named),
                word => words.extend(word),
            }
        }
        let silent = self.asking.iter().filter(|(_, asking)| asking.is_silent());
        answers.extend(silent.map(|(address, asking)| (Arc::clone(address), None, asking.since)));
        if words.is_empty()
            && strangers
            && self.asking.is_empty()
            && !self.is_told
            && !self.members.map().is_known()
        {
            self.is_told = true;
            tracing::info!(
                listener = %self.listener.name,
                "the server belongs to no replica set: it is fronted transparently"
            );
        }
        (words, answers)
    }

    fn ask(&mut self, address: &Arc<str>) -> Asking {
        let kept = self.connections.remove(address);
        let (cluster, connecting) = (Rc::clone(&self.cluster), Rc::clone(&self.connecting));
        let (address, answered) = (Arc::clone(address), Rc::clone(&self.answered));
        let task = self.worker.spawn(async move {
            let answer = tokio::time::timeout(PATIENCE, ask(&cluster, &address, kept, &connecting)).await;
            answered.notify_one();
            answer.ok().flatten()
        });
        Asking { task, since: time::now() }
    }

    /// Waits for all who are asked, or a little longer than for the first who answers.
    async fn wait_for_answers(&mut self) -> Vec<(Arc<str>, Now, Option<Asked>)> {
        let mut deadline = None;
        let mut answered = Vec::new();
        loop {
            let done: Vec<_> = self
                .asking
                .iter()
                .filter(|(_, asking)| asking.task.is_finished())
                .map(|(address, _)| Arc::clone(address))
                .collect();
            for address in done {
                let Some(mut asking) = self.asking.remove(&address) else { continue };
                let answer = (&mut asking.task).await.ok().flatten();
                if answer.is_some() {
                    deadline.get_or_insert(time::now().after(STRAGGLE));
                }
                answered.push((address, asking.since, answer));
            }
            if self.asking.is_empty() {
                return answered;
            }
            // Nobody has answered: as long as one may take.
            let until = time::deadline(deadline.unwrap_or(time::now().after(SILENT)));
            if tokio::time::timeout_at(until, self.answered.notified()).await.is_err() {
                // The last one may have finished without being seen to.
                return answered;
            }
            tokio::task::yield_now().await;
        }
    }

    /// Whether a server may tell of a member of this name: the operator has said where it is, or it is where servers may be.
    fn may_be_told_of(&self, member: &str) -> bool {
        self.members.fronting.at.iter().any(|(name, _)| name.eq_ignore_ascii_case(member))
            || self.cluster.may_be_told_of(member)
    }

    /// Follows `word`: doors and endpoints first, then the map that sends drivers to them.
    async fn take(&mut self, before: &Map, word: &Word) {
        self.tell_refused(&word.named);
        let next = self.next(before, word, &[]);
        let known = |member: &Arc<str>| self.cluster.view.endpoint_at(member).is_some();
        if self.stands && next.members == before.members && word.members.iter().all(known) {
            if next != *before {
                self.members.publish(next);
            }
            return;
        }
        self.stands = false;
        let Some(next) = self.open(before, word).await else { return };
        self.stands = true;
        self.tell(before, &next);
        let members = next.members.len() as u64;
        self.members.publish(next);
        self.gauge.set(members);
    }

    fn next(&self, before: &Map, word: &Word, taken: &[u16]) -> Map {
        let ports = self.members.fronting.ports;
        let mut next = before.with(&word.set, &self.host, &word.members, ports, taken);
        next.version = word.version;
        next.refused = word.named.refused.iter().map(|(name, _)| Arc::clone(name)).collect();
        next.primary = if word.is_primary { word.primary.clone() } else { None };
        next
    }

    /// Has doors and endpoints as `word` says, on ports that can be had.
    async fn open(&mut self, before: &Map, word: &Word) -> Option<Map> {
        let mut taken = Vec::new();
        let mut patient = true;
        let next = loop {
            let next = self.next(before, word, &taken);
            // Nobody is sent any more to a door that is about to close.
            if before.is_known() {
                self.members.publish(before.both(&next));
            }
            let failed = self.front(&next, &word.members).await?;
            if failed.is_empty() {
                break next;
            }
            // A reload may have left them with a listener that is only just letting go.
            if std::mem::take(&mut patient) {
                tokio::time::sleep(REST).await;
                continue;
            }
            for (port, error) in failed {
                if !self.taken.contains(&port) {
                    tracing::warn!(
                        listener = %self.listener.name, port, %error,
                        "a port of member_ports cannot be had, so others are used: free it, or give another range"
                    );
                }
                taken.push(port);
            }
        };
        self.taken = taken;
        Some(next)
    }

    /// Has the doors opened; says which ports could not be had.
    async fn front(&self, map: &Map, endpoints: &[Arc<str>]) -> Option<Vec<(u16, std::io::Error)>> {
        // A Unix socket has no ports: `check` does not let it come to this.
        let own = self.listener.bind.ip()?;
        let ports = map.members.iter().map(|(port, _)| *port).filter(|port| *port != own.port());
        let front = Front {
            by: self.members.id,
            listener: Arc::clone(&self.listener.name),
            doors: ports.map(|port| SocketAddr::new(own.ip(), port)).collect(),
            cluster: Arc::clone(self.cluster.name()),
            endpoints: endpoints.to_vec(),
            at: self.members.fronting.at.to_vec(),
        };
        // Before it is known what comes of it: this task may be gone by then.
        self.fronted.set(true);
        let fronted = self.worker.front(front).await?;
        Some(fronted.failed.into_iter().map(|(address, error)| (address.port(), error)).collect())
    }

    /// Says and counts who is not believed in, when that changes.
    fn tell_refused(&mut self, named: &Named) {
        if self.refused == *named {
            return;
        }
        let listener = &*self.listener.name;
        for reason in REASONS {
            let count = named.refused.iter().filter(|(_, its)| *its == reason).count() as u64;
            let measure = self.worker.measure().measure();
            measure.counter(&names::MONGO_MEMBERS_REFUSED, &[listener, reason]).add(count);
        }
        if let Some((member, reason)) = named.refused.first() {
            tracing::warn!(
                listener, %member, reason, members = named.refused_count,
                "a server names members that are not believed in: more than a set can have, no names, or on this host or its link; \
                 where such a member really is can be said in `members`"
            );
        }
        self.refused = named.clone();
    }

    fn tell(&self, before: &Map, next: &Map) {
        let listener = &self.listener.name;
        for (port, member) in &next.members {
            if before.port_of(member) != Some(*port) {
                let address = next.address(*port);
                tracing::info!(%listener, %member, address, "a member of the replica set has an address");
            }
        }
        for (_, member) in &before.members {
            if next.port_of(member).is_none() {
                tracing::info!(%listener, %member, "a member of the replica set has no address any more");
            }
        }
        for member in &next.left_out {
            if !before.left_out.contains(member) {
                tracing::warn!(
                    %listener, %member,
                    "none of member_ports can be had for a member of the replica set, so drivers do not learn of it: give more"
                );
            }
        }
    }
}

/// A member's answer.
struct Asked {
    connection: Connected,
    hello: Document,
    /// From the question to the whole answer.
    took: Duration,
    /// When it came.
    at: Now,
}

/// Asks one member, over `kept` if that still stands.
async fn ask(
    cluster: &Cluster,
    address: &Arc<str>,
    kept: Option<Connected>,
    connecting: &Semaphore,
) -> Option<Asked> {
    let asked = |connection, hello, began: Now| {
        let at = time::now();
        Asked { connection, hello, took: Duration::from_nanos(at.since(began)), at }
    };
    if let Some(mut kept) = kept {
        let began = time::now();
        if let Ok(hello) = hello(&mut kept, false).await {
            return Some(asked(kept, hello, began));
        }
    }
    let _one_of_few = connecting.acquire().await.ok()?;
    let pick = cluster.view.endpoint_at(address)?;
    // Why it cannot be reached is logged by the cluster.
    let mut made = cluster.connect(&pick, Offer::Nothing, None).await.ok()?;
    let began = time::now();
    match hello(&mut made, true).await {
        Ok(hello) => Some(asked(made, hello, began)),
        Err(error) => {
            tracing::warn!(cluster = %cluster.name(), member = %address, %error, "a member does not say who it is");
            None
        }
    }
}

async fn hello(connection: &mut Connected, is_first: bool) -> Result<Document, Box<dyn std::error::Error>> {
    let mut question = doc! { "hello": 1, "$db": "admin" };
    if is_first {
        let driver = doc! { "name": "weir", "version": env!("CARGO_PKG_VERSION") };
        let os = doc! { "type": std::env::consts::OS };
        question.insert("client", doc! { "application": { "name": "weir" }, "driver": driver, "os": os });
    }
    let mut message = BytesMut::new();
    op_msg(&mut message, 1, 0, &question.to_vec()?);
    connection.io.write_all(&message).await?;
    let mut head = [0; BEFORE_DOCUMENT];
    connection.io.read_exact(&mut head).await?;
    let header = Header::parse(&head)?.ok_or("no header")?;
    let length = header.length as usize;
    if header.op_code != OpCode::MSG || !(BEFORE_DOCUMENT..LONGEST).contains(&length) {
        return Err("it does not answer like a MongoDB server".into());
    }
    let mut document = vec![0; length - BEFORE_DOCUMENT];
    connection.io.read_exact(&mut document).await?;
    Ok(Document::from_reader(document.as_slice())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_written_so_that_a_port_can_follow() {
        let bind = Some("[::1]:1".parse().unwrap());
        assert_eq!(&*host(None, bind), "[::1]");
        assert_eq!(&*host(Some("db.internal"), bind), "db.internal");
        assert_eq!(&*host(Some("10.0.0.1"), bind), "10.0.0.1");
    }
}
