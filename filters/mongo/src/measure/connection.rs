//! What is counted by connection: whose software it is, how it authenticates, what compression saves.

use std::cell::OnceCell;
use std::sync::Arc;

use weir_codecs::mongo::{ClientMetadata, Command, Compressor, Mechanism, ReplyHead, RequestHead};
use weir_measure::{Counter, Held, Measure, names};

/// The longest driver name or version that is shown.
const SHOWN: usize = 64;

/// What is remembered of one connection.
#[derive(Debug, Default)]
pub(crate) struct Connection {
    /// Counted in the connections of this application and driver, from the first hello on.
    held: Option<Held>,
    /// The authentication that is under way.
    mechanism: Option<Mechanism>,
}

/// What a client calls itself, as it is shown.
pub(crate) fn shown(name: &[u8]) -> String {
    let text = String::from_utf8_lossy(name.get(..SHOWN).unwrap_or(name));
    text.replace(char::is_control, "?")
}

/// Counts them, on one listener and worker.
pub(crate) struct Connections {
    listener: Arc<str>,
    measure: Arc<Measure>,
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
            compressed: Default::default(),
        }
    }

    /// What a request's head tells.
    pub(crate) fn request(&self, connection: &mut Connection, head: &RequestHead) {
        if let Some(client) = &head.client
            && connection.held.is_none()
        {
            connection.held = Some(self.hold(client));
        }
        if head.mechanism.is_some() {
            connection.mechanism = head.mechanism;
        }
        if let Some(compressor) = head.compressor.filter(|_| head.complete) {
            self.compressed(compressor, REQUEST, head.header.length, head.uncompressed_length);
        }
    }

    #[cold]
    fn hold(&self, client: &ClientMetadata) -> Held {
        let application = shown(client.application.as_bytes());
        let (driver, version) = (shown(client.driver.as_bytes()), shown(client.driver_version.as_bytes()));
        let labels = [&*self.listener, &application, &driver, &version];
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
