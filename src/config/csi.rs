//! `[csi]`: the driver that gives agents' directories to pods as volumes.

use std::path::PathBuf;

use super::{
    error::ConfigError,
    kubernetes::{KubernetesApi, KubernetesSection},
    required,
    values::Values,
};

/// The `[csi]` section, where there is to be a driver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CsiSection {
    /// The socket on which the kubelet calls.
    pub endpoint: PathBuf,
    /// The driver's name.
    pub driver: String,
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
        let Some(endpoint) = endpoint(values)? else {
            return Ok(None);
        };
        Ok(Some(Self {
            endpoint,
            audience: values.text("csi.audience")?.unwrap_or_else(|| driver.clone()),
            driver,
            api: kubernetes.api_for(values, "csi.endpoint")?,
        }))
    }
}

/// A path, or as other drivers are told it: `unix:///path`.
fn endpoint(values: &Values) -> Result<Option<PathBuf>, ConfigError> {
    const PATH: &str = "the path of a socket, at most 100 bytes long, such as \
                        /var/lib/kubelet/plugins/token-broker.dev/csi.sock";
    let Some(text) = values.text("csi.endpoint")? else {
        return Ok(None);
    };
    let path = text.strip_prefix("unix://").unwrap_or(&text);
    let path = values.resolve("csi.endpoint", path.as_ref())?;
    // `sun_path` has 108 bytes, and the socket is made under a longer name first.
    if text.contains("://") && !text.starts_with("unix:///") || path.as_os_str().len() > 100 {
        return Err(values.wrong("csi.endpoint", PATH));
    }
    Ok(Some(path))
}

/// As the CSI specification has it for `GetPluginInfo`, in the lower case that Kubernetes asks of a `CSIDriver`.
fn is_driver_name(name: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.');
    let end = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    (1..=63).contains(&name.len()) && name.bytes().all(inner) && name.starts_with(end) && name.ends_with(end)
}
