//! The HTTP filter in a running server, between scripted peers and real stacks.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod alive;
mod blame;
mod client;
mod connect;
mod dialects;
mod edges;
mod guards;
mod house;
mod limits;
mod matrix;
mod misdirected;
mod peer;
mod pooled;
mod retries;
mod secure;
mod sense;
mod settings;
mod strict;
mod times;
mod wire;
