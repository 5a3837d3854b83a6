//! MongoDB as a message protocol, without sockets: requests and replies in, operations and outcomes out.

// A test that fails may panic, in its helpers too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod connection;
mod faults;
mod harness;
mod items;
mod leaving;
mod open;
mod operations;
mod outcomes;
mod polls;
mod slow;
