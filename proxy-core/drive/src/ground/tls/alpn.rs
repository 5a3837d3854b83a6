//! What TLS agrees upon beside keys: the application protocol (ALPN, RFC 7301).

/// An application protocol that TLS agrees upon.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Alpn {
    /// `h2`
    H2,
    /// `http/1.1`
    Http1,
}

impl Alpn {
    /// The name on the wire.
    pub const fn wire(self) -> &'static [u8] {
        match self {
            Alpn::H2 => b"h2",
            Alpn::Http1 => b"http/1.1",
        }
    }

    /// The protocol with this name.
    pub fn parse(wire: &[u8]) -> Option<Alpn> {
        [Alpn::H2, Alpn::Http1].into_iter().find(|alpn| alpn.wire() == wire)
    }
}

/// What TLS towards an endpoint offers by ALPN. Without TLS it means nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Offer {
    /// Nothing: protocols that have no ALPN name.
    Nothing,
    /// `http/1.1`
    Http1,
    /// `h2`
    H2,
}
