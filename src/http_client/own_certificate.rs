//! The certificate that a client shows.

use std::path::{Path, PathBuf};

use rustls::{
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    sign::{CertifiedKey, SingleCertAndKey},
};
use zeroize::Zeroizing;

use crate::{
    file,
    text::{ShowPath, without_bom},
};

/// No certificate and no key is longer, in bytes.
const MOST: usize = 256 * 1024;

/// Where a client's certificate and its key are, each with the option or the key of the configuration that says so.
#[derive(Debug, Clone)]
pub(crate) struct OwnCertificate {
    /// The certificate and those between it and its authority, in PEM.
    pub(crate) certificate: (&'static str, PathBuf),
    /// Its private key, in PEM.
    pub(crate) key: (&'static str, PathBuf),
}

impl OwnCertificate {
    /// Reads both.
    ///
    /// # Errors
    /// What is wrong with which file, as a sentence.
    pub(crate) fn read(&self) -> Result<SingleCertAndKey, String> {
        let ((certificate, path), (key, key_path)) = (&self.certificate, &self.key);
        let (shown, key_shown) = (path.shown(), key_path.shown());
        let pem = read(certificate, path)?;
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(without_bom(&pem)).collect();
        let chain = chain
            .ok()
            .filter(|chain| !chain.is_empty())
            .ok_or_else(|| format!("{certificate} {shown} holds no certificate in PEM"))?;
        let private = PrivateKeyDer::from_pem_slice(without_bom(&read(key, key_path)?))
            .map_err(|_| format!("{key} {key_shown} holds no private key in PEM (BEGIN PRIVATE KEY)"))?;
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let own = CertifiedKey::from_der(chain, private, &provider).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => {
                format!(
                    "{key} {key_shown} does not belong to {certificate} {shown}: take both from one place"
                )
            }
            other => format!("{certificate} {shown} is of no use with {key} {key_shown}: {other}"),
        })?;
        Ok(own.into())
    }
}

fn read(name: &str, path: &Path) -> Result<Zeroizing<Vec<u8>>, String> {
    file::read_whole(path, MOST).map_err(|error| format!("{name} {} cannot be read: {error}", path.shown()))
}
