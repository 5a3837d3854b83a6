//! The configuration as a whole: files that are right, files that are wrong and the exact words about them, the schema, the
//! reference, reload, and hostile input.

mod files;
mod hostile;
mod reload;
mod schema;
mod sections;
