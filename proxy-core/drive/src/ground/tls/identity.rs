//! Certificates with their keys, and which of several a client is shown.

use super::{Contents, TlsError, TlsErrors, provider, what_of_pem};
use hashbrown::HashMap;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys};
use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{PrivateKeyDer, ServerName};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use weir_config::Identity;

/// The certificate and the key in these files, which belong together.
pub(crate) fn certified(contents: &Contents<'_>, files: &Identity) -> Result<CertifiedKey, TlsErrors> {
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

/// Chooses by the name that the client asks for: a certificate for this very name, else one for `*.` and the rest of it, else
/// the first. Of several for the same name the first that the client can verify.
#[derive(Debug)]
pub(crate) struct ByName {
    all: Vec<Arc<CertifiedKey>>,
    exact: HashMap<String, Vec<usize>>,
    /// By what follows the `*`, from the dot on: it stands for one label (RFC 6125 section 6.4.3).
    wild: HashMap<String, Vec<usize>>,
}

impl ByName {
    pub(crate) fn new(all: Vec<CertifiedKey>) -> ByName {
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

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    /// Those with the DNS name `name`, which is in lower case.
    fn named(&self, name: &str) -> impl Iterator<Item = usize> {
        let parent = name.find('.').and_then(|dot| name.get(dot..)).unwrap_or_default();
        self.exact.get(name).into_iter().chain(self.wild.get(parent)).flatten().copied()
    }

    /// Whether one of them has `host`, which is in lower case, as a DNS name.
    pub(crate) fn knows(&self, host: &str) -> bool {
        self.named(host).next().is_some()
    }

    /// Whether the one at `index` is for `host`: a DNS name in lower case, or an address.
    pub(crate) fn covers(&self, index: usize, host: &str) -> bool {
        let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
        let Ok(address) = bare.parse::<IpAddr>() else { return self.named(host).any(|n| n == index) };
        let Some(der) = self.all.get(index).and_then(|certified| certified.end_entity_cert().ok()) else {
            return false;
        };
        let Ok(certificate) = webpki::EndEntityCert::try_from(der) else { return false };
        certificate.verify_is_valid_for_subject_name(&ServerName::IpAddress(address.into())).is_ok()
    }

    fn choose(&self, name: Option<&str>, fits: impl Fn(&CertifiedKey) -> bool) -> Option<usize> {
        let fits = |n: &usize| self.all.get(*n).is_some_and(|certified| fits(certified));
        // What the client cannot verify it refuses in its own words.
        self.named(name.unwrap_or_default())
            .find(fits)
            .or_else(|| (0..self.all.len()).find(fits))
            .or((!self.all.is_empty()).then_some(0))
    }

    /// Which one a client that says this is shown.
    fn shown(&self, hello: &ClientHello<'_>) -> Option<usize> {
        let schemes = hello.signature_schemes();
        // Rustls gives the name in lower case.
        self.choose(hello.server_name(), |certified| certified.key.choose_scheme(schemes).is_some())
    }
}

/// The same for one connection, of which is known afterwards which one its client was shown.
#[derive(Debug)]
pub(crate) struct Noting {
    pub(crate) names: Arc<ByName>,
    pub(crate) shown: AtomicUsize,
}

impl Noting {
    /// Which one it was.
    pub(crate) fn shown(&self) -> usize {
        self.shown.load(Ordering::Relaxed)
    }
}

impl ResolvesServerCert for Noting {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let index = self.names.shown(&hello)?;
        self.shown.store(index, Ordering::Relaxed);
        self.names.all.get(index).cloned()
    }
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.all.get(self.shown(&hello)?).cloned()
    }
}

/// The DNS names that a certificate is for, in lower case.
fn dns_names(certified: &CertifiedKey) -> Vec<String> {
    let Ok(certificate) = certified.end_entity_cert() else { return Vec::new() };
    let Ok(certificate) = webpki::EndEntityCert::try_from(certificate) else { return Vec::new() };
    certificate.valid_dns_names().map(str::to_ascii_lowercase).collect()
}
