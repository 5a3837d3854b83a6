//! Weir's gRPC dialect of HTTP.
