//! The files of a listener with TLS: its certificate and key, and the authorities of its clients where they have to show a
//! certificate of their own.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use jiff::Timestamp;
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::NoServerSessionStorage,
};
use zeroize::Zeroizing;

use super::{client_verifier, validity::Validity};
use crate::{
    file,
    text::{ShowPath, without_bom},
};

/// No chain of certificates is longer, in bytes.
pub(super) const MOST: usize = 256 * 1024;

/// A file of the configuration, and the key that names it there.
#[derive(Clone)]
pub(crate) struct NamedFile {
    pub(crate) key: &'static str,
    pub(crate) path: PathBuf,
}

impl NamedFile {
    /// The file at `path`, which `key` of the configuration names.
    pub(crate) fn new(key: &'static str, path: &Path) -> Self {
        Self {
            key,
            path: path.to_owned(),
        }
    }

    fn read(&self) -> Result<Zeroizing<Vec<u8>>, String> {
        file::read_whole(&self.path, MOST).map_err(|error| self.wrong(&format!("cannot be read: {error}")))
    }

    /// The certificates in it, one at least.
    fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, String> {
        let pem = self.read()?;
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(without_bom(&pem)).collect();
        chain
            .ok()
            .filter(|chain| !chain.is_empty())
            .ok_or_else(|| self.wrong("holds no certificate in PEM"))
    }

    /// What the first certificate in it says of its time, where it is refused or soon will be; what is wrong with the file goes
    /// without saying.
    pub(crate) fn trouble(&self, now: Timestamp) -> Option<String> {
        let chain = self.certificates().ok()?;
        let trouble = Validity::of(chain.first()?)?.trouble_of_client(now)?;
        Some(self.wrong(&trouble))
    }

    pub(super) fn wrong(&self, what: &str) -> String {
        format!("{} {} {what}", self.key, self.path.shown())
    }
}

/// What a listener with TLS is configured with.
#[derive(Clone)]
pub(crate) struct TlsFiles {
    /// What the log calls them, such as `the certificate of [remote]`.
    pub(crate) what: &'static str,
    pub(crate) certificate: NamedFile,
    pub(crate) key: NamedFile,
    /// Which certificates clients show.
    pub(crate) clients: ClientCertificates,
    /// What is spoken, the best first.
    pub(crate) protocols: &'static [&'static [u8]],
}

/// Which certificates clients show.
#[derive(Clone)]
pub(crate) enum ClientCertificates {
    /// None.
    None,
    /// One of these authorities, or none: who shows none proves itself otherwise.
    Optional(NamedFile),
    /// One of these authorities.
    Required(NamedFile),
}

impl ClientCertificates {
    fn authorities(&self) -> Option<&NamedFile> {
        match self {
            Self::None => None,
            Self::Optional(file) | Self::Required(file) => Some(file),
        }
    }
}

/// The authorities of clients' certificates; `None` where clients show none.
pub(super) type ClientAuthority = Option<Arc<[CertificateDer<'static>]>>;

/// What connections are served with, and from when to when.
pub(crate) struct Pair {
    config: Arc<ServerConfig>,
    validity: Validity,
    authority: ClientAuthority,
    /// Where the authorities are, as messages begin with it.
    authority_name: Option<String>,
}

impl Pair {
    /// What a handshake is made with.
    pub(crate) fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.config)
    }

    pub(super) fn validity(&self) -> Validity {
        self.validity
    }

    pub(super) fn authority(&self) -> &ClientAuthority {
        &self.authority
    }

    /// What there is to say of the authorities' time.
    pub(super) fn authority_trouble(&self, now: Timestamp) -> Option<String> {
        let (name, authorities) = (self.authority_name.as_ref()?, self.authority.as_ref()?);
        let mut validities = authorities.iter().filter_map(|der| Validity::of(der));
        validities.find_map(|validity| Some(format!("{name}{}", validity.trouble_of_authority(now)?)))
    }
}

/// What is known of a certificate that can be served.
pub struct Checked {
    /// What there is to say of it.
    pub trouble: Option<String>,
    /// Clients refuse it now.
    pub is_refused: bool,
}

impl TlsFiles {
    /// What the certificate says of its time, where clients refuse it or soon will.
    ///
    /// # Errors
    /// A sentence, where the files cannot be served with at all.
    pub(crate) fn check(&self, now: Timestamp) -> Result<Checked, String> {
        let pair = self.read()?;
        let own = pair.validity.trouble(now);
        let own = own.map(|trouble| self.certificate.wrong(&trouble));
        let both: Vec<String> = own.into_iter().chain(pair.authority_trouble(now)).collect();
        Ok(Checked {
            trouble: (!both.is_empty()).then(|| both.join("; ")),
            is_refused: !pair.validity.holds(now),
        })
    }

    /// Where they are.
    pub(super) fn paths(&self) -> Vec<PathBuf> {
        let files = [
            Some(&self.certificate),
            Some(&self.key),
            self.clients.authorities(),
        ];
        files
            .into_iter()
            .flatten()
            .map(|file| file.path.clone())
            .collect()
    }

    /// Reads them.
    pub(super) fn read(&self) -> Result<Pair, String> {
        let (certificate, key) = (&self.certificate, &self.key);
        let chain = certificate.certificates()?;
        let validity = Validity::of(&chain[0])
            .ok_or_else(|| certificate.wrong("holds something else than a certificate of X.509"))?;
        let private = PrivateKeyDer::from_pem_slice(without_bom(&key.read()?))
            .map_err(|_| key.wrong("holds no private key in PEM (BEGIN PRIVATE KEY)"))?;
        let unfit = |error: rustls::Error| match error {
            rustls::Error::InconsistentKeys(_) => key.wrong(&format!(
                "does not belong to the certificate in {} ({}): take both from one secret",
                certificate.path.shown(),
                certificate.key
            )),
            other => certificate.wrong(&format!("is of no use with its key: {other}")),
        };
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(unfit)?;
        let authority = self
            .clients
            .authorities()
            .map(|file| Ok::<_, String>((file, file.certificates()?)))
            .transpose()?;
        let builder = match &authority {
            Some((file, certificates)) => {
                let is_optional = matches!(self.clients, ClientCertificates::Optional(_));
                let verifier = client_verifier::made(certificates, is_optional, provider);
                builder.with_client_cert_verifier(verifier.map_err(|reason| file.wrong(&reason))?)
            }
            None => builder.with_no_client_auth(),
        };
        let mut config = builder.with_single_cert(chain, private).map_err(unfit)?;
        config.alpn_protocols = self.protocols.iter().map(|name| name.to_vec()).collect();
        if authority.is_some() {
            // A session that is resumed would not have its client's certificate looked at again.
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.send_tls13_tickets = 0;
        }
        Ok(Pair {
            config: Arc::new(config),
            validity,
            authority_name: authority.as_ref().map(|(file, _)| file.wrong("")),
            authority: authority.map(|(_, certificates)| certificates.into()),
        })
    }
}

#[cfg(test)]
pub(super) mod testing {
    use super::{ClientCertificates, NamedFile, TlsFiles};

    /// A listener whose clients show no certificate.
    pub(in crate::net) fn server_alone(certificate: NamedFile, key: NamedFile) -> TlsFiles {
        TlsFiles {
            what: "the certificate",
            certificate,
            key,
            clients: ClientCertificates::None,
            protocols: &[b"h2"],
        }
    }
}
