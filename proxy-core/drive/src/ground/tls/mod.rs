//! TLS 1.2 and 1.3 by rustls on aws-lc-rs: what both ends of it share. The edge terminates,
//! `upstream` originates, and so does [`blocking`](crate::upstream::blocking) for the command line.
//!
//! What the configuration names is read when a configuration is planned and when the files have changed. What comes out the
//! same stays the very same object, so that sessions can be resumed.

pub mod alpn;
pub mod covered;
pub(crate) mod identity;
pub(crate) mod numbers;
pub(crate) mod passed;
pub(crate) mod terms;

use rustls::crypto::CryptoProvider;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Read;
use std::sync::{Arc, OnceLock};
use weir_config::File;

/// The largest file that is read: a bundle of all public roots is a quarter of it.
pub const MAX_FILE: u64 = 1 << 20;

/// Why a certificate, key or set of roots is of no use. Says which file.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// It cannot be read.
    #[error("{}: {error}", file.path.display())]
    Unread {
        /// Which file.
        file: File,
        /// Why not.
        error: Arc<std::io::Error>,
    },
    /// It is larger than [`MAX_FILE`].
    #[error("{}: larger than 1 MiB", .0.path.display())]
    TooLarge(File),
    /// It is not PEM. What is in it is not shown: it may be a key.
    #[error("{}: {what}", file.path.display())]
    Pem {
        /// Which file.
        file: File,
        /// What is wrong with it.
        what: &'static str,
    },
    /// It is PEM, but holds no certificate.
    #[error("{}: no certificate in it", .0.path.display())]
    NoCertificate(File),
    /// It is PEM, but holds no private key.
    #[error("{}: no private key in it", .0.path.display())]
    NoKey(File),
    /// The certificate or key is not of use.
    #[error("{}: {}", file.path.display(), what_of_rustls(error))]
    Unusable {
        /// Which file.
        file: File,
        /// What is wrong with it.
        error: rustls::Error,
    },
    /// The key is that of another certificate.
    #[error("{}: not the key of {}", key.path.display(), certificate.path.display())]
    Mismatch {
        /// The key's file.
        key: File,
        /// The certificate's.
        certificate: File,
    },
    /// The system has no roots to trust.
    #[error("the system's trust roots could not be read: {0}")]
    NoRoots(String),
    /// The name to verify is not one.
    #[error("{0}: not a name that a certificate can be for")]
    Name(String),
    /// Rustls refuses the combination.
    #[error("{}", what_of_rustls(.0))]
    Rustls(#[from] rustls::Error),
}

/// What is wrong, without the lines of the file that the error holds.
pub(crate) fn what_of_pem(error: &rustls_pki_types::pem::Error) -> &'static str {
    use rustls_pki_types::pem::Error;
    match error {
        Error::MissingSectionEnd { .. } => "not PEM: a section has no end",
        Error::IllegalSectionStart { .. } => "not PEM: a line that begins a section is not one",
        Error::Base64Decode(_) => "not PEM: what is in a section is not base64",
        Error::NoItemsFound => "not PEM: there is nothing of the kind in it",
        Error::SectionTooLarge => "not PEM: a section is too large",
        _ => "not PEM",
    }
}

/// What is wrong, in words: the library's own hold its types' names.
fn what_of_rustls(error: &rustls::Error) -> String {
    use rustls::{CertificateError, Error};
    let what = match error {
        Error::InvalidCertificate(wrong) => match wrong {
            CertificateError::BadEncoding => "it is no certificate that can be read",
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => "it has expired",
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                "it is not valid yet"
            }
            CertificateError::Revoked => "it was revoked",
            CertificateError::UnknownIssuer => "it is signed by nobody who is trusted",
            CertificateError::BadSignature => "its signature is wrong",
            CertificateError::UnhandledCriticalExtension => "it has a critical extension that is not known",
            CertificateError::Other(other) if of_version_1(other) => {
                "it is of X.509 version 1, and only version 3 is of use in TLS"
            }
            _ => "it is of no use in TLS",
        },
        Error::General(what) => return what.clone(),
        Error::InconsistentKeys(_) => "the key is not the certificate's",
        Error::NoCertificatesPresented => "there is no certificate",
        error => return error.to_string(),
    };
    what.to_owned()
}

fn of_version_1(error: &rustls::OtherError) -> bool {
    matches!(error.0.downcast_ref(), Some(webpki::Error::UnsupportedCertVersion))
}

impl TlsError {
    /// What to say first of several.
    pub(crate) fn first(errors: TlsErrors) -> TlsError {
        let none = || TlsError::Rustls(rustls::Error::General("unknown".into()));
        errors.into_iter().next().unwrap_or_else(none)
    }

    /// The file at fault, where it is one's.
    pub fn file(&self) -> Option<&File> {
        match self {
            TlsError::Unread { file, .. }
            | TlsError::TooLarge(file)
            | TlsError::Pem { file, .. }
            | TlsError::NoCertificate(file)
            | TlsError::NoKey(file)
            | TlsError::Unusable { file, .. }
            | TlsError::Mismatch { key: file, .. } => Some(file),
            TlsError::NoRoots(_) | TlsError::Name(_) | TlsError::Rustls(_) => None,
        }
    }
}

/// Everything that is wrong with the files of one listener or cluster; never empty.
pub type TlsErrors = Vec<TlsError>;

/// From when and until when the certificates of files are valid.
pub(crate) type Terms = Vec<terms::Term>;

pub(crate) fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    Arc::clone(PROVIDER.get_or_init(|| Arc::new(rustls::crypto::aws_lc_rs::default_provider())))
}

pub(crate) static VERSIONS: &[&rustls::SupportedProtocolVersion] =
    &[&rustls::version::TLS13, &rustls::version::TLS12];

/// What the files hold, in the order in which they are named, and a print of it by which a change is told.
pub(crate) struct Contents<'a> {
    files: Vec<(&'a File, Result<Vec<u8>, Unread>)>,
    /// `None` when not all could be read.
    pub(crate) print: Option<u64>,
}

/// Why a file could not be read; `None`: it is too large.
type Unread = Option<Arc<std::io::Error>>;

impl<'a> Contents<'a> {
    /// Reads all of `files`. What cannot be read is told when it is asked for.
    pub(crate) fn read(files: impl Iterator<Item = &'a File>) -> Contents<'a> {
        let files: Vec<_> = files.map(|file| (file, read(file))).collect();
        let mut hasher = DefaultHasher::new();
        let all = files.iter().all(|(_, bytes)| {
            bytes.as_ref().is_ok_and(|bytes| {
                bytes.hash(&mut hasher);
                true
            })
        });
        Contents { files, print: all.then(|| hasher.finish()) }
    }

    /// What is in `file`.
    fn of(&self, file: &File) -> Result<&[u8], TlsError> {
        let found = self.files.iter().find(|(known, _)| known.path == file.path);
        match found.map(|(_, bytes)| bytes) {
            Some(Ok(bytes)) => Ok(bytes),
            Some(Err(Some(error))) => Err(TlsError::Unread { file: file.clone(), error: Arc::clone(error) }),
            Some(Err(None)) => Err(TlsError::TooLarge(file.clone())),
            None => Ok(&[]),
        }
    }

    /// The certificates in `file`.
    pub(crate) fn certificates(&self, file: &File) -> Result<Vec<CertificateDer<'static>>, TlsError> {
        let chain = CertificateDer::pem_slice_iter(self.of(file)?).collect::<Result<Vec<_>, _>>();
        let chain = chain.map_err(|error| TlsError::Pem { file: file.clone(), what: what_of_pem(&error) })?;
        if chain.is_empty() {
            return Err(TlsError::NoCertificate(file.clone()));
        }
        Ok(chain)
    }

    /// The roots in `file`, and the certificates that they are of.
    pub(crate) fn roots(
        &self,
        file: &File,
    ) -> Result<(rustls::RootCertStore, Vec<CertificateDer<'static>>), TlsError> {
        let certificates = self.certificates(file)?;
        let mut roots = rustls::RootCertStore::empty();
        for root in &certificates {
            roots.add(root.clone()).map_err(|error| TlsError::Unusable { file: file.clone(), error })?;
        }
        Ok((roots, certificates))
    }
}

pub(crate) fn read(file: &File) -> Result<Vec<u8>, Unread> {
    let unread = |error| Some(Arc::new(error));
    let mut bytes = Vec::new();
    // Others, such as a pipe, might keep us waiting.
    let opened = weir_config::open_regular(&file.path).map_err(unread)?;
    opened.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(unread)?;
    if bytes.len() as u64 > MAX_FILE { Err(None) } else { Ok(bytes) }
}
