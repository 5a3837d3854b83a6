//! Who the servers behind a listener are to each other: members of a replica set with their roles, as they were last heard of.
//!
//! Filled by whoever hears of it (a filter's own questions, answers that pass), a few times a second at most, so a lock is good
//! enough. At most [`MOST`] members; one that nobody has heard of for [`FORGOTTEN`] goes, unless somebody says which there are.

use crate::names;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use weir_decide::exchange::Now;
use weir_measure::{Samples, lock};

/// Members remembered by listener: a replica set has 50 at most. Beyond it the one that was heard of the longest ago gives way,
/// which is counted as `weir_series_overflow_total` of `weir_mongo_member_role`.
pub const MOST: usize = 64;
/// A member that was not heard of for so long is forgotten, where only what passes is heard.
pub const FORGOTTEN: Duration = Duration::from_secs(600);

macro_rules! roles {
    ($($(#[$doc:meta])* $name:ident = $label:literal,)*) => {
        /// What a server is.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Role { $($(#[$doc])* $name,)* }
        impl Role {
            /// The label value.
            pub fn label(self) -> &'static str {
                match self { $(Role::$name => $label,)* }
            }
        }
    };
}

roles! {
    /// The one that takes writes.
    Primary = "primary",
    /// One that follows.
    Secondary = "secondary",
    /// One that votes and holds no data.
    Arbiter = "arbiter",
    /// A member that is none of these at the moment: starting, recovering, just replaced.
    Other = "other",
    /// It did not answer.
    Unreachable = "unreachable",
    /// A server of no set.
    Standalone = "standalone",
    /// A router of a sharded cluster.
    Router = "router",
}

/// Tells which of two elections was later: MongoDB's `electionId`, as its bytes.
pub type ElectionId = [u8; 12];

/// What was heard of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heard {
    /// What it says it is.
    pub role: Role,
    /// By which election it is primary.
    pub election: Option<ElectionId>,
    /// How long it took to say so.
    pub round_trip: Option<Duration>,
}

/// A server, as it was last heard of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its own address.
    pub name: Arc<str>,
    /// Where clients are told that it is; nothing where they are told its own address.
    pub advertised: Option<Arc<str>>,
    /// What it is.
    pub role: Role,
    /// Since when, as far as is known.
    pub since: Now,
    /// How long its latest answer took.
    pub round_trip: Option<Duration>,
    /// How often it was seen to become primary.
    pub elected: u64,
    /// When it was last heard of, or was found not to answer.
    heard: Now,
}

/// The servers behind a listener at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Servers {
    /// The cluster that the listener goes to.
    pub cluster: Arc<str>,
    /// The set's name, where it is known.
    pub set: Option<Arc<str>>,
    /// Elections that were seen: of another primary, or of the same one again.
    pub elections: u64,
    /// By name.
    pub members: Vec<Member>,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Topology(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    cluster: Arc<str>,
    set: Option<Arc<str>>,
    members: BTreeMap<Arc<str>, Member>,
    /// Somebody has said which members there are.
    listed: bool,
    election: Option<ElectionId>,
    elections: u64,
    latest: Now,
    /// Members that had to give way, not told yet.
    beyond: u64,
}

impl Topology {
    /// The listener goes to this cluster.
    pub fn of_cluster(&self, cluster: &Arc<str>) {
        lock(&self.0).cluster = Arc::clone(cluster);
    }

    /// These are the members of `set`, each with where clients are told that it is; there are no others.
    pub fn list(&self, set: &Arc<str>, members: &[(Arc<str>, Option<Arc<str>>)]) {
        let state = &mut *lock(&self.0);
        if state.set.as_ref() != Some(set) {
            (state.set, state.election) = (Some(Arc::clone(set)), None);
        }
        state.listed = true;
        state.members.retain(|name, _| members.iter().any(|(member, _)| member == name));
        for (name, advertised) in members.iter().take(MOST) {
            let now = state.latest;
            let known = state.members.entry(Arc::clone(name)).or_insert_with(|| Member::new(name, now));
            known.advertised.clone_from(advertised);
        }
    }

    /// Whether somebody has said which members there are, and asks them.
    pub fn is_listed(&self) -> bool {
        lock(&self.0).listed
    }

    /// Nothing is known any more.
    pub fn clear(&self) {
        let state = &mut *lock(&self.0);
        *state =
            State { cluster: Arc::clone(&state.cluster), elections: state.elections, ..State::default() };
    }

    /// The server `name` was heard of; says nothing if something later is known of it.
    pub fn heard(&self, name: &str, heard: &Heard, now: Now) {
        let state = &mut *lock(&self.0);
        state.latest = state.latest.max(now);
        let Some(member) = state.member(name, now).filter(|member| member.heard <= now) else { return };
        member.heard = now;
        if heard.round_trip.is_some() {
            member.round_trip = heard.round_trip;
        }
        let mut role = heard.role;
        if let (Role::Primary, Some(election)) = (role, heard.election) {
            match state.election {
                // It has been replaced and does not know it yet.
                Some(known) if election < known => role = Role::Other,
                Some(known) if election == known => {}
                known => {
                    state.elected(name, known.is_some(), now);
                    state.election = Some(election);
                }
            }
        }
        if let Some(member) = state.members.get_mut(name) {
            member.becomes(role, now);
        }
    }

    /// The server `name` did not answer what it was asked then; says nothing if it was heard of since.
    pub fn missed(&self, name: &str, now: Now) {
        let state = &mut *lock(&self.0);
        state.latest = state.latest.max(now);
        if let Some(member) = state.member(name, now).filter(|member| member.heard <= now) {
            member.heard = now;
            member.round_trip = None;
            member.becomes(Role::Unreachable, now);
        }
    }

    /// What is known by now.
    pub fn servers(&self) -> Servers {
        let state = &mut *lock(&self.0);
        state.forget();
        Servers {
            cluster: Arc::clone(&state.cluster),
            set: state.set.clone(),
            elections: state.elections,
            members: state.members.values().cloned().collect(),
        }
    }

    /// Writes the numbers, where there are any.
    pub(crate) fn write(&self, listener: &str, out: &mut Samples) {
        let Servers { elections, members, .. } = self.servers();
        let in_a_set = |role| !matches!(role, Role::Standalone | Role::Router);
        if elections > 0 || members.iter().any(|member| in_a_set(member.role)) {
            out.add(&names::MONGO_ELECTIONS, &[listener], elections);
        }
        for member in members {
            out.add(&names::MONGO_MEMBER_ROLE, &[listener, &member.name, member.role.label()], 1u64);
            if let Some(round_trip) = member.round_trip {
                let labels = [listener, &*member.name];
                out.add(&names::MONGO_MEMBER_ROUND_TRIP, &labels, round_trip.as_secs_f64());
            }
        }
        out.beyond(&names::MONGO_MEMBER_ROLE, std::mem::take(&mut lock(&self.0).beyond));
    }
}

impl State {
    /// The member of this name, a new one if need be and may be.
    fn member(&mut self, name: &str, now: Now) -> Option<&mut Member> {
        if !self.members.contains_key(name) {
            if self.listed {
                return None;
            }
            self.forget();
            if self.members.len() >= MOST {
                self.beyond += 1;
                let oldest = self.members.values().min_by_key(|member| member.heard)?;
                let oldest = Arc::clone(&oldest.name);
                self.members.remove(&oldest);
            }
            let name: Arc<str> = name.into();
            self.members.insert(Arc::clone(&name), Member::new(&name, now));
        }
        self.members.get_mut(name)
    }

    /// `name` has become primary; `seen`: not merely been so when it was first heard of.
    fn elected(&mut self, name: &str, seen: bool, now: Now) {
        self.elections += u64::from(seen);
        for (other, member) in &mut self.members {
            if **other == *name {
                member.elected += u64::from(seen);
                if seen {
                    // Also when it was primary before.
                    member.since = now;
                }
            } else if member.role == Role::Primary {
                member.becomes(Role::Other, now);
            }
        }
    }

    fn forget(&mut self) {
        let (latest, listed) = (self.latest, self.listed);
        self.members.retain(|_, member| listed || latest.since(member.heard) <= FORGOTTEN.as_nanos() as u64);
    }
}

impl Member {
    fn new(name: &Arc<str>, now: Now) -> Member {
        Member {
            name: Arc::clone(name),
            advertised: None,
            role: Role::Unreachable,
            since: now,
            round_trip: None,
            elected: 0,
            heard: now,
        }
    }

    fn becomes(&mut self, role: Role, now: Now) {
        if self.role != role {
            (self.role, self.since) = (role, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn said(role: Role, election: Option<u8>) -> Heard {
        let election = election.map(|n| [n; 12]);
        Heard { role, election, round_trip: Some(Duration::from_micros(300)) }
    }

    fn shown(topology: &Topology) -> String {
        let members = topology.servers().members;
        let one = |m: &Member| format!("{} {} {}", m.name, m.role.label(), m.since.0 / SECOND);
        members.iter().map(one).collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn elections_are_counted_when_another_primary_is_heard_of() {
        let topology = Topology::default();
        let hear = |name, role, election, second| {
            topology.heard(name, &said(role, election), Now(second * SECOND));
        };
        hear("a", Role::Primary, Some(1), 1);
        hear("b", Role::Secondary, None, 1);
        hear("a", Role::Primary, Some(1), 2);
        assert_eq!(
            (topology.servers().elections, shown(&topology).as_str()),
            (0, "a primary 1, b secondary 1")
        );
        hear("b", Role::Primary, Some(2), 3);
        assert_eq!((topology.servers().elections, shown(&topology).as_str()), (1, "a other 3, b primary 3"));
        // It does not know yet that it has been replaced.
        hear("a", Role::Primary, Some(1), 4);
        hear("b", Role::Primary, Some(2), 4);
        assert_eq!((topology.servers().elections, shown(&topology).as_str()), (1, "a other 3, b primary 3"));
        hear("a", Role::Secondary, None, 5);
        hear("b", Role::Primary, Some(3), 6);
        assert_eq!(
            (topology.servers().elections, shown(&topology).as_str()),
            (2, "a secondary 5, b primary 6")
        );
        assert_eq!(topology.servers().members.iter().map(|m| m.elected).collect::<Vec<_>>(), [0, 2]);
        topology.missed("b", Now(7 * SECOND));
        assert_eq!(shown(&topology), "a secondary 5, b unreachable 7");
        assert_eq!(topology.servers().members[1].round_trip, None);
        // What was asked before it was last heard of says nothing.
        topology.missed("a", Now(4 * SECOND));
        hear("a", Role::Arbiter, None, 4);
        assert_eq!(shown(&topology), "a secondary 5, b unreachable 7");
    }

    #[test]
    fn who_is_listed_is_all_there_is() {
        let topology = Topology::default();
        topology.heard("seed", &said(Role::Secondary, None), Now(1));
        let list = |names: &[&str]| {
            let members: Vec<_> =
                names.iter().map(|name| (Arc::from(*name), Some(Arc::from("w:1")))).collect();
            topology.list(&"rs".into(), &members);
        };
        list(&["a", "b"]);
        topology.heard("a", &said(Role::Primary, Some(1)), Now(2 * SECOND));
        topology.heard("seed", &said(Role::Secondary, None), Now(2 * SECOND));
        assert_eq!(shown(&topology), "a primary 2, b unreachable 0");
        assert_eq!(topology.servers().members[0].advertised.as_deref(), Some("w:1"));
        list(&["b", "c"]);
        assert_eq!(shown(&topology), "b unreachable 0, c unreachable 2");
        topology.clear();
        assert!(topology.servers().members.is_empty() && !topology.is_listed());
    }

    #[test]
    fn what_only_passes_is_forgotten_and_never_too_much() {
        let topology = Topology::default();
        for n in 0..2 * MOST {
            topology.heard(&format!("m{n:03}"), &said(Role::Secondary, None), Now(n as u64));
        }
        let members = topology.servers().members;
        assert_eq!((members.len(), &*members[0].name), (MOST, "m064"));
        let mut samples = Samples::default();
        topology.write("db", &mut samples);
        assert_eq!(samples.take(&names::MONGO_MEMBER_ROLE).len(), MOST);
        topology.heard(
            "late",
            &said(Role::Standalone, None),
            Now(1).after(FORGOTTEN + Duration::from_secs(1)),
        );
        assert_eq!(topology.servers().members.len(), 1);
    }
}
