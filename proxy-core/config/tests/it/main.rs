//! The configuration as a whole: files that are right, files that are wrong and the exact words about them, the schema, the
//! reference, reload, and hostile input.

// A test that fails may panic, in its helpers too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod files;
mod hostile;
mod reload;
mod schema;
mod sections;
