//! TLS towards endpoints: always verified, against the system's roots or those that the configuration names.

use crate::ground::sync::lock;
use crate::ground::tls::alpn::{Alpn, Offer};
use crate::ground::tls::{Contents, Terms, TlsError, TlsErrors, VERSIONS, identity, provider, terms};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::ServerName;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use tokio_rustls::TlsConnector;
use weir_config::Source;

/// How a cluster's connections are secured.
pub(crate) struct ClientTls {
    nothing: TlsConnector,
    http1: TlsConnector,
    h2: TlsConnector,
    sni: Option<ServerName<'static>>,
    /// When its certificate ends.
    pub(crate) ends: Terms,
    /// Of what the files held, and their paths.
    print: (Option<u64>, Vec<PathBuf>),
    from: weir_config::ClientTls,
}

impl ClientTls {
    /// Reads the files that `tls` names. What comes out the same as `before`, of the same cluster, is that one: sessions are
    /// only resumed by what they were begun by.
    pub(crate) fn load(
        tls: &weir_config::ClientTls,
        before: Option<&Arc<ClientTls>>,
    ) -> Result<Arc<ClientTls>, TlsErrors> {
        let contents = Contents::read(tls.files());
        let print = (contents.print, tls.files().map(|file| file.path.clone()).collect());
        if let Some(before) =
            before.filter(|before| before.print == print && print.0.is_some() && before.is_like(tls))
        {
            return Ok(Arc::clone(before));
        }
        let roots = match &tls.ca {
            None => system_roots(),
            Some(file) => contents.roots(file).map(|(roots, _)| Arc::new(roots)),
        };
        let identity = tls.identity.as_ref().map(|files| identity::certified(&contents, files)).transpose();
        let (roots, identity) = match (roots, identity) {
            (Ok(roots), Ok(identity)) => (roots, identity),
            (roots, identity) => {
                return Err(roots.err().into_iter().chain(identity.err().into_iter().flatten()).collect());
            }
        };
        let ends = tls.identity.as_ref().zip(identity.as_ref());
        let ends = ends.and_then(|(files, certified)| terms::term(files, certified));
        let builder = ClientConfig::builder_with_provider(provider()).with_protocol_versions(VERSIONS);
        let builder = builder.map_err(|error| vec![error.into()])?.with_root_certificates(roots);
        let config = match identity {
            None => builder.with_no_client_auth(),
            Some(certified) => {
                builder.with_client_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(certified)))
            }
        };
        // The clones share one store of sessions to resume.
        let offering = |alpn: Option<Alpn>| {
            let mut config = config.clone();
            config.alpn_protocols = alpn.iter().map(|alpn| alpn.wire().to_vec()).collect();
            TlsConnector::from(Arc::new(config))
        };
        let sni = tls.sni.as_deref().map(server_name).transpose().map_err(|error| vec![error])?;
        Ok(Arc::new(ClientTls {
            nothing: offering(None),
            http1: offering(Some(Alpn::Http1)),
            h2: offering(Some(Alpn::H2)),
            sni,
            ends: ends.into_iter().collect(),
            print,
            from: tls.clone(),
        }))
    }

    fn is_like(&self, tls: &weir_config::ClientTls) -> bool {
        self.from.sni == tls.sni
            && self.from.ca.is_some() == tls.ca.is_some()
            && self.from.identity.is_some() == tls.identity.is_some()
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
