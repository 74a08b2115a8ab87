//! The CSI driver, where there is to be one.

use std::sync::Arc;

use anyhow::Context;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{
    broker::Broker,
    clock::SharedClock,
    config::{Config, CsiSection},
    delivery::csi::{CsiDriver, CsiOptions, Volumes},
};

/// What it knows before the agents' directories are written.
pub(super) struct Driver {
    section: CsiSection,
    volumes: Arc<Volumes>,
}

impl Driver {
    /// Reads which volumes an earlier daemon published.
    pub(super) fn open(config: &Config) -> anyhow::Result<Option<Self>> {
        let Some(section) = config.csi.clone() else {
            return Ok(None);
        };
        let volumes = Volumes::open(&config.runtime_dir).with_context(|| {
            let folder = config.runtime_dir.join("volumes");
            format!(
                "{}, where the pods' volumes are noted, cannot be used",
                folder.display()
            )
        })?;
        Ok(Some(Self {
            section,
            volumes: Arc::new(volumes),
        }))
    }

    /// What pods have as volumes.
    pub(super) fn volumes(&self) -> Arc<Volumes> {
        Arc::clone(&self.volumes)
    }

    /// Binds the kubelet's sockets; what it returns serves them, and tells when the driver is registered. To be called when every agent has its files.
    pub(super) fn serve(
        self,
        config: &Config,
        broker: &Arc<Broker>,
        clock: &SharedClock,
        shutdown: &CancellationToken,
    ) -> anyhow::Result<(impl Future<Output = ()> + Send + use<>, watch::Receiver<bool>)> {
        let Self { section, volumes } = self;
        let endpoint = section.endpoint.clone();
        let options = CsiOptions {
            section,
            node: config.kubernetes.node_name.clone(),
            agents: config.runtime_dir.join("agents"),
        };
        tracing::info!(
            endpoint = %endpoint.display(), driver = options.section.driver, node = options.node,
            volumes = volumes.len(), "CSI driver"
        );
        let driver = CsiDriver::bind(options).map_err(|(key, path, error)| {
            anyhow::Error::new(error).context(format!("{key} {} cannot be bound", path.display()))
        })?;
        let (broker, clock, shutdown) = (Arc::clone(broker), Arc::clone(clock), shutdown.clone());
        let registered = driver.registered();
        Ok((driver.serve(broker, volumes, clock, shutdown), registered))
    }
}
