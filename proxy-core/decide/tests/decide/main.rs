//! Clusters and routes from outside: tables, seeded simulation, threads that hammer one cluster, allocations.
//! (The loom model of what workers share is the library's, in src/loom_model.rs: it uses `common` too.)

#![cfg(not(loom))]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr
)]

mod admission;
mod again;
#[path = "../../../../codecs/tests/codecs/alloc.rs"]
mod alloc;
mod balance;
mod budget;
mod common;
mod ejection;
mod limits;
mod retries;
mod routes;
mod rules;
mod simulation;
mod steady;
mod threads;
