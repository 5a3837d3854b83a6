//! TLS towards clients: certificates by name, certificates of clients, and sessions that can be resumed.
//!
//! A resumed session carries over that the client was verified when it began, and nothing of it is verified again. So a
//! session must not be resumed where other rules hold than where it began, or it would be a way round them (CVE-2025-23419): the
//! keys of tickets, and what is kept of sessions without tickets, belong to one listener and one [`Trust`]. Nor must it go on when
//! the client's certificate has ended, ticket after ticket: [`ServerTls::verify_again`].

use crate::ground::tls::alpn::Alpn;
use crate::ground::tls::covered::Covered;
use crate::ground::tls::identity::{ByName, Noting, certified};
use crate::ground::tls::passed::Names;
use crate::ground::tls::{Contents, Terms, TlsError, TlsErrors, VERSIONS, provider, terms};
use rustls::ServerConfig;
use rustls::server::{ProducesTickets, ServerSessionMemoryCache, StoresServerSessions, WebPkiClientVerifier};
use rustls_pki_types::{CertificateDer, UnixTime};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

/// A client that has not finished its handshake by then is cut off.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// How many sessions of TLS 1.2 clients that know no tickets a listener keeps; the oldest give way, and begin anew.
pub const MAX_SESSIONS: usize = 256;

/// What a listener offers to TLS clients.
pub(crate) struct ServerTls {
    /// How it terminates TLS; `None`: it has no certificate, and only passes connections on.
    pub(crate) config: Option<Arc<ServerConfig>>,
    /// Its certificates by name, where it has any.
    pub(crate) names: Option<Arc<ByName>>,
    /// Every request's host has to be in the certificate that was shown.
    pub(crate) match_host: bool,
    /// When its certificates end, by file.
    pub(crate) ends: Terms,
    /// Of what the files held.
    print: Option<u64>,
    /// From which configuration.
    from: weir_config::ServerTls,
    alpn: &'static [Alpn],
    trust: Trust,
    verifier: Option<Verifier>,
    sessions: Sessions,
}

/// Who is let in: `None`: anybody; else the roots of clients' certificates, and whether there has to be one.
type Trust = Option<(Vec<CertificateDer<'static>>, bool)>;

/// What sessions are resumed by, on any worker.
#[derive(Clone)]
struct Sessions {
    ticketer: Arc<dyn ProducesTickets>,
    kept: Arc<dyn StoresServerSessions>,
}

impl Sessions {
    fn new() -> Result<Sessions, TlsError> {
        // Rustls renews the keys every six hours, and knows those before for six more.
        let ticketer = rustls::crypto::aws_lc_rs::Ticketer::new()?;
        Ok(Sessions { ticketer, kept: ServerSessionMemoryCache::new(MAX_SESSIONS) })
    }
}

/// Reads the files of `tls`. What comes out the same as `before`, of the same listener, is that one; as long as the same clients
/// are let in, sessions go on.
pub(crate) fn load(
    tls: &weir_config::ServerTls,
    alpn: &'static [Alpn],
    before: Option<&Arc<ServerTls>>,
) -> Result<Arc<ServerTls>, TlsErrors> {
    let contents = Contents::read(tls.files());
    if let Some(before) = before.filter(|before| before.is(tls, alpn, contents.print)) {
        return Ok(Arc::clone(before));
    }
    let mut errors = Vec::new();
    let (mut identities, mut expires) = (Vec::new(), Vec::new());
    for files in &tls.identities {
        match certified(&contents, files) {
            Ok(certified) => {
                expires.extend(terms::term(files, &certified));
                identities.push(certified);
            }
            Err(wrong) => errors.extend(wrong),
        }
    }
    let builder = ServerConfig::builder_with_provider(provider());
    let builder = builder.with_protocol_versions(VERSIONS).map_err(|error| vec![error.into()])?;
    let mut again = None;
    let (builder, trust) = match &tls.client_certificates {
        None => (Some(builder.with_no_client_auth()), None),
        Some(clients) => match verifier(&contents, clients) {
            Ok((verifier, roots)) => {
                again = Some(Arc::clone(&verifier));
                (Some(builder.with_client_cert_verifier(verifier)), Some((roots, clients.require)))
            }
            Err(error) => {
                errors.push(error);
                (None, None)
            }
        },
    };
    let Some(builder) = builder.filter(|_| errors.is_empty()) else { return Err(errors) };
    let kept = before.filter(|before| before.trust == trust).map(|before| before.sessions.clone());
    let sessions = kept.map_or_else(Sessions::new, Ok).map_err(|error| vec![error])?;
    let names = (!identities.is_empty()).then(|| Arc::new(ByName::new(identities)));
    let config = names.as_ref().map(|names| {
        let mut config = builder.with_cert_resolver(Arc::<ByName>::clone(names));
        config.alpn_protocols = alpn.iter().map(|alpn| alpn.wire().to_vec()).collect();
        config.ignore_client_order = true;
        config.ticketer = Arc::clone(&sessions.ticketer);
        config.session_storage = Arc::clone(&sessions.kept);
        Arc::new(config)
    });
    let (from, print) = (tls.clone(), contents.print);
    let (match_host, ends, verifier) = (tls.match_host, expires, again);
    Ok(Arc::new(ServerTls { config, names, match_host, ends, print, from, alpn, trust, verifier, sessions }))
}

type Verifier = Arc<dyn rustls::server::danger::ClientCertVerifier>;

fn verifier(
    contents: &Contents<'_>,
    clients: &weir_config::ClientCertificates,
) -> Result<(Verifier, Vec<CertificateDer<'static>>), TlsError> {
    let (roots, certificates) = contents.roots(&clients.ca)?;
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider());
    let builder = if clients.require { builder } else { builder.allow_unauthenticated() };
    let verifier = builder.build().map_err(|error| TlsError::Unusable {
        file: clients.ca.clone(),
        error: rustls::Error::General(error.to_string()),
    })?;
    Ok((verifier, certificates))
}

impl ServerTls {
    /// Which hosts may be asked for on a connection whose client was shown the certificate `shown`; `None`: any.
    pub(crate) fn covered(&self, passed: Option<&Rc<Names>>, shown: usize) -> Option<Rc<Covered>> {
        Covered::new(self.names.as_ref()?, passed, shown, self.match_host)
    }

    /// How one connection is terminated, and by whom it is noted which certificate its client is shown, where there are several.
    pub(crate) fn for_one(&self) -> Option<(Arc<ServerConfig>, Option<Arc<Noting>>)> {
        let (config, names) = (self.config.as_ref()?, self.names.as_ref()?);
        if names.len() < 2 {
            return Some((Arc::clone(config), None));
        }
        let noting = Arc::new(Noting { names: Arc::clone(names), shown: AtomicUsize::new(0) });
        // Sessions, tickets and all else are shared.
        let mut own = ServerConfig::clone(config);
        own.cert_resolver = Arc::<Noting>::clone(&noting);
        Some((Arc::new(own), Some(noting)))
    }

    /// Of a session that was resumed: whether its client, who showed `chain` when it began, would still be let in at `now`.
    pub(crate) fn verify_again(
        &self,
        chain: Option<&[CertificateDer<'_>]>,
        now: UnixTime,
    ) -> Result<(), rustls::Error> {
        match (&self.verifier, chain) {
            (Some(verifier), Some([certificate, between @ ..])) => {
                verifier.verify_client_cert(certificate, between, now).map(drop)
            }
            // Whether there has to be one has not changed since: that is part of the trust.
            _ => Ok(()),
        }
    }

    fn is(&self, tls: &weir_config::ServerTls, alpn: &[Alpn], print: Option<u64>) -> bool {
        let paths =
            |tls: &weir_config::ServerTls| -> Vec<_> { tls.files().map(|file| file.path.clone()).collect() };
        print.is_some()
            && self.print == print
            && self.alpn == alpn
            && self.match_host == tls.match_host
            && paths(&self.from) == paths(tls)
            && self.from.identities.len() == tls.identities.len()
            && self.from.client_certificates.as_ref().map(|clients| clients.require)
                == tls.client_certificates.as_ref().map(|clients| clients.require)
    }
}

impl std::fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServerTls").field("from", &self.from).finish_non_exhaustive()
    }
}
