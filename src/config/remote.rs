//! `[remote]`: where sidecars of other places reach the broker over TLS, with their pods' tokens.

use std::{net::SocketAddr, path::PathBuf};

use super::{
    error::ConfigError,
    kubernetes::{KubernetesApi, KubernetesSection},
    values::{Values, required},
};

/// The `[remote]` section, where there is to be such a listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteSection {
    /// Where it listens.
    pub listen: SocketAddr,
    /// The server's certificate and those between it and its authority, in PEM.
    pub certificate_file: PathBuf,
    /// The certificate's private key, in PEM.
    pub key_file: PathBuf,
    /// The audience of the pods' tokens.
    pub audience: String,
    /// Who says whether pods' tokens are genuine.
    pub api: KubernetesApi,
}

impl RemoteSection {
    /// `None` where nobody is to be served over TLS.
    pub(super) fn read(values: &Values, kubernetes: &KubernetesSection) -> Result<Option<Self>, ConfigError> {
        let listen = values.parsed("remote.listen", "an address and port, such as 0.0.0.0:8443")?;
        let Some(listen) = listen else {
            return Ok(None);
        };
        let file = |key: &'static str, what: &str| {
            values.path(key)?.ok_or_else(|| {
                ConfigError::new(format!(
                    "{} needs {key}: {what} in PEM, as a Kubernetes secret of type kubernetes.io/tls has it",
                    values.place("remote.listen")
                ))
            })
        };
        Ok(Some(Self {
            listen,
            certificate_file: file("remote.certificate_file", "the server's certificate")?,
            key_file: file("remote.key_file", "the private key of remote.certificate_file")?,
            audience: required(values, values.text("remote.audience")?, "remote.audience")?,
            api: kubernetes.api_for(values, "remote.listen", "to ask whether pods' tokens are genuine")?,
        }))
    }
}
