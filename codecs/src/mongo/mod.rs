//! The mongo codec.
