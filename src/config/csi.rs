//! `[csi]`: the driver that gives agents' directories to pods as volumes.

use std::path::PathBuf;

use url::Url;

use super::{error::ConfigError, google, required, values::Values};

/// The `[csi]` section, where there is to be a driver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CsiSection {
    /// The socket on which the kubelet calls.
    pub endpoint: PathBuf,
    /// The driver's name.
    pub driver: String,
    /// The node's name in Kubernetes.
    pub node_id: String,
    /// The audience of the pods' tokens.
    pub audience: String,
    /// Where the Kubernetes API is.
    pub api_url: Url,
    /// Its certificate authorities.
    pub api_ca_file: PathBuf,
    /// What the daemon proves itself with there.
    pub api_token_file: PathBuf,
}

impl CsiSection {
    /// `None` where there is to be no driver.
    pub(super) fn read(values: &Values) -> Result<Option<Self>, ConfigError> {
        const NAME: &str = "a driver's name: at most 63 lower-case letters, digits, hyphens and dots, starting and \
                            ending with a letter or digit";
        let driver = required(values, values.text("csi.driver")?, "csi.driver")?;
        if !is_driver_name(&driver) {
            return Err(values.wrong("csi.driver", NAME));
        }
        let Some(endpoint) = endpoint(values)? else {
            return Ok(None);
        };
        let node_id = values.text("csi.node_id")?;
        Ok(Some(Self {
            endpoint,
            node_id: node_id.unwrap_or_else(host_name),
            audience: values.text("csi.audience")?.unwrap_or_else(|| driver.clone()),
            driver,
            api_url: api_url(values)?,
            api_ca_file: required(values, values.path("csi.api_ca_file")?, "csi.api_ca_file")?,
            api_token_file: required(values, values.path("csi.api_token_file")?, "csi.api_token_file")?,
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

fn api_url(values: &Values) -> Result<Url, ConfigError> {
    const EXPECTED: &str = "the API server's https:// address (plain http:// only on a loopback address, because \
                            tokens travel there)";
    if let Some(url) = values.parsed::<Url>("csi.api_url", EXPECTED)? {
        let safe = url.scheme() == "https" || google::is_loopback(&url);
        return if google::is_plain_web(&url) && safe {
            Ok(url)
        } else {
            Err(values.wrong("csi.api_url", EXPECTED))
        };
    }
    let in_cluster = values.kubernetes_service.in_cluster();
    in_cluster.ok_or_else(|| {
        ConfigError::new(format!(
            "{} needs the Kubernetes API to ask whether pods' tokens are genuine, and this is no pod of a cluster \
             (KUBERNETES_SERVICE_HOST is not set): set csi.api_url",
            values.place("csi.endpoint")
        ))
    })
}

/// Where the API is, as Kubernetes tells every container.
#[derive(Default)]
pub(super) struct KubernetesService {
    host: Option<String>,
    port: Option<String>,
}

impl KubernetesService {
    /// Takes one of its variables.
    pub(super) fn take(&mut self, name: &str, value: &str) {
        match name {
            "KUBERNETES_SERVICE_HOST" => self.host = Some(value.to_owned()),
            "KUBERNETES_SERVICE_PORT" => self.port = Some(value.to_owned()),
            _ => {}
        }
    }

    fn in_cluster(&self) -> Option<Url> {
        let host = self.host.as_deref()?;
        let port = self.port.as_deref().unwrap_or("443");
        let host = if host.contains(':') {
            format!("[{host}]")
        } else {
            host.to_owned()
        };
        Url::parse(&format!("https://{host}:{port}")).ok()
    }
}

fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// As the CSI specification has it for `GetPluginInfo`, in the lower case that Kubernetes asks of a `CSIDriver`.
fn is_driver_name(name: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.');
    let end = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    (1..=63).contains(&name.len()) && name.bytes().all(inner) && name.starts_with(end) && name.ends_with(end)
}
