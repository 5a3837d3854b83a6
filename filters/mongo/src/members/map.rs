//! Which member of a replica set has which port of Weir's. Decided here, by a table; nothing is opened.

use super::belief::is_member;
use super::settings::Ports;
use std::sync::Arc;

/// The members and their ports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Map {
    /// The set's name; `None`: nothing is known yet.
    pub(crate) set: Option<Arc<str>>,
    /// The version of the set's configuration that this follows.
    pub(crate) version: i64,
    /// Under which host drivers reach the ports; an IPv6 address is in brackets.
    pub(crate) host: Arc<str>,
    /// Members with a port, in the order of their ports.
    pub(crate) members: Vec<(u16, Arc<str>)>,
    /// Members for which there was no port.
    pub(crate) left_out: Vec<Arc<str>>,
    /// Members that are not believed in, as they are shown; some of them, where there are many.
    pub(crate) refused: Vec<Arc<str>>,
    /// The primary, if one is known.
    pub(crate) primary: Option<Arc<str>>,
    /// Ports that somebody has had. A driver may still have connections to him there, so a new member gets another as
    /// long as there is one.
    pub(super) used: Vec<u16>,
}

impl Map {
    /// Nothing is known.
    pub(crate) fn unknown() -> Map {
        Map {
            set: None,
            version: 0,
            host: "".into(),
            members: Vec::new(),
            left_out: Vec::new(),
            refused: Vec::new(),
            primary: None,
            used: Vec::new(),
        }
    }

    /// The map for `members` of `set`. Whoever has a port keeps it; others get one of `ports`, except those in `taken`
    /// (somebody else's), in the order of their names.
    pub(crate) fn with(
        &self,
        set: &Arc<str>,
        host: &Arc<str>,
        members: &[Arc<str>],
        ports: Ports,
        taken: &[u16],
    ) -> Map {
        let mut next = Map { set: Some(Arc::clone(set)), host: Arc::clone(host), ..self.clone() };
        next.members.retain(|(port, member)| members.contains(member) && !taken.contains(port));
        next.left_out.clear();
        let mut new: Vec<_> =
            members.iter().filter(|member| next.port_of(member).is_none()).cloned().collect();
        new.sort();
        new.dedup();
        for member in new {
            let free = |port: &u16| !taken.contains(port) && next.member_at(*port).is_none();
            let fresh = ports.iter().find(|port| free(port) && !next.used.contains(port));
            match fresh.or_else(|| ports.iter().find(free)) {
                Some(port) => {
                    next.members.push((port, member));
                    next.used.push(port);
                }
                None => next.left_out.push(member),
            }
        }
        next.used.sort_unstable();
        next.used.dedup();
        next.members.sort_unstable();
        next.primary = next.primary.filter(|primary| members.contains(primary));
        next
    }

    /// Of this map, what `other` has too: the members that stay.
    pub(crate) fn both(&self, other: &Map) -> Map {
        let mut both = self.clone();
        both.members.retain(|member| other.members.contains(member));
        both
    }

    pub(crate) fn is_known(&self) -> bool {
        self.set.is_some()
    }

    /// The member whose port this is.
    pub(crate) fn member_at(&self, port: u16) -> Option<&Arc<str>> {
        self.members.iter().find(|(its, _)| *its == port).map(|(_, member)| member)
    }

    /// The port of a member.
    pub(crate) fn port_of(&self, member: &str) -> Option<u16> {
        self.members.iter().find(|(_, its)| its.eq_ignore_ascii_case(member)).map(|(port, _)| *port)
    }

    /// Whether a member of this name, which has no port, may get one in a moment.
    pub(crate) fn awaits(&self, member: &str) -> bool {
        let mut known = self.left_out.iter().chain(&self.refused);
        is_member(member) && !known.any(|known| known.eq_ignore_ascii_case(member))
    }

    /// Where a connection goes that came through nobody's door.
    pub(crate) fn entry(&self) -> Option<&Arc<str>> {
        self.primary.as_ref().or_else(|| self.members.first().map(|(_, member)| member))
    }

    /// What drivers call a port.
    pub(crate) fn address(&self, port: u16) -> String {
        format!("{}:{port}", self.host)
    }

    /// What drivers call a member.
    pub(crate) fn advertised(&self, member: &str) -> Option<String> {
        self.port_of(member).map(|port| self.address(port))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<Arc<str>> {
        text.split_whitespace().map(Arc::from).collect()
    }

    fn shown(map: &Map) -> String {
        let members: Vec<String> =
            map.members.iter().map(|(port, member)| format!("{member}={port}")).collect();
        let left_out: Vec<String> = map.left_out.iter().map(|member| format!("{member}=none")).collect();
        [members, left_out].concat().join(" ")
    }

    #[test]
    fn members_keep_their_ports_and_new_ones_get_fresh_ones() {
        // From nothing, step by step: (members, ports of others, the map after it)
        let steps = [
            ("c:1 a:1 b:1", &[][..], "a:1=10 b:1=11 c:1=12"),
            ("c:1 a:1 b:1", &[], "a:1=10 b:1=11 c:1=12"),
            ("c:1 a:1", &[], "a:1=10 c:1=12"),
            ("c:1 a:1 d:1", &[], "a:1=10 c:1=12 d:1=13"),
            ("c:1 a:1 d:1 e:1", &[], "a:1=10 e:1=11 c:1=12 d:1=13"),
            ("c:1 a:1 d:1 e:1 f:1", &[], "a:1=10 e:1=11 c:1=12 d:1=13 f:1=none"),
            ("c:1 a:1", &[12], "a:1=10 c:1=11"),
            ("z:1", &[10, 11, 12, 13], "z:1=none"),
        ];
        let (set, host): (Arc<str>, Arc<str>) = ("rs".into(), "weir".into());
        let mut map = Map::unknown();
        for (members, taken, expected) in steps {
            map = map.with(&set, &host, &names(members), Ports { first: 10, last: 13 }, taken);
            assert_eq!(shown(&map), expected, "{members}");
        }
    }

    #[test]
    fn a_port_that_is_nobodys_leads_to_the_primary() {
        let (set, host): (Arc<str>, Arc<str>) = ("rs".into(), "weir".into());
        let mut map = Map::unknown().with(&set, &host, &names("a:1 b:1"), Ports { first: 10, last: 13 }, &[]);
        assert_eq!(map.entry().map(|member| &**member), Some("a:1"));
        map.primary = Some("b:1".into());
        assert_eq!(map.entry().map(|member| &**member), Some("b:1"));
        assert_eq!(map.member_at(11).map(|member| &**member), Some("b:1"));
        assert_eq!(map.member_at(12), None);
        assert_eq!(map.advertised("A:1").as_deref(), Some("weir:10"));
        assert_eq!(map.advertised("c:1"), None);
    }
}
