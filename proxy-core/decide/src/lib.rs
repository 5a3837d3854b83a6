//! Everything Weir decides about a request, without IO, clocks or random numbers of its own.
//!
//! [`sources`] say which clients are let in. A protocol turns bytes into an [`exchange::Operation`]; [`rules`] say whether it may go on; [`route`] says which cluster it goes to; that cluster's
//! [`cluster::View`] admits it and picks an endpoint; when the attempt has ended, its [`exchange::Outcome`] goes back to the
//! cluster, which says whether it is tried again ([`policy`]). Time is passed in as [`exchange::Now`], randomness as a
//! seed, so all of it runs under seeded simulation.

pub mod cluster;
pub mod exchange;
pub mod policy;
pub mod protocol;
pub mod route;
pub mod rules;
pub mod sources;
pub mod tally;
pub mod text;

// The loom model shares its short words with the tests from outside, which call this crate by its name.
#[cfg(all(loom, test))]
extern crate self as weir_decide;
#[cfg(all(loom, test))]
#[path = "../tests/decide/common.rs"]
#[allow(dead_code, clippy::unwrap_used, clippy::indexing_slicing)]
mod common;
#[cfg(all(loom, test))]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
mod loom_model;
