//! The table of the keyring's keys.

use crate::{
    seal::WrappedKey,
    sql::{
        Columns, Fault, Sql,
        column::{self, corrupt, micros},
        values,
    },
    store::{KeyRecord, KeyState, RecordFault, StoreError, StoredKeyring},
    vault::Vault,
};

/// What a database without a keyring has.
pub(crate) fn none() -> StoredKeyring {
    StoredKeyring {
        store: String::new(),
        keys: Vec::new(),
    }
}

/// The keyring; `None` where there is none yet.
pub(crate) fn read(sql: &dyn Sql) -> Result<Option<StoredKeyring>, Fault> {
    let store = sql.one("SELECT id FROM keyring_store", &[], |row| {
        let store = column::text(row, "id").map(str::to_owned);
        Ok(store.map_err(|reason| corrupt("keyring", reason))?)
    })?;
    let keys = sql.all(
        "SELECT * FROM keyring_keys ORDER BY created_at, key_id",
        &[],
        |row| {
            let label = || format!("keyring key {}", column::label(row, "key_id"));
            Ok(record(row).map_err(|reason| corrupt(label(), reason))?)
        },
    )?;
    match store {
        None if keys.is_empty() => Ok(None),
        // Without the database's name no key of it opens.
        store => Ok(Some(StoredKeyring {
            store: store.unwrap_or_default(),
            keys,
        })),
    }
}

fn record(row: &dyn Columns) -> Result<KeyRecord, RecordFault> {
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
pub(crate) fn write(sql: &dyn Sql, keyring: &StoredKeyring) -> Result<(), Fault> {
    sql.execute(
        "INSERT INTO keyring_store (\"only\", id) VALUES (1, ?1) ON CONFLICT (\"only\") DO UPDATE SET id = excluded.id",
        values![&keyring.store],
    )?;
    sql.execute("DELETE FROM keyring_keys", &[])?;
    for key in &keyring.keys {
        sql.execute(
            "INSERT INTO keyring_keys (key_id, state, created_at, changed_at, seal, seal_key, wrapped, mac, active_mac) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
            values![
                &key.id.to_string(),
                key.state.as_str(),
                micros(key.created_at),
                micros(key.changed_at),
                &key.wrapped.seal,
                &key.wrapped.seal_key,
                key.wrapped.bytes.as_slice(),
                key.mac.as_slice(),
                key.active_mac.as_slice(),
            ],
        )?;
    }
    Ok(())
}

/// Fails where the vault lacks a key that rows lie under. `database` says which database it is.
pub(crate) fn verify(keyring: &StoredKeyring, database: &str, vault: &Vault) -> Result<(), StoreError> {
    let needed = |key: &&KeyRecord| matches!(key.state, KeyState::Active | KeyState::Retiring);
    let known = vault.keyring();
    match keyring.keys.iter().filter(needed).find(|key| !known.has(key.id)) {
        None => Ok(()),
        Some(missing) => Err(StoreError::WrongKey {
            path: database.to_owned(),
            needed: missing.id,
            configured: vault.active_key(),
        }),
    }
}
