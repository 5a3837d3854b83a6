//! The numbers, from what workers record to the text that a scraper reads.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr
)]

mod caps;
mod clusters;
mod exact;
mod exposition;
mod oracle;
mod strangers;
mod text;
