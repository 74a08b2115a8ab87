//! `[upstream]`: the broker that tells this machine's daemon, a node, what its agents may see.

use std::path::PathBuf;

use url::Url;

use super::{
    error::ConfigError,
    schema::{Key, Kind, Section, Unset},
    values::Values,
};

/// The keys of `[upstream]`.
pub(super) const SECTION: Section = Section {
    name: "upstream",
    about: "The broker that a node is served by. A daemon with this section holds no database, key or grant: it serves the agents \
            whose manifests, at the broker, name it in `nodes`, and takes no key of a broker's",
    keys: &[
        Key {
            path: "upstream.url",
            kind: Kind::Url,
            unset: Unset::Nothing("https://token-broker.example:8443"),
            doc: "The broker's `remote.listen`. This daemon is a node where it is set, and a broker where it is not.",
            ..Key::USUAL
        },
        Key {
            path: "upstream.ca_file",
            kind: Kind::Path,
            unset: Unset::Nothing("/etc/token-broker/tls/ca.crt"),
            doc: "The authorities of the broker's certificate, in PEM; the system's unless set.",
            ..Key::USUAL
        },
        Key {
            path: "upstream.certificate_file",
            kind: Kind::Path,
            unset: Unset::Nothing("/etc/token-broker/tls/node.crt"),
            doc: "This node's certificate, in PEM, of an authority in the broker's `remote.client_ca_file`. A URI or DNS name of it\n\
                  is what manifests name. It and its key are read again for each connection.",
            ..Key::USUAL
        },
        Key {
            path: "upstream.key_file",
            kind: Kind::Path,
            unset: Unset::Nothing("/etc/token-broker/tls/node.key"),
            doc: "The certificate's private key, in PEM.",
            ..Key::USUAL
        },
    ],
};

/// The `[upstream]` section of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamSection {
    /// The broker's `remote.listen`.
    pub url: Url,
    /// The authorities of its certificate, in PEM; the system's when absent.
    pub ca_file: Option<PathBuf>,
    /// The node's certificate, in PEM.
    pub certificate_file: PathBuf,
    /// The certificate's private key, in PEM.
    pub key_file: PathBuf,
}

impl UpstreamSection {
    /// `None` for a broker.
    pub(super) fn read(values: &Values) -> Result<Option<Self>, ConfigError> {
        const URL: &str = "upstream.url";
        let Some(url) = values.url(URL)? else {
            return Ok(None);
        };
        let is_bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
        let is_anonymous = url.username().is_empty() && url.password().is_none();
        if url.scheme() != "https" || url.host_str().is_none() || !is_bare || !is_anonymous {
            return Err(values.wrong_because(URL, "write https://HOST:PORT of a broker's remote.listen"));
        }
        let file = |key: &str, what: &str| {
            values.path(key)?.ok_or_else(|| {
                let place = values.place(URL);
                ConfigError::new(format!("{place} needs {key}: {what} in PEM"))
            })
        };
        Ok(Some(Self {
            url,
            ca_file: values.path("upstream.ca_file")?,
            certificate_file: file("upstream.certificate_file", "this node's certificate")?,
            key_file: file(
                "upstream.key_file",
                "the private key of upstream.certificate_file",
            )?,
        }))
    }
}
