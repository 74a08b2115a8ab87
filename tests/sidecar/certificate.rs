//! A server's certificate in files, as cert-manager has it, and its authority.

use std::{
    fs,
    path::{Path, PathBuf},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use tempfile::TempDir;

/// `tls.crt`, `tls.key` and `ca.crt`, exchanged together as the kubelet does.
pub(crate) struct Certificate {
    folder: TempDir,
}

impl Certificate {
    pub(crate) fn new() -> Self {
        let certificate = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        certificate.exchange();
        certificate
    }

    /// Another authority, certificate and key.
    pub(crate) fn exchange(&self) {
        let authority_key = KeyPair::generate().unwrap();
        let mut authority = CertificateParams::new(Vec::<String>::new()).unwrap();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority_certificate = authority.self_signed(&authority_key).unwrap();
        let issuer = Issuer::new(authority, authority_key);
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        // OpenSSL takes a certificate with its authority's name for self-signed.
        params.distinguished_name.push(DnType::CommonName, "localhost");
        let certificate = params.signed_by(&key, &issuer).unwrap();
        self.put(&key, certificate.der(), authority_certificate.der());
    }

    /// A certificate that is its own authority, as people make them by hand; with `is_ca` as `openssl req -x509` makes
    /// them unless told otherwise.
    pub(crate) fn sign_by_itself(&self, is_ca: bool) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.is_ca = if is_ca {
            IsCa::Ca(BasicConstraints::Unconstrained)
        } else {
            IsCa::ExplicitNoCa
        };
        let certificate = params.self_signed(&key).unwrap();
        self.put(&key, certificate.der(), certificate.der());
    }

    fn put(&self, key: &KeyPair, certificate: &[u8], authority: &[u8]) {
        let version = tempfile::Builder::new()
            .prefix("..")
            .tempdir_in(self.folder.path())
            .unwrap()
            .keep();
        for (name, kind, der) in [
            ("tls.crt", "CERTIFICATE", certificate),
            ("tls.key", "PRIVATE KEY", key.serialize_der().as_slice()),
            ("ca.crt", "CERTIFICATE", authority),
        ] {
            let text = BASE64_STANDARD.encode(der);
            let pem = format!("-----BEGIN {kind}-----\n{text}\n-----END {kind}-----\n");
            fs::write(version.join(name), pem).unwrap();
        }
        let link = self.folder.path().join("..data.new");
        std::os::unix::fs::symlink(&version, &link).unwrap();
        fs::rename(link, self.folder.path().join("..data")).unwrap();
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join("..data").join(name)
    }

    /// The authority as it is now, for whoever is to keep trusting it.
    pub(crate) fn authority_in(&self, folder: &Path) -> PathBuf {
        let copy = folder.join("ca.crt");
        fs::copy(self.file("ca.crt"), &copy).unwrap();
        copy
    }
}
