//! A connection to an endpoint for who waits for it on a thread of its own: the command line, which asks a server what it is
//! before there are workers. Verified like any other.

use super::tls::ClientTls;
use crate::ground::tls::TlsError;
use crate::ground::tls::alpn::Offer;
use std::io::{Read, Write};
use std::net::TcpStream;
use weir_config::Source;

/// TLS over `tcp` to `address` (`HOST:PORT`), as a cluster with this `tls` would make it. The handshake is made by the first
/// read or write, which blocks as long as `tcp` does, and reports what is wrong with the certificate.
pub fn connect(
    tls: &weir_config::ClientTls,
    address: &str,
    tcp: TcpStream,
) -> Result<impl Read + Write + use<>, TlsError> {
    let loaded = ClientTls::load(tls, None).map_err(TlsError::first)?;
    let name = loaded.name(&Source::Endpoints(Vec::new()), address)?;
    let config = loaded.connector(Offer::Nothing).config();
    let session = rustls::ClientConnection::new(std::sync::Arc::clone(config), name)?;
    Ok(rustls::StreamOwned::new(session, tcp))
}
