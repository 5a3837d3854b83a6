//! Applications: who is behind a connection, as it says itself, and how many connections each may have at a time.

use crate::Measure;
use crate::names::Family;
use std::sync::Arc;
use weir_decide::exchange::{NameId, NameKind, Names};
use weir_decide::tally::{Place, Tally};

/// The longest name that is shown in a label of a connection.
const SHOWN: usize = 64;

/// What a client calls itself, as it is shown.
pub fn shown(name: &[u8]) -> String {
    let text = String::from_utf8_lossy(name.get(..SHOWN).unwrap_or(name));
    text.replace(char::is_control, "?")
}

/// The application of a connection, in numbers.
#[derive(Debug, Default)]
pub struct Application {
    called: Box<[u8]>,
    id: NameId,
    /// How many names had given way to others when this one had not.
    gone: u64,
}

impl Application {
    /// It calls itself so from now on.
    pub fn calls_itself(&mut self, names: &mut dyn Names, name: &[u8]) {
        if *self.called != *name {
            self.called = name.into();
        }
        self.id = names.intern(NameKind::Application, &[name]);
        self.gone = names.gone();
    }

    /// Its name: another one if it had to give way to others since.
    pub fn name(&mut self, names: &mut dyn Names) -> NameId {
        let gone = names.gone();
        if self.gone != gone && !self.called.is_empty() {
            self.gone = gone;
            self.id = names.intern(NameKind::Application, &[&self.called]);
        }
        self.id
    }
}

/// The connections of a listener by application, on all workers. It outlives reloads.
pub type Seats = Tally<Box<[u8]>>;

/// A connection among those of its application.
pub type Seat = Place<Box<[u8]>>;

/// What a worker knows of them.
#[derive(Debug)]
pub struct Applications {
    listener: Arc<str>,
    measure: Arc<Measure>,
    seats: Arc<Seats>,
    /// The most of one.
    limit: Option<u32>,
    /// What counts those that are turned away, by listener and application.
    refused: &'static Family,
}

/// Where a connection is.
#[derive(Debug, Default)]
pub enum Seated {
    /// Nobody knows yet.
    #[default]
    Nowhere,
    /// Counted.
    Among(Seat),
    /// Turned away.
    Full,
}

impl Applications {
    /// Of `listener`; at first without a limit.
    pub fn new(listener: &Arc<str>, measure: &Arc<Measure>, refused: &'static Family) -> Applications {
        let (listener, measure) = (Arc::clone(listener), Arc::clone(measure));
        Applications { listener, measure, seats: Arc::default(), limit: None, refused }
    }

    /// The same with these seats, of which each application has so many.
    pub fn with(self, seats: &Arc<Seats>, limit: Option<u32>) -> Applications {
        Applications { seats: Arc::clone(seats), limit, ..self }
    }

    /// Whether a first message has to be held back until it is known whose it is; `is_known`: all that it says is.
    pub fn asks(&self, seated: &Seated, is_known: bool) -> bool {
        self.limit.is_some() && matches!(seated, Seated::Nowhere) && !is_known
    }

    /// Gives a connection its seat, once: among those of the application of this name.
    pub fn seat(&self, seated: &mut Seated, name: &[u8]) {
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
        let shown = shown(name);
        self.measure.counter(self.refused, &[&self.listener, &shown]).inc();
        tracing::debug!(
            listener = %self.listener, application = shown,
            "a connection was closed: its application has max_connections_per_application"
        );
        Seated::Full
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Limits;
    use crate::names::Kind;

    static REFUSED: Family = Family {
        name: "weir_toy_connections_refused_total",
        help: "Refused.",
        kind: Kind::Counter,
        labels: &["listener", "application"],
        max_series: Some(8),
    };

    #[test]
    fn an_application_has_so_many_connections_and_no_more() {
        let measure = Measure::new(Limits::default());
        let applications = Applications::new(&"l".into(), &measure, &REFUSED);
        let mut free = Seated::default();
        assert!(!applications.asks(&free, false), "without a limit nothing waits");
        applications.seat(&mut free, b"a");
        assert!(matches!(free, Seated::Among(_)));
        let applications = applications.with(&Arc::default(), Some(2));
        let mut seated: [Seated; 4] = Default::default();
        assert!(seated.iter().all(|one| applications.asks(one, false) && !applications.asks(one, true)));
        for (one, name) in seated.iter_mut().zip([b"a", b"a", b"a", b"b"]) {
            applications.seat(one, name);
        }
        assert!(matches!(seated, [Seated::Among(_), Seated::Among(_), Seated::Full, Seated::Among(_)]));
        assert_eq!(measure.counter(&REFUSED, &["l", "a"]).value(), 1);
        // It is asked once, and its place is free when it has gone.
        assert!(seated.iter().all(|one| !applications.asks(one, false)));
        let [first, _, full, _] = &mut seated;
        *first = Seated::Nowhere;
        applications.seat(full, b"a");
        assert!(matches!(full, Seated::Full));
        applications.seat(first, b"a");
        assert!(matches!(first, Seated::Among(_)));
    }
}
