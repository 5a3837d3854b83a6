//! Weir's configuration: file to spanned tree to checked types.
