//! What is counted by connection: whose software it is, how it authenticates, what compression saves.

use std::cell::{OnceCell, RefCell};
use std::sync::Arc;

use crate::names;
use weir_codecs::mongo::{ClientMetadata, Command, Compressor, Mechanism, ReplyHead, RequestHead};
use weir_decide::protocol::{About, Software};
use weir_measure::applications::shown;
use weir_measure::{Counter, Held, Measure};

/// What is remembered of one connection.
#[derive(Debug, Default)]
pub(crate) struct Connection {
    /// Counted in the connections of this application and driver, from the first hello on.
    held: Option<Held>,
    /// The authentication that is under way.
    mechanism: Option<Mechanism>,
    about: About,
    /// That has not been told.
    is_news: bool,
}

impl Connection {
    /// Whether a server has said that somebody authenticated on it.
    pub(crate) fn has_authenticated(&self) -> bool {
        self.about.mechanism.is_some()
    }

    /// What the client says of itself, if that has changed since this was last asked.
    pub(crate) fn news(&mut self) -> Option<About> {
        std::mem::take(&mut self.is_news).then(|| self.about.clone())
    }
}

/// Counts them, on one listener and worker.
pub(crate) struct Connections {
    listener: Arc<str>,
    measure: Arc<Measure>,
    /// Of the connection that came last: the next one is often of the same kind.
    latest: RefCell<Arc<Software>>,
    /// By compressor and direction: bytes on the wire, and decompressed.
    compressed: [[OnceCell<(Counter, Counter)>; 2]; 4],
}

/// Directions of [`Connections::compressed`].
const REQUEST: usize = 0;
const REPLY: usize = 1;

impl Connections {
    pub(crate) fn new(listener: &Arc<str>, measure: &Arc<Measure>) -> Connections {
        Connections {
            listener: Arc::clone(listener),
            measure: Arc::clone(measure),
            latest: RefCell::default(),
            compressed: Default::default(),
        }
    }

    /// What a request's head tells.
    pub(crate) fn request(&self, connection: &mut Connection, head: &RequestHead) {
        if let Some(client) = &head.client
            && connection.held.is_none()
        {
            let software = software(client);
            connection.held = Some(self.hold(&software));
            connection.about.software = Some(self.shared(software));
            connection.is_news = true;
        }
        if head.mechanism.is_some() {
            connection.mechanism = head.mechanism;
        }
        if let Some(compressor) = head.compressor.filter(|_| head.complete) {
            self.compressed(compressor, REQUEST, head.header.length, head.uncompressed_length);
            if connection.about.compressor != Some(compressor.name()) {
                (connection.about.compressor, connection.is_news) = (Some(compressor.name()), true);
            }
        }
    }

    /// The same as that of the connection before, if it is.
    fn shared(&self, software: Software) -> Arc<Software> {
        let mut latest = self.latest.borrow_mut();
        if **latest != software {
            *latest = Arc::new(software);
        }
        Arc::clone(&latest)
    }

    #[cold]
    fn hold(&self, software: &Software) -> Held {
        let Software { application, driver, version, framework } = software;
        let labels = [&*self.listener, application, driver, version, framework];
        self.measure.counter(&names::MONGO_CONNECTIONS, &labels).inc();
        self.measure.gauge(&names::MONGO_CONNECTIONS_OPEN, &labels).hold()
    }

    /// What a complete reply tells; `ok`: it is no error.
    pub(crate) fn reply(&self, connection: &mut Connection, command: Command, ok: bool, tail: &ReplyHead) {
        if let Some(compressor) = tail.compressor {
            self.compressed(compressor, REPLY, tail.header.length, tail.uncompressed_length);
        }
        let Some(mechanism) = connection.mechanism else { return };
        let ended = match command {
            // A server that does not go on with it leaves it out; the driver begins anew.
            Command::Hello | Command::IsMaster => tail.speculative && tail.done,
            Command::SaslStart | Command::SaslContinue => tail.done || !ok,
            Command::Authenticate => true,
            _ => return,
        };
        if ended {
            connection.mechanism = None;
            let result = if ok { "ok" } else { "failed" };
            let labels = [&*self.listener, mechanism.name(), result];
            self.measure.counter(&names::MONGO_AUTHENTICATIONS, &labels).inc();
            if ok {
                (connection.about.mechanism, connection.is_news) = (Some(mechanism.name()), true);
            }
        }
    }

    fn compressed(&self, compressor: Compressor, direction: usize, wire: u32, plain: u32) {
        let all = self.compressed.get(usize::from(compressor.id())).and_then(|each| each.get(direction));
        let Some(slot) = all else { return };
        let (on_the_wire, decompressed) = slot.get_or_init(|| {
            let name = match compressor {
                Compressor::Noop => "noop",
                Compressor::Snappy => "snappy",
                Compressor::Zlib => "zlib",
                Compressor::Zstd => "zstd",
            };
            let direction = if direction == REQUEST { "request" } else { "reply" };
            let labels = [&*self.listener, name, direction];
            (
                self.measure.counter(&names::MONGO_COMPRESSED_BYTES, &labels),
                self.measure.counter(&names::MONGO_UNCOMPRESSED_BYTES, &labels),
            )
        });
        // Shared counters: little beside decompressing.
        on_the_wire.add(wire.into());
        decompressed.add(plain.into());
    }
}

/// Whose software it is, as it is shown.
fn software(client: &ClientMetadata) -> Software {
    let (driver, framework) = told_apart(&String::from_utf8_lossy(client.driver.as_bytes()));
    let version = client.driver_version.as_bytes();
    let (version, _) = split(&String::from_utf8_lossy(version));
    Software {
        application: shown(client.application.as_bytes()).into(),
        driver: shown(driver.as_bytes()).into(),
        version: shown(version.as_bytes()).into(),
        framework: shown(framework.as_bytes()).into(),
    }
}

/// What drivers say of themselves behind their own names: how they were built, or which of their faces is used.
const VARIANTS: [&str; 6] = ["c", "async", "sync", "reactive-streams", "legacy", "kotlin"];

/// A driver's name, with the variant of it, and that of the framework upon it: `PyMongo|c|MongoEngine`, `nodejs|Mongoose`,
/// `mongoc / ext-mongodb:PHP / PHPLIB`.
fn told_apart(name: &str) -> (String, String) {
    let (mut driver, mut rest) = split(name);
    while !rest.is_empty() {
        let (next, behind) = split(&rest);
        if !VARIANTS.contains(&&*next) {
            break;
        }
        driver = format!("{driver}|{next}");
        rest = behind;
    }
    (driver, rest)
}

/// The first of several words, and those behind it.
fn split(words: &str) -> (String, String) {
    let bar = words.split_once('|');
    let (first, rest) = bar.or_else(|| words.split_once(" / ")).unwrap_or((words, ""));
    (first.trim().to_owned(), rest.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drivers_and_frameworks_are_told_apart() {
        for (name, driver, framework) in [
            ("PyMongo", "PyMongo", ""),
            ("PyMongo|c", "PyMongo|c", ""),
            ("PyMongo|c|MongoEngine", "PyMongo|c", "MongoEngine"),
            ("PyMongo|c|async|Beanie", "PyMongo|c|async", "Beanie"),
            ("PyMongo|Motor", "PyMongo", "Motor"),
            ("nodejs|Mongoose", "nodejs", "Mongoose"),
            ("nodejs|Mongoose|Payload", "nodejs", "Mongoose|Payload"),
            ("mongo-java-driver|sync|spring-boot", "mongo-java-driver|sync", "spring-boot"),
            ("mongoc / ext-mongodb:PHP / PHPLIB", "mongoc", "ext-mongodb:PHP / PHPLIB"),
            ("", "", ""),
        ] {
            assert_eq!(told_apart(name), (driver.to_owned(), framework.to_owned()), "{name}");
        }
        assert_eq!(split("4.17.0|0.29.1").0, "4.17.0");
    }
}
