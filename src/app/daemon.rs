//! A running daemon.

use std::{net::SocketAddr, path::PathBuf, pin::pin, sync::Arc, time::Duration};

use anyhow::Context;
use tokio::{
    sync::{Notify, mpsc},
    task::spawn_blocking,
    time::{Instant, timeout, timeout_at},
};
use tokio_util::sync::CancellationToken;

use super::{
    node::{self, Driver},
    pages::{self, Surroundings},
    ports::LibraryPorts,
    supervision,
    tasks::Tasks,
    trail,
};
use crate::{
    agent::{self, Folder, Scan},
    broker::{Broker, BrokerOptions, BrokerParts, Pulses},
    catalog::Catalog,
    clock::{SharedClock, SystemClock},
    config::{AdcSection, Config, ConfigError, InForce},
    delivery::{
        Delivery, DeliveryOptions, RemoteListener, ServedCertificate,
        admin::{AdminSocket, Facts},
    },
    entropy::{SharedEntropy, SystemEntropy},
    google::{Client, ClientOptions, Egress, Endpoints, Limits},
    health::Readiness,
    id::AgentName,
    lifecycle::{DRAIN, PROVIDER_DRAIN},
    store::{Contents, SqliteStore, Store},
    telemetry::Metrics,
    text,
    vault::{Vault, configured},
    web::HttpServer,
};

/// How long answers may take to reach whoever waits for them, once the last request to the provider has ended.
const ANSWERS: Duration = Duration::from_secs(2);

/// What a test may hold still.
pub struct AppParts {
    /// Time.
    pub clock: SharedClock,
    /// Randomness.
    pub entropy: SharedEntropy,
    /// How Google is reached.
    pub egress: Egress,
}

impl Default for AppParts {
    fn default() -> Self {
        Self {
            clock: Arc::new(SystemClock),
            entropy: Arc::new(SystemEntropy),
            egress: Egress::default(),
        }
    }
}

/// A daemon that runs until [`App::stop`].
pub struct App {
    /// Where HTTP is served.
    pub http_address: SocketAddr,
    /// The admin socket.
    pub admin_socket: PathBuf,
    /// The broker, for tests and the demo.
    pub broker: Arc<Broker>,
    config: Config,
    store: Arc<SqliteStore>,
    readiness: Arc<Readiness>,
    rescan: Arc<Notify>,
    tasks: Tasks,
    shutdown: CancellationToken,
}

impl App {
    /// Starts everything. When it returns, every agent has its files and every socket answers.
    ///
    /// # Errors
    /// The first part that does not start, with a sentence that says what to do.
    pub async fn start(mut config: Config, parts: AppParts) -> anyhow::Result<Self> {
        let http = HttpServer::bind(config.http_listen)
            .with_context(|| format!("http_listen {} cannot be bound", config.http_listen))?;
        let http_address = http.address();
        config.bound(http_address)?;
        let ports = LibraryPorts::bind(&mut config)?;
        let (remote, certificate) = sidecars(&mut config, &parts.clock)?.unzip();
        let keyring = configured::keyring(&config.key).await?;
        let vault = Arc::new(Vault::new(keyring, parts.entropy.clone()));
        let store = Arc::new(SqliteStore::open(&config.state_dir, &vault)?);
        store.tell_of_restore(parts.clock.now()).await?;
        let contents = store.load().await?;
        let catalog = Arc::new(Catalog::builtin().with(&config.capabilities)?);
        let metrics = Arc::new(Metrics::default());
        let readiness = Arc::new(Readiness::default());
        let (broker, changes) = start_broker(
            &config,
            &parts,
            &store,
            vault,
            catalog.clone(),
            &metrics,
            contents,
        )?;

        let shutdown = CancellationToken::new();
        let mut tasks = Tasks::default();
        let folder = Folder::new(config.agents_dir(), catalog);
        let rescan = watch_agents(folder, broker.clone(), &mut tasks, shutdown.clone()).await?;
        let driver = Driver::open(&config)?;
        let options = delivery_options(&config, driver.as_ref(), &readiness)?;
        // Known before the files are written, so that these are right at once.
        broker.settle_holders().await?;
        let (clock, stop) = (parts.clock.clone(), shutdown.clone());
        let delivery = Delivery::start(&options, broker.clone(), clock, changes, stop)?;
        let admin = AdminSocket::bind(&config.runtime_dir.join("admin.sock"))
            .with_context(|| format!("{}/admin.sock cannot be bound", config.runtime_dir.display()))?;
        let agents = settle(&delivery, &broker).await?;
        if let Some(listener) = remote {
            let serving = delivery.serve_remote(listener, shutdown.clone());
            tasks.spawn("the listener for sidecars", serving);
        }
        let (delivering, holdings) = (delivery.probe(), delivery.holdings());
        tasks.spawn("the writing of agents' files", delivery.finished());

        let (pulses, probes) = Pulses::new();
        tasks.spawn("renewals", broker.clone().run(pulses, shutdown.clone()));
        let (clock, stop) = (parts.clock.clone(), shutdown.clone());
        let upkeep = trail::keep(store.clone(), clock, config.audit.clone(), stop);
        tasks.spawn("the upkeep of the audit trail", upkeep);
        let started_at = parts.clock.now();
        let in_force = Arc::new(InForce::new(&config)?);
        let facts = Facts {
            started_at,
            runtime_dir: config.runtime_dir.clone(),
            warnings: config.warnings().to_vec(),
            in_force: in_force.clone(),
            registered: driver.as_ref().map(Driver::registered),
            readiness: readiness.clone(),
            certificate: certificate.clone(),
        };
        let admin_socket = admin.path().to_owned();
        let sessions = Arc::new(pages::sessions(&config, &parts));
        let stop = shutdown.clone();
        let serving = admin.serve(broker.clone(), store.clone(), sessions.clone(), facts, stop);
        tasks.spawn("the admin socket", serving);
        let surroundings = Surroundings {
            metrics,
            readiness: readiness.clone(),
            sessions,
            started_at,
            in_force,
            certificate,
            shutdown: shutdown.clone(),
        };
        let web = pages::web(&config, &broker, &parts, surroundings)?;
        tasks.spawn("the pages", http.serve(Arc::new(web), shutdown.clone()));
        ports.serve(&config, &broker, &holdings, &mut tasks, &shutdown);
        let around = (&mut tasks, &readiness, &shutdown);
        node::serve(driver, &config, &broker, &parts, around)?;
        let parts = supervision::parts(&store, delivering, probes);
        let supervising = supervision::with_systemd(parts, readiness.clone(), shutdown.clone());
        tasks.spawn("supervision", supervising);
        readiness.started();
        tracing::info!(
            http = %http_address, admin = %admin_socket.display(), agents,
            integrations = broker.account_count(), "ready"
        );
        Ok(Self {
            http_address,
            admin_socket,
            broker,
            config,
            store,
            readiness,
            rescan,
            tasks,
            shutdown,
        })
    }

    /// The configuration in force, with the addresses that were bound.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Reads the manifests again.
    pub fn rescan(&self) {
        self.rescan.notify_one();
    }

    /// Waits for a part of the daemon to panic, or to end by itself: nothing is what it should be from then on. Says so in
    /// a sentence.
    pub async fn fault(&mut self) -> String {
        self.tasks.fault().await
    }

    /// Lets what is under way end, writes what is still to be written, and closes the database. To be dropped before its
    /// end only where a grant may be lost: what the provider is asked for may come with the only copy of one.
    pub async fn stop(mut self) {
        self.readiness.ends();
        self.shutdown.cancel();
        self.broker.ask_no_more();
        let begun = Instant::now();
        let mut ended = pin!(self.tasks.ended());
        let all_ended = timeout_at(begun + DRAIN, ended.as_mut()).await.is_ok();
        let mut landed = pin!(self.broker.landed());
        if timeout_at(begun + DRAIN, landed.as_mut()).await.is_err() {
            tracing::info!(
                unkept_grants = self.broker.unkept_grants().len(),
                "waiting for the provider's answers for up to {} s, and for the database to take the grants that come with \
                 them; a second signal ends the daemon at once",
                PROVIDER_DRAIN.as_secs()
            );
            if timeout_at(begun + PROVIDER_DRAIN, landed).await.is_err() {
                tell_what_did_not_land(&self.broker);
            }
        }
        if !all_ended && timeout(ANSWERS, ended).await.is_err() {
            tracing::warn!(
                "some work was still under way after {} s",
                begun.elapsed().as_secs()
            );
        }
        self.broker.flush_audit().await;
        self.store.close().await;
        tracing::info!("stopped");
    }
}

fn tell_what_did_not_land(broker: &Broker) {
    let seconds = PROVIDER_DRAIN.as_secs();
    let lost = broker.unkept_grants();
    if lost.is_empty() {
        tracing::warn!("requests to the provider were still under way after {seconds} s");
    } else {
        tracing::error!(
            accounts = lost.join(", "),
            "the database did not take new grants within {seconds} s: they are lost, and these accounts have to be \
             connected again"
        );
    }
}

/// Applies the manifests as they are now, and from then on as they change. Notifying what it returns makes it
/// read all of them again.
async fn watch_agents(
    mut folder: Folder,
    broker: Arc<Broker>,
    tasks: &mut Tasks,
    shutdown: CancellationToken,
) -> anyhow::Result<Arc<Notify>> {
    let (folder, scan) = spawn_blocking(move || {
        let scan = folder.scan();
        (folder, scan)
    })
    .await?;
    if let Some(reason) = unfit(&folder, &broker) {
        // Not one agent would be known, and all that are served would lose what they have.
        anyhow::bail!(ConfigError::new(reason));
    }
    apply(&broker, &scan);
    let (scans, mut changes) = mpsc::channel(1);
    let rescan = Arc::new(Notify::new());
    let watching = agent::watch(folder, scans, rescan.clone(), shutdown);
    tasks.spawn("the watch over manifests", watching);
    tasks.spawn("the application of manifests", async move {
        while let Some(scan) = changes.recv().await {
            apply(&broker, &scan);
        }
    });
    Ok(rescan)
}

/// Why the daemon cannot start on this folder of manifests.
fn unfit(folder: &Folder, broker: &Broker) -> Option<String> {
    if !folder.is_absent() {
        return folder.trouble().map(str::to_owned);
    }
    let agents = broker.undeclared_agents();
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
    broker.settle_holders().await?;
    delivery.settled().await;
    let handles = broker.handles();
    let agents = handles.iter().map(|handle| handle.name().clone());
    let known: Vec<_> = agents.chain(broker.spared_agents()).collect();
    delivery.remove_strangers(&known).await;
    Ok(handles.len())
}

fn apply(broker: &Broker, scan: &Scan) {
    for problem in broker.apply_scan(scan) {
        tracing::error!("{problem}");
    }
}

/// Binds the listener for sidecars, where there is to be one, and takes over into `config` where that was. With it comes what
/// it serves with.
fn sidecars(
    config: &mut Config,
    clock: &SharedClock,
) -> anyhow::Result<Option<(RemoteListener, Arc<ServedCertificate>)>> {
    let Some(section) = &config.remote else {
        return Ok(None);
    };
    let listener = RemoteListener::bind(section, Arc::clone(clock))?;
    config.bound_for_sidecars(Some(listener.address()));
    tracing::info!(listen = %listener.address(), "sidecars over TLS");
    let certificate = listener.certificate();
    Ok(Some((listener, certificate)))
}

pub(super) fn endpoints(config: &Config) -> anyhow::Result<Endpoints> {
    Ok(match &config.google.endpoint_base {
        Some(base) => Endpoints::with_base(base.as_str())?,
        None => Endpoints::google(),
    })
}

/// Starts the broker on what the store holds, with the client that the configuration names. Nothing is renewed
/// before [`Broker::run`].
///
/// # Errors
/// A client or an endpoint that is not fit for use.
pub fn start_broker(
    config: &Config,
    parts: &AppParts,
    store: &Arc<SqliteStore>,
    vault: Arc<Vault>,
    catalog: Arc<Catalog>,
    metrics: &Arc<Metrics>,
    contents: Contents,
) -> anyhow::Result<(Arc<Broker>, crate::broker::ChangeReceiver)> {
    let client = config.google.client()?;
    let endpoints = endpoints(config)?;
    let options = ClientOptions {
        client_id: client.id,
        client_secret: client.secret,
        client_type: config.google.client_type,
        redirect_uri: config.google.redirect_uri.clone(),
        endpoints,
        limits: Limits::default(),
        egress: parts.egress.clone(),
    };
    if let Some(proxy) = parts.egress.proxy_before(options.endpoints.token.as_str()) {
        tracing::info!(endpoint = %options.endpoints.token, "the provider is reached through {proxy}");
    }
    let provider = Client::new(options, parts.clock.clone(), parts.entropy.clone());
    let options = BrokerOptions {
        public_url: config.public_url.as_str().trim_end_matches('/').to_owned(),
        concurrency: config.renewal.concurrency,
        consent_timeout: config.connect.timeout,
        return_origins: config.connect.return_url_origins.clone(),
        agent_secrets: config.adc.is_some(),
    };
    let parts = BrokerParts {
        clock: parts.clock.clone(),
        entropy: parts.entropy.clone(),
        store: store.clone(),
        provider: Arc::new(provider),
        vault,
        catalog,
        metrics: metrics.clone(),
    };
    Ok(Broker::start(options, parts, contents))
}
