//! The message loop: serves one client connection of a message protocol (`weir_decide::protocol::Protocol`) over one upstream
//! connection that it is pinned to.
//!
//! A filter's service makes one [`Context`] and calls, for each connection it is given:
//! `message::serve(Rc<P>, Rc<Context>, Accepted) -> impl Future<Output = ()>`.

pub use crate::context::Context;

/// The most operations under way on one connection; beyond it nothing more is read from the client until one has ended.
pub const MAX_PENDING: usize = 1024;
