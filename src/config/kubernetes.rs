//! `[kubernetes]`: the cluster that this node belongs to.

use std::path::PathBuf;

use url::Url;

use super::{
    error::ConfigError,
    schema::{Key, Kind, Section, Unset},
    values::{Values, required},
};
use crate::address::is_at_loopback;

/// The keys of `[kubernetes]`.
pub(super) const SECTION: Section = Section {
    name: "kubernetes",
    about: "The cluster that this node belongs to",
    keys: &[
        Key {
            path: "kubernetes.node_name",
            unset: Unset::Derived("node-1"),
            doc: "This node's name in Kubernetes. The machine's host name unless set.",
            ..Key::USUAL
        },
        Key {
            path: "kubernetes.api_url",
            kind: Kind::Url,
            unset: Unset::Derived("https://10.96.0.1:443"),
            form: "the API server's https:// address (plain http:// only on a loopback address, because tokens \
                   travel there)",
            doc: "The Kubernetes API, which says whether pods' tokens are genuine. Inside a cluster it is found by itself.",
            ..Key::USUAL
        },
        Key {
            path: "kubernetes.api_ca_file",
            kind: Kind::Path,
            unset: Unset::Default("/var/run/secrets/kubernetes.io/serviceaccount/ca.crt"),
            doc: "The certificate authorities of the Kubernetes API, in PEM. Read for each request.",
            ..Key::USUAL
        },
        Key {
            path: "kubernetes.api_token_file",
            kind: Kind::Path,
            unset: Unset::Default("/var/run/secrets/kubernetes.io/serviceaccount/token"),
            doc: "What the daemon proves itself with there. Read for each request.",
            ..Key::USUAL
        },
        Key {
            path: "kubernetes.startup_taint",
            unset: Unset::Nothing("token-broker.dev/agent-not-ready"),
            form: "a taint's key, such as {example}",
            doc: "The key of a taint that nodes begin with. It is removed from this node once every agent has its files and\n\
             the kubelet has registered the driver, so that no pod that needs them comes too early.",
            ..Key::USUAL
        },
    ],
};

/// The `[kubernetes]` section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KubernetesSection {
    /// The node's name there.
    pub node_name: String,
    /// Its API; `None` outside of a cluster.
    pub api: Option<KubernetesApi>,
    /// The taint that the daemon removes from its node once it is ready.
    pub startup_taint: Option<TaintSection>,
}

/// A taint of this node's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaintSection {
    /// Its key.
    pub key: String,
    /// Where it is removed.
    pub api: KubernetesApi,
}

/// Where the Kubernetes API is, and how it is spoken to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KubernetesApi {
    /// Its address.
    pub url: Url,
    /// Its certificate authorities, in PEM.
    pub ca_file: PathBuf,
    /// What the daemon proves itself with there.
    pub token_file: PathBuf,
}

impl KubernetesSection {
    pub(super) fn read(values: &Values) -> Result<Self, ConfigError> {
        let path = |key: &str| required(values, values.path(key)?, key);
        let (ca_file, token_file) = (
            path("kubernetes.api_ca_file")?,
            path("kubernetes.api_token_file")?,
        );
        let mut section = Self {
            node_name: values.text("kubernetes.node_name")?.unwrap_or_else(host_name),
            api: api_url(values)?.map(|url| KubernetesApi {
                url,
                ca_file,
                token_file,
            }),
            startup_taint: None,
        };
        section.startup_taint = section.taint(values)?;
        Ok(section)
    }

    fn taint(&self, values: &Values) -> Result<Option<TaintSection>, ConfigError> {
        const KEY: &str = "kubernetes.startup_taint";
        let Some(key) = values.text(KEY)? else {
            return Ok(None);
        };
        if !is_qualified_name(&key) {
            return Err(values.wrong(KEY));
        }
        let api = self.api_for(values, KEY, "to remove the taint")?;
        Ok(Some(TaintSection { key, api }))
    }

    /// The API, which `key` cannot do without, and what for.
    pub(super) fn api_for(
        &self,
        values: &Values,
        key: &str,
        what_for: &str,
    ) -> Result<KubernetesApi, ConfigError> {
        self.api.clone().ok_or_else(|| {
            ConfigError::new(format!(
                "{} needs the Kubernetes API {what_for}, and this is no pod of a cluster \
                 (KUBERNETES_SERVICE_HOST is not set): set kubernetes.api_url",
                values.place(key)
            ))
        })
    }
}

/// As Kubernetes has it for taints' keys: a name, with a DNS domain and a slash before it or without.
fn is_qualified_name(text: &str) -> bool {
    let (domain, name) = text
        .split_once('/')
        .map_or((None, text), |(domain, name)| (Some(domain), name));
    let fits = |part: &str, most: usize, more: &str| {
        let inner = |c: char| c.is_ascii_alphanumeric() || more.contains(c);
        let end = |c: char| c.is_ascii_alphanumeric();
        (1..=most).contains(&part.len())
            && part.chars().all(inner)
            && part.starts_with(end)
            && part.ends_with(end)
    };
    fits(name, 63, "-_.") && domain.is_none_or(|domain| fits(domain, 253, "-."))
}

fn api_url(values: &Values) -> Result<Option<Url>, ConfigError> {
    match values.url("kubernetes.api_url")? {
        None => Ok(values.kubernetes_service().in_cluster()),
        Some(url) if url.scheme() == "https" || is_at_loopback(&url) => Ok(Some(url)),
        Some(_) => Err(values.wrong("kubernetes.api_url")),
    }
}

fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
