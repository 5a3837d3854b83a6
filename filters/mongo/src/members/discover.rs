//! Who the members of the replica set are: asked of every endpoint of the cluster, at start, every few seconds, and when a
//! hello has named somebody unknown. Runs as a task of one worker, off the path of any request.
//!
//! The primary's word is the truth. Without a primary a newer configuration counts, and otherwise what was known stays: a
//! set in an election must not lose its doors.

use super::map::Map;
use super::{Members, role};
use bson::{Document, doc};
use bytes::BytesMut;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use weir_codecs::mongo::{HEADER_LENGTH, Header, OpCode, op_msg};
use weir_config::Listener;
use weir_decide::exchange::Now;
use weir_drive::{Cluster, Connected, Front, Offer, Worker, time};
use weir_measure::topology::{Heard, Topology};
use weir_measure::{Gauge, names};

/// How often the members are asked.
const REFRESH: Duration = Duration::from_secs(5);
/// How often while no primary is known.
const UNSETTLED: Duration = Duration::from_millis(500);
/// The least time between two rounds, whatever hellos name.
const REST: Duration = Duration::from_millis(100);
/// How long a member may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);
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
            fronted: Rc::clone(&fronted),
            stands: false,
            taken: Vec::new(),
            is_told: false,
            gauge,
            topology: worker.measure().measure().topology(&listener.name),
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

/// What a member says of its set.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Word {
    set: Arc<str>,
    version: i64,
    members: Vec<Arc<str>>,
    primary: Option<Arc<str>>,
    is_primary: bool,
    /// Tells which of two that call themselves primary was elected later.
    election: Vec<u8>,
}

impl Word {
    /// Reads a hello; `None`: it is of no replica set, or of a member that is not in it yet.
    fn of(hello: &Document) -> Option<Word> {
        let set = hello.get_str("setName").ok()?;
        let lists = ["hosts", "passives", "arbiters"].into_iter().filter_map(|key| hello.get_array(key).ok());
        let members: Vec<Arc<str>> =
            lists.flatten().filter_map(|member| member.as_str().map(Arc::from)).collect();
        if members.is_empty() {
            return None;
        }
        let version = hello.get_i32("setVersion").map_or(0, i64::from);
        let election = hello.get_object_id("electionId").map(|id| id.bytes().to_vec()).unwrap_or_default();
        let is_primary =
            ["isWritablePrimary", "ismaster"].iter().any(|key| hello.get_bool(key).unwrap_or(false));
        let primary = hello.get_str("primary").ok().map(Arc::from);
        Some(Word { set: set.into(), version, members, primary, is_primary, election })
    }
}

/// What the map says itself.
fn remembered(map: &Map) -> Option<Word> {
    let ported = map.members.iter().map(|(_, member)| member);
    let members = ported.chain(&map.left_out).cloned().collect();
    let (set, version) = (map.set.clone()?, map.version);
    Some(Word { set, version, members, primary: None, is_primary: false, election: Vec::new() })
}

/// What is to be believed, of what the members say; `None`: nothing new.
fn believed(map: &Map, words: &[Word]) -> Option<Word> {
    let of_set = || words.iter().filter(|word| map.set.as_ref().is_none_or(|set| *set == word.set));
    let primary =
        of_set().filter(|word| word.is_primary).max_by_key(|word| (word.version, word.election.clone()));
    let newest = || of_set().max_by_key(|word| word.version);
    match primary {
        Some(word) => Some(word.clone()),
        None => {
            let word = newest().filter(|word| !map.is_known() || word.version > map.version)?;
            Some(Word { primary: None, ..word.clone() })
        }
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

impl Round {
    async fn run(mut self) {
        loop {
            let (words, answers) = self.ask_all().await;
            let map = self.members.map();
            let is_endpoint = |member: &Arc<str>| self.cluster.view.endpoint_at(member).is_some();
            let lost = !self.stands || !map.members.iter().all(|(_, member)| is_endpoint(member));
            match believed(&map, &words).or_else(|| remembered(&map).filter(|_| lost)) {
                Some(word) => self.take(&map, &word).await,
                None if map.is_known() && !words.iter().any(|word| word.is_primary) => {
                    self.members.publish(Map { primary: None, ..(*map).clone() });
                }
                None => {}
            }
            self.note(&answers);
            let settled = self.members.map().primary.is_some() || self.is_told;
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

    /// Asks every endpoint, all at once.
    async fn ask_all(&mut self) -> (Vec<Word>, Vec<Answer>) {
        let asked_at = time::now();
        let addresses = self.cluster.view.addresses();
        self.connections.retain(|address, _| addresses.contains(address));
        let asked: Vec<_> = addresses
            .into_iter()
            .map(|address| {
                let kept = self.connections.remove(&address);
                let cluster = Rc::clone(&self.cluster);
                self.worker.spawn(async move {
                    let answer = tokio::time::timeout(PATIENCE, ask(&cluster, &address, kept)).await;
                    (address, answer.ok().flatten())
                })
            })
            .collect();
        let (mut words, mut answers) = (Vec::new(), Vec::new());
        let mut strangers = false;
        for answer in asked {
            let Ok((address, answer)) = answer.await else { continue };
            let Some(Asked { connection, hello, took, at }) = answer else {
                answers.push((address, None, asked_at));
                continue;
            };
            let heard = Heard { round_trip: Some(took), ..role::of_document(&hello) };
            answers.push((Arc::clone(&address), Some(heard), at));
            self.connections.insert(address, connection);
            strangers |= !hello.contains_key("setName") && !hello.contains_key("isreplicaset");
            words.extend(Word::of(&hello));
        }
        if words.is_empty() && strangers && !self.is_told && !self.members.map().is_known() {
            self.is_told = true;
            tracing::info!(
                listener = %self.listener.name,
                "the server belongs to no replica set: it is fronted transparently"
            );
        }
        (words, answers)
    }

    /// Follows `word`: doors and endpoints first, then the map that sends drivers to them.
    async fn take(&mut self, before: &Map, word: &Word) {
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
        };
        // Before it is known what comes of it: this task may be gone by then.
        self.fronted.set(true);
        let fronted = self.worker.front(front).await?;
        Some(fronted.failed.into_iter().map(|(address, error)| (address.port(), error)).collect())
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
async fn ask(cluster: &Cluster, address: &Arc<str>, kept: Option<Connected>) -> Option<Asked> {
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
    use super::super::settings::Ports;
    use super::*;
    use bson::oid::ObjectId;

    fn word(text: &str) -> Word {
        // version, members, and a star when it is the primary
        let mut words = text.split_whitespace();
        let version: i32 = words.next().unwrap().parse().unwrap();
        let members: Vec<&str> = words.next().unwrap().split(',').collect();
        let election = words.next().map(|nth| ObjectId::from_bytes([nth.len() as u8; 12]));
        let mut hello = doc! { "setName": "rs", "setVersion": version, "hosts": members.clone() };
        if let Some(election) = election {
            hello.extend(doc! { "isWritablePrimary": true, "primary": members[0], "electionId": election });
        }
        Word::of(&hello).unwrap()
    }

    #[test]
    fn the_primary_is_believed_and_silence_changes_nothing() {
        let known = Map::unknown().with(
            &"rs".into(),
            &"weir".into(),
            &word("3 a:1,b:1").members,
            Ports { first: 10, last: 12 },
            &[],
        );
        let known = Map { version: 3, ..known };
        // (what is known, what members say, who is believed)
        let table: &[(&Map, &[&str], Option<&str>)] = &[
            (&known, &[], None),
            (&known, &["3 a:1,b:1", "3 a:1,b:1 *"], Some("3 a:1,b:1 *")),
            (&known, &["2 a:1 *", "3 b:1 *"], Some("3 b:1 *")),
            (&known, &["3 a:1 *", "3 b:1 **"], Some("3 b:1 **")),
            (&known, &["3 a:1,b:1", "3 a:1,b:1,c:1"], None),
            (&known, &["4 a:1,b:1,c:1"], Some("4 a:1,b:1,c:1")),
            (&Map::unknown(), &["3 a:1,b:1"], Some("3 a:1,b:1")),
            (&Map::unknown(), &[], None),
        ];
        for (map, said, expected) in table {
            let words: Vec<Word> = said.iter().map(|text| word(text)).collect();
            assert_eq!(believed(map, &words), expected.map(word), "{said:?}");
        }
        let stranger = Word { set: "other".into(), ..word("9 z:1 *") };
        assert_eq!(believed(&known, &[stranger]), None);
    }

    #[test]
    fn hellos_of_no_set_say_nothing() {
        for hello in [doc! { "ok": 1 }, doc! { "isreplicaset": true }, doc! { "setName": "rs", "hosts": [] }]
        {
            assert_eq!(Word::of(&hello), None);
        }
    }

    #[test]
    fn hosts_are_written_so_that_a_port_can_follow() {
        let bind = Some("[::1]:1".parse().unwrap());
        assert_eq!(&*host(None, bind), "[::1]");
        assert_eq!(&*host(Some("db.internal"), bind), "db.internal");
        assert_eq!(&*host(Some("10.0.0.1"), bind), "10.0.0.1");
    }
}
