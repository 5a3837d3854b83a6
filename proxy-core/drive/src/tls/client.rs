//! TLS towards endpoints: always verified, against the system's roots or those that the configuration names.

use super::{TlsError, VERSIONS, certificates, identity, provider};
use crate::cluster::Offer;
use crate::filter::Alpn;
use crate::process::lock;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::ServerName;
use std::sync::{Arc, Mutex};
use tokio_rustls::TlsConnector;
use weir_config::Source;

/// How a cluster's connections are secured.
pub(crate) struct ClientTls {
    nothing: TlsConnector,
    http1: TlsConnector,
    h2: TlsConnector,
    sni: Option<ServerName<'static>>,
}

impl ClientTls {
    /// Reads the files that `tls` names: called at start and on every reload.
    pub(crate) fn load(tls: &weir_config::ClientTls) -> Result<Arc<ClientTls>, TlsError> {
        let roots = match &tls.ca {
            None => system_roots()?,
            Some(path) => {
                let mut roots = RootCertStore::empty();
                for root in certificates(path)? {
                    roots.add(root).map_err(|error| TlsError::Unusable { path: path.clone(), error })?;
                }
                Arc::new(roots)
            }
        };
        let builder = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(VERSIONS)?
            .with_root_certificates(roots);
        let config = match &tls.identity {
            None => builder.with_no_client_auth(),
            Some(files) => {
                let (chain, key) = identity(files)?;
                builder
                    .with_client_auth_cert(chain, key)
                    .map_err(|error| TlsError::Unusable { path: files.certificate.clone(), error })?
            }
        };
        // The clones share one store of sessions to resume.
        let offering = |alpn: Option<Alpn>| {
            let mut config = config.clone();
            config.alpn_protocols = alpn.iter().map(|alpn| alpn.wire().to_vec()).collect();
            TlsConnector::from(Arc::new(config))
        };
        Ok(Arc::new(ClientTls {
            nothing: offering(None),
            http1: offering(Some(Alpn::Http1)),
            h2: offering(Some(Alpn::H2)),
            sni: tls.sni.as_deref().map(server_name).transpose()?,
        }))
    }

    pub(crate) fn connector(&self, offer: Offer) -> &TlsConnector {
        match offer {
            Offer::Nothing => &self.nothing,
            Offer::Http1 => &self.http1,
            Offer::H2 => &self.h2,
        }
    }

    /// The name that is sent and verified: as configured, or the host that the cluster's file names.
    pub(crate) fn name(&self, source: &Source, address: &str) -> Result<ServerName<'static>, TlsError> {
        if let Some(sni) = &self.sni {
            return Ok(sni.clone());
        }
        match source {
            Source::Dns { host, .. } => server_name(host),
            Source::Endpoints(_) => {
                let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
                server_name(host.trim_start_matches('[').trim_end_matches(']'))
            }
        }
    }
}

impl std::fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientTls").field("sni", &self.sni).finish_non_exhaustive()
    }
}

fn server_name(host: &str) -> Result<ServerName<'static>, TlsError> {
    ServerName::try_from(host.to_owned()).map_err(|_| TlsError::Name(host.to_owned()))
}

/// The system's roots, read once in the life of the process: there are some hundred and fifty of them.
fn system_roots() -> Result<Arc<RootCertStore>, TlsError> {
    static ROOTS: Mutex<Option<Arc<RootCertStore>>> = Mutex::new(None);
    let mut known = lock(&ROOTS);
    if let Some(roots) = &*known {
        return Ok(Arc::clone(roots));
    }
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let (_, _) = roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let why = found.errors.first().map_or_else(|| "there are none".to_owned(), ToString::to_string);
        return Err(TlsError::NoRoots(why));
    }
    let roots = Arc::new(roots);
    *known = Some(Arc::clone(&roots));
    Ok(roots)
}
