//! The running daemon: its parts, and the order in which they end.

use std::{net::SocketAddr, path::PathBuf, pin::pin, sync::Arc, time::Duration};

use tokio::{
    sync::{Notify, watch},
    time::{Instant, timeout, timeout_at},
};
use tokio_util::sync::CancellationToken;

use super::{
    database::Database,
    keyring::{self, OpenStore},
    listeners::Listeners,
    node::Driver,
    parts::{AppParts, endpoints},
    starting::{Starting, Surfaces},
    tasks::Tasks,
};
use crate::{
    admin_api::{AdminListener, ClientList},
    broker::{Broker, BrokerOptions, BrokerParts},
    capability::Catalog,
    config::{Config, InForce},
    health::Readiness,
    http_client::Limits,
    lifecycle::{DRAIN, PROVIDER_DRAIN},
    manifest::Folder,
    provider::{
        ProviderContext, Providers,
        google::{self, ClientOptions},
        kinds,
    },
    store::{Contents, Store},
    telemetry::Metrics,
    vault::Vault,
};

/// How long answers may take to reach those who wait for them, once the last request to the provider has ended.
const ANSWERS: Duration = Duration::from_secs(2);

/// Opens the store; whoever asks over HTTP meanwhile is told what that waits for.
async fn open(listeners: &Listeners, config: &Config, parts: &AppParts) -> anyhow::Result<OpenStore> {
    let (waiting, told) = watch::channel(String::new());
    let over = CancellationToken::new();
    let _over = over.clone().drop_guard();
    tokio::spawn(listeners.http.serve_start(told, over)?);
    keyring::open(config, parts, &waiting).await
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
    database: Database,
    readiness: Arc<Readiness>,
    rescan: Arc<Notify>,
    admin_clients: Option<Arc<ClientList>>,
    in_force: Arc<InForce>,
    tasks: Tasks,
    shutdown: CancellationToken,
}

impl App {
    /// Starts everything. When it returns, every agent has its files and every socket answers.
    ///
    /// # Errors
    /// The first part that does not start, with a sentence that says what to do.
    pub async fn start(mut config: Config, parts: AppParts) -> anyhow::Result<Self> {
        let listeners = Listeners::bind(&mut config, &parts.clock)?;
        let admin_clients = listeners.admin.as_ref().map(AdminListener::clients);
        let opened = open(&listeners, &config, &parts).await?;
        let database = opened.database;
        database.tell_of_restore(parts.clock.now()).await?;
        let store = database.store();
        let contents = store.load().await?;
        let catalog = Arc::new(Catalog::configured(&config)?);
        let metrics = Arc::new(Metrics::default());
        let (broker, changes) = start_broker(
            &config,
            &parts,
            store,
            opened.vault,
            catalog.clone(),
            &metrics,
            contents,
        )?;
        let mut starting = Starting::new(config, parts, broker, database);
        let folder = Folder::new(starting.config.agents_dir(), catalog);
        let rescan = starting.watch_agents(folder).await?;
        let driver = Driver::open(&starting.config)?;
        let delivered = starting
            .deliver(changes, driver.as_ref(), listeners.sidecars)
            .await?;
        let keyring = Arc::new(opened.keyring);
        let probes = starting.keep(&keyring);
        let (http_address, admin_socket) = (listeners.http.address(), delivered.admin.path().to_owned());
        let surfaces = Surfaces {
            http: listeners.http,
            admin: delivered.admin,
            admin_listener: listeners.admin,
            ports: listeners.ports,
            keyring,
            holdings: delivered.holdings,
            metrics,
            certificates: listeners.certificates,
        };
        let in_force = starting.serve(surfaces, driver)?;
        starting.supervise(delivered.probe, probes);
        starting.readiness.started();
        tracing::info!(
            http = %http_address, admin = %admin_socket.display(), agents = delivered.agents,
            integrations = starting.broker.accounts.account_count(), "ready"
        );
        Ok(Self {
            http_address,
            admin_socket,
            broker: starting.broker,
            config: starting.config,
            database: starting.database,
            readiness: starting.readiness,
            rescan,
            admin_clients,
            in_force,
            tasks: starting.tasks,
            shutdown: starting.shutdown,
        })
    }

    /// Takes over who may call `AdminService` over TLS: nobody, where the configuration has no such listener any more. True
    /// where that was somebody else.
    pub fn take_over_clients(&self, fresh: &Config) -> bool {
        let Some(list) = &self.admin_clients else {
            return false;
        };
        let clients = fresh.admin_clients();
        self.in_force.note_admin_clients(clients);
        list.replace(clients)
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
        let mut idle = pin!(self.broker.wait_idle());
        if timeout_at(begun + DRAIN, idle.as_mut()).await.is_err() {
            tracing::info!(
                unkept_grants = self.broker.unkept_grants().len(),
                "waiting for the provider's answers for up to {} s, and for the database to take the grants that come with \
                 them; a second signal ends the daemon at once",
                PROVIDER_DRAIN.as_secs()
            );
            if timeout_at(begun + PROVIDER_DRAIN, idle).await.is_err() {
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
        self.database.close().await;
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

/// Starts the broker on what the store holds, with the client that the configuration names. Nothing is renewed
/// before [`Broker::run`].
///
/// # Errors
/// A client or an endpoint that is not fit for use.
pub fn start_broker(
    config: &Config,
    parts: &AppParts,
    store: Arc<dyn Store>,
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
        dpop: config.google.dpop,
        redirect_uri: config.google.redirect_uri.clone(),
        endpoints,
        limits: Limits::default(),
        egress: parts.egress.clone(),
    };
    if let Some(proxy) = parts.egress.proxy_before(options.endpoints.token.as_str()) {
        tracing::info!(endpoint = %options.endpoints.token, "the provider is reached through {proxy}");
    }
    let context = ProviderContext {
        redirect_uri: options.redirect_uri.clone(),
        limits: options.limits,
        egress: options.egress.clone(),
        clock: parts.clock.clone(),
        entropy: parts.entropy.clone(),
    };
    let mut providers = google::providers(options, parts.clock.clone(), parts.entropy.clone());
    kinds::add(&mut providers, &config.providers, &context)?;
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
        store,
        providers: Arc::new(Providers::new(providers)),
        vault,
        catalog,
        metrics: metrics.clone(),
    };
    Ok(Broker::start(options, parts, contents))
}
