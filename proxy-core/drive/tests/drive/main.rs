//! The shells, over loopback sockets, with scripted peers.
//!
//! Each test starts a whole [`Server`](weir_drive::Server) from a configuration and plays client and upstream itself.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod admission;
mod certificates;
mod cluster;
mod house;
mod io;
mod message;
mod process;
mod relay;
mod syscalls;
mod tls;
mod tls_clients;
mod tls_names;
mod tls_passed;
mod tls_renewed;
mod tls_sessions;
mod toy;
mod unix;
mod unix_files;
