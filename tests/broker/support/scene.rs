//! One daemon, from its start to its end, and what people and agents do with it.

use std::{path::Path, sync::Arc, time::Duration};

use futures_util::FutureExt;
use jiff::Timestamp;
use tempfile::TempDir;
use token_broker::{
    broker::{
        AccountRef, AccountView, AgentHandle, AgentState, Broker, BrokerOptions, BrokerParts, ConnectError,
        ConnectStarted, ConnectTarget, Connected, Problem, Pulses, TokenRequest,
    },
    capability::Catalog,
    clock::{Clock, ManualClock, Uptime},
    entropy::{Entropy, SystemEntropy},
    id::{AgentName, IntegrationId},
    manifest::Manifest,
    provider::{Profile, Providers},
    secret::Key,
    sqlite_store::SqliteStore,
    store::{Contents, Store},
    telemetry::{Metrics, audit::AuditLine},
    vault::{Keyring, Vault},
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{
    Google, MINUTE, Person, SEND, admin,
    disk::{Disk, deliver},
    email, manifest, owner, scopes, secs, state,
    store::Hand,
};

/// A safety net, not a measure: nothing takes nearly as long.
const TOO_LONG: Duration = Duration::from_secs(60);

/// What a scene begins with.
pub(crate) struct Setting {
    pub(crate) clock: ManualClock,
    /// The clock as the broker sees it, where that is not `clock` itself.
    pub(crate) watched_clock: Option<Arc<dyn Clock>>,
    pub(crate) google: Arc<Google>,
    /// A second provider, with what it is called.
    pub(crate) other: Option<(Arc<Google>, Profile)>,
    pub(crate) dir: Arc<TempDir>,
    pub(crate) concurrency: usize,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) agent_secrets: bool,
}

impl Default for Setting {
    fn default() -> Self {
        let clock = ManualClock::new("2026-03-01T12:00:00Z".parse().unwrap());
        Self {
            google: Arc::new(Google::new(clock.clone())),
            clock,
            watched_clock: None,
            other: None,
            dir: Arc::new(TempDir::new().unwrap()),
            concurrency: 8,
            entropy: Arc::new(SystemEntropy),
            catalog: Arc::new(Catalog::builtin()),
            agent_secrets: false,
        }
    }
}

pub(crate) struct Scene {
    pub(crate) clock: ManualClock,
    pub(crate) google: Arc<Google>,
    other: Option<Arc<Google>>,
    pub(crate) store: Arc<Hand>,
    pub(crate) broker: Arc<Broker>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) disk: Arc<Disk>,
    pub(crate) dir: Arc<TempDir>,
    concurrency: usize,
    agent_secrets: bool,
    shutdown: CancellationToken,
    running: Option<JoinHandle<()>>,
    delivering: JoinHandle<()>,
}

pub(crate) fn vault() -> Arc<Vault> {
    Arc::new(Vault::new(
        Keyring::new(Key::new([7; 32]), Vec::new()),
        Arc::new(SystemEntropy),
    ))
}

impl Scene {
    pub(crate) async fn new() -> Self {
        Self::with(Setting::default()).await
    }

    pub(crate) async fn with(setting: Setting) -> Self {
        let mut scene = Self::standing_still(setting).await;
        scene.run();
        scene
    }

    /// A broker whose queues do not run yet.
    pub(crate) async fn standing_still(setting: Setting) -> Self {
        let vault = vault();
        let store = SqliteStore::open(&setting.dir.path().join("state"), &vault).unwrap();
        let store = Hand::on(store);
        let contents = store.load().await.unwrap();
        Self::on(setting, store, vault, contents)
    }

    fn on(setting: Setting, store: Arc<Hand>, vault: Arc<Vault>, contents: Contents) -> Self {
        let options = BrokerOptions {
            public_url: "https://broker.example".into(),
            concurrency: setting.concurrency,
            consent_timeout: secs(10 * MINUTE),
            return_origins: vec![url::Url::parse("https://app.example").unwrap().origin()],
            agent_secrets: setting.agent_secrets,
        };
        let metrics = Arc::new(Metrics::default());
        let mut providers = setting.google.providers();
        let other = setting.other.map(|(other, profile)| {
            providers.push(other.as_provider(profile));
            other
        });
        let parts = BrokerParts {
            clock: setting
                .watched_clock
                .unwrap_or_else(|| Arc::new(setting.clock.clone())),
            entropy: setting.entropy,
            store: store.clone(),
            providers: Arc::new(Providers::new(providers)),
            vault,
            catalog: setting.catalog,
            metrics: metrics.clone(),
        };
        let (broker, changes) = Broker::start(options, parts, contents);
        let disk = Arc::new(Disk::default());
        let delivering = tokio::spawn(deliver(broker.clone(), changes, disk.clone()));
        Self {
            clock: setting.clock,
            google: setting.google,
            other,
            store,
            broker,
            metrics,
            disk,
            dir: setting.dir,
            concurrency: setting.concurrency,
            agent_secrets: setting.agent_secrets,
            shutdown: CancellationToken::new(),
            running: None,
            delivering,
        }
    }

    pub(crate) fn run(&mut self) {
        self.running = Some(tokio::spawn(
            self.broker.clone().run(Pulses::new().0, self.shutdown.clone()),
        ));
    }

    /// Ends the daemon in good order. What is left is what a new one begins with.
    pub(crate) async fn stop(mut self) -> Setting {
        self.shutdown.cancel();
        if let Some(running) = self.running.take() {
            running.await.unwrap();
        }
        self.broker.wait_idle().await;
        self.broker.flush_audit().await;
        self.delivering.abort();
        self.store.close().await;
        Setting {
            clock: self.clock.clone(),
            google: self.google.clone(),
            dir: self.dir.clone(),
            concurrency: self.concurrency,
            agent_secrets: self.agent_secrets,
            ..Setting::default()
        }
    }

    pub(crate) async fn restart(self) -> Self {
        Self::with(self.stop().await).await
    }

    /// A second daemon on what the disk holds at this moment, as after a power cut. This one goes on, so that
    /// a scene can still compare.
    pub(crate) async fn after_power_cut(&self) -> Self {
        Self::with(self.copy_of_disk()).await
    }

    pub(crate) fn copy_of_disk(&self) -> Setting {
        let dir = TempDir::new().unwrap();
        let (from, to) = (self.dir.path().join("state"), dir.path().join("state"));
        std::fs::create_dir(&to).unwrap();
        std::fs::set_permissions(&to, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
        for file in ["broker.db", "broker.db-wal", "broker.mark"] {
            if from.join(file).exists() {
                std::fs::copy(from.join(file), to.join(file)).unwrap();
            }
        }
        Setting {
            clock: self.clock.clone(),
            google: self.google.clone(),
            dir: Arc::new(dir),
            concurrency: self.concurrency,
            agent_secrets: self.agent_secrets,
            ..Setting::default()
        }
    }

    /// Until nothing can happen any more without the scene's doing.
    pub(crate) async fn idle(&self) {
        let other = || self.other.as_ref().map_or(0, |other| other.activity());
        let look = || (self.google.activity() + other(), self.store.activity());
        let wait = async {
            let mut before = look();
            let mut quiet = 0;
            while quiet < 4 {
                for _ in 0..64 {
                    tokio::task::yield_now().await;
                }
                let now = look();
                if now == before && now.1.0 == 0 {
                    quiet += 1;
                    continue;
                }
                // The disk is at work on a thread of its own.
                tokio::time::sleep(Duration::from_micros(200)).await;
                (before, quiet) = (now, 0);
            }
        };
        tokio::time::timeout(TOO_LONG, wait)
            .await
            .expect("the scene comes to rest");
    }

    /// Lets time pass, and what is due then happen.
    pub(crate) async fn pass(&self, seconds: u64) {
        self.clock.advance(secs(seconds));
        self.idle().await;
    }

    /// Lets time pass in steps, so that everything happens at about its time.
    pub(crate) async fn pass_in_steps(&self, seconds: u64, step: u64) {
        for _ in 0..seconds / step {
            self.pass(step).await;
        }
    }

    /// Lets time pass until the moment before the next renewal is due, and then until it is done.
    pub(crate) async fn next_renewal(&self) {
        let due = self.broker.next_renewal().expect("a renewal is due some time");
        let wait = self.clock.uptime().until(due).unwrap_or_default();
        self.clock.advance(wait + Duration::from_millis(1));
        self.idle().await;
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(crate) fn uptime(&self) -> Uptime {
        self.clock.uptime()
    }

    // What people do.

    pub(crate) fn begin(&self, of: &str, capabilities: &[&str]) -> ConnectStarted {
        self.begin_at(&ConnectTarget::Owner(owner(of)), capabilities)
            .unwrap()
    }

    pub(crate) fn begin_at(
        &self,
        target: &ConnectTarget,
        capabilities: &[&str],
    ) -> Result<ConnectStarted, ConnectError> {
        let capabilities: Vec<_> = capabilities.iter().map(ToString::to_string).collect();
        let begun = self.broker.connect.begin_connect(target, &capabilities, None);
        begun.now_or_never().expect("the provider answers at once")
    }

    /// The redirect that the person's browser brings back.
    pub(crate) fn decided(&self, started: &ConnectStarted, asked: &[&str], person: Person) -> String {
        let code = self.google.decide(scopes(asked), person);
        format!("{}&code={code}", started.authorization_url.query().unwrap())
    }

    pub(crate) async fn complete(&self, redirect: &str) -> Result<Connected, ConnectError> {
        self.while_waiting(self.broker.connect.complete_connect(redirect, None))
            .await
    }

    /// Whoever waits for a second try waits for the scene's clock, which moves a moment then.
    pub(crate) async fn while_waiting<T>(&self, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        loop {
            tokio::select! {
                biased;
                done = &mut work => return done,
                () = self.idle() => self.clock.advance(secs(3)),
            }
        }
    }

    pub(crate) async fn consent(
        &self,
        of: &str,
        asked: &[&str],
        person: Person,
    ) -> Result<Connected, ConnectError> {
        let started = self.begin(of, asked);
        self.complete(&self.decided(&started, asked, person)).await
    }

    pub(crate) async fn consent_at(
        &self,
        target: &ConnectTarget,
        asked: &[&str],
        person: Person,
    ) -> Result<Connected, ConnectError> {
        let started = self.begin_at(target, asked)?;
        self.complete(&self.decided(&started, asked, person)).await
    }

    /// `of` connects a further account and grants everything.
    pub(crate) async fn connect_another(
        &self,
        of: &str,
        email: &str,
        capabilities: &[&str],
    ) -> IntegrationId {
        let another = ConnectTarget::Another(owner(of));
        let connected = self
            .consent_at(&another, capabilities, Person::named(email))
            .await;
        connected.unwrap_or_else(|error| panic!("{error}")).account
    }

    /// `of` connects their account and grants everything.
    pub(crate) async fn connect(&self, of: &str, capabilities: &[&str]) -> IntegrationId {
        let person = Person::named(&email(of));
        let connected = self.consent(of, capabilities, person).await;
        connected.unwrap_or_else(|error| panic!("{error}")).account
    }

    // What the orchestrator does.

    pub(crate) async fn put(&self, agent: &str, of: &str, capabilities: &[&str]) -> Arc<AgentHandle> {
        self.put_manifest(manifest(agent, of, capabilities)).await
    }

    /// An agent that names its account.
    pub(crate) async fn put_on(
        &self,
        agent: &str,
        of: &str,
        account: &str,
        capabilities: &[&str],
    ) -> Arc<AgentHandle> {
        let mut manifest = manifest(agent, of, capabilities);
        manifest.account = Some(account.into());
        self.put_manifest(manifest).await
    }

    async fn put_manifest(&self, manifest: Manifest) -> Arc<AgentHandle> {
        let name = manifest.agent.clone();
        let put = self.broker.agents.put_agent(manifest, admin()).await;
        put.map_err(|error| error.to_string()).unwrap();
        self.handle(name.as_str())
    }

    pub(crate) fn handle(&self, agent: &str) -> Arc<AgentHandle> {
        let name: AgentName = agent.parse().unwrap();
        let found = self
            .broker
            .agent_list
            .handles()
            .into_iter()
            .find(|handle| *handle.name() == name);
        found.unwrap_or_else(|| panic!("there is no agent {agent}"))
    }

    /// Alice's account and one agent of hers that may send e-mails, with its token.
    pub(crate) async fn of_alice() -> (Self, Arc<AgentHandle>) {
        let scene = Self::new().await;
        scene.connect("alice", &[SEND]).await;
        let bot = scene.put("bot", "alice", &[SEND]).await;
        scene.idle().await;
        assert_eq!(state(&bot), AgentState::Active);
        (scene, bot)
    }

    // What agents see.

    pub(crate) async fn ask(&self, agent: &AgentHandle) -> Result<String, Problem> {
        self.ask_for(agent, &TokenRequest::default()).await
    }

    pub(crate) async fn ask_for(&self, agent: &AgentHandle, query: &TokenRequest) -> Result<String, Problem> {
        let grant = self.while_waiting(self.broker.issuer.token(agent, query)).await?;
        assert!(
            grant.token.remaining(self.broker.uptime()).is_some(),
            "an expired token was handed out"
        );
        Ok(grant.token.access_token.expose().to_owned())
    }

    pub(crate) fn account(&self, of: &str) -> AccountView {
        let which = AccountRef::Owner {
            owner: owner(of),
            account: None,
        };
        self.broker.accounts.account(&which).unwrap()
    }

    pub(crate) async fn audit(&self) -> Vec<AuditLine> {
        self.broker.flush_audit().await;
        self.store.audit(0, 100_000, false).await.unwrap()
    }

    /// The lines of one action, as `actor decision: detail`.
    pub(crate) async fn audited(&self, action: &str) -> Vec<String> {
        let lines = self
            .audit()
            .await
            .into_iter()
            .filter(|line| line.action == action);
        lines
            .map(|line| format!("{} {}: {}", line.actor, line.decision, line.detail))
            .collect()
    }

    /// Neither the account nor any token of it is in the database.
    pub(crate) async fn store_has_nothing_of(&self, id: &IntegrationId) -> bool {
        let contents = self.store.load().await.unwrap();
        !contents.integrations.iter().any(|record| record.id == *id)
            && !contents.tokens.iter().any(|token| token.integration == *id)
    }

    /// What the disk holds, as bytes: for looking that something is not there.
    pub(crate) fn files_contain(&self, text: &str) -> bool {
        let state = self.dir.path().join("state");
        let files = std::fs::read_dir(&state)
            .unwrap()
            .map(|entry| entry.unwrap().path());
        files.into_iter().any(|file| contains(&file, text))
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.shutdown.cancel();
        self.delivering.abort();
    }
}

fn contains(file: &Path, text: &str) -> bool {
    std::fs::read(file)
        .unwrap()
        .windows(text.len())
        .any(|window| window == text.as_bytes())
}
