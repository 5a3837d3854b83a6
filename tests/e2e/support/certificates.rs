//! Throw-away certificates.

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
};
use std::path::{Path, PathBuf};

/// A root, and the certificates that it signs, in a folder.
pub struct Authority {
    root: CertifiedIssuer<'static, KeyPair>,
    folder: PathBuf,
}

impl Authority {
    /// A new one; `root.pem` is its certificate.
    pub fn new(folder: &Path) -> Authority {
        let mut params = CertificateParams::new([]).expect("no names");
        params.distinguished_name.push(DnType::CommonName, "a root of Weir's tests");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let root = CertifiedIssuer::self_signed(params, key).expect("a root");
        std::fs::write(folder.join("root.pem"), root.pem()).expect("the folder is ours");
        Authority { root, folder: folder.to_path_buf() }
    }

    /// Writes `file.pem` and `file.key`, and both as `file.both`, for a server or client with these names; its subject is
    /// `CN=file,OU=unit`.
    pub fn issue(&self, file: &str, unit: &str, names: &[&str]) {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("names");
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationalUnitName, unit);
        params.distinguished_name.push(DnType::CommonName, file.rsplit('/').next().expect("a name"));
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.root).expect("signed").pem();
        let write = |extension: &str, text: &str| {
            let path = self.folder.join(format!("{file}.{extension}"));
            std::fs::write(path, text).expect("the folder is ours");
        };
        write("pem", &certificate);
        write("key", &key.serialize_pem());
        write("both", &format!("{certificate}{}", key.serialize_pem()));
    }

    /// The path of a file of the folder.
    pub fn path(&self, file: &str) -> String {
        self.folder.join(file).display().to_string()
    }
}
