//! HTTP/2 (RFC 9113) and HPACK (RFC 7541): frames and field sections, without IO and without a clock.
//!
//! The shells still stand on the `h2` crate; this codec takes its place behind the same seam once it has passed what
//! that crate passes. Until then only tests, fuzz targets and benches use it.
//!
//! | module | what it holds |
//! |---|---|
//! | [`frame`] | the nine octets before each frame, what each kind allows, and how each kind is written |
//! | [`hpack`] | field sections: a decoder into a caller's buffer, an encoder with classes of names |
//! | `fields` | field sections as one flat buffer |
//! | `code` | error codes, and the faults that lead to them |

mod code;
mod fields;
pub mod frame;
pub mod hpack;

pub use code::{Code, Violation};
pub use fields::{Field, Fields};

/// What a client sends first (RFC 9113 section 3.4).
pub const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
