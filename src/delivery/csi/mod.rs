//! The CSI node driver: the kubelet asks, and a pod has its agent's directory as a volume.
//!
//! Identity and Node services of the Container Storage Interface 1.x, for ephemeral inline volumes alone: there is
//! nothing to provision, so there is no Controller service. What is published is the agent's directory itself, mounted
//! read-only, so that the pod sees every renewal as any other container does.

mod identity;
mod mount;
mod node;
mod request;
mod review;
mod volumes;

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio_util::sync::CancellationToken;
use tonic::service::Routes;

use self::{identity::IdentityService, node::NodeService, review::Reviewer};
use super::local::LocalSocket;
use crate::{
    broker::Broker,
    clock::{self, SharedClock},
    config::CsiSection,
    proto::csi::{identity_server::IdentityServer, node_server::NodeServer},
};

pub use volumes::Volumes;

/// How often volumes are looked for whose pods have vanished.
const TIDY: Duration = Duration::from_secs(10 * 60);
/// The largest request. The kubelet's are a few kilobytes, mostly the pod's tokens.
const REQUEST_BYTES: usize = 256 * 1024;

/// The driver's socket, bound.
pub struct CsiDriver {
    socket: LocalSocket,
}

impl CsiDriver {
    /// Binds `endpoint`, making the folders above it.
    ///
    /// # Errors
    /// When the system refuses it.
    pub fn bind(endpoint: &Path) -> io::Result<Self> {
        if let Some(folder) = endpoint.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let socket = LocalSocket::bind(endpoint)?;
        Ok(Self { socket })
    }

    /// Serves the kubelet until `shutdown`, and keeps the volumes tidy. They stay mounted after that. `agents` is the
    /// folder of the agents' directories.
    pub async fn serve(
        self,
        section: &CsiSection,
        agents: PathBuf,
        broker: Arc<Broker>,
        volumes: Arc<Volumes>,
        clock: SharedClock,
        shutdown: CancellationToken,
    ) {
        let identity = IdentityService {
            driver: section.driver.clone(),
        };
        let node = NodeService {
            node_id: section.node_id.clone(),
            broker,
            volumes: Arc::clone(&volumes),
            reviewer: Arc::new(Reviewer::new(section)),
            agents,
        };
        let identity = IdentityServer::new(identity).max_decoding_message_size(REQUEST_BYTES);
        let node = NodeServer::new(node).max_decoding_message_size(REQUEST_BYTES);
        let routes = Routes::new(identity).add_service(node).prepare();
        tokio::join!(
            self.socket.serve("the CSI socket", routes, shutdown.clone()),
            keep_tidy(&volumes, clock, shutdown)
        );
    }
}

async fn keep_tidy(volumes: &Arc<Volumes>, clock: SharedClock, shutdown: CancellationToken) {
    loop {
        volumes.tidy().await;
        let next = clock::after(clock.now(), TIDY);
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = clock.sleep_until(next) => {}
        }
    }
}
