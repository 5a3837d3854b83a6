//! HTTP/1 on both sides of an exchange, on our own codec.
//!
//! [`serve`] reads a request's head off a client's connection and hands the rest to the exchange loop, request after request;
//! [`down`] and [`up`] are the two sides as that loop sees them; [`wire`] moves the bytes.

mod body;
pub mod down;
pub mod head;
pub mod serve;
pub mod up;
pub mod wire;

pub use down::Down;
pub use up::Pooled;
pub use wire::Wire;
