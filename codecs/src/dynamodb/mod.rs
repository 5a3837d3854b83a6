//! The dynamodb codec.
