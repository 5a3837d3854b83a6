//! MongoDB as a message protocol, without sockets: requests and replies in, operations and outcomes out.

mod faults;
mod harness;
mod operations;
mod outcomes;
mod polls;
