//! The table of the keyring's keys.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::{
    seal::WrappedKey,
    sqlite::{
        column::{self, corrupt, micros},
        fault::Fault,
    },
    store::{KeyRecord, KeyState, RecordFault, StoreError, StoredKeyring},
    text::ShowPath,
    vault::Vault,
};

/// The first version of the schema that has a keyring.
pub(super) const FIRST_VERSION: i64 = 17;

/// What a database without a keyring has.
pub(super) fn none() -> StoredKeyring {
    StoredKeyring {
        store: String::new(),
        keys: Vec::new(),
    }
}

/// The keyring; `None` where there is none yet.
pub(super) fn read(connection: &Connection) -> Result<Option<StoredKeyring>, Fault> {
    let store: Option<String> = connection
        .prepare_cached("SELECT id FROM keyring_store WHERE only = 1")?
        .query_row([], |row| row.get("id"))
        .optional()?;
    let mut statement =
        connection.prepare_cached("SELECT * FROM keyring_keys ORDER BY created_at, key_id")?;
    let mut rows = statement.query([])?;
    let mut keys = Vec::new();
    while let Some(row) = rows.next()? {
        let key = record(row)
            .map_err(|reason| corrupt(format!("keyring key {}", column::label(row, "key_id")), reason))?;
        keys.push(key);
    }
    match store {
        None if keys.is_empty() => Ok(None),
        // Without the database's name no key of it opens.
        store => Ok(Some(StoredKeyring {
            store: store.unwrap_or_default(),
            keys,
        })),
    }
}

fn record(row: &Row<'_>) -> Result<KeyRecord, RecordFault> {
    Ok(KeyRecord {
        id: column::parsed(row, "key_id")?,
        state: column::parsed(row, "state")?,
        created_at: column::time(row, "created_at")?,
        changed_at: column::time(row, "changed_at")?,
        wrapped: WrappedKey {
            seal: column::text(row, "seal")?.to_owned(),
            seal_key: column::text(row, "seal_key")?.to_owned(),
            bytes: column::bytes(row, "wrapped")?.to_vec(),
        },
        mac: column::bytes(row, "mac")?.to_vec(),
        active_mac: column::bytes(row, "active_mac")?.to_vec(),
    })
}

/// Puts a keyring in the place of what is there.
pub(super) fn write(connection: &Connection, keyring: &StoredKeyring) -> Result<(), Fault> {
    connection.execute(
        "INSERT OR REPLACE INTO keyring_store (only, id) VALUES (1, ?)",
        [&keyring.store],
    )?;
    connection.execute("DELETE FROM keyring_keys", [])?;
    let mut insert = connection.prepare_cached(
        "INSERT INTO keyring_keys (key_id, state, created_at, changed_at, seal, seal_key, wrapped, mac, active_mac) \
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )?;
    for key in &keyring.keys {
        insert.execute(params![
            key.id.to_string(),
            key.state.as_str(),
            micros(key.created_at),
            micros(key.changed_at),
            key.wrapped.seal,
            key.wrapped.seal_key,
            key.wrapped.bytes,
            key.mac,
            key.active_mac,
        ])?;
    }
    Ok(())
}

/// Gives a keyring to a database that has none. Its rows may lie under keys of it.
pub(super) fn found(connection: &Connection, keyring: &StoredKeyring) -> Result<(), Fault> {
    write(connection, keyring)?;
    // From now on, this table says which keys are needed.
    connection.execute("DELETE FROM master_keys", [])?;
    Ok(())
}

/// Fails where the vault lacks a key that rows lie under.
pub(super) fn verify(keyring: &StoredKeyring, path: &Path, vault: &Vault) -> Result<(), StoreError> {
    let needed = |key: &&KeyRecord| matches!(key.state, KeyState::Active | KeyState::Retiring);
    let known = vault.keyring();
    match keyring.keys.iter().filter(needed).find(|key| !known.has(key.id)) {
        None => Ok(()),
        Some(missing) => Err(StoreError::WrongKey {
            path: path.shown().to_string(),
            needed: missing.id,
            configured: vault.active_key(),
        }),
    }
}
