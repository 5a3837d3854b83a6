//! The shells: the loops that read, write and wait, and what a worker lends to them. A connection borrows buffers, the outbox,
//! the numbers, the clock and random numbers from its [`Worker`](worker::Worker); it never sees the thread that reloads and
//! drains.

pub mod context;
pub(crate) mod cuts;
pub mod filter;
pub mod front;
pub mod message;
pub mod page;
pub mod relay;
pub mod worker;
