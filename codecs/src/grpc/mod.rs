//! The grpc codec.
