//! The PROXY protocol, versions 1 and 2 (`doc/proxy-protocol.txt` of the HAProxy project, 2020-03-05): a header at the beginning
//! of a connection by which a proxy says on whose behalf it makes it.
//!
//! [`parse`] reads either version, strictly: what does not follow the specification to the letter is refused, since whoever
//! believes a wrong address lets the wrong client in. [`encode()`] writes one.
//!
//! | cap | where | beyond it |
//! |---|---|---|
//! | a header of version 1 | [`MAX_V1`] bytes (section 2.1) | [`Problem::TooLong`] |
//! | addresses and extensions of version 2 | [`MAX_V2_REST`] bytes | [`Problem::TooLong`] |

mod encode;
mod v1;
mod v2;

pub use encode::encode;

use std::net::SocketAddr;

/// The longest header of version 1, its line end included.
pub const MAX_V1: usize = 107;

/// The most bytes that follow the first 16 of a header of version 2. The format has room for 65535; no proxy in use sends more
/// than some hundred, unless it passes on whole certificates.
pub const MAX_V2_REST: usize = 4096;

/// The version of a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Version {
    /// A line of text.
    V1,
    /// Binary.
    V2,
}

/// On whose behalf a connection is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// On that of the proxy itself, to see whether somebody is there (`LOCAL`): the connection's own addresses count.
    Proxy,
    /// Somebody's whose addresses the proxy does not know or does not say (`UNKNOWN`, `AF_UNSPEC`): the connection's own count.
    Unknown,
    /// Somebody's who reached the proxy by a Unix socket.
    Unix,
    /// A client's.
    Client {
        /// The client.
        source: SocketAddr,
        /// Where it connected to.
        destination: SocketAddr,
    },
}

/// A header that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Its version.
    pub version: Version,
    /// What it says.
    pub origin: Origin,
    /// Whether the client speaks TLS with the proxy, where the header says (`PP2_TYPE_SSL`, section 2.2.6).
    pub tls: Option<bool>,
    /// How many bytes it has.
    pub length: usize,
}

/// Why something is no header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// It does not begin like one.
    #[error("it does not begin with a PROXY protocol header")]
    Absent,
    /// It begins like one and breaks off, or breaks a rule.
    #[error("the PROXY protocol header is malformed")]
    Malformed,
    /// It is longer than a cap.
    #[error("the PROXY protocol header is too long")]
    TooLong,
    /// Its CRC-32C is another than it says (section 2.2.3).
    #[error("the checksum of the PROXY protocol header is wrong")]
    Checksum,
}

impl Problem {
    /// The label value.
    pub fn label(self) -> &'static str {
        match self {
            Problem::Absent => "absent",
            Problem::Malformed => "malformed",
            Problem::TooLong => "too_long",
            Problem::Checksum => "checksum",
        }
    }
}

/// Reads the header that `bytes` begins with; `None` when more bytes are needed. As long as that is the answer all of `bytes`
/// belongs to the header, so a reader that keeps asking never takes a byte too many.
///
/// # Errors
/// Whatever follows, this is no header.
pub fn parse(bytes: &[u8]) -> Result<Option<Header>, Problem> {
    if begins_like(bytes, v2::SIGNATURE) {
        v2::parse(bytes)
    } else if begins_like(bytes, v1::SIGNATURE) {
        v1::parse(bytes)
    } else {
        Err(Problem::Absent)
    }
}

fn begins_like(bytes: &[u8], signature: &[u8]) -> bool {
    bytes.iter().zip(signature).all(|(byte, of)| byte == of)
}
