//! gRPC over HTTP/2 (the gRPC project's PROTOCOL-HTTP2), as far as one looks at it in passing: what a request calls,
//! until when it may take, how many messages go each way, and how the call ended. Nothing is decompressed or decoded;
//! messages stay what they are, bytes behind a five byte prefix.
//!
//! How a call passes through:
//!
//! 1. [`Protocol::of`] tells from the content type whether a request is a call, [`Method::parse`] names it by its path,
//!    [`Timeout::parse`] reads `grpc-timeout`;
//! 2. a [`MessageCounter`] for each direction is fed the DATA frames as they come, however they are cut;
//! 3. [`Code`] is read from the trailers (or the only HEADERS frame), or derived from the HTTP status where there is
//!    none; [`Pushback`] says what the server thinks of a retry;
//! 4. a message of our own is written by [`encode_message`].

mod code;
mod frames;
mod head;
mod message;
mod timeout;

pub use code::Code;
pub use frames::{FrameError, MAX_MESSAGE, MessageCounter, PREFIX};
pub use head::{Method, Protocol, Pushback};
pub use message::{decode_message, encode_message};
pub use timeout::{TIMEOUT_LENGTH, Timeout};
