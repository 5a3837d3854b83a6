//! How many connections an application may have at a time. Which application a connection is of is known with its first
//! message, which is a hello; whoever does not say is of the application without a name.
//!
//! A connection too many is closed without a word. An error in answer to the hello would be worse: drivers take it for the
//! server's, give up all connections of that pool, and wait for their monitor to see a change that never comes. A connection that
//! ends before its hello is answered is one that could not be made: drivers of late 2025 and after keep what they have and try again
//! less and less often; older ones pause for half a second. See docs/decisions/close-what-an-application-has-too-many-of.md.

use weir_config::{Field, Kind};

/// `max_connections_per_application`
pub(crate) const FIELD: Field = Field::optional(
    "max_connections_per_application",
    Kind::Integer { min: 1, max: 1_000_000 },
    "The most connections at a time of one application, as it names itself in its first message; those that do not are one \
     application. Further ones are closed when they have said their name. Drivers' own connections, two for each server of \
     each client, count too. Left out: no such limit.",
);

/// The most of a first message that is held until the application is known.
pub(crate) const MOST: usize = 16 * 1024;
