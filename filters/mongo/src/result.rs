//! The results that a reply can have; [`refusal`](crate::refusal) has those of operations without one.

/// The server did what was asked.
pub const OK: &str = "ok";
/// The server answered with an error.
pub const ERROR: &str = "error";
/// Some of the writes failed, inside `ok: 1`.
pub const WRITE_ERROR: &str = "write_error";
/// The writes were made, but not as safely as was asked for, inside `ok: 1`.
pub const WRITE_CONCERN_ERROR: &str = "write_concern_error";
/// The client went away before it was answered.
pub const CLIENT_GONE: &str = "client_gone";
/// The reply could not be understood.
pub const UNDECODED: &str = "undecoded";
