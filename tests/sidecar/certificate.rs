//! A server's certificate in files, as cert-manager has it, and its authority.

use std::{
    fs,
    path::{Path, PathBuf},
};

use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
use tempfile::TempDir;

use crate::support::{Authority, Signed, pem};

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
        let authority = Authority::new();
        self.put(&authority.server(), &authority.pem);
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
        let certificate = pem("CERTIFICATE", params.self_signed(&key).unwrap().der());
        let signed = Signed {
            certificate: certificate.clone(),
            key: pem("PRIVATE KEY", &key.serialize_der()),
        };
        self.put(&signed, &certificate);
    }

    fn put(&self, signed: &Signed, authority: &str) {
        let version = tempfile::Builder::new()
            .prefix("..")
            .tempdir_in(self.folder.path())
            .unwrap()
            .keep();
        for (name, pem) in [
            ("tls.crt", signed.certificate.as_str()),
            ("tls.key", &signed.key),
            ("ca.crt", authority),
        ] {
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
