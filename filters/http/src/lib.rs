//! The HTTP filter: HTTP/1.1 and HTTP/2 through one exchange loop.

pub mod dialect;
pub mod fields;

pub use dialect::{AtHead, Dialect, End, LocalReply, Refusal, RequestHead, Watch};
pub use fields::Fields;
