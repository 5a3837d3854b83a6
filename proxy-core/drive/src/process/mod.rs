//! The process: the threads of the workers, and the server that starts, reloads and drains them.

pub(crate) mod control;
pub mod server;
pub(crate) mod worker;
