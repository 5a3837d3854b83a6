//! HTTP/2 (RFC 9113) and HPACK (RFC 7541): frames and field sections, without IO and without a clock.
//!
//! The shells still stand on the `h2` crate; this codec takes its place behind the same seam once it has passed what
//! that crate passes. Until then only tests, fuzz targets and benches use it.
//!
//! | module | what it holds |
//! |---|---|
//! | [`frame`] | the nine octets before each frame, what each kind allows, and how each kind is written |
//! | [`Connection`] | one end of a connection: bytes in and events out, commands in and bytes out |
//! | [`hpack`] | field sections: a decoder into a caller's buffer, an encoder with classes of names |
//! | `fields` | field sections as one flat buffer |
//! | `message` | what a head and trailers have to be like |
//! | `state`, `streams` | a stream's life; the streams of a connection, and which of them writes next |
//! | `flow`, `budget` | how far windows grow; what a connection may spend on frames that bring nothing |
//! | `code` | error codes, and the faults that lead to them |

mod budget;
mod code;
mod connection;
mod fields;
mod flow;
pub mod frame;
pub mod hpack;
mod message;
mod state;
mod streams;

pub use budget::Waste;
pub use code::{Code, Violation};
pub use connection::{Connection, Event, Next, OUT_MOST, Role, Settings, Step, TURN_BYTES, TURN_FRAMES};
pub use fields::{Field, Fields};
pub use message::{Facts, Priority, Wanted, check};
pub use state::OutOfTurn;
pub use streams::StreamRef;

/// What a client sends first (RFC 9113 section 3.4).
pub const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
