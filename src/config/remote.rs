//! `[remote]`: where sidecars of other places reach the broker over TLS, with their pods' tokens.

use std::{net::SocketAddr, path::PathBuf};

use super::{
    error::ConfigError,
    kubernetes::{KubernetesApi, KubernetesSection},
    schema::{Key, Kind, Section, Unset},
    values::{Values, required},
};

/// The keys of `[remote]`.
pub(super) const SECTION: Section = Section {
    name: "remote",
    about: "Where sidecars of other places reach the broker over TLS, with their pods' tokens",
    keys: &[
        Key {
            path: "remote.listen",
            kind: Kind::Address,
            unset: Unset::Nothing("0.0.0.0:8443"),
            doc: "Where `token-broker sidecar` of pods on other nodes reaches the broker over TLS, with the pod's projected\n\
             service-account token. Nobody is served so without it.",
            ..Key::USUAL
        },
        Key {
            path: "remote.certificate_file",
            kind: Kind::Path,
            unset: Unset::Nothing("/etc/token-broker/tls/tls.crt"),
            doc: "The certificate for it, in PEM. It and its key are read again when they change.",
            ..Key::USUAL
        },
        Key {
            path: "remote.key_file",
            kind: Kind::Path,
            unset: Unset::Nothing("/etc/token-broker/tls/tls.key"),
            doc: "The certificate's private key, in PEM.",
            ..Key::USUAL
        },
        Key {
            path: "remote.client_ca_file",
            kind: Kind::Path,
            unset: Unset::Nothing("/etc/token-broker/tls/nodes-ca.crt"),
            doc: "The authorities of nodes' certificates, in PEM. A node that shows a certificate of one of them is served the agents\n\
                  whose manifests name it in `nodes`. Read again when it changes: connections that were made under others end.",
            ..Key::USUAL
        },
        Key {
            path: "remote.audience",
            unset: Unset::Default("token-broker.dev"),
            doc: "The audience of the pods' tokens, as their projected volumes ask for it.",
            ..Key::USUAL
        },
    ],
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
    /// The authorities of nodes' certificates, in PEM; nodes are served nothing without.
    pub client_ca_file: Option<PathBuf>,
    /// Who says whether pods' tokens are genuine; pods are served nothing without.
    pub api: Option<KubernetesApi>,
}

impl RemoteSection {
    /// `None` where nobody is to be served over TLS.
    pub(super) fn read(values: &Values, kubernetes: &KubernetesSection) -> Result<Option<Self>, ConfigError> {
        let Some(listen) = values.address("remote.listen")? else {
            return Ok(None);
        };
        let file = |key: &str, what: &str| {
            values.path(key)?.ok_or_else(|| {
                ConfigError::new(format!(
                    "{} needs {key}: {what} in PEM, as a Kubernetes secret of type kubernetes.io/tls has it",
                    values.place("remote.listen")
                ))
            })
        };
        let client_ca_file = values.path("remote.client_ca_file")?;
        Ok(Some(Self {
            listen,
            certificate_file: file("remote.certificate_file", "the server's certificate")?,
            key_file: file("remote.key_file", "the private key of remote.certificate_file")?,
            audience: required(values, values.text("remote.audience")?, "remote.audience")?,
            api: if client_ca_file.is_some() {
                kubernetes.api.clone()
            } else {
                Some(kubernetes.api_for(
                    values,
                    "remote.listen",
                    "to ask whether pods' tokens are genuine",
                )?)
            },
            client_ca_file,
        }))
    }
}
