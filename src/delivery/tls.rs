//! A server's certificate, read again when its files change.

use std::{path::PathBuf, sync::Arc};

use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use zeroize::Zeroizing;

use crate::{followed::Followed, text::ShowPath, text::without_bom};

/// A file of the configuration, and the key that names it there.
#[derive(Clone)]
pub(super) struct NamedFile {
    pub(super) key: &'static str,
    pub(super) path: PathBuf,
}

impl NamedFile {
    fn read(&self) -> Result<Zeroizing<Vec<u8>>, String> {
        let bytes =
            std::fs::read(&self.path).map_err(|error| self.wrong(&format!("cannot be read: {error}")))?;
        Ok(Zeroizing::new(bytes))
    }

    fn wrong(&self, what: &str) -> String {
        format!("{} {} {what}", self.key, self.path.shown())
    }
}

/// A server's certificate and key as they are in their files.
pub(super) struct Certificates(Arc<Followed<ServerConfig>>);

impl Certificates {
    /// Reads both files.
    ///
    /// # Errors
    /// A sentence that names the key of the configuration, the file and what is wrong with it.
    pub(super) fn open(certificate: NamedFile, key: NamedFile) -> Result<Self, String> {
        let places = [certificate.path.clone(), key.path.clone()];
        let followed = Followed::new(
            "the certificate of [remote]",
            move || places.to_vec(),
            move || server_config(&certificate, &key),
        );
        followed.look()?;
        Ok(Self(Arc::new(followed)))
    }

    /// What a new connection is served with.
    ///
    /// # Errors
    /// A sentence, when the daemon is going down.
    pub(super) async fn current(&self) -> Result<Arc<ServerConfig>, String> {
        self.0.current().await
    }
}

fn server_config(certificate: &NamedFile, key: &NamedFile) -> Result<ServerConfig, String> {
    let chain: Result<Vec<_>, _> =
        CertificateDer::pem_slice_iter(without_bom(&certificate.read()?)).collect();
    let chain = chain
        .ok()
        .filter(|chain| !chain.is_empty())
        .ok_or_else(|| certificate.wrong("holds no certificate in PEM"))?;
    let private = PrivateKeyDer::from_pem_slice(without_bom(&key.read()?))
        .map_err(|_| key.wrong("holds no private key in PEM (BEGIN PRIVATE KEY)"))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let unfit = |error: rustls::Error| match error {
        rustls::Error::InconsistentKeys(_) => key.wrong(&format!(
            "does not belong to the certificate in {} ({}): take both from one secret",
            certificate.path.shown(),
            certificate.key
        )),
        other => certificate.wrong(&format!("is of no use with its key: {other}")),
    };
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(unfit)?
        .with_no_client_auth()
        .with_single_cert(chain, private)
        .map_err(unfit)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn pair() -> (String, String) {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec!["broker".to_owned()]).unwrap();
        let pem = |kind: &str, der: &[u8]| {
            use base64::{Engine, prelude::BASE64_STANDARD};
            let text = BASE64_STANDARD.encode(der);
            format!("-----BEGIN {kind}-----\n{text}\n-----END {kind}-----\n")
        };
        (
            pem("CERTIFICATE", params.self_signed(&key).unwrap().der()),
            pem("PRIVATE KEY", &key.serialize_der()),
        )
    }

    #[tokio::test]
    async fn files_that_changed_are_read_again_and_bad_ones_change_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let file = |key, name: &str| NamedFile {
            key,
            path: folder.path().join(name),
        };
        let open = || {
            Certificates::open(
                file("remote.certificate_file", "tls.crt"),
                file("remote.key_file", "tls.key"),
            )
        };
        let wrong = || open().err().unwrap();
        let put = |name: &str, text: &str| {
            let new = folder.path().join("new");
            fs::write(&new, text).unwrap();
            fs::rename(new, folder.path().join(name)).unwrap();
        };
        let ((certificate, key), (other, other_key)) = (pair(), pair());
        assert!(wrong().starts_with("remote.certificate_file ") && wrong().contains("cannot be read"));
        put("tls.crt", "nothing");
        assert!(wrong().contains("holds no certificate"), "{}", wrong());
        put("tls.crt", &certificate);
        put("tls.key", "nothing");
        assert!(wrong().starts_with("remote.key_file ") && wrong().contains("no private key"));
        put("tls.key", &other_key);
        assert!(
            wrong().contains("does not belong to the certificate"),
            "{}",
            wrong()
        );
        put("tls.key", &key);
        let certificates = open().unwrap();
        let first = certificates.current().await.unwrap();
        assert!(Arc::ptr_eq(&first, &certificates.current().await.unwrap()));
        // Half of a change.
        put("tls.crt", &other);
        assert!(Arc::ptr_eq(&first, &certificates.current().await.unwrap()));
        put("tls.key", &other_key);
        assert!(!Arc::ptr_eq(&first, &certificates.current().await.unwrap()));
    }
}
