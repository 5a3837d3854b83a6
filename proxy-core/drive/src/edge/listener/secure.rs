//! A new connection's TLS, before the service sees it: terminated within a time, or passed on as it is; counted.

use crate::edge::passthrough::{Hello, NoHello, Routes, UNRECOGNIZED_NAME, hello};
use crate::edge::tls::{HANDSHAKE_TIMEOUT, ServerTls};
use crate::ground::address::Address;
use crate::ground::counted::Shared;
use crate::ground::io::Io;
use crate::ground::socket::Socket;
use crate::ground::time;
use crate::ground::tls::alpn::Alpn;
use crate::ground::tls::covered::Covered;
use crate::ground::tls::numbers::Failed;
use crate::shells::context::Context;
use bytes::BytesMut;
use rustls_pki_types::UnixTime;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use tokio::io::AsyncWriteExt;
use tokio_rustls::server::TlsStream;
use tokio_rustls::{StartHandshake, TlsAcceptor};

/// What a listener does with TLS, on one worker.
#[derive(Clone)]
pub(crate) struct Tls {
    pub(crate) server: Arc<ServerTls>,
    /// What is passed on.
    pub(crate) routes: Option<Rc<Routes>>,
}

/// What became of a connection.
pub(super) enum Secured {
    /// Weir terminates it, or there is none; and which hosts may be asked for on it.
    Terminated(Io, Option<Rc<Covered>>),
    /// It is passed on. Boxed, so that it takes no room in the tasks of the others.
    Passed(Box<Passed>),
}

/// A connection that is passed on.
pub(super) struct Passed {
    /// Where to.
    pub(super) context: Rc<Context>,
    pub(super) socket: Socket,
    /// What has come of it so far.
    pub(super) head: BytesMut,
}

/// Does the handshake, or finds out that it is somebody else's; `None`: it failed, which has been counted.
pub(super) async fn secure(shared: &Shared, tls: &Tls, socket: Socket, peer: Address) -> Option<Secured> {
    let done = async {
        match &tls.routes {
            None => terminate(&tls.server, socket).await,
            Some(routes) => sort(&tls.server, routes, socket).await,
        }
    };
    match tokio::time::timeout(HANDSHAKE_TIMEOUT, done).await {
        Ok(Ok(secured)) => {
            match &secured {
                Secured::Terminated(io, _) => shared.handshakes.done(kind(io)),
                Secured::Passed(_) => shared.handshakes.passed(),
            }
            Some(secured)
        }
        Ok(Err(Failure { reason, error })) => {
            shared.handshakes.failed(reason);
            tracing::debug!(listener = %shared.name, %peer, reason = reason.label(), %error, "a TLS handshake failed");
            None
        }
        Err(_) => {
            shared.handshakes.timeout();
            tracing::debug!(listener = %shared.name, %peer, "a TLS handshake took too long");
            None
        }
    }
}

/// Why a handshake failed, for the counter and for the log.
struct Failure {
    reason: Failed,
    error: io::Error,
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        Failure { reason: Failed::of(&error), error }
    }
}

async fn terminate(server: &ServerTls, socket: Socket) -> Result<Secured, Failure> {
    // Without `passthrough` there is a certificate.
    let (config, noting) = server.for_one().ok_or_else(|| io::Error::other("there is no certificate"))?;
    let stream = TlsAcceptor::from(config).accept(socket).await?;
    let shown = noting.map_or(0, |noting| noting.shown());
    welcome(server, stream, server.covered(None, shown))
}

/// A client whose session was resumed would still have to be let in.
fn welcome(
    server: &ServerTls,
    stream: TlsStream<Socket>,
    covered: Option<Rc<Covered>>,
) -> Result<Secured, Failure> {
    let session = stream.get_ref().1;
    if session.handshake_kind() == Some(rustls::HandshakeKind::Resumed) {
        let now = UnixTime::since_unix_epoch(time::wall());
        let again = server.verify_again(session.peer_certificates(), now);
        again.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    }
    Ok(Secured::Terminated(Io::Server(Box::new(stream)), covered))
}

/// Passes the connection on if it is for one of `routes`, else terminates it.
async fn sort(server: &ServerTls, routes: &Rc<Routes>, mut socket: Socket) -> Result<Secured, Failure> {
    let Hello { accepted, bytes, seen } = match hello(&mut socket).await {
        Ok(hello) => hello,
        Err(NoHello::Io(error)) => return Err(error.into()),
        Err(NoHello::TooLarge) => {
            let error = io::Error::other("the hello is larger than 16 KiB");
            return Err(Failure { reason: Failed::TooLarge, error });
        }
        Err(NoHello::Tls(error, mut alert)) => {
            let mut bytes = Vec::new();
            alert.write_all(&mut bytes)?;
            // Whether it arrives or not, what failed is the handshake.
            socket.write_all(&bytes).await.ok();
            return Err(io::Error::new(io::ErrorKind::InvalidData, error).into());
        }
    };
    let name = accepted.client_hello().server_name().map(str::to_owned);
    if let Some(context) = name.as_deref().and_then(|name| routes.find(name)) {
        let context = Rc::clone(context);
        return Ok(Secured::Passed(Box::new(Passed { context, socket, head: bytes })));
    }
    let Some((config, noting)) = server.for_one() else {
        socket.write_all(&UNRECOGNIZED_NAME).await.ok();
        let error =
            format!("there is no certificate, and {} is not passed on", name.as_deref().unwrap_or("no name"));
        return Err(Failure { reason: Failed::UnknownName, error: io::Error::other(error) });
    };
    let rest = bytes.get(seen..).unwrap_or_default();
    let mut fed = Ok(0);
    let accept = StartHandshake::from_parts(accepted, socket).into_stream_with(config, |session| {
        let mut rest = rest;
        while !rest.is_empty() && fed.is_ok() {
            fed = session.read_tls(&mut rest);
        }
    });
    fed?;
    let stream = accept.await?;
    let shown = noting.map_or(0, |noting| noting.shown());
    welcome(server, stream, server.covered(Some(routes.names()), shown))
}

fn kind(io: &Io) -> Option<rustls::HandshakeKind> {
    let Io::Server(stream) = io else { return None };
    stream.get_ref().1.handshake_kind()
}

/// The application protocol that was agreed upon, and the name that the client asked for.
pub(super) fn agreed(io: &Io) -> (Option<Alpn>, Option<Arc<str>>) {
    let Io::Server(stream) = io else { return (None, None) };
    let session = stream.get_ref().1;
    (session.alpn_protocol().and_then(Alpn::parse), session.server_name().map(Arc::from))
}
