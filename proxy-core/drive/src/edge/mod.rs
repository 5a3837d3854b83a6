//! The edge: listening sockets, the limits on new connections, and the TLS of clients, terminated or passed on.

pub mod listener;
pub(crate) mod passthrough;
pub(crate) mod tls;
