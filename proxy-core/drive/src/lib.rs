//! Weir's shells: workers, listeners, transports, the message loop, the relay.
