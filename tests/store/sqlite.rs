//! `SQLite` in a folder.

use std::sync::Arc;

use rusqlite::Connection;
use tempfile::TempDir;
use token_broker::{
    sqlite_store::SqliteStore,
    store::{KeyStore, StoreError, StoredKeyring},
    vault::Vault,
};

use crate::support::{Doing, Home};

pub(crate) struct Folder(TempDir);

impl Folder {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }
}

impl Home for Folder {
    fn open<'a>(
        &'a self,
        vault: &'a Arc<Vault>,
        keyring: &'a StoredKeyring,
    ) -> Doing<'a, Result<Arc<dyn KeyStore>, StoreError>> {
        Box::pin(async move {
            let store = SqliteStore::open_with(self.0.path(), vault, Some(keyring))?;
            Ok(Arc::new(store) as Arc<dyn KeyStore>)
        })
    }

    fn meddle<'a>(&'a self, sql: &'a str) -> Doing<'a, ()> {
        Box::pin(async move {
            let raw = Connection::open(self.0.path().join("broker.db")).unwrap();
            raw.execute_batch(sql).unwrap();
        })
    }

    fn grants(&self) -> (&'static str, &'static str) {
        ("secrets", "requested IS NULL")
    }

    fn tokens(&self) -> (&'static str, &'static str) {
        ("secrets", "requested IS NOT NULL")
    }
}
