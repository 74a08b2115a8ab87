//! The daemon's part on a Kubernetes node: it serves the CSI driver, and removes the start-up taint.

use std::sync::Arc;

use anyhow::Context;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{parts::AppParts, tasks::Tasks};
use crate::{
    broker::Broker,
    config::{Config, CsiSection},
    health::Readiness,
    kubernetes::{
        StartupTaint,
        csi::{CsiDriver, CsiOptions, Volumes},
    },
    text::ShowPath,
};

/// The CSI driver: what it knows before the agents' directories are written.
pub(super) struct Driver {
    section: CsiSection,
    volumes: Arc<Volumes>,
    registered: watch::Sender<bool>,
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
                folder.shown()
            )
        })?;
        Ok(Some(Self {
            // Another program may do it, of which we hear nothing.
            registered: watch::Sender::new(section.registration.is_none()),
            section,
            volumes: Arc::new(volumes),
        }))
    }

    /// What pods have as volumes.
    pub(super) fn volumes(&self) -> Arc<Volumes> {
        Arc::clone(&self.volumes)
    }

    /// Becomes true when the kubelet has registered the driver.
    pub(super) fn registered(&self) -> watch::Receiver<bool> {
        self.registered.subscribe()
    }

    /// Binds the kubelet's sockets and serves them. To be called when every agent has its files.
    fn serve(
        self,
        config: &Config,
        broker: &Arc<Broker>,
        parts: &AppParts,
        around: (&mut Tasks, &Arc<Readiness>, &CancellationToken),
    ) -> anyhow::Result<()> {
        let (tasks, readiness, shutdown) = around;
        let Self {
            section,
            volumes,
            registered,
        } = self;
        let endpoint = section.endpoint.clone();
        let options = CsiOptions {
            section,
            node: config.kubernetes.node_name.clone(),
            agents: config.runtime_dir.join("agents"),
            registered,
            readiness: Arc::clone(readiness),
        };
        tracing::info!(
            endpoint = %endpoint.shown(), driver = options.section.driver, node = options.node,
            volumes = volumes.len(), "CSI driver"
        );
        let driver = CsiDriver::bind(options).map_err(|(key, path, error)| {
            anyhow::Error::new(error).context(format!("{key} {} cannot be bound", path.shown()))
        })?;
        let serving = driver.serve(Arc::clone(broker), volumes, parts.clock.clone(), shutdown.clone());
        tasks.spawn("the CSI driver", serving);
        Ok(())
    }
}

/// Serves the node, once every agent has its files: the kubelet, and the pods that wait for the taint to go.
pub(super) fn serve(
    driver: Option<Driver>,
    config: &Config,
    broker: &Arc<Broker>,
    parts: &AppParts,
    around: (&mut Tasks, &Arc<Readiness>, &CancellationToken),
) -> anyhow::Result<()> {
    let (tasks, readiness, shutdown) = around;
    let registered = driver.as_ref().map(Driver::registered);
    if let Some(driver) = driver {
        driver.serve(config, broker, parts, (tasks, readiness, shutdown))?;
    }
    if let Some(section) = &config.kubernetes.startup_taint {
        let taint = StartupTaint::new(section, &config.kubernetes.node_name);
        let (clock, entropy) = (parts.clock.clone(), parts.entropy.clone());
        let removing = taint.remove(registered, clock, entropy, shutdown.clone());
        tasks.spawn_passing("the removal of the start-up taint", removing);
    }
    Ok(())
}
