//! Who is at the other end of a connection, as far as addresses tell.

use std::fmt;
use std::net::SocketAddr;

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
