//! Members mode: a replica set behind Weir, every member at an address of Weir's own, so that drivers cannot go round it.
//!
//! A driver asks any member for the others (`hello`) and connects to the addresses that it is told. So each member gets a
//! door of the listener's, on the host `advertise` and a port of `member_ports` ([`map`]); a connection that comes through
//! a door goes to its member and nowhere else; and the answers to `hello` name the doors in place of the members
//! ([`hello`]). Who the members are is asked of them, off the path of any request ([`discover`]); new ones get a door, and
//! the doors of those that have gone close.
//!
//! The listener's own port is a door like the others when it is among `member_ports`; a connection to a port that is
//! nobody's door goes to the primary, or where none is known to any member. A door whose member is no endpoint of the cluster at
//! this moment leads nowhere: who asks for one member must not talk to another.
//!
//! A hello that should be rewritten and cannot be ends its connection, and is counted
//! (`weir_mongo_hellos_total{result="refused"}`): the driver tries again, and must never see the members' own addresses.
//! For the same reason bytes that cannot be understood end a connection that has only asked for hellos so far; once it has
//! sent another command it is none of a driver's monitors.

pub(crate) mod belief;
pub(crate) mod discover;
pub(crate) mod door;
mod hello;
pub(crate) mod map;
pub(crate) mod role;
pub(crate) mod settings;
mod word;

use crate::decode::Shared;
use crate::names;
use bytes::BytesMut;
use door::Door;
use map::Map;
use settings::Fronting;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, broadcast};
use weir_decide::cluster::View as Endpoints;
use weir_decide::exchange::{Affinity, Fault, Phase, Reason, Side};
use weir_decide::protocol::{Answer, Malformed, Unwritten};
use weir_drive::message::Context;
use weir_measure::{Counter, Measure};

/// The largest answer to a hello that is rewritten, on the wire and decompressed. A set has 50 members at most.
const MAX_HELLO: usize = 1 << 20;

/// How long the answer to a hello may wait for the addresses of those that it names.
const HELD: Duration = Duration::from_secs(1);

/// The most members that were waited for in vain that are remembered; when there are so many none is waited for.
const MOST_IN_VAIN: usize = 64;

/// The most members whose connections are to end that may not have been noticed yet.
const MOST_CUTS: usize = 16;

/// What all workers know of a listener's replica set.
#[derive(Debug)]
pub(crate) struct Members {
    pub(crate) fronting: Fronting,
    /// The cluster that they are of: another one's are others, whatever they are called.
    cluster: Arc<str>,
    /// Of who fronts the cluster for the listener: see [`Front::by`](weir_drive::Front::by).
    id: u64,
    generation: AtomicU64,
    map: Mutex<Arc<Map>>,
    /// Told when a hello names somebody who is not on the map.
    pub(crate) outdated: Notify,
    /// The listener is fronted otherwise by now.
    retired: AtomicBool,
    /// Members that were waited for in vain, since who is on the map last changed.
    in_vain: Mutex<Vec<Box<str>>>,
    /// Members whose connections are to end: they are silent, and another is primary.
    cuts: broadcast::Sender<Arc<str>>,
}

impl Members {
    /// Those of a listener that had the members `before`, if any: they go on as they are if nothing else is asked for. Otherwise
    /// nothing is known of these, but of the same cluster they have the same doors and endpoints to begin with.
    pub(crate) fn after(
        before: Option<&Arc<Members>>,
        fronting: &Fronting,
        cluster: &Arc<str>,
    ) -> Arc<Members> {
        static MADE: AtomicU64 = AtomicU64::new(0);
        let before = before.filter(|before| before.cluster == *cluster);
        if let Some(same) = before.filter(|before| before.fronting == *fronting) {
            return Arc::clone(same);
        }
        Arc::new(Members {
            fronting: fronting.clone(),
            cluster: Arc::clone(cluster),
            id: before.map_or_else(|| MADE.fetch_add(1, Ordering::Relaxed) + 1, |before| before.id),
            generation: AtomicU64::new(1),
            map: Mutex::new(Arc::new(Map::unknown())),
            outdated: Notify::new(),
            retired: AtomicBool::new(false),
            in_vain: Mutex::default(),
            cuts: broadcast::channel(MOST_CUTS).0,
        })
    }

    /// The map at this moment.
    pub(crate) fn map(&self) -> Arc<Map> {
        // What is behind the lock is replaced whole, so a panic cannot leave it half-changed.
        Arc::clone(&self.map.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn publish(&self, map: Map) {
        if self.map().members != map.members {
            self.in_vain.lock().unwrap_or_else(PoisonError::into_inner).clear();
        }
        *self.map.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(map);
        self.generation.fetch_add(1, Ordering::Release);
    }

    /// The listener is to be fronted otherwise: connections that still go by this map end with their next hello.
    pub(crate) fn retire(&self) {
        self.retired.store(true, Ordering::Relaxed);
        self.publish(Map::unknown());
    }
}

impl Members {
    /// Connections to `member` end, on all workers.
    pub(crate) fn cut(&self, member: &Arc<str>) {
        // Nobody listens where no worker has any.
        self.cuts.send(Arc::clone(member)).ok();
    }

    /// Whether it is of use to wait for one of these members, which have no address yet.
    fn awaits(&self, new: &[String]) -> bool {
        let in_vain = self.in_vain.lock().unwrap_or_else(PoisonError::into_inner);
        in_vain.len() < MOST_IN_VAIN
            && new.iter().any(|member| !in_vain.iter().any(|one| one.eq_ignore_ascii_case(member)))
    }

    /// These were waited for in vain.
    fn gave_up(&self, new: Vec<String>) {
        let mut in_vain = self.in_vain.lock().unwrap_or_else(PoisonError::into_inner);
        for member in new {
            if in_vain.len() < MOST_IN_VAIN && !in_vain.iter().any(|one| one.eq_ignore_ascii_case(&member)) {
                in_vain.push(member.into());
            }
        }
    }
}

/// Ends connections of `context` when members say so, for as long as it has any.
pub(crate) fn follow_cuts(members: &Arc<Members>, context: &Rc<Context>) {
    context.may_cut();
    let mut cuts = members.cuts.subscribe();
    let (of, worker) = (Rc::downgrade(context), Rc::clone(&context.worker));
    worker.spawn(async move {
        loop {
            let member = match cuts.recv().await {
                Ok(member) => member,
                // Others may be known by the time that they are silent again.
                Err(broadcast::error::RecvError::Lagged(_)) => continue,
                Err(broadcast::error::RecvError::Closed) => return,
            };
            let Some(context) = of.upgrade() else { return };
            let ended = context.cut(&member);
            if ended > 0 {
                tracing::info!(%member, connections = ended, "a silent member is not the primary any more: its connections end");
            }
        }
    });
}

/// A worker's view of a listener's members.
pub(crate) struct Fronted {
    listener: Arc<str>,
    members: Arc<Members>,
    endpoints: Rc<Endpoints>,
    seen: Cell<u64>,
    map: RefCell<Arc<Map>>,
    /// That a member is no endpoint has been told, and no member has been found to be one since.
    told_lost: Cell<bool>,
    numbers: Numbers,
}

struct Numbers {
    rewritten: Counter,
    incomplete: Counter,
    passed: Counter,
    refused: Counter,
}

impl Fronted {
    pub(crate) fn new(
        members: &Arc<Members>,
        endpoints: &Rc<Endpoints>,
        listener: &str,
        measure: &Measure,
    ) -> Fronted {
        let hellos = |result| measure.counter(&names::MONGO_HELLOS, &[listener, result]);
        Fronted {
            listener: listener.into(),
            members: Arc::clone(members),
            endpoints: Rc::clone(endpoints),
            seen: Cell::new(0),
            told_lost: Cell::new(false),
            map: RefCell::new(members.map()),
            numbers: Numbers {
                rewritten: hellos("rewritten"),
                incomplete: hellos("incomplete"),
                passed: hellos("passed"),
                refused: hellos("refused"),
            },
        }
    }

    fn map(&self) -> Arc<Map> {
        let generation = self.members.generation.load(Ordering::Acquire);
        if generation != self.seen.get() {
            *self.map.borrow_mut() = self.members.map();
            self.seen.set(generation);
        }
        Arc::clone(&self.map.borrow())
    }

    /// Where an operation of a connection that is with no server yet goes.
    ///
    /// # Errors
    /// The door is that of a member which is no endpoint.
    pub(crate) fn affinity(&self, door: &Door) -> Result<Affinity, Fault> {
        let map = self.map();
        let own = map.member_at(door.port);
        let address = own.or_else(|| map.entry());
        let pick = address.and_then(|address| self.endpoints.endpoint_at(address));
        match (pick, own) {
            (Some(pick), _) => {
                self.told_lost.set(false);
                Ok(Affinity::Endpoint(pick.id()))
            }
            (None, None) => Ok(Affinity::Connection),
            (None, Some(member)) => {
                if !self.told_lost.replace(true) {
                    tracing::warn!(
                        listener = &*self.listener, %member,
                        "a member is no endpoint of the cluster: connections to its address are refused"
                    );
                }
                self.members.outdated.notify_one();
                Err(Fault::new(Side::Network, Phase::Admitted, Reason::NoEndpoint))
            }
        }
    }

    /// What to do with the answer to a hello.
    pub(crate) fn answer(&self, more: bool) -> Answer {
        Answer::Rewrite { limit: MAX_HELLO, more }
    }

    /// Writes the answer to a hello, with Weir's addresses in place of the members', to `out`.
    pub(crate) fn rewrite(
        &self,
        door: &Door,
        (whole, waited): (&[u8], Duration),
        shared: &Shared,
        out: &mut BytesMut,
    ) -> Result<(), Unwritten> {
        let mut inflate = shared.inflate.borrow_mut();
        match hello::rewrite(&self.map(), door.port, whole, &mut inflate, out) {
            Ok(hello::Done::Rewritten { new, unmapped }) => {
                if unmapped {
                    self.members.outdated.notify_one();
                }
                if !new.is_empty() && self.members.awaits(&new) {
                    if waited < HELD {
                        out.clear();
                        return Err(Unwritten::Later);
                    }
                    self.members.gave_up(new);
                    self.numbers.incomplete.inc();
                } else {
                    self.numbers.rewritten.inc();
                }
                Ok(())
            }
            Ok(hello::Done::Passed) => {
                self.numbers.passed.inc();
                Ok(())
            }
            Ok(hello::Done::Unknown) if waited < HELD && !self.members.retired.load(Ordering::Relaxed) => {
                self.members.outdated.notify_one();
                Err(Unwritten::Later)
            }
            Ok(hello::Done::Unknown) => Err(self.refused(Unwritten::Unready)),
            Err(reason) => Err(self.refused(Malformed::Syntax(reason).into())),
        }
    }

    fn refused(&self, why: Unwritten) -> Unwritten {
        self.numbers.refused.inc();
        self.members.outdated.notify_one();
        why
    }
}

#[cfg(test)]
mod tests {
    use super::settings::Ports;
    use super::*;
    use weir_decide::cluster::{Cluster, EndpointSpec, Settings};
    use weir_decide::exchange::Now;
    use weir_measure::Limits;

    #[test]
    fn a_door_leads_to_its_member_or_nowhere() {
        let ports = Ports { first: 10, last: 19 };
        let members =
            Members::after(None, &Fronting { advertise: None, ports, at: Arc::default() }, &"rs".into());
        let cluster = Cluster::new("rs", Settings::default());
        let spec = |address: &str| EndpointSpec { address: address.into(), weight: 1 };
        cluster.set_endpoints(&[spec("seed:1")], Now(0));
        let endpoints = Endpoints::new(&cluster, 1);
        let fronted = Fronted::new(&members, &endpoints, "l", &Measure::new(Limits::default()));
        let leads = |port| fronted.affinity(&Door { port, ..Door::default() }).map_err(|fault| fault.reason);
        let to = |address: &str| {
            endpoints.endpoint_at(address).map(|pick| Affinity::Endpoint(pick.id())).ok_or(Reason::NoEndpoint)
        };
        assert_eq!(leads(10), Ok(Affinity::Connection), "nothing is known, so any server may be asked");
        let names = ["a:1", "seed:1"].map(Arc::from);
        members.publish(Map::unknown().with(&"rs".into(), &"weir".into(), &names, ports, &[]));
        assert_eq!((leads(10), leads(11)), (Err(Reason::NoEndpoint), to("seed:1")));
        assert_eq!(leads(9), Ok(Affinity::Connection), "the entry asks for no certain member");
        cluster.set_endpoints(&[spec("seed:1"), spec("a:1")], Now(0));
        assert_eq!((leads(10), leads(11)), (to("a:1"), to("seed:1")));
    }
}
