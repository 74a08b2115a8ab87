//! `[csi]`: the driver that gives agents' directories to pods as volumes.

use std::path::PathBuf;

use super::{
    error::ConfigError,
    kubernetes::{KubernetesApi, KubernetesSection},
    values::{Values, required},
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
        const NAME: &str = "a driver's name: at most 63 lower-case letters, digits, hyphens and dots, starting and \
                            ending with a letter or digit";
        let driver = required(values, values.text("csi.driver")?, "csi.driver")?;
        if !is_driver_name(&driver) {
            return Err(values.wrong("csi.driver", NAME));
        }
        let Some(endpoint) = socket(
            values,
            "csi.endpoint",
            "/var/lib/kubelet/plugins/token-broker.dev/csi.sock",
        )?
        else {
            return Ok(None);
        };
        let registration = registration(values)?;
        if registration.as_ref() == Some(&endpoint) {
            return Err(values.wrong("csi.registration", "another path than csi.endpoint"));
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
    let path = socket(
        values,
        KEY,
        "/var/lib/kubelet/plugins_registry/token-broker.dev-reg.sock",
    )?;
    let hidden = |path: &PathBuf| {
        path.file_name()
            .is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
    };
    if path.as_ref().is_some_and(hidden) {
        return Err(values.wrong(
            KEY,
            "a name without a dot before it: the kubelet passes over such names",
        ));
    }
    Ok(path)
}

/// A path, or as other drivers are told it: `unix:///path`.
fn socket(values: &Values, key: &'static str, example: &str) -> Result<Option<PathBuf>, ConfigError> {
    let Some(text) = values.text(key)? else {
        return Ok(None);
    };
    let path = text.strip_prefix("unix://").unwrap_or(&text);
    let path = values.resolve(key, path.as_ref())?;
    // `sun_path` has 108 bytes, and the socket is made under a longer name first.
    if text.contains("://") && !text.starts_with("unix:///") || path.as_os_str().len() > 100 {
        let expected = format!("the path of a socket, at most 100 bytes long, such as {example}");
        return Err(values.wrong(key, &expected));
    }
    Ok(Some(path))
}

/// As the CSI specification has it for `GetPluginInfo`, in the lower case that Kubernetes asks of a `CSIDriver`.
fn is_driver_name(name: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.');
    let end = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    (1..=63).contains(&name.len()) && name.bytes().all(inner) && name.starts_with(end) && name.ends_with(end)
}
