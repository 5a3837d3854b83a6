//! Weir's admin API.
