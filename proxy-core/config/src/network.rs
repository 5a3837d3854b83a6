//! Addresses and networks as the file writes them: where a listener listens, and which clients it takes.

use crate::fields::Fields;
use crate::node::Node;
use crate::walk::Walk;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// What an address of a Unix socket begins with.
pub const UNIX: &str = "unix:";

/// The longest path of a Unix socket: `sun_path` of unix(7) without the zero at its end.
pub(crate) const MAX_UNIX_PATH: usize = 107;

/// Where a listener listens.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Bind {
    /// TCP. Port 0: any free port.
    Ip(SocketAddr),
    /// A Unix socket with this absolute path.
    Unix(Arc<Path>),
}

impl Bind {
    /// The IP address and the port; `None` for a Unix socket.
    pub fn ip(&self) -> Option<SocketAddr> {
        match self {
            Bind::Ip(address) => Some(*address),
            Bind::Unix(_) => None,
        }
    }

    /// The path of a Unix socket.
    pub fn path(&self) -> Option<&Arc<Path>> {
        match self {
            Bind::Ip(_) => None,
            Bind::Unix(path) => Some(path),
        }
    }
}

impl From<SocketAddr> for Bind {
    fn from(address: SocketAddr) -> Bind {
        Bind::Ip(address)
    }
}

impl PartialEq<SocketAddr> for Bind {
    fn eq(&self, other: &SocketAddr) -> bool {
        self.ip() == Some(*other)
    }
}

/// As the file writes it.
impl fmt::Display for Bind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Bind::Ip(address) => address.fmt(f),
            Bind::Unix(path) => write!(f, "{UNIX}{}", path.display()),
        }
    }
}

/// The path in `unix:/path`, when `text` is an address of that kind.
pub fn unix_path(text: &str) -> Option<&str> {
    text.strip_prefix(UNIX)
}

/// Whether a path can be that of a Unix socket: absolute, so that it means the same wherever Weir was started, not a folder,
/// and short enough for unix(7).
pub(crate) fn is_unix_path(path: &str) -> bool {
    path.starts_with('/') && !path.ends_with('/') && path.len() <= MAX_UNIX_PATH && !path.contains('\0')
}

/// A network: all addresses that begin with the same bits (RFC 4632 section 3.1, RFC 4291 section 2.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Cidr {
    /// Its lowest address. One of IPv4 that was written as IPv6 (RFC 4291 section 2.5.5.2) is one of IPv4 here.
    pub address: IpAddr,
    /// How many bits all of its addresses have in common.
    pub prefix: u8,
}

impl Cidr {
    /// Reads `10.0.0.0/8`, `2001:db8::/32`, or a single address. `Err(Some(..))`: what was meant, where bits beyond the prefix
    /// are set.
    pub(crate) fn parse(text: &str) -> Result<Cidr, Option<Cidr>> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| None)?;
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            None => bits,
            Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) && digits.len() <= 3 => {
                digits.parse::<u8>().ok().filter(|prefix| *prefix <= bits).ok_or(None)?
            }
            Some(_) => return Err(None),
        };
        // All of `::ffff:0:0/96` is IPv4.
        let (address, prefix) = match (address, address.to_canonical()) {
            (IpAddr::V6(_), IpAddr::V4(mapped)) if prefix >= 96 => (IpAddr::V4(mapped), prefix - 96),
            _ => (address, prefix),
        };
        let cidr = Cidr { address: lowest(address, prefix), prefix };
        if cidr.address == address { Ok(cidr) } else { Err(Some(cidr)) }
    }
}

/// As the file writes it.
impl std::str::FromStr for Cidr {
    type Err = NotANetwork;

    fn from_str(text: &str) -> Result<Cidr, NotANetwork> {
        Cidr::parse(text).map_err(|_| NotANetwork)
    }
}

/// A text is no network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotANetwork;

impl fmt::Display for NotANetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("expected an IP address or a network")
    }
}

impl std::error::Error for NotANetwork {}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

/// Which clients a listener takes, how many, and how fast.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Admission {
    /// Only clients from these networks; none: from everywhere.
    pub allow: Vec<Cidr>,
    /// No clients from these networks.
    pub deny: Vec<Cidr>,
    /// The most connections of one address (of one /64 of IPv6).
    pub max_connections_per_address: Option<u32>,
    /// How fast connections are accepted; `None`: as fast as they come.
    pub accept_rate: Option<AcceptRate>,
    /// Who says on whose behalf it connects; `None`: nobody does.
    pub proxy_protocol: Option<ProxyProtocol>,
}

/// So many connections in so long a time, and so many at once after a pause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AcceptRate {
    /// How many in each `per`.
    pub count: u32,
    /// In how long a time.
    pub per: Duration,
    /// How many at once.
    pub burst: u32,
}

/// Connections that begin with a header of the PROXY protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyProtocol {
    /// Those from these networks; none: all.
    pub from: Vec<Cidr>,
    /// How long the header may take.
    pub timeout: Duration,
}

/// The proxies in front of a listener, whose word about the client counts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trusted {
    /// Where they are; none: nobody is trusted.
    pub networks: Vec<Cidr>,
    /// The most addresses of x-forwarded-for that are gone back; `None`: as many as are trusted.
    pub hops: Option<u32>,
    /// Whether peers without an address are: those of a Unix socket that no PROXY protocol header comes from.
    pub unix: bool,
}

crate::words! {
    /// The version of the PROXY protocol that is spoken to endpoints.
    pub enum ProxyVersion {
        #[doc = "A line of text."]
        V1 = "v1",
        #[doc = "Binary."]
        V2 = "v2",
    }
}

/// Reads what a listener's keys say of its clients.
pub(crate) fn admission(walk: &mut Walk<'_>, fields: &Fields<'_>, bind: Option<&Bind>) -> Admission {
    let source = fields.table(walk, "source");
    let lists = source.map(|source| (networks(walk, &source, "allow"), networks(walk, &source, "deny")));
    let (allow, deny) = lists.unwrap_or_default();
    let max_connections_per_address = fields.number(walk, "max_connections_per_address");
    let accept_rate = fields.table(walk, "accept_rate").and_then(|rate| {
        let count = rate.number(walk, "count");
        let per = rate.duration(walk, "per");
        let burst = rate.number(walk, "burst");
        let (count, per) = count.zip(per)?;
        Some(AcceptRate { count, per, burst: burst.unwrap_or(count) })
    });
    let proxy_protocol = fields.table(walk, "proxy_protocol").map(|header| {
        let from = networks(walk, &header, "from");
        (from, header.duration(walk, "timeout").unwrap_or_default())
    });
    let proxy_protocol = proxy_protocol.map(|(from, timeout)| ProxyProtocol { from, timeout });
    let said = |key: &str| fields.child(key);
    if bind.is_some_and(|bind| bind.path().is_some()) {
        if let Some(node) = said("proxy_protocol").and_then(|node| node.child("from")) {
            walk.error(
                node,
                "clients of a Unix socket have no address: without `from` all of them send a header",
            );
        }
        for key in ["source", "max_connections_per_address"] {
            if let (Some(node), None) = (said(key), said("proxy_protocol")) {
                walk.error(
                    node,
                    format!("`{key}` is of no use on a Unix socket: its clients have no address"),
                );
            }
        }
    } else if let Some(node) = said("proxy_protocol").filter(|node| believes_anybody(node, bind)) {
        walk.warn(node, "whoever can connect is believed to be whoever he says: give `from`");
    }
    Admission { allow, deny, max_connections_per_address, accept_rate, proxy_protocol }
}

/// Reads whom a listener trusts, and sees to it that this and `via` only stand where there are fields. `has_fields`: it carries HTTP requests; `None`: nobody knows.
pub(crate) fn trusted(
    walk: &mut Walk<'_>,
    fields: &Fields<'_>,
    bind: Option<&Bind>,
    protocol: Option<(&str, bool)>,
) -> Trusted {
    let networks = networks(walk, fields, "trusted");
    let hops = fields.number(walk, "hops");
    for key in ["trusted", "hops", "via"] {
        let Some(node) = fields.child(key) else { continue };
        match protocol {
            Some((protocol, false)) => {
                walk.error(
                    node,
                    format!("`{key}` is of no use beside `{protocol}`, whose messages have no header fields"),
                );
            }
            _ if key == "hops" && fields.child("trusted").is_none() => {
                walk.error(node, "`hops` is of no use without `trusted`: nobody is believed");
            }
            _ => {}
        }
    }
    let is_unix = bind.is_some_and(|bind| bind.path().is_some());
    let unix = is_unix && !networks.is_empty() && fields.child("proxy_protocol").is_none();
    Trusted { networks, hops, unix }
}

/// Whether headers are taken from everybody, and not only of this host.
fn believes_anybody(node: &Node, bind: Option<&Bind>) -> bool {
    let within = bind.and_then(Bind::ip).is_none_or(|address| address.ip().is_loopback());
    node.entries().is_some() && node.child("from").is_none() && !within
}

fn networks(walk: &mut Walk<'_>, fields: &Fields<'_>, key: &str) -> Vec<Cidr> {
    let items = fields.items(walk, key).unwrap_or_default();
    items.iter().filter_map(|item| walk.network(item)).collect()
}

/// `address` without the bits beyond the prefix.
fn lowest(address: IpAddr, prefix: u8) -> IpAddr {
    match address {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
            IpAddr::V4((address.to_bits() & mask).into())
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
            IpAddr::V6((address.to_bits() & mask).into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks() {
        for (text, shown) in [
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("10.1.2.3", "10.1.2.3/32"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("::/0", "::/0"),
            ("2001:db8::/32", "2001:db8::/32"),
            ("::1", "::1/128"),
            ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
            ("::ffff:10.1.2.3", "10.1.2.3/32"),
        ] {
            assert_eq!(Cidr::parse(text).map(|cidr| cidr.to_string()), Ok(shown.into()), "{text}");
        }
        for (text, meant) in [
            ("10.0.0.1/8", Some("10.0.0.0/8")),
            ("2001:db8::1/64", Some("2001:db8::/64")),
            ("::ffff:10.0.0.1/104", Some("10.0.0.0/8")),
            ("", None),
            ("10.0.0.0/", None),
            ("10.0.0.0/33", None),
            ("10.0.0.0/+8", None),
            ("10.0.0.0/256", None),
            ("10.0.0/8", None),
            ("::/129", None),
            ("[::1]", None),
            ("localhost", None),
            ("/8", None),
        ] {
            let meant = meant.map(|meant| Cidr::parse(meant).unwrap());
            assert_eq!(Cidr::parse(text), Err(meant), "{text}");
        }
    }

    #[test]
    fn paths_of_unix_sockets() {
        for path in ["/run/weir/db.sock", "/a"] {
            assert!(is_unix_path(path), "{path}");
        }
        for path in ["", "/", "/run/", "weir.sock", "@abstract", &format!("/{}", "a".repeat(107))] {
            assert!(!is_unix_path(path), "{path}");
        }
    }
}
