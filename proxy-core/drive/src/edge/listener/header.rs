//! Reading the header of the PROXY protocol off the beginning of a connection: exactly that, so that what follows (TLS, or the
//! protocol itself) is read from the socket as if there had been none.
//!
//! What has come is looked at before it is taken. As long as the header is not whole all of that belongs to it.

use crate::ground::address::{Address, Told};
use crate::ground::counted::Shared;
use crate::ground::socket::Socket;
use std::io;
use std::time::Duration;
use weir_codecs::proxy_protocol::{self, Header, Origin, Problem};
use weir_measure::{Measure, names};

/// How much is looked at in one go: more than most headers have.
const LOOK: usize = 256;

/// Why there is no header.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Problem(#[from] Problem),
    #[error("the connection ended before its PROXY protocol header: {0}")]
    Closed(#[from] io::Error),
    #[error("the PROXY protocol header took too long")]
    Timeout,
}

impl Failure {
    fn label(&self) -> &'static str {
        match self {
            Failure::Problem(problem) => problem.label(),
            Failure::Closed(_) => "closed",
            Failure::Timeout => "timeout",
        }
    }
}

/// Reads the header within `timeout`: who the client is and where it connected to, which are `ends` if the header does not say, and
/// what else it says. `None`: the connection is of no use; counted.
pub(super) async fn read(
    shared: &Shared,
    measure: &Measure,
    socket: &Socket,
    ends: (Address, Address),
    timeout: Duration,
) -> Option<((Address, Address), Told)> {
    let read = tokio::time::timeout(timeout, header(socket)).await;
    let read = read.unwrap_or(Err(Failure::Timeout));
    let (result, ends) = match &read {
        Ok(Header { origin: Origin::Client { source, destination }, .. }) => {
            ("client", Some((Address::Ip(*source), Address::Ip(*destination))))
        }
        Ok(Header { origin: Origin::Unix, .. }) => ("client", Some((Address::Unix, Address::Unix))),
        Ok(Header { origin: Origin::Proxy, .. }) => ("proxy", Some(ends)),
        Ok(Header { origin: Origin::Unknown, .. }) => ("unknown", Some(ends)),
        Err(failure) => {
            let (listener, peer) = (&shared.name, ends.0);
            tracing::debug!(%listener, %peer, error = %failure, "a connection was closed for its first bytes");
            (failure.label(), None)
        }
    };
    measure.counter(&names::LISTENER_PROXY_HEADERS, &[&shared.name, result]).inc();
    let told = read.map_or_else(
        |_| Told::default(),
        |header| Told { tls: header.tls == Some(true), unknown: header.origin == Origin::Unknown },
    );
    Some((ends?, told))
}

async fn header(socket: &Socket) -> Result<Header, Failure> {
    // Empty in all but the rarest cases: the header comes in one piece.
    let mut before: Vec<u8> = Vec::new();
    let mut look = [0; LOOK];
    loop {
        let seen = match socket.peek(&mut look).await? {
            0 => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
            seen => look.get(..seen).unwrap_or_default(),
        };
        let (parsed, length) = if before.is_empty() {
            (proxy_protocol::parse(seen)?, seen.len())
        } else {
            let all = [&before, seen].concat();
            (proxy_protocol::parse(&all)?, seen.len())
        };
        let take = parsed.map_or(length, |header| header.length - before.len());
        if parsed.is_none() {
            before.extend_from_slice(seen);
        }
        socket.skip(&mut look, take).await?;
        if let Some(header) = parsed {
            return Ok(header);
        }
    }
}
