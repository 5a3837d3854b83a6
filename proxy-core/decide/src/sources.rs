//! Lists of networks: which client addresses a listener takes.
//!
//! Compiled into sorted ranges that do not overlap, so that a look-up is a binary search: about ten steps among a thousand
//! entries. Addresses of IPv4 and of IPv6 are told apart; one of IPv4 that is written as IPv6 (RFC 4291 section 2.5.5.2) is one
//! of IPv4.

use std::net::IpAddr;
use weir_config::Cidr;

/// A set of addresses.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Networks {
    v4: Vec<(u32, u32)>,
    v6: Vec<(u128, u128)>,
}

impl Networks {
    /// All addresses of these networks.
    pub fn new(networks: &[Cidr]) -> Networks {
        let mut all = Networks::default();
        for network in networks {
            let prefix = u32::from(network.prefix);
            match network.address {
                IpAddr::V4(address) => {
                    let first = address.to_bits();
                    all.v4.push((first, first | u32::MAX.checked_shr(prefix).unwrap_or(0)));
                }
                IpAddr::V6(address) => {
                    let first = address.to_bits();
                    all.v6.push((first, first | u128::MAX.checked_shr(prefix).unwrap_or(0)));
                }
            }
        }
        all.v4 = merged(all.v4);
        all.v6 = merged(all.v6);
        all
    }

    /// Whether `address` is one of them.
    pub fn contains(&self, address: IpAddr) -> bool {
        match address.to_canonical() {
            IpAddr::V4(address) => within(&self.v4, address.to_bits()),
            IpAddr::V6(address) => within(&self.v6, address.to_bits()),
        }
    }
}

/// Whose word about the client of an HTTP request counts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trusted {
    networks: Networks,
    hops: Option<u32>,
    unix: bool,
}

impl Trusted {
    /// As the configuration says.
    pub fn new(config: &weir_config::Trusted) -> Trusted {
        Trusted { networks: Networks::new(&config.networks), hops: config.hops, unix: config.unix }
    }

    /// Whether a peer with this address is; `None`: one without, of a Unix socket.
    pub fn trusts(&self, peer: Option<IpAddr>) -> bool {
        peer.map_or(self.unix, |address| self.networks.contains(address))
    }

    /// Who the client is: the first address that is not trusted, of `peer` and then of `told`, the list of x-forwarded-for (RFC 7239
    /// section 7.4) from its right end. With `hops` it is the address after that many at the latest; where the list ends before, or
    /// something else stands in it, it is `peer` then, as with Envoy's `xff_num_trusted_hops`. Without `hops` it is the last
    /// one that could be read.
    pub fn client<'a>(
        &self,
        peer: Option<IpAddr>,
        told: impl IntoIterator<Item = &'a [u8]>,
    ) -> Option<IpAddr> {
        let mut told = told.into_iter();
        let (mut client, mut gone) = (peer, 0);
        while self.trusts(client) && self.hops.is_none_or(|hops| gone < hops) {
            match told.next().and_then(told_address) {
                Some(address) => client = Some(address),
                None => return if self.hops.is_some() { peer } else { client },
            }
            gone += 1;
        }
        client
    }
}

/// An address as proxies write it: with or without a port, one of IPv6 in brackets or bare.
fn told_address(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?.trim_matches([' ', '\t']);
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let address = bare.unwrap_or(text).parse::<IpAddr>().ok();
    let with_port = || text.parse::<std::net::SocketAddr>().ok().map(|address| address.ip());
    address.or_else(with_port).map(|address| address.to_canonical())
}

/// Sorted, those that overlap made one. Networks either nest or are apart.
fn merged<T: Ord + Copy>(mut ranges: Vec<(T, T)>) -> Vec<(T, T)> {
    ranges.sort_unstable();
    let mut all: Vec<(T, T)> = Vec::with_capacity(ranges.len());
    for (first, last) in ranges {
        match all.last_mut() {
            Some((_, end)) if first <= *end => *end = last.max(*end),
            _ => all.push((first, last)),
        }
    }
    all
}

fn within<T: Ord + Copy>(ranges: &[(T, T)], address: T) -> bool {
    let after = ranges.partition_point(|(first, _)| *first <= address);
    after.checked_sub(1).and_then(|at| ranges.get(at)).is_some_and(|(_, last)| address <= *last)
}

/// Who is let in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sources {
    /// `None`: everybody who is not denied.
    allow: Option<Networks>,
    deny: Networks,
}

impl Sources {
    /// Those of `allow` (everybody, if that is empty) except those of `deny`.
    pub fn new(allow: &[Cidr], deny: &[Cidr]) -> Sources {
        let allow = Some(allow).filter(|allow| !allow.is_empty()).map(Networks::new);
        Sources { allow, deny: Networks::new(deny) }
    }

    /// Whether a client with this address is let in. One without an address (of a Unix socket) is in no list.
    pub fn admits(&self, address: Option<IpAddr>) -> bool {
        let is_in = |networks: &Networks| address.is_some_and(|address| networks.contains(address));
        !is_in(&self.deny) && self.allow.as_ref().is_none_or(is_in)
    }
}
