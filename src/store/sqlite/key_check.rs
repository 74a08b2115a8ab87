//! Recognises the master key, before anything else is read.
//!
//! The database names each master key that its rows may be sealed with, next to a fixed text sealed with that
//! key. All of them must be in the keyring; otherwise some accounts would be lost without a word.

use std::path::Path;

use rusqlite::{Connection, params};

use crate::{
    store::StoreError,
    vault::{Binding, Vault, VaultError},
};

use super::{
    column,
    fault::{Fault, storage},
};

const TEXT: &[u8] = b"token-broker";

/// Fails on a database whose rows need a key that the vault lacks.
pub(super) fn verify(connection: &Connection, path: &Path, vault: &Vault) -> Result<(), Fault> {
    let mut statement = connection.prepare("SELECT * FROM master_keys ORDER BY key_id")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let sealed = column::sealed(row, "sealed_check").map_err(|reason| {
            column::corrupt(format!("master key {}", column::label(row, "key_id")), reason)
        })?;
        vault
            .open(&Binding::KeyCheck, &sealed)
            .map_err(|error| refused(path, error))?;
    }
    Ok(())
}

/// Notes that rows may be sealed with the vault's active key from now on.
pub(super) fn note(connection: &Connection, vault: &Vault) -> Result<(), Fault> {
    let sealed = vault.seal(&Binding::KeyCheck, TEXT);
    connection.execute(
        "INSERT OR IGNORE INTO master_keys (key_id, sealed_check) VALUES (?, ?)",
        params![vault.active_key().to_string(), sealed.as_bytes()],
    )?;
    Ok(())
}

fn refused(path: &Path, error: VaultError) -> StoreError {
    match error {
        VaultError::UnknownKey { found, active, .. } => StoreError::WrongKey {
            path: path.display().to_string(),
            needed: found,
            configured: active,
        },
        other => storage(path, other.to_string()),
    }
}
