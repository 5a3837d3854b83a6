//! Connections that are passed on as they are: which, by the server name in the client's first message, and that message.
//!
//! The message is read by rustls' own `Acceptor`, the very parser that goes on with it where Weir terminates, so that the two can
//! never read it differently. It does not give the bytes back, so they are kept beside it; they are what the server gets.

use crate::ground::tls::passed::Names;
use crate::shells::context::Context;
use crate::shells::filter::BuildError;
use crate::shells::worker::Worker;
use bytes::BytesMut;
use rustls::Error;
use rustls::server::{Accepted, AcceptedAlert, Acceptor};
use std::io;
use std::rc::Rc;
use tokio::io::{AsyncRead, AsyncReadExt};
use weir_config::Listener;

/// The most bytes that a client's first message may take, in however many records. Those of today have 300 to 2,000.
pub const MAX_HELLO: usize = 16 * 1024;

/// How much room for one there is at first.
const FIRST_ROOM: usize = 2 * 1024;

/// The alert `unrecognized_name` (RFC 6066 section 3) in a record of its own (RFC 8446 sections 5.1 and 6).
pub(crate) const UNRECOGNIZED_NAME: [u8; 7] = [21, 3, 3, 0, 2, 2, 112];

/// Where connections go that are passed on, on one worker.
pub(crate) struct Routes {
    names: Rc<Names>,
    contexts: Vec<Rc<Context>>,
}

impl Routes {
    /// Those of `listener`, if it has any.
    pub(crate) fn new(worker: &Rc<Worker>, listener: &Listener) -> Result<Option<Rc<Routes>>, BuildError> {
        let rules = listener.tls.as_ref().map(|tls| tls.passthrough.as_slice()).unwrap_or_default();
        if rules.is_empty() {
            return Ok(None);
        }
        let (mut names, mut contexts) = (Names::default(), Vec::new());
        for rule in rules {
            let cluster = worker.cluster(&rule.cluster);
            let cluster = cluster.ok_or_else(|| BuildError::no_cluster(listener, &rule.cluster))?;
            for name in &rule.sni {
                names.insert(name, contexts.len());
            }
            contexts.push(Context::passed(worker, listener, &cluster));
        }
        Ok(Some(Rc::new(Routes { names: Rc::new(names), contexts })))
    }

    /// Where a connection for `name` (in lower case) goes.
    pub(crate) fn find(&self, name: &str) -> Option<&Rc<Context>> {
        self.contexts.get(self.names.find(name)?)
    }

    /// The names that are passed on.
    pub(crate) fn names(&self) -> &Rc<Names> {
        &self.names
    }
}

/// A client's first message.
pub(crate) struct Hello {
    /// As rustls has understood it.
    pub(crate) accepted: Accepted,
    /// Every byte that has come from the client.
    pub(crate) bytes: BytesMut,
    /// How many of them rustls has seen.
    pub(crate) seen: usize,
}

/// Why there is no first message.
pub(crate) enum NoHello {
    /// The connection is at fault.
    Io(io::Error),
    /// What comes is none; the alert is for the client.
    Tls(Error, AcceptedAlert),
    /// It is larger than [`MAX_HELLO`].
    TooLarge,
}

/// Reads a client's first message, however many reads and records it takes.
pub(crate) async fn hello(io: &mut (impl AsyncRead + Unpin)) -> Result<Hello, NoHello> {
    let mut acceptor = Acceptor::default();
    let mut bytes = BytesMut::with_capacity(FIRST_ROOM);
    let mut seen = 0;
    loop {
        if bytes.len() >= MAX_HELLO {
            return Err(NoHello::TooLarge);
        }
        if io.read_buf(&mut bytes).await.map_err(NoHello::Io)? == 0 {
            return Err(NoHello::Io(io::ErrorKind::UnexpectedEof.into()));
        }
        while let Some(mut fresh) = bytes.get(seen..).filter(|fresh| !fresh.is_empty()) {
            seen += acceptor.read_tls(&mut fresh).map_err(NoHello::Io)?;
            match acceptor.accept() {
                Ok(None) => {}
                Ok(Some(accepted)) => return Ok(Hello { accepted, bytes, seen }),
                Err((error, alert)) => return Err(NoHello::Tls(error, alert)),
            }
        }
    }
}
