//! Recognises the keys, before anything else is read.
//!
//! The keyring names each key that rows may be sealed with. A database from before it had one names master keys, under which
//! its rows lie, next to a fixed text sealed with each. The vault must have all of them; otherwise some accounts would be lost
//! without a word.
//!
//! The text, and the format that it is sealed in, also say what of the database is bound to the master key. Who lacks the
//! key can take no step of that back, unless they have a check from before it.

use std::path::Path;

use rusqlite::{Connection, params};

use crate::{
    sql::{Fault, column},
    sqlite::{fault::storage, schema},
    store::{KeyringFault, StoreError, StoredKeyring},
    tables::keyring,
    text::ShowPath,
    vault::{Binding, Vault, VaultError},
};

/// The first version of the schema that has a keyring.
pub(super) const FIRST_VERSION: i64 = 17;

/// The text where the ends of the audit trail are bound. It was `token-broker` before.
const TEXT: &[u8] = b"token-broker, audit trail bound";

/// What of a database is bound to its master key; the rest is to be taken over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum BoundPart {
    /// Nothing.
    Nothing,
    /// The records; the audit trail is not.
    Records,
    /// All of it, and what is not is not believed.
    Everything,
}

/// Fails on a database whose rows need a key that the vault lacks.
pub(super) fn verify(connection: &Connection, path: &Path, vault: &Vault) -> Result<BoundPart, Fault> {
    if let Some(found) = stored(connection)? {
        keyring::verify(&found, &path.shown().to_string(), vault)?;
        return Ok(BoundPart::Everything);
    }
    let mut part = None;
    let mut statement = connection.prepare("SELECT * FROM master_keys ORDER BY key_id")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let sealed = column::sealed(row, "sealed_check").map_err(|reason| {
            column::corrupt(format!("master key {}", column::label(row, "key_id")), reason)
        })?;
        let found = if sealed.is_unbound() {
            vault
                .take_over(&Binding::KeyCheck, &sealed)
                .map(|_| BoundPart::Nothing)
        } else {
            vault
                .open(&Binding::KeyCheck, &sealed)
                .map(|text| match text.as_slice() {
                    b"token-broker" => BoundPart::Records,
                    _ => BoundPart::Everything,
                })
        }
        .map_err(|error| refused(path, error))?;
        part = part.max(Some(found));
    }
    Ok(part.unwrap_or(BoundPart::Everything))
}

/// Refuses a database that names no key at all: what is in it lies under one that somebody took out. With a new one, nothing
/// of it would be found.
pub(super) fn refuse_keyless(connection: &Connection) -> Result<(), Fault> {
    let names_none = "SELECT NOT EXISTS (SELECT 1 FROM master_keys)";
    let names_none: bool = connection.query_row(names_none, [], |row| row.get(0))?;
    if names_none && stored(connection)?.is_none_or(|found| found.active().is_none()) {
        return Err(StoreError::from(KeyringFault::NotOneActive(0)).into());
    }
    Ok(())
}

/// The keyring, where the database is not from before it had one.
fn stored(connection: &Connection) -> Result<Option<StoredKeyring>, Fault> {
    if schema::version(connection)? < FIRST_VERSION {
        return Ok(None);
    }
    keyring::read(connection)
}

/// Gives a keyring to a database that has none. Its rows may lie under keys of it.
pub(super) fn found(connection: &Connection, keyring: &StoredKeyring) -> Result<(), Fault> {
    keyring::write(connection, keyring)?;
    // From now on, its table says which keys are needed.
    connection.execute("DELETE FROM master_keys", [])?;
    Ok(())
}

/// Seals the key checks anew: everything is bound from now on.
pub(super) fn take_over(connection: &Connection, vault: &Vault) -> Result<(), Fault> {
    let mut statement = connection.prepare("SELECT * FROM master_keys")?;
    let mut rows = statement.query([])?;
    let mut anew = Vec::new();
    while let Some(row) = rows.next()? {
        let key: String = row.get("key_id")?;
        let sealed =
            column::sealed(row, "sealed_check").map_err(|reason| column::corrupt(key.as_str(), reason))?;
        if let Ok(sealed) = vault.replace(&Binding::KeyCheck, &sealed, TEXT) {
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
            path: path.shown().to_string(),
            needed: found,
            configured: active,
        },
        other => storage(path, other),
    }
}
