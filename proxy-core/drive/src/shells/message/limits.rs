//! How much one connection may have under way, and how much of a reply may be held back.

/// The most operations under way on one connection; beyond it nothing more is read from the client until one has ended, and
/// `weir_message_limits_total{limit="pending"}` moves.
pub const MAX_PENDING: usize = 1024;

/// The most bytes of a reply that are held back for its judgement; beyond it they go on as they come, and
/// `weir_message_limits_total{limit="held_reply"}` moves.
pub const MAX_HELD_REPLY: usize = 64 * 1024;
