//! Bytes to frames and lazy views, for every protocol Weir understands. Nothing here reads a socket, a clock or a
//! random number: a codec is fed bytes as they arrive and hands out pieces of exactly those bytes, so what passes
//! through Weir unchanged is never copied and never re-encoded.
//!
//! | module | what it frames |
//! |---|---|
//! | [`http1`] | HTTP/1.1 heads and bodies (RFC 9112), strictly |
//! | [`http2`] | HTTP/2 frames (RFC 9113) and field sections (RFC 7541) |
//! | [`mongo`] | the MongoDB wire protocol: messages, sections, BSON top-level walks, compression |
//! | [`grpc`] | gRPC's length-prefixed messages, timeouts and status over HTTP/2 |
//! | [`proxy_protocol`] | the header that says on whose behalf a connection is made, PROXY protocol 1 and 2 |
//! | [`certificate`] | the end of an X.509 certificate's time |
//! | [`dynamodb`] | DynamoDB's JSON bodies: tables, errors, partial failures, found as the bytes pass |
//!
//! A request passes through a codec like this: the shell appends what it read to a buffer, calls the codec until it
//! asks for more, and forwards each piece as soon as it has it; a codec never needs a message whole.

pub mod certificate;
mod crc32c;
pub mod dynamodb;
pub mod grpc;
pub mod http1;
pub mod http2;
pub mod mongo;
pub mod proxy_protocol;

use bytes::Bytes;

/// A run of exact wire bytes that belong to one message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece<H> {
    /// The bytes as they came, to be forwarded as they are.
    pub bytes: Bytes,
    /// What has been learnt about the message, once it is known (possibly only with its last piece).
    pub head: Option<H>,
    /// Whether the message ends with this piece.
    pub last: bool,
}
