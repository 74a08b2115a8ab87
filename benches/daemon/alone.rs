//! A broker with its store and its client, and without the parts that deliver.

use std::sync::Arc;

use token_broker::{
    app::{self, AppParts},
    broker::{Broker, Pulses},
    capability::Catalog,
    clock::ManualClock,
    manifest,
    sqlite_store::SqliteStore,
    store::Store,
    telemetry::Metrics,
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::folder::Folder;

/// The broker, renewing what is due.
pub(crate) struct BrokerAlone {
    pub(crate) broker: Arc<Broker>,
    store: Arc<SqliteStore>,
    renewing: JoinHandle<()>,
    shutdown: CancellationToken,
}

impl BrokerAlone {
    /// Starts it on a folder with accounts and manifests.
    pub(crate) async fn start(folder: &Folder, clock: &ManualClock) -> Self {
        let parts = AppParts {
            clock: Arc::new(clock.clone()),
            ..AppParts::default()
        };
        let mut config = folder.config();
        config.bound(([127, 0, 0, 1], 8420).into()).expect("an address");
        let store = SqliteStore::open(&config.state_dir, &folder.vault)
            .map_err(|error| error.to_string())
            .expect("a database");
        let store = Arc::new(store);
        let contents = store
            .load()
            .await
            .map_err(|error| error.to_string())
            .expect("records");
        let catalog = Arc::new(Catalog::builtin());
        let (broker, mut changes) = app::start_broker(
            &config,
            &parts,
            store.clone(),
            folder.vault.clone(),
            catalog.clone(),
            &Arc::new(Metrics::default()),
            contents,
        )
        .expect("the broker starts");
        let scan = manifest::Folder::new(config.agents_dir(), catalog).scan();
        assert!(
            broker.agents.apply_scan(&scan).is_empty(),
            "the manifests are right"
        );
        // Whoever would deliver takes note of each change.
        tokio::spawn(async move { while changes.next().await.is_some() {} });
        let shutdown = CancellationToken::new();
        let renewing = tokio::spawn(broker.clone().run(Pulses::new().0, shutdown.clone()));
        Self {
            broker,
            store,
            renewing,
            shutdown,
        }
    }

    /// Lets what is under way end, and closes the database.
    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        self.renewing.await.expect("it does not panic");
        self.broker.wait_idle().await;
        self.store.close().await;
    }
}
