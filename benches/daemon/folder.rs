//! A daemon's folder on disk, as an operator would have it: configuration, key, manifests, and a database with
//! accounts in it.

use std::{
    fmt::Write,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use futures_util::future::try_join_all;
use google_emulator::{Account, Options};
use tempfile::TempDir;
use token_broker::{
    capability::{Catalog, ScopeSet},
    clock::{self, BootMoment, Clock},
    config::{self, Config},
    entropy::{SharedEntropy, SystemEntropy},
    id::IntegrationId,
    provider::google::Endpoints,
    sqlite_store::SqliteStore,
    store::{Health, IntegrationRecord, RenewalOutcome, Store, TokenRecord},
    vault::{self, Binding, Keyring, Vault},
};

/// How long a token that is put into the database lives.
const LIFE: std::time::Duration = std::time::Duration::from_secs(3599);
/// How many records are written at once while the database is filled.
const CHUNK: usize = 512;

const CAPABILITIES: [&str; 2] = ["google.gmail.send", "google.calendar.readonly"];

/// The folder.
pub(crate) struct Folder {
    pub(crate) config_file: PathBuf,
    disk: TempDir,
    memory: TempDir,
    pub(crate) vault: Arc<Vault>,
    issuer_binding: String,
}

/// What accounts and agents there are: agent `n` belongs to owner `n % accounts`.
#[derive(Clone, Copy)]
pub(crate) struct Population {
    pub(crate) accounts: usize,
    pub(crate) agents: usize,
}

impl Folder {
    /// A folder for a daemon that takes `google` for Google.
    pub(crate) fn new(google: &str) -> Self {
        let disk = tempfile::Builder::new()
            .prefix("bench-")
            .tempdir_in(env!("CARGO_TARGET_TMPDIR"))
            .expect("a folder on disk");
        let memory = tempfile::Builder::new()
            .prefix("token-broker-bench-")
            .tempdir_in("/dev/shm")
            .expect("a folder in memory");
        let entropy: SharedEntropy = Arc::new(SystemEntropy);
        let key = vault::key::generate(&*entropy);
        let options = Options::default();
        let path = |name: &str| disk.path().join(name);
        fs::write(path("master.key"), vault::key::encode(&key).as_bytes()).expect("a key file");
        fs::write(path("client_secret"), &options.client_secret).expect("a secret file");
        for private in ["master.key", "client_secret"] {
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
            fs::set_permissions(path(private), mode).expect("a private file");
        }
        fs::create_dir(path("agents.d")).expect("a folder");
        let text = |name: &str| path(name).display().to_string();
        let config = config::template(&[
            ("state_dir", &text("state")),
            ("runtime_dir", &memory.path().join("run").display().to_string()),
            ("http_listen", "127.0.0.1:0"),
            ("key.source", &format!("file:{}", text("master.key"))),
            ("google.client_id", &options.client_id),
            ("google.client_secret_file", &text("client_secret")),
            ("google.endpoint_base", google),
            ("risc.audiences", &options.client_id),
        ])
        .expect("a configuration");
        let config_file = path("config.toml");
        fs::write(&config_file, config).expect("a configuration file");
        let endpoints = Endpoints::with_base(google).expect("an origin");
        Self {
            config_file,
            vault: Arc::new(Vault::new(Keyring::new(key, Vec::new()), entropy)),
            issuer_binding: format!("{}#{}", endpoints.token, options.client_id),
            disk,
            memory,
        }
    }

    /// The configuration as the daemon reads it.
    pub(crate) fn config(&self) -> Config {
        Config::load(Some(&self.config_file), std::iter::empty())
            .map_err(|error| error.to_string())
            .expect("the configuration is right")
    }

    /// Where the database is.
    pub(crate) fn on_disk(&self) -> &Path {
        self.disk.path()
    }

    /// A place in memory, as the runtime folder is.
    pub(crate) fn in_memory(&self) -> &Path {
        self.memory.path()
    }

    /// An agent's directory.
    pub(crate) fn agent(&self, number: usize) -> PathBuf {
        self.memory.path().join("run/agents").join(agent_name(number))
    }

    /// Declares the agents.
    pub(crate) fn declare(&self, population: Population) {
        for number in 0..population.agents {
            let owner = owner_name(number % population.accounts);
            let name = agent_name(number);
            let mut manifest = format!("agent: {name}\nowner: {owner}\nintegrations:\n");
            for key in CAPABILITIES {
                let _ = writeln!(manifest, "  - key: {key}\n    description: What it is needed for");
            }
            let file = self.disk.path().join(format!("agents.d/{name}.yaml"));
            fs::write(file, manifest).expect("a manifest");
        }
    }

    /// Puts accounts into the database, with grants that `grant` gives, each with a token that lives for an hour
    /// the present of the daemon's clock on.
    pub(crate) async fn connect(&self, clock: &impl Clock, accounts: usize, grant: impl Fn(usize) -> String) {
        let store = SqliteStore::open(&self.disk.path().join("state"), &self.vault)
            .map_err(|error| error.to_string())
            .expect("a database");
        let numbers: Vec<usize> = (0..accounts).collect();
        for chunk in numbers.chunks(CHUNK) {
            let writing = chunk
                .iter()
                .map(|&number| self.connect_one(&store, clock, number, grant(number)));
            try_join_all(writing)
                .await
                .map_err(|error| error.to_string())
                .expect("the accounts are written");
        }
        store.close().await;
    }

    async fn connect_one(
        &self,
        store: &SqliteStore,
        clock: &impl Clock,
        number: usize,
        grant: String,
    ) -> Result<(), token_broker::store::StoreError> {
        let moment = clock.moment();
        let now = moment.wall;
        let (id, scopes) = (integration(number), scopes());
        let record = IntegrationRecord {
            id: id.clone(),
            provider: "google".parse().expect("a provider"),
            owner: owner_name(number).parse().expect("an owner"),
            subject: Account::new(&account(number)).sub,
            account: account(number),
            former: Arc::default(),
            issuer_binding: self.issuer_binding.as_str().into(),
            scopes: scopes.clone(),
            health: Health::Active,
            version: 0,
            connected_at: now,
            renewed_at: None,
            grant_expires_at: None,
            renewal: None,
            declined: Arc::default(),
            secret: self.vault.seal(&Binding::RefreshToken(&id), grant.as_bytes()),
            proof_key: None,
        };
        let version = store.put_integration(record, None, Vec::new()).await?;
        let binding = Binding::AccessToken {
            integration: &id,
            requested: &scopes,
        };
        let token = TokenRecord {
            secret: self
                .vault
                .seal(&binding, format!("ya29.{number:0>200}").as_bytes()),
            integration: id.clone(),
            requested: scopes.clone(),
            granted: scopes,
            issued_at: now,
            issued_in_boot: clock.boot().map(|boot| BootMoment {
                boot,
                uptime: moment.uptime,
            }),
            expires_at: clock::after(now, LIFE),
        };
        let outcome = RenewalOutcome {
            grant_expires_at: None,
            rotated: None,
            health: Health::Active,
            renewed_at: Some(now),
            token: Some(token),
        };
        store.finish_renewal(&id, version, outcome).await.map(drop)
    }
}

/// The scopes that every agent needs.
pub(crate) fn scopes() -> ScopeSet {
    let keys = CAPABILITIES.map(|name| name.parse().expect("a capability"));
    Catalog::builtin()
        .scopes_for(&keys)
        .expect("capabilities of the catalogue")
}

/// An account's address.
pub(crate) fn account(number: usize) -> String {
    format!("person-{number}@example.com")
}

fn integration(number: usize) -> IntegrationId {
    format!("int_{number:020}").parse().expect("an id")
}

fn owner_name(number: usize) -> String {
    format!("owner-{number:05}")
}

fn agent_name(number: usize) -> String {
    format!("agent-{number:05}")
}
