//! Certificates with their keys, and which of several a client is shown.

use super::{Contents, TlsError, TlsErrors, provider, what_of_pem};
use hashbrown::HashMap;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys};
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::{self, PemObject};
use std::sync::Arc;
use weir_config::Identity;

/// The certificate and the key in these files, which belong together.
pub(super) fn certified(contents: &Contents<'_>, files: &Identity) -> Result<CertifiedKey, TlsErrors> {
    let chain = contents.certificates(&files.certificate);
    let key = contents.of(&files.key).and_then(|bytes| {
        let parsed = PrivateKeyDer::from_pem_slice(bytes);
        parsed.map_err(|error| match error {
            pem::Error::NoItemsFound => TlsError::NoKey(files.key.clone()),
            error => TlsError::Pem { file: files.key.clone(), what: what_of_pem(&error) },
        })
    });
    let key = key.and_then(|key| {
        let loaded = provider().key_provider.load_private_key(key);
        loaded.map_err(|error| TlsError::Unusable { file: files.key.clone(), error })
    });
    let certified = match (chain, key) {
        (Ok(chain), Ok(key)) => CertifiedKey::new(chain, key),
        (chain, key) => return Err([chain.err(), key.err()].into_iter().flatten().collect()),
    };
    match certified.keys_match() {
        // Unknown: a kind of key that does not tell its public half.
        Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(certified),
        Err(Error::InconsistentKeys(_)) => {
            let (key, certificate) = (files.key.clone(), files.certificate.clone());
            Err(vec![TlsError::Mismatch { key, certificate }])
        }
        Err(error) => Err(vec![TlsError::Unusable { file: files.certificate.clone(), error }]),
    }
}

/// When the first of the certificates ends, in seconds since 1970, where that can be told.
pub(super) fn ends(certified: &CertifiedKey) -> Option<u64> {
    certified.cert.iter().filter_map(|der| weir_codecs::certificate::not_after(der)).min()
}

/// Chooses by the name that the client asks for: a certificate for this very name, else one for `*.` and the rest of it, else
/// the first. Of several for the same name the first that the client can verify.
#[derive(Debug)]
pub(super) struct ByName {
    all: Vec<Arc<CertifiedKey>>,
    exact: HashMap<String, Vec<usize>>,
    /// By what follows the `*`, from the dot on: it stands for one label (RFC 6125 section 6.4.3).
    wild: HashMap<String, Vec<usize>>,
}

impl ByName {
    pub(super) fn new(all: Vec<CertifiedKey>) -> ByName {
        let mut names = ByName { all: Vec::new(), exact: HashMap::new(), wild: HashMap::new() };
        for (n, certified) in all.into_iter().enumerate() {
            for name in dns_names(&certified) {
                let (map, name) = match name.strip_prefix('*') {
                    Some(rest) if rest.starts_with('.') => (&mut names.wild, rest),
                    _ => (&mut names.exact, name.as_str()),
                };
                map.entry_ref(name).or_default().push(n);
            }
            names.all.push(Arc::new(certified));
        }
        names
    }

    fn choose(&self, name: Option<&str>, fits: impl Fn(&CertifiedKey) -> bool) -> Option<&Arc<CertifiedKey>> {
        let name = name.unwrap_or_default();
        let parent = name.find('.').and_then(|dot| name.get(dot..)).unwrap_or_default();
        let named = self.exact.get(name).into_iter().chain(self.wild.get(parent)).flatten();
        let mut named = named.filter_map(|n| self.all.get(*n));
        // What the client cannot verify it refuses in its own words.
        named
            .find(|certified| fits(certified))
            .or_else(|| self.all.iter().find(|certified| fits(certified)))
            .or(self.all.first())
    }
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let schemes = hello.signature_schemes();
        // Rustls gives the name in lower case.
        self.choose(hello.server_name(), |certified| certified.key.choose_scheme(schemes).is_some()).cloned()
    }
}

/// The DNS names that a certificate is for, in lower case.
fn dns_names(certified: &CertifiedKey) -> Vec<String> {
    let Ok(certificate) = certified.end_entity_cert() else { return Vec::new() };
    let Ok(certificate) = webpki::EndEntityCert::try_from(certificate) else { return Vec::new() };
    certificate.valid_dns_names().map(str::to_ascii_lowercase).collect()
}
