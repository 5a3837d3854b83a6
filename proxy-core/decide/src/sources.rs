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
