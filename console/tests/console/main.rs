//! The admin API over real sockets: what it answers, whom it refuses, what it bears.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod answers;
mod documented;
mod fixture;
mod hostile;
