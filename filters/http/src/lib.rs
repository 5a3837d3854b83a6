//! Weir's HTTP filter: HTTP/1.1 and HTTP/2 through one exchange loop.
