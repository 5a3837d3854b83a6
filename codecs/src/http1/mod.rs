//! The http1 codec.
