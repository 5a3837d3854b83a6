//! Towards servers: a worker's handle on each cluster, connections with their TLS, and the pools of idle ones.

pub mod blocking;
pub mod cluster;
pub mod pool;
pub(crate) mod tls;
