//! How many connections an application may have at a time. Which application a connection is of is known with its first
//! message, which is a hello; whoever does not say is of the application without a name.
//!
//! A connection too many is closed without a word. An error in answer to the hello would be worse: drivers take it for the
//! server's, give up all connections of that pool, and wait for their monitor to see a change that never comes. A connection that
//! ends before its hello is answered is one that could not be made: drivers of late 2025 and after keep what they have and try again
//! less and less often; older ones pause for half a second. See docs/decisions/close-what-an-application-has-too-many-of.md.

use std::sync::Arc;

use crate::names;
use weir_codecs::mongo::RequestHead;
use weir_config::{Field, Kind};
use weir_decide::tally::{Place, Tally};
use weir_measure::Measure;

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

/// The connections of a listener by application, on all workers. It outlives reloads.
pub(crate) type Seats = Tally<Box<[u8]>>;

/// A connection among those of its application.
pub(crate) type Seat = Place<Box<[u8]>>;

/// What a worker knows of them.
pub(crate) struct Applications {
    listener: Arc<str>,
    measure: Arc<Measure>,
    seats: Arc<Seats>,
    /// The most of one.
    limit: Option<u32>,
}

/// Where a connection is.
#[derive(Debug, Default)]
pub(crate) enum Seated {
    /// Nobody knows yet.
    #[default]
    Nowhere,
    /// Counted.
    Among(#[expect(dead_code, reason = "held, not read")] Seat),
    /// Turned away.
    Full,
}

impl Applications {
    /// Of `listener`; at first without a limit.
    pub(crate) fn new(listener: &Arc<str>, measure: &Arc<Measure>) -> Applications {
        let (listener, measure) = (Arc::clone(listener), Arc::clone(measure));
        Applications { listener, measure, seats: Arc::default(), limit: None }
    }

    /// The same with these seats, of which each application has so many.
    pub(crate) fn with(self, seats: &Arc<Seats>, limit: Option<u32>) -> Applications {
        Applications { seats: Arc::clone(seats), limit, ..self }
    }

    /// Whether a first message has to be held back until it is known whose it is.
    pub(crate) fn asks(&self, seated: &Seated, head: Option<&RequestHead>) -> bool {
        self.limit.is_some() && matches!(seated, Seated::Nowhere) && !head.is_some_and(|head| head.complete)
    }

    /// Gives a connection its seat, once: among those of the application of this name.
    pub(crate) fn seat(&self, seated: &mut Seated, name: &[u8]) {
        if !matches!(seated, Seated::Nowhere) {
            return;
        }
        *seated = match self.seats.enter(name.into(), self.limit) {
            Some(seat) => Seated::Among(seat),
            None => self.turn_away(name),
        };
    }

    #[cold]
    fn turn_away(&self, name: &[u8]) -> Seated {
        let shown = crate::measure::connection::shown(name);
        self.measure.counter(&names::MONGO_CONNECTIONS_REFUSED, &[&self.listener, &shown]).inc();
        tracing::debug!(
            listener = %self.listener, application = shown,
            "a connection was closed: its application has max_connections_per_application"
        );
        Seated::Full
    }
}
