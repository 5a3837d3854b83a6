//! Weir, a protocol-aware proxy.
fn main() {}
