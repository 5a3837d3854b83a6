//! Who is at the other end of a connection, as far as addresses tell.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use weir_codecs::proxy_protocol::Origin;

/// One end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Address {
    /// An IP address and a port.
    Ip(SocketAddr),
    /// A Unix socket: its clients have no address.
    Unix,
}

impl Address {
    /// The IP address and the port, if it has them.
    pub fn ip(self) -> Option<SocketAddr> {
        match self {
            Address::Ip(address) => Some(address),
            Address::Unix => None,
        }
    }
}

/// What a PROXY protocol header says of the client beside addresses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Told {
    /// The client speaks TLS with the proxy in front.
    pub tls: bool,
    /// The proxy does not say whose connection it is: the address is its own, and stands for nobody.
    pub unknown: bool,
}

/// On whose behalf something is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Client {
    /// The client.
    pub address: Address,
    /// Where it connected to, as far as is known: at Weir, or at the proxy before it.
    pub destination: Address,
}

impl Client {
    /// The same in the words of the PROXY protocol.
    pub(crate) fn origin(&self) -> Origin {
        match (self.address, self.destination) {
            (Address::Ip(source), Address::Ip(destination)) => Origin::Client { source, destination },
            (Address::Unix, _) => Origin::Unix,
            (Address::Ip(_), Address::Unix) => Origin::Unknown,
        }
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Address {
        Address::Ip(address)
    }
}

/// `10.0.0.1:50000`, `[::1]:50000`, or `unix:`.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Ip(address) => address.fmt(f),
            Address::Unix => f.write_str(weir_config::UNIX),
        }
    }
}

/// What counts as one client address: an IPv4 address, or a /64 of IPv6, within which a host picks addresses as it likes (RFC 4291
/// section 2.5.1, RFC 8981).
pub(crate) fn one_client(address: IpAddr) -> u128 {
    match address.to_canonical() {
        // Not the beginning of any network of IPv6: `::ffff:0:0/96` is IPv4.
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => address.to_bits() & !u128::from(u64::MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_told_apart_as_far_as_one_can() {
        let table = [
            ("10.0.0.1", "10.0.0.1", true),
            ("10.0.0.1", "::ffff:10.0.0.1", true),
            ("10.0.0.1", "10.0.0.2", false),
            ("10.0.0.1", "::10.0.0.1", false),
            ("2001:db8::1", "2001:db8::ffff:ffff:ffff:ffff", true),
            ("2001:db8::1", "2001:db8:0:1::1", false),
            ("0.0.0.0", "::", false),
        ];
        for (one, other, same) in table {
            let of = |text: &str| one_client(text.parse().unwrap());
            assert_eq!(of(one) == of(other), same, "{one} and {other}");
        }
    }
}
