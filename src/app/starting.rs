//! A daemon that starts: each step adds what the next one needs, and tasks that run until the end.

use std::sync::Arc;

use anyhow::Context;
use tokio::{
    sync::{Notify, mpsc},
    task::spawn_blocking,
};
use tokio_util::sync::CancellationToken;

use super::{
    database::Database,
    node::{self, Driver},
    pages::{self, ProviderContext},
    parts::AppParts,
    ports::LibraryPorts,
    supervision,
    tasks::Tasks,
    trail,
};
use crate::{
    admin_api::{AdminListener, AdminParts, AdminSocket, Facts},
    agent_api::holding::Holdings,
    broker::{Broker, ChangeReceiver, Pulses},
    config::{AdcSection, Config, ConfigError, InForce},
    delivery::{Delivery, DeliveryOptions},
    health::{Probe, Readiness},
    id::AgentName,
    keyring::KeyringCases,
    manifest::{self, Folder, Scan},
    net::tls::ServedCertificates,
    pod_api::RemoteListener,
    telemetry::Metrics,
    text,
    web::HttpServer,
};

/// What every step needs, and what ends with the daemon.
pub(super) struct Starting {
    pub(super) config: Config,
    parts: AppParts,
    pub(super) broker: Arc<Broker>,
    pub(super) database: Database,
    pub(super) readiness: Arc<Readiness>,
    pub(super) tasks: Tasks,
    pub(super) shutdown: CancellationToken,
}

/// The agents have their files, and the admin socket is bound.
pub(super) struct Delivered {
    pub(super) admin: AdminSocket,
    /// How many agents there are.
    pub(super) agents: usize,
    pub(super) holdings: Arc<Holdings>,
    /// Feels the task that writes files.
    pub(super) probe: Probe,
}

/// Where people, platforms and libraries ask.
pub(super) struct Surfaces {
    pub(super) http: HttpServer,
    pub(super) admin: AdminSocket,
    pub(super) admin_listener: Option<AdminListener>,
    pub(super) ports: LibraryPorts,
    pub(super) keyring: Arc<KeyringCases>,
    pub(super) holdings: Arc<Holdings>,
    pub(super) metrics: Arc<Metrics>,
    /// What is shown over TLS.
    pub(super) certificates: ServedCertificates,
}

impl Starting {
    /// On a broker that knows what the store holds.
    pub(super) fn new(config: Config, parts: AppParts, broker: Arc<Broker>, database: Database) -> Self {
        Self {
            config,
            parts,
            broker,
            database,
            readiness: Arc::new(Readiness::default()),
            tasks: Tasks::default(),
            shutdown: CancellationToken::new(),
        }
    }

    /// Applies the manifests as they are now, and from then on as they change. Notifying what it returns makes it
    /// read all of them again.
    pub(super) async fn watch_agents(&mut self, mut folder: Folder) -> anyhow::Result<Arc<Notify>> {
        let (folder, scan) = spawn_blocking(move || {
            let scan = folder.scan();
            (folder, scan)
        })
        .await?;
        let broker = self.broker.clone();
        if let Some(reason) = unfit(&folder, &broker) {
            // Not one agent would be known, and all that are served would lose what they have.
            anyhow::bail!(ConfigError::new(reason));
        }
        apply(&broker, &scan);
        let (scans, mut changes) = mpsc::channel(1);
        let rescan = Arc::new(Notify::new());
        let watching = manifest::watch(folder, scans, rescan.clone(), self.shutdown.clone());
        self.tasks.spawn("the watch over manifests", watching);
        self.tasks.spawn("the application of manifests", async move {
            while let Some(scan) = changes.recv().await {
                apply(&broker, &scan);
            }
        });
        Ok(rescan)
    }

    /// Writes every agent's files, and serves sidecars from then on.
    pub(super) async fn deliver(
        &mut self,
        changes: ChangeReceiver,
        driver: Option<&Driver>,
        sidecars: Option<RemoteListener>,
    ) -> anyhow::Result<Delivered> {
        let options = delivery_options(&self.config, driver, &self.readiness)?;
        // Known before the files are written, so that these are right at once.
        self.broker.holders.settle_holders().await?;
        let (clock, stop) = (self.parts.clock.clone(), self.shutdown.clone());
        let delivery = Delivery::start(&options, self.broker.clone(), clock, changes, stop)?;
        let socket = self.config.runtime_dir.join("admin.sock");
        let admin =
            AdminSocket::bind(&socket).with_context(|| format!("{} cannot be bound", socket.display()))?;
        let agents = settle(&delivery, &self.broker).await?;
        if let Some(listener) = sidecars {
            let serving = delivery.serve_remote(listener, self.shutdown.clone());
            self.tasks.spawn("the listener for sidecars", serving);
        }
        let (probe, holdings) = (delivery.probe(), delivery.holdings());
        self.tasks
            .spawn("the writing of agents' files", delivery.finished());
        Ok(Delivered {
            admin,
            agents,
            holdings,
            probe,
        })
    }

    /// Renews tokens and keeps the audit trail, from now on. What it returns feels the tasks that renew.
    pub(super) fn keep(&mut self, keyring: &Arc<KeyringCases>) -> [Probe; 2] {
        let (pulses, probes) = Pulses::new();
        let renewing = self.broker.clone().run(pulses, self.shutdown.clone());
        self.tasks.spawn("renewals", renewing);
        let (clock, stop) = (self.parts.clock.clone(), self.shutdown.clone());
        let upkeep = trail::keep(self.database.store(), clock, self.config.audit.clone(), stop);
        self.tasks.spawn("the upkeep of the audit trail", upkeep);
        let (keyring, stop) = (keyring.clone(), self.shutdown.clone());
        self.tasks.spawn("the upkeep of the keyring", async move {
            keyring.keep(stop).await;
        });
        probes
    }

    /// Serves everybody but the agents, and the node. It returns what is compared with the configuration on disk.
    pub(super) fn serve(
        &mut self,
        surfaces: Surfaces,
        driver: Option<Driver>,
    ) -> anyhow::Result<Arc<InForce>> {
        let started_at = self.parts.clock.now();
        let sessions = Arc::new(pages::sessions(&self.config, &self.parts));
        let in_force = Arc::new(InForce::new(&self.config)?);
        let facts = Facts {
            started_at,
            runtime_dir: self.config.runtime_dir.clone(),
            warnings: self.config.warnings().to_vec(),
            in_force: in_force.clone(),
            registered: driver.as_ref().map(Driver::registered),
            readiness: self.readiness.clone(),
            certificates: surfaces.certificates.clone(),
            admin_clients: surfaces.admin_listener.as_ref().map(AdminListener::clients),
        };
        let parts = AdminParts {
            broker: self.broker.clone(),
            database: self.database.file(),
            keyring: surfaces.keyring,
            sessions: sessions.clone(),
            facts,
        };
        let serving = surfaces
            .admin
            .serve(surfaces.admin_listener, parts, self.shutdown.clone());
        self.tasks.spawn("the admin socket", serving);
        let context = ProviderContext {
            metrics: surfaces.metrics,
            readiness: self.readiness.clone(),
            sessions,
            started_at,
            in_force: in_force.clone(),
            certificates: surfaces.certificates,
            shutdown: self.shutdown.clone(),
        };
        let web = pages::web(&self.config, &self.broker, &self.parts, context)?;
        let serving = surfaces.http.serve(Arc::new(web), self.shutdown.clone());
        self.tasks.spawn("the pages", serving);
        let (config, broker) = (&self.config, &self.broker);
        surfaces.ports.serve(
            config,
            broker,
            &surfaces.holdings,
            &mut self.tasks,
            &self.shutdown,
        );
        let around = (&mut self.tasks, &self.readiness, &self.shutdown);
        node::serve(driver, config, broker, &self.parts, around)?;
        Ok(in_force)
    }

    /// Watches over the parts that everything else depends on.
    pub(super) fn supervise(&mut self, delivering: Probe, renewing: [Probe; 2]) {
        let parts = supervision::parts(&self.database, delivering, renewing);
        let supervising = supervision::with_systemd(parts, self.readiness.clone(), self.shutdown.clone());
        self.tasks.spawn("supervision", supervising);
    }
}

/// Why the daemon cannot start on this folder of manifests.
fn unfit(folder: &Folder, broker: &Broker) -> Option<String> {
    if !folder.is_absent() {
        return folder.trouble().map(str::to_owned);
    }
    let agents = broker.agents.undeclared_agents();
    let names: Vec<&str> = agents.iter().map(AgentName::as_str).collect();
    let path = folder.path().display();
    (!names.is_empty()).then(|| {
        format!(
            "{path}: the folder of manifests is not there, and agents came from it when the daemon ran last ({}): put it \
             back, or create it empty to remove them",
            text::few(&names)
        )
    })
}

fn apply(broker: &Broker, scan: &Scan) {
    for problem in broker.agents.apply_scan(scan) {
        tracing::error!("{problem}");
    }
}

fn delivery_options(
    config: &Config,
    driver: Option<&Driver>,
    readiness: &Arc<Readiness>,
) -> anyhow::Result<DeliveryOptions> {
    Ok(DeliveryOptions {
        runtime_dir: config.runtime_dir.clone(),
        token_url: config.adc.as_ref().map(AdcSection::token_url).transpose()?,
        project_id: config.metadata.project_id.clone(),
        volumes: driver.map(Driver::volumes),
        readiness: Arc::clone(readiness),
    })
}

/// Waits until every agent has its files and nobody else has any. Returns how many agents there are.
async fn settle(delivery: &Delivery, broker: &Broker) -> anyhow::Result<usize> {
    delivery.settled().await;
    // Agents that were given to another holder meanwhile come when nothing is left of the one before.
    broker.holders.settle_holders().await?;
    delivery.settled().await;
    let handles = broker.agent_list.handles();
    let agents = handles.iter().map(|handle| handle.name().clone());
    let known: Vec<_> = agents.chain(broker.agents.spared_agents()).collect();
    delivery.remove_strangers(&known).await;
    Ok(handles.len())
}
