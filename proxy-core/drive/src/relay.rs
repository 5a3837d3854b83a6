//! The `tcp` filter.
/// Tcp.
#[derive(Debug)]
pub struct Tcp;
