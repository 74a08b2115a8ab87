//! `PostgreSQL`: a database for each scene, asked by the broker itself or through a pooler.

use std::{fs, path::Path, sync::Arc};

use tempfile::TempDir;
use token_broker::{
    config::{Config, StoreSection},
    entropy::{SharedEntropy, SystemEntropy},
    postgres_store::PostgresStore,
    store::{KeyStore, StoreError, StoredKeyring},
    vault::Vault,
};
use tokio::sync::OnceCell;

use crate::{
    server,
    support::{Doing, Home},
};

pub(crate) struct Database {
    /// The database itself, and how the broker reaches it.
    urls: OnceCell<(String, String)>,
    is_pooled: bool,
    state: TempDir,
}

/// What `[store]` says of a database.
pub(crate) fn section(url: &str, more: &str) -> StoreSection {
    let folder: TempDir = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.toml");
    let text = format!("[store]\nurl = {url:?}\n{more}\n[cluster]\nname = \"broker-1\"\n");
    fs::write(&file, text).unwrap();
    let config = Config::load(Some(&file), std::iter::empty());
    config.unwrap_or_else(|error| panic!("{error}")).store.unwrap()
}

/// Opens it as a broker does.
pub(crate) async fn open(
    section: StoreSection,
    state_dir: &Path,
    vault: &Arc<Vault>,
    keyring: &StoredKeyring,
) -> Result<PostgresStore, StoreError> {
    let (state_dir, vault, keyring) = (state_dir.to_owned(), vault.clone(), keyring.clone());
    let entropy: SharedEntropy = Arc::new(SystemEntropy);
    let opening = move || PostgresStore::open(&section, &state_dir, &vault, Some(&keyring), &entropy);
    tokio::task::spawn_blocking(opening).await.unwrap()
}

impl Database {
    pub(crate) fn new() -> Self {
        Self {
            urls: OnceCell::new(),
            is_pooled: false,
            state: tempfile::tempdir().unwrap(),
        }
    }

    pub(crate) fn pooled() -> Self {
        Self {
            is_pooled: true,
            ..Self::new()
        }
    }

    async fn urls(&self) -> &(String, String) {
        let make = || async {
            let server = server::server();
            let own = server.database().await;
            let asked = if self.is_pooled {
                own.replace("port=5432", &format!("port={}", server.pool()))
            } else {
                own.clone()
            };
            (own, asked)
        };
        self.urls.get_or_init(make).await
    }
}

impl Home for Database {
    fn open<'a>(
        &'a self,
        vault: &'a Arc<Vault>,
        keyring: &'a StoredKeyring,
    ) -> Doing<'a, Result<Arc<dyn KeyStore>, StoreError>> {
        Box::pin(async move {
            let section = section(&self.urls().await.1, "");
            let store = open(section, self.state.path(), vault, keyring).await?;
            Ok(Arc::new(store) as Arc<dyn KeyStore>)
        })
    }

    fn meddle<'a>(&'a self, sql: &'a str) -> Doing<'a, ()> {
        Box::pin(async move {
            let as_broker = format!("SET token_broker.broker = 'broker-1'; {sql}");
            server::execute(&self.urls().await.0, &as_broker).await;
        })
    }

    fn grants(&self) -> (&'static str, &'static str) {
        ("grants", "TRUE")
    }

    fn tokens(&self) -> (&'static str, &'static str) {
        ("access_tokens", "TRUE")
    }
}
