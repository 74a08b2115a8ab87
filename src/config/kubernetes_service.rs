//! What Kubernetes tells every container of its API.

use url::Url;

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

    /// The URL of the API; `None` outside of a cluster.
    pub(super) fn in_cluster(&self) -> Option<Url> {
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
