//! The keyring as the trait [`KeyStore`] asks for it, and what a database tells of its keys before it is opened.

use std::path::Path;

use rusqlite::Connection;

use crate::{
    audit_trail,
    sql::{Fault, keyed},
    sqlite::{connection, fault::FileFault, folder, operation::Rank, schema},
    sqlite_store::{database::SqliteStore, key_check::FIRST_VERSION, keyed::TABLES},
    store::{KeyStore, KeyUse, NamedKeys, RowPlace, RowStep, StoreError, StoreFuture, StoredKeyring},
    tables::keyring::{none, read, write},
    telemetry::audit::AuditEvent,
    vault::KeyId,
};

impl KeyStore for SqliteStore {
    fn keyring(&self) -> StoreFuture<'_, StoredKeyring> {
        self.read(|connection| Ok(read(connection)?.unwrap_or_else(none)))
    }

    fn put_keyring(
        &self,
        before: StoredKeyring,
        after: StoredKeyring,
        audit: Vec<AuditEvent>,
    ) -> StoreFuture<'_, ()> {
        self.write_bound(Rank::Vital, move |connection, vault| {
            if read(connection)?.unwrap_or_else(none) != before {
                return Err(StoreError::Conflict.into());
            }
            write(connection, &after)?;
            audit_trail::lines::append(connection, vault, &audit)
        })
    }

    fn move_rows(&self, from: RowPlace) -> StoreFuture<'_, RowStep> {
        self.write_bound(Rank::Trail, move |connection, vault| {
            keyed::step(connection, vault, &TABLES, &from, true)
        })
    }

    fn check_rows(&self, from: RowPlace) -> StoreFuture<'_, RowStep> {
        self.read_bound(move |connection, vault| keyed::step(connection, vault, &TABLES, &from, false))
    }

    fn key_uses(&self) -> StoreFuture<'_, Vec<KeyUse>> {
        self.read(|connection| keyed::uses(connection, &TABLES))
    }

    fn keyed_rows(&self) -> StoreFuture<'_, u64> {
        self.read(|connection| keyed::count(connection, &TABLES))
    }
}

impl SqliteStore {
    /// The keys that the database in `state_dir` names. A daemon may have it open. Changes nothing. Blocks.
    ///
    /// # Errors
    /// Why it cannot be read.
    pub fn keys_in(state_dir: &Path) -> Result<NamedKeys, StoreError> {
        Self::keys_of_file(&state_dir.join(folder::DATABASE))
    }

    /// The same of a database's file, a backup's for example.
    pub fn keys_of_file(path: &Path) -> Result<NamedKeys, StoreError> {
        // What is not a file, or cannot be looked at, is said by who opens it.
        if !path.metadata().is_ok_and(|found| found.is_file()) {
            return Ok(NamedKeys::default());
        }
        let connection = connection::open_reader(path)?;
        let named = || {
            schema::refuse_newer(&connection, path)?;
            let version = schema::version(&connection)?;
            if version >= FIRST_VERSION
                && let Some(keyring) = read(&connection)?
            {
                return Ok(NamedKeys::Keyring(keyring));
            }
            let masters = if version == 0 {
                Vec::new()
            } else {
                master_keys(&connection)?
            };
            Ok(NamedKeys::Masters(masters))
        };
        named().map_err(|fault: Fault| fault.at(path))
    }
}

fn master_keys(connection: &Connection) -> Result<Vec<KeyId>, Fault> {
    let mut statement = connection.prepare("SELECT key_id FROM master_keys ORDER BY key_id")?;
    let names = statement.query_map([], |row| row.get::<_, String>(0))?;
    let names = names.collect::<Result<Vec<_>, _>>()?;
    // What is no key's name is nobody's key.
    Ok(names.iter().filter_map(|name| name.parse().ok()).collect())
}
