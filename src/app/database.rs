//! The database that the configuration names, whichever it is.

use std::sync::Arc;

use jiff::Timestamp;
use tokio::task::spawn_blocking;

use crate::{
    config::Config,
    entropy::SharedEntropy,
    postgres_store::PostgresStore,
    sqlite_store::SqliteStore,
    store::{KeyStore, NamedKeys, StoreError, StoredKeyring},
    vault::Vault,
};

/// A database that is open.
#[derive(Clone)]
pub(super) enum Database {
    /// A file in `state_dir`.
    File(Arc<SqliteStore>),
    /// A server.
    Server(Arc<PostgresStore>),
}

impl Database {
    /// The keys that it names, before it is opened.
    pub(super) async fn keys_in(config: &Config) -> Result<NamedKeys, StoreError> {
        let Some(section) = config.store.clone() else {
            return SqliteStore::keys_in(&config.state_dir);
        };
        let reading = spawn_blocking(move || PostgresStore::keys_in(&section));
        // A join error means that the runtime is shutting down.
        reading.await.map_err(|_| StoreError::Closed)?
    }

    /// Opens it; one that has no keyring gets this one.
    pub(super) async fn open(
        config: &Config,
        vault: &Arc<Vault>,
        keyring: Option<StoredKeyring>,
        entropy: &SharedEntropy,
    ) -> Result<Self, StoreError> {
        let Some(section) = config.store.clone() else {
            let store = SqliteStore::open_with(&config.state_dir, vault, keyring.as_ref())?;
            return Ok(Self::File(Arc::new(store)));
        };
        let (state_dir, vault, entropy) = (config.state_dir.clone(), vault.clone(), entropy.clone());
        let opening = spawn_blocking(move || {
            PostgresStore::open(&section, &state_dir, &vault, keyring.as_ref(), &entropy)
        });
        let store = opening.await.map_err(|_| StoreError::Closed)??;
        Ok(Self::Server(Arc::new(store)))
    }

    /// What the broker asks of it.
    pub(super) fn store(&self) -> Arc<dyn KeyStore> {
        match self {
            Self::File(store) => store.clone(),
            Self::Server(store) => store.clone(),
        }
    }

    /// The file, where it is one: a server is copied by its own means.
    pub(super) fn file(&self) -> Option<Arc<SqliteStore>> {
        match self {
            Self::File(store) => Some(store.clone()),
            Self::Server(_) => None,
        }
    }

    /// Resolves when it is known whether changes can be written.
    pub(super) async fn prove_writable(&self) -> Result<(), StoreError> {
        match self {
            Self::File(store) => store.prove_writable().await,
            Self::Server(store) => store.prove_writable().await,
        }
    }

    /// Writes into the audit trail that a file was restored, where it was and the trail does not say so yet.
    pub(super) async fn tell_of_restore(&self, now: Timestamp) -> Result<(), StoreError> {
        match self {
            Self::File(store) => store.tell_of_restore(now).await,
            Self::Server(_) => Ok(()),
        }
    }

    /// Commits what waits, and closes it.
    pub(super) async fn close(&self) {
        match self {
            Self::File(store) => store.close().await,
            Self::Server(store) => store.close().await,
        }
    }
}
