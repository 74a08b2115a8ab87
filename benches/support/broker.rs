//! A broker that knows nobody: what delivery is measured with.

use std::{sync::Arc, time::Duration};

use token_broker::{
    broker::{Broker, BrokerOptions, BrokerParts},
    capability::Catalog,
    clock::SharedClock,
    config::ClientType,
    entropy::SystemEntropy,
    http_client::{Egress, Limits},
    provider::{
        Providers,
        google::{self, ClientOptions, Endpoints},
    },
    secret::Key,
    sqlite_store::SqliteStore,
    store::Contents,
    telemetry::Metrics,
    vault::{Keyring, Vault},
};

/// To be called within a tokio runtime.
pub fn idle(clock: SharedClock) -> Arc<Broker> {
    let entropy = Arc::new(SystemEntropy);
    let vault = Arc::new(Vault::new(
        Keyring::new(Key::new([7; 32]), Vec::new()),
        entropy.clone(),
    ));
    // The database stays open after its folder is gone.
    let folder = tempfile::tempdir().expect("a temporary folder");
    let store = SqliteStore::open(&folder.path().join("state"), &vault).expect("a database");
    let client = ClientOptions {
        client_id: "client".to_owned(),
        client_secret: None,
        client_type: ClientType::Desktop,
        dpop: false,
        redirect_uri: url::Url::parse("http://127.0.0.1:1/oauth/callback").expect("a URL"),
        endpoints: Endpoints::with_base("http://127.0.0.1:1").expect("loopback"),
        limits: Limits::default(),
        egress: Egress::default(),
    };
    let options = BrokerOptions {
        public_url: "http://127.0.0.1:8420".to_owned(),
        concurrency: 1,
        consent_timeout: Duration::from_secs(600),
        return_origins: Vec::new(),
        agent_secrets: false,
    };
    let parts = BrokerParts {
        clock: clock.clone(),
        entropy: entropy.clone(),
        store: Arc::new(store),
        providers: Arc::new(Providers::new(google::providers(client, clock, entropy))),
        vault,
        catalog: Arc::new(Catalog::builtin()),
        metrics: Arc::new(Metrics::default()),
    };
    Broker::start(options, parts, Contents::default()).0
}
