//! TLS towards clients, before the service sees them.

use super::limits::Shared;
use crate::address::Address;
use crate::filter::Alpn;
use crate::io::Io;
use crate::socket::Socket;
use crate::tls::server::HANDSHAKE_TIMEOUT;
use std::sync::Arc;
use tokio_rustls::TlsAcceptor;

pub(super) async fn handshake(
    shared: &Shared,
    tls: Arc<rustls::ServerConfig>,
    socket: Socket,
    peer: Address,
) -> Option<Io> {
    match tokio::time::timeout(HANDSHAKE_TIMEOUT, TlsAcceptor::from(tls).accept(socket)).await {
        Ok(Ok(stream)) => {
            shared.numbers.tls_ok.inc();
            Some(Io::Server(Box::new(stream)))
        }
        Ok(Err(error)) => {
            shared.numbers.tls_failed.inc();
            tracing::debug!(listener = %shared.name, %peer, %error, "a TLS handshake failed");
            None
        }
        Err(_) => {
            shared.numbers.tls_timeout.inc();
            tracing::debug!(listener = %shared.name, %peer, "a TLS handshake took too long");
            None
        }
    }
}

pub(super) fn agreed(io: &Io) -> (Option<Alpn>, Option<Arc<str>>) {
    let Io::Server(stream) = io else { return (None, None) };
    let session = stream.get_ref().1;
    (session.alpn_protocol().and_then(Alpn::parse), session.server_name().map(Arc::from))
}
