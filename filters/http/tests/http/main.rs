//! The HTTP filter in a running server, between scripted peers and real stacks.

mod dialects;
mod house;
mod matrix;
mod peer;
