//! Clusters and routes from outside: tables, seeded simulation, threads that hammer one cluster, allocations, and (with
//! `RUSTFLAGS="--cfg loom"`) a model of what workers share.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr
)]

#[cfg(not(loom))]
#[path = "../../../../codecs/tests/codecs/alloc.rs"]
mod alloc;
#[cfg(not(loom))]
mod balance;
#[cfg_attr(loom, allow(dead_code))]
mod common;
#[cfg(not(loom))]
mod ejection;
#[cfg(not(loom))]
mod limits;
#[cfg(loom)]
mod model;
#[cfg(not(loom))]
mod retries;
#[cfg(not(loom))]
mod routes;
#[cfg(not(loom))]
mod simulation;
#[cfg(not(loom))]
mod steady;
#[cfg(not(loom))]
mod threads;
