//! Weir's DynamoDB dialect of HTTP.
