//! The HTTP/1.1 codec.
//!
//! `cases` reads the tables of fixtures/http1, `reader` joins head parsers and body decoders to what a connection does
//! with them; `table` holds every case to its exact reaction however it is cut, `properties` holds what must be true of
//! any bytes, `differential` compares with hyper, Node.js and h11, and `allocations` counts.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking; clippy's exemption covers #[test] functions and not their helpers"
)]

mod allocations;
mod cases;
mod differential;
mod face;
mod facts;
mod oracles;
mod properties;
mod reader;
mod table;
