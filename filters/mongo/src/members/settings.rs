//! What a listener's section says about replica sets: `mode`, `advertise`, `member_ports`.

use super::belief::is_member;
use crate::MongoSettings;
use std::sync::Arc;
use weir_config::{Bind, Config, Field, Fields, Kind, MorePorts, Node, Source, Walk, words};
use weir_drive::Advice;

words! {
    /// How a replica set is fronted.
    pub enum Mode {
        #[doc = "Drivers see the servers' own addresses: they go round Weir, unless the URI says `directConnection=true`."]
        Transparent = "transparent",
        #[doc = "Each member of a replica set has an address at Weir, and drivers see those."]
        Members = "members",
    }
}

/// `mode`
pub(crate) const MODE: Field = Field::optional(
    "mode",
    Kind::OneOf(Mode::CHOICES),
    "How a replica set is fronted. By default `members` where `member_ports` is there, else `transparent`. Servers of no \
     replica set are fronted transparently in either mode.",
);

/// `advertise`
pub(crate) const ADVERTISE: Field = Field::optional(
    "advertise",
    Kind::Host,
    "The host under which drivers reach the listener; they are told it as the host of each member. By default the address \
     of `bind`.",
);

/// `member_ports`
pub(crate) const MEMBER_PORTS: Field = Field::optional(
    "member_ports",
    Kind::Text { max: 11 },
    "The ports for the members of a replica set, `FIRST-LAST`, opened as members are found. The listener's own port may be \
     among them, and is then a member's too; no other listener's may. Leave room for members to come.",
);

/// `members`
pub(crate) const AT: Field = Field::optional(
    "members",
    Kind::Map { key: "member", value: &Kind::HostPort },
    "Where members really are, from here: `host:port` by the name, `host:port`, that the set has for each. For those whose names \
     do not lead there: behind a port-forward or a tunnel, or in containers.",
);

/// Members, by the set's names for them, and where they really are.
pub(crate) type At = Arc<[(Arc<str>, Arc<str>)]>;

/// The most members that may be said to be elsewhere.
const MOST_AT: usize = 64;

/// A range of ports, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ports {
    pub(crate) first: u16,
    pub(crate) last: u16,
}

/// The most ports: a replica set has at most 50 members, and some more leave room for those that come and go.
const MOST_PORTS: u16 = 256;

impl Ports {
    fn parse(text: &str) -> Option<Ports> {
        let (first, last) = text.split_once('-')?;
        let port =
            |text: &str| text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse::<u16>().ok()).flatten();
        let (first, last) = (port(first)?, port(last)?);
        (first > 0 && first <= last && last - first < MOST_PORTS).then_some(Ports { first, last })
    }

    pub(crate) fn iter(self) -> impl Iterator<Item = u16> + Clone {
        self.first..=self.last
    }
}

/// Members mode, as it was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fronting {
    pub(crate) advertise: Option<Arc<str>>,
    pub(crate) ports: Ports,
    /// Where members really are, by the set's names for them.
    pub(crate) at: At,
}

/// What is said of replica sets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Said {
    /// `mode: transparent`: the operator knows.
    pub(crate) transparent: bool,
    /// Members mode.
    pub(crate) fronting: Option<Fronting>,
}

/// Reads the four keys.
pub(crate) fn read(walk: &mut Walk<'_>, fields: &Fields<'_>) -> Option<Said> {
    let mode = fields.child("mode").and_then(|_| fields.word::<Mode>(walk, "mode"));
    let advertise = fields.child("advertise").and_then(|_| fields.text(walk, "advertise"));
    let ports = fields.child("member_ports").and_then(|node| {
        let text = fields.text(walk, "member_ports")?;
        let ports = Ports::parse(&text);
        if ports.is_none() {
            walk.error(node, format!("expected FIRST-LAST, at most {MOST_PORTS} ports from 1 to 65535"));
        }
        ports
    });
    let said = |key: &str| fields.child(key);
    match (mode, said("member_ports")) {
        (Some(Mode::Members), None) => {
            walk.error(
                said("mode")?,
                "`members` needs `member_ports`: one port for each member, and room for more",
            );
        }
        (Some(Mode::Transparent), Some(node)) => {
            walk.error(node, "`member_ports` is of no use with `mode: transparent`")
        }
        (_, None) => {
            if let Some(node) = said("advertise") {
                walk.error(node, "`advertise` is of no use without `member_ports`");
            }
        }
        _ => {}
    }
    let at = at(walk, fields)?;
    if let Some(node) = said("members")
        && said("member_ports").is_none()
    {
        walk.error(node, "`members` is of no use without `member_ports`");
    }
    let fronting = ports.map(|ports| Fronting { advertise, ports, at });
    Some(Said { transparent: mode == Some(Mode::Transparent), fronting })
}

fn at(walk: &mut Walk<'_>, fields: &Fields<'_>) -> Option<At> {
    let mut at: Vec<(Arc<str>, Arc<str>)> = Vec::new();
    let mut good = true;
    for entry in fields.map(walk, "members").unwrap_or_default() {
        if !is_member(entry.key()) {
            walk.error_at_key(
                entry,
                "expected a member's name, `host:port`, as the set's configuration has it",
            );
            good = false;
        } else if at.iter().any(|(name, _)| name.eq_ignore_ascii_case(entry.key())) {
            walk.error_at_key(
                entry,
                "another entry is about the same member: names are told apart without regard to case",
            );
            good = false;
        } else if at.len() == MOST_AT {
            walk.error_at_key(entry, format!("at most {MOST_AT} members"));
            return None;
        }
        match walk.host_port(entry.value()) {
            Some(address) => at.push((entry.key().into(), address)),
            None => good = false,
        }
    }
    good.then(|| at.into())
}

/// The ports for members, of a listener with this address; what is wrong with them there is recorded.
pub(crate) fn more_ports<'n>(
    walk: &mut Walk<'_>,
    node: &'n Node,
    said: &Said,
    bind: &Bind,
) -> Option<MorePorts<'n>> {
    let fronting = said.fronting.as_ref()?;
    let node = node.child("member_ports")?;
    let Some(address) = bind.ip() else {
        walk.error(
            node,
            "`member_ports` is of no use where `bind` is a Unix socket: members are told apart by ports",
        );
        return None;
    };
    if fronting.advertise.is_none() && address.ip().is_unspecified() {
        walk.error(
            node,
            "`member_ports` needs `advertise` where `bind` is no address that drivers can be told",
        );
    }
    Some(MorePorts { range: fronting.ports.first..=fronting.ports.last, node })
}

/// What the operator should know of a listener before it runs.
pub(crate) fn check(settings: &MongoSettings, config: &Config) -> Option<Advice> {
    if settings.said.fronting.is_some() {
        return None;
    }
    // Who says `transparent` knows.
    if settings.said.transparent {
        return None;
    }
    let cluster = config.clusters.iter().find(|cluster| cluster.name == settings.cluster);
    let several = cluster.is_some_and(|cluster| match &cluster.source {
        Source::Endpoints(list) => list.len() > 1,
        Source::Dns { .. } => true,
    });
    let servers = if several {
        "may have several servers: should they be members"
    } else {
        "has one server: should it be a member"
    };
    let message = format!(
        "cluster {} {servers} of a replica set, drivers learn the members' addresses and go to them past Weir; give \
         the listener `member_ports`, one for each member (`mode: transparent` says that this is meant)",
        settings.cluster
    );
    // A server alone is as likely as a replica set's, and then all is well.
    Some(if several { Advice::Warning(message) } else { Advice::Note(message) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_ports() {
        let good = [("1-1", (1, 1)), ("27018-27027", (27018, 27027)), ("65280-65535", (65280, 65535))];
        for (text, (first, last)) in good {
            assert_eq!(Ports::parse(text), Some(Ports { first, last }), "{text}");
        }
        for text in ["", "1", "1-", "-1", "0-5", "2-1", "1-257", "1-65536", "+1-2", "1 - 2", "a-b", "1-2-3"] {
            assert_eq!(Ports::parse(text), None, "{text}");
        }
    }
}
