//! TLS towards clients.

use super::{TlsError, VERSIONS, identity, provider};
use crate::filter::Alpn;
use crate::process::lock;
use rustls::ServerConfig;
use rustls::server::ProducesTickets;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A client that has not finished its handshake by then is cut off.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// What a listener with these files offers. Reads them anew: called at start and on every reload.
pub(crate) fn load(files: &weir_config::ServerTls, alpn: &[Alpn]) -> Result<Arc<ServerConfig>, TlsError> {
    let (chain, key) = identity(files)?;
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(VERSIONS)?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|error| TlsError::Unusable { path: files.certificate.clone(), error })?;
    config.alpn_protocols = alpn.iter().map(|alpn| alpn.wire().to_vec()).collect();
    config.ignore_client_order = true;
    config.ticketer = ticketer()?;
    Ok(Arc::new(config))
}

/// One set of ticket keys for the process (rustls rotates them), so that a session resumes on any worker and after a reload.
fn ticketer() -> Result<Arc<dyn ProducesTickets>, TlsError> {
    static TICKETER: Mutex<Option<Arc<dyn ProducesTickets>>> = Mutex::new(None);
    let mut ticketer = lock(&TICKETER);
    if let Some(ticketer) = &*ticketer {
        return Ok(Arc::clone(ticketer));
    }
    let made = rustls::crypto::aws_lc_rs::Ticketer::new()?;
    *ticketer = Some(Arc::clone(&made));
    Ok(made)
}
