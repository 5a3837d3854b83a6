//! The HTTP/1.1 codec (RFC 9110, RFC 9112): strict framing, so that Weir and the servers behind it never disagree on
//! where a message ends. It reads no socket and keeps no copy of what it is fed.
//!
//! A message passes through it like this:
//!
//! 1. [`parse_request`] or [`parse_response`] looks at the buffer until the head is [`Parsed::Complete`]. The
//!    [`RequestHead`] it fills is reused from message to message and holds offsets and facts: how the body ends
//!    ([`Framing`]), whether the connection lives on, what is hop-by-hop ([`Class`]).
//! 2. The shell takes the head's bytes out of its buffer (`split_to(len).freeze()`), reads them through
//!    [`RequestHead::view`], and writes the forwarded head with [`encode`] and [`FieldsView::copy_lines`]: what is not
//!    changed is copied as it came.
//! 3. [`Body`] is fed what follows and says which runs of it are data, or may go on exactly as they are, until the end.
//!
//! | module | what it holds |
//! |---|---|
//! | `request`, `response` | heads and the facts that follow from them |
//! | `scan` | the machine that defines what a head may look like |
//! | `head` | the fast scan (`httparse`) of a head that arrived whole |
//! | `framing` | Content-Length, Transfer-Encoding, Connection, Upgrade, Expect, TE |
//! | `fields`, `known` | field sections by offsets, and the names the proxy looks at |
//! | `body` | bodies: runs of data, chunks, trailers |
//! | `encode` | writing start lines, fields, chunks |
//! | `path` | normal paths, for routing |
//! | `face` | the codec as a `tokio_util` decoder, with the feature of that name |
//! | `reject` | one rule for each way to be wrong |
//!
//! The first byte that breaks a rule ends the connection: whoever gets a [`Reject`] answers, closes, and forgets what
//! is left in the buffer.

mod authority;
mod client;
mod fields;
mod framing;
mod head;
mod known;
mod reject;
mod request;
mod response;
mod scan;
pub mod token;

pub mod body;
pub mod encode;
#[cfg(feature = "tokio-util")]
pub mod face;
pub mod path;

pub use authority::Authority;
pub use body::{Body, Decoded, Relayed, Then};
pub use client::{
    CLIENT_FIELDS, HOP, HOP_NAME, PREFIXES, SINGLE_FORWARDED, Shape, client_field, is_ambiguous, is_reserved,
    read_as, says_of_client,
};
pub use fields::{Class, Field, Fields, FieldsView, Span};
pub use framing::Framing;
pub use head::{Parsed, Version};
pub use known::{Known, KnownSet};
pub use reject::{Reject, Rule};
pub use request::{Form, Method, Request, RequestHead, Scheme, parse_request};
pub use response::{Asked, Response, ResponseHead, parse_response};

/// The largest length of a body or a chunk: 2^63-1, which every peer can hold in a signed word.
pub const MAX_BODY: u64 = i64::MAX as u64;

/// The caps of the codec. Each has its own [`Rule`], so meeting one is an error and a count, never a silent drop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a head, from its first byte (an empty line before it counts) to its empty line.
    pub head: u32,
    /// Fields of a head, and of a trailer section; of requests and replies, and in HTTP/2 too.
    pub fields: u32,
    /// Bytes of a request target.
    pub target: u32,
    /// Names that Connection nominates in one head.
    pub nominated: u32,
    /// Bytes of chunk extensions in one chunk.
    pub chunk_extension: u32,
    /// Bytes of chunk extensions in one body.
    pub chunk_extensions: u32,
    /// Bytes of a trailer section.
    pub trailers: u32,
}

impl Limits {
    /// The most fields. gRPC's metadata is often far beyond the 100 that servers of HTTP/1 are used to; 64 KiB as HTTP/2 counts
    /// them, with 32 bytes more for each, are below 2,000.
    pub const FIELDS: u32 = 1600;
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            head: 60 * 1024,
            fields: Self::FIELDS,
            target: 8 * 1024,
            nominated: 16,
            chunk_extension: 256,
            chunk_extensions: 16 * 1024,
            trailers: 16 * 1024,
        }
    }
}
