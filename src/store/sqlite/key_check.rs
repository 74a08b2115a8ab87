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

/// Whether the rows of a database are bound to its master key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rows {
    /// They are, and what is not is not used.
    Bound,
    /// It is from before that: they are to be taken over.
    Unbound,
}

/// Fails on a database whose rows need a key that the vault lacks.
pub(super) fn verify(connection: &Connection, path: &Path, vault: &Vault) -> Result<Rows, Fault> {
    let (mut bound, mut unbound) = (false, false);
    let mut statement = connection.prepare("SELECT * FROM master_keys ORDER BY key_id")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let sealed = column::sealed(row, "sealed_check").map_err(|reason| {
            column::corrupt(format!("master key {}", column::label(row, "key_id")), reason)
        })?;
        if sealed.is_unbound() {
            unbound = true;
            vault.take_over(&Binding::KeyCheck, &sealed).map(drop)
        } else {
            bound = true;
            vault.open(&Binding::KeyCheck, &sealed).map(drop)
        }
        .map_err(|error| refused(path, error))?;
    }
    Ok(if unbound && !bound {
        Rows::Unbound
    } else {
        Rows::Bound
    })
}

/// Seals the key checks anew: the rows are bound from now on.
pub(super) fn take_over(connection: &Connection, vault: &Vault) -> Result<(), Fault> {
    let mut statement = connection.prepare("SELECT * FROM master_keys")?;
    let mut rows = statement.query([])?;
    let mut anew = Vec::new();
    while let Some(row) = rows.next()? {
        let key: String = row.get("key_id")?;
        let sealed =
            column::sealed(row, "sealed_check").map_err(|reason| column::corrupt(key.as_str(), reason))?;
        if let Ok(sealed) = vault.take_over(&Binding::KeyCheck, &sealed) {
            anew.push((key, sealed));
        }
    }
    for (key, sealed) in anew {
        connection.execute(
            "UPDATE master_keys SET sealed_check = ? WHERE key_id = ?",
            params![sealed.as_bytes(), key],
        )?;
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
