//! HPACK (RFC 7541): field sections, compressed by a table that both ends keep in step.

mod decoder;
mod encoder;
mod huffman;
mod tables;

pub use decoder::{Decoder, Outcome};
pub use encoder::{Class, Encoder};

/// The table's size until SETTINGS_HEADER_TABLE_SIZE says otherwise.
pub const DEFAULT_TABLE: u32 = 4096;

/// What an entry counts besides its bytes (RFC 7541 section 4.1), and a field in SETTINGS_MAX_HEADER_LIST_SIZE.
pub const OVERHEAD: usize = 32;
