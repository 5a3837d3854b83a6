//! Weir's MongoDB filter.
