//! The CSI node driver: the kubelet asks, and a pod has its agent's directory as a volume.
//!
//! Identity and Node services of the Container Storage Interface 1.x, for ephemeral inline volumes alone: there is
//! nothing to provision, so there is no Controller service. What is published is the agent's directory itself, mounted
//! read-only, so that the pod sees every renewal as any other container does.

mod identity;
mod mount;
mod node;
mod proof;
mod registration;
mod request;
mod volumes;

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;

use self::{identity::IdentityService, node::NodeService, registration::RegistrationService};
use super::Reviewer;
use crate::{
    broker::Broker,
    budget::Refusals,
    clock::SharedClock,
    config::CsiSection,
    health::Readiness,
    net::local::LocalSocket,
    proto::{
        csi::{identity_server::IdentityServer, node_server::NodeServer},
        pluginregistration::registration_server::RegistrationServer,
    },
};

pub use volumes::Volumes;

/// How often it is looked whether what is noted of volumes is still there …
const LOOK: Duration = Duration::from_secs(10);
/// … and how many of these looks go for one after volumes whose pods have vanished.
const LOOKS_PER_TIDYING: u32 = 60;
/// The largest request. The kubelet's are a few kilobytes, mostly the pod's tokens.
const REQUEST_BYTES: usize = 256 * 1024;

/// What the driver has to know.
pub struct CsiOptions {
    /// `[csi]`.
    pub section: CsiSection,
    /// This node's name in Kubernetes.
    pub node: String,
    /// The folder of the agents' directories.
    pub agents: PathBuf,
    /// Becomes true when the kubelet has registered the driver, as far as it tells us.
    pub registered: watch::Sender<bool>,
    /// Where it is said what the daemon cannot do.
    pub readiness: Arc<Readiness>,
}

/// The driver, its socket bound.
pub struct CsiDriver {
    socket: LocalSocket,
    /// Where the kubelet learns of the driver.
    registration: Option<LocalSocket>,
    options: CsiOptions,
}

impl CsiDriver {
    /// Binds the endpoint, making the folders above it, and after it the socket of the registration: the kubelet calls
    /// the driver as soon as it knows of it.
    ///
    /// # Errors
    /// When the system refuses it; with the key that says where, and what it says.
    pub fn bind(options: CsiOptions) -> Result<Self, (&'static str, PathBuf, io::Error)> {
        let bind = |key, path: &Path| {
            let made = path.parent().map_or(Ok(()), std::fs::create_dir_all);
            made.and_then(|()| LocalSocket::bind(path))
                .map_err(|error| (key, path.to_owned(), error))
        };
        let socket = bind("csi.endpoint", &options.section.endpoint)?;
        let registration = match &options.section.registration {
            Some(path) => Some(bind("csi.registration", path)?),
            None => None,
        };
        Ok(Self {
            socket,
            registration,
            options,
        })
    }

    /// Serves the kubelet until `shutdown`, and keeps the volumes tidy. They stay mounted after that.
    pub async fn serve(
        self,
        broker: Arc<Broker>,
        volumes: Arc<Volumes>,
        clock: SharedClock,
        shutdown: CancellationToken,
    ) {
        let CsiOptions {
            section,
            node,
            agents,
            registered,
            readiness,
        } = self.options;
        let reviewer = Reviewer::new(&section.api, &section.audience);
        let registration = RegistrationService {
            driver: section.driver.clone(),
            endpoint: section.endpoint,
            registered,
        };
        let identity = IdentityService {
            driver: section.driver,
        };
        let node = NodeService {
            node_id: node,
            broker,
            volumes: Arc::clone(&volumes),
            reviewer: Arc::new(reviewer),
            agents,
            failures: Refusals::new("pods' volumes could not be published or withdrawn"),
        };
        let identity = IdentityServer::new(identity).max_decoding_message_size(REQUEST_BYTES);
        let node = NodeServer::new(node).max_decoding_message_size(REQUEST_BYTES);
        let routes = Routes::new(identity).add_service(node).prepare();
        let registering = async {
            let Some(socket) = self.registration else {
                return;
            };
            let routes = Routes::new(RegistrationServer::new(registration)).prepare();
            let condition = ("csi_registration", readiness.clone());
            socket
                .serve("the registration socket", condition, routes, shutdown.clone())
                .await;
        };
        let condition = ("csi_socket", readiness.clone());
        tokio::join!(
            registering,
            self.socket
                .serve("the CSI socket", condition, routes, shutdown.clone()),
            keep_tidy(&volumes, clock, &readiness, shutdown.clone())
        );
    }
}

async fn keep_tidy(
    volumes: &Arc<Volumes>,
    clock: SharedClock,
    readiness: &Readiness,
    shutdown: CancellationToken,
) {
    const NOTES: &str = "csi_volumes";
    for round in 0_u32.. {
        if round % LOOKS_PER_TIDYING == 0 {
            volumes.tidy().await;
        }
        match volumes.note_again().await {
            Ok(()) => readiness.holds(NOTES),
            Err(error) => readiness.fails(
                NOTES,
                format!("which pods have which agent's directory cannot be noted: {error}"),
            ),
        }
        let next = clock.uptime().after(LOOK);
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = clock.sleep_until(next) => {}
        }
    }
}
