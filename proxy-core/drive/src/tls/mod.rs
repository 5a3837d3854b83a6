//! TLS 1.2 and 1.3 by rustls on aws-lc-rs: [`server`] terminates, [`client`] originates, [`blocking`] originates for the command line.

pub mod blocking;
pub mod client;
pub mod server;

use rustls::crypto::CryptoProvider;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

/// Why a certificate, key or set of roots is of no use. Says which file.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// It cannot be read, or is not PEM.
    #[error("{}: {error}", path.display())]
    Pem {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        error: rustls_pki_types::pem::Error,
    },
    /// It is PEM, but holds no certificate.
    #[error("{}: no certificate in it", .0.display())]
    NoCertificate(PathBuf),
    /// The certificate and the key are not of use, or do not belong together.
    #[error("{}: {error}", path.display())]
    Unusable {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        error: rustls::Error,
    },
    /// The system has no roots to trust.
    #[error("the system's trust roots could not be read: {0}")]
    NoRoots(String),
    /// The name to verify is not one.
    #[error("{0}: not a name that a certificate can be for")]
    Name(String),
    /// Rustls refuses the combination.
    #[error(transparent)]
    Rustls(#[from] rustls::Error),
}

/// Which files a TLS side is made of.
type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    Arc::clone(PROVIDER.get_or_init(|| Arc::new(rustls::crypto::aws_lc_rs::default_provider())))
}

static VERSIONS: &[&rustls::SupportedProtocolVersion] = &[&rustls::version::TLS13, &rustls::version::TLS12];

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let unread = |error| TlsError::Pem { path: path.to_owned(), error };
    let chain: Vec<_> =
        CertificateDer::pem_file_iter(path).map_err(unread)?.collect::<Result<_, _>>().map_err(unread)?;
    if chain.is_empty() {
        return Err(TlsError::NoCertificate(path.to_owned()));
    }
    Ok(chain)
}

fn identity(files: &weir_config::ServerTls) -> Result<Identity, TlsError> {
    let chain = certificates(&files.certificate)?;
    let key = PrivateKeyDer::from_pem_file(&files.key)
        .map_err(|error| TlsError::Pem { path: files.key.clone(), error })?;
    Ok((chain, key))
}
