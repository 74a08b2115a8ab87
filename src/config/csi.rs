//! `[csi]`: the driver that gives agents' directories to pods as volumes.

use std::path::PathBuf;

use super::{
    error::ConfigError,
    kubernetes::{KubernetesApi, KubernetesSection},
    schema::{Key, Kind, Section, Unset},
    values::{Values, required},
};

/// The keys of `[csi]`.
pub(super) const SECTION: Section = Section {
    name: "csi",
    about: "The driver that gives agents' directories to pods as volumes",
    keys: &[
        Key {
            path: "csi.endpoint",
            kind: Kind::Path,
            unset: Unset::Nothing("/var/lib/kubelet/plugins/token-broker.dev/csi.sock"),
            form: "the path of a socket, at most 100 bytes long, such as {example}",
            doc: "The Unix socket on which the kubelet calls the CSI driver, which gives agents' directories to pods as\n\
             volumes. There is no driver without it.",
            ..Key::USUAL
        },
        Key {
            path: "csi.driver",
            unset: Unset::Default("token-broker.dev"),
            form: "a driver's name: at most 63 lower-case letters, digits, hyphens and dots, starting and ending with a \
                   letter or digit",
            doc: "The driver's name, as pods and the CSIDriver object spell it.",
            ..Key::USUAL
        },
        Key {
            path: "csi.registration",
            kind: Kind::Path,
            unset: Unset::Nothing("/var/lib/kubelet/plugins_registry/token-broker.dev-reg.sock"),
            form: "the path of a socket, at most 100 bytes long, such as {example}",
            doc: "The Unix socket on which the kubelet learns of the driver, in the folder that it watches. Without it, a\n\
             node-driver-registrar has to tell it.",
            ..Key::USUAL
        },
        Key {
            path: "csi.audience",
            unset: Unset::Derived("token-broker.dev"),
            doc: "The audience of the pods' tokens, as the CSIDriver object's tokenRequests ask for it. The driver's name\n\
             unless set.",
            ..Key::USUAL
        },
    ],
};

/// The `[csi]` section, where there is to be a driver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CsiSection {
    /// The socket on which the kubelet calls.
    pub endpoint: PathBuf,
    /// The driver's name.
    pub driver: String,
    /// The socket on which the kubelet learns of the driver; `None` where another program tells it.
    pub registration: Option<PathBuf>,
    /// The audience of the pods' tokens.
    pub audience: String,
    /// Who says whether pods' tokens are genuine.
    pub api: KubernetesApi,
}

impl CsiSection {
    /// `None` where there is to be no driver.
    pub(super) fn read(values: &Values, kubernetes: &KubernetesSection) -> Result<Option<Self>, ConfigError> {
        let driver = required(values, values.text("csi.driver")?, "csi.driver")?;
        if !is_driver_name(&driver) {
            return Err(values.wrong("csi.driver"));
        }
        let Some(endpoint) = socket(values, "csi.endpoint")? else {
            return Ok(None);
        };
        let registration = registration(values)?;
        if registration.as_ref() == Some(&endpoint) {
            return Err(values.unlike("csi.registration", "another path than csi.endpoint"));
        }
        Ok(Some(Self {
            endpoint,
            registration,
            audience: values.text("csi.audience")?.unwrap_or_else(|| driver.clone()),
            driver,
            api: kubernetes.api_for(values, "csi.endpoint", "to ask whether pods' tokens are genuine")?,
        }))
    }
}

fn registration(values: &Values) -> Result<Option<PathBuf>, ConfigError> {
    const KEY: &str = "csi.registration";
    let path = socket(values, KEY)?;
    let hidden = |path: &PathBuf| {
        path.file_name()
            .is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
    };
    if path.as_ref().is_some_and(hidden) {
        return Err(values.unlike(
            KEY,
            "a name without a dot before it: the kubelet passes over such names",
        ));
    }
    Ok(path)
}

/// A path, or as other drivers are told it: `unix:///path`.
fn socket(values: &Values, key: &str) -> Result<Option<PathBuf>, ConfigError> {
    let Some(text) = values.text(key)? else {
        return Ok(None);
    };
    let path = text.strip_prefix("unix://").unwrap_or(&text);
    let path = values.resolve(key, path.as_ref())?;
    // `sun_path` has 108 bytes, and the socket is made under a longer name first.
    if text.contains("://") && !text.starts_with("unix:///") || path.as_os_str().len() > 100 {
        return Err(values.wrong(key));
    }
    Ok(Some(path))
}

/// As the CSI specification has it for `GetPluginInfo`, in the lower case that Kubernetes asks of a `CSIDriver`.
fn is_driver_name(name: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.');
    let end = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    (1..=63).contains(&name.len()) && name.bytes().all(inner) && name.starts_with(end) && name.ends_with(end)
}
