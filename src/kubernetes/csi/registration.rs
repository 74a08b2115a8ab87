//! How the kubelet learns of the driver (plugin registration API, version 1): it finds a socket in the folder that it
//! watches, asks who is there, calls the driver, and tells the result.

use std::path::PathBuf;

use tokio::sync::watch;
use tonic::{Request, Response, Status};

use crate::proto::pluginregistration::{
    InfoRequest, PluginInfo, RegistrationStatus, RegistrationStatusResponse,
    registration_server::Registration,
};

/// The kind of plugin, in the kubelet's words.
const KIND: &str = "CSIPlugin";
/// The version of CSI that the kubelet is to speak.
const CSI_VERSION: &str = "1.0.0";
/// Of what the kubelet says, as much as a log line holds.
const SAID: usize = 1000;

/// The service.
pub(super) struct RegistrationService {
    /// The driver's name.
    pub(super) driver: String,
    /// Where it is called.
    pub(super) endpoint: PathBuf,
    /// Becomes true when the kubelet has registered the driver.
    pub(super) registered: watch::Sender<bool>,
}

#[tonic::async_trait]
impl Registration for RegistrationService {
    async fn get_info(&self, _: Request<InfoRequest>) -> Result<Response<PluginInfo>, Status> {
        Ok(Response::new(PluginInfo {
            r#type: KIND.to_owned(),
            name: self.driver.clone(),
            endpoint: self.endpoint.display().to_string(),
            supported_versions: vec![CSI_VERSION.to_owned()],
        }))
    }

    /// It asks again by itself, so there is nothing to do but to say it.
    async fn notify_registration_status(
        &self,
        request: Request<RegistrationStatus>,
    ) -> Result<Response<RegistrationStatusResponse>, Status> {
        let RegistrationStatus {
            plugin_registered,
            error,
        } = request.into_inner();
        let driver = &self.driver;
        if plugin_registered {
            tracing::info!(driver, "the kubelet registered the driver");
            self.registered.send_replace(true);
        } else {
            let said: String = error.chars().take(SAID).collect();
            tracing::error!(
                driver,
                "the kubelet did not register the driver, so pods get no volumes: {said}"
            );
        }
        Ok(Response::new(RegistrationStatusResponse {}))
    }
}
