//! Who is at the other end of a connection, as far as addresses tell.

use std::fmt;
use std::net::SocketAddr;
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
