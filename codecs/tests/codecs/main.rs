//! The codecs, fed the same bytes whole, one at a time and at random cuts, and compared with independent parsers.

// A test that fails may panic, in its helpers too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod alloc;
mod certificate;
mod dynamodb;
mod dynamodb_json;
mod grpc;
mod http1;
mod http2;
mod mongo;
mod proxy_protocol;
mod reused;
