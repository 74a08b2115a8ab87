//! The keys of a backup that is to be restored.

use jiff::Timestamp;

use super::{KeyringError, Seals, opening, parts};
use crate::{
    entropy::Entropy,
    secret::Key,
    store::{KeyState, NamedKeys, StoredKeyring},
    vault::{self, KeyId, Keyring},
};

/// The keys that a backup's rows lie under, and the keyring that it gets, where it is to have another than its own.
///
/// The backup's keyring is unwrapped by the seals that are configured. Where none of them wrapped it, the same keys may still be
/// kept in the keyring of the database that it replaces, `present`; then the seal in use wraps them. The same goes for the
/// master keys that rows of a backup from before the keyring lie under.
///
/// # Errors
/// Nobody has a key that rows may lie under.
pub async fn for_restore(
    seals: &Seals,
    backup: &NamedKeys,
    present: &NamedKeys,
    new: (Timestamp, &dyn Entropy),
) -> Result<(Keyring, Option<StoredKeyring>), KeyringError> {
    let present = match present {
        NamedKeys::Keyring(present) => Some(present),
        NamedKeys::Masters(_) => None,
    };
    match backup {
        NamedKeys::Keyring(backup) => own(seals, backup, present).await,
        NamedKeys::Masters(masters) => from_before(seals, masters, present, new).await,
    }
}

/// The key that the backup's rows lie under, where the database that it replaces has replaced that key: it is the active one
/// again after the restore.
pub fn replaced_since(backup: &NamedKeys, present: &NamedKeys) -> Option<KeyId> {
    let (NamedKeys::Keyring(backup), NamedKeys::Keyring(present)) = (backup, present) else {
        return None;
    };
    let key = present.key(backup.active()?.id)?;
    matches!(key.state, KeyState::Retiring | KeyState::Retired).then_some(key.id)
}

async fn own(
    seals: &Seals,
    backup: &StoredKeyring,
    present: Option<&StoredKeyring>,
) -> Result<(Keyring, Option<StoredKeyring>), KeyringError> {
    let mut after = backup.clone();
    let mut keys = Vec::new();
    for record in opening::in_use(backup)? {
        let key = match opening::unwrap_one(seals, &backup.store, record).await {
            Ok(key) => key,
            Err(error) => {
                let key = kept(seals, record.id, present).await?.ok_or(error)?;
                let wrapped = parts::wrap(&seals.current, &backup.store, &key).await?;
                after.rewrap(record.id, &wrapped);
                key
            }
        };
        keys.push((record.state, key));
    }
    let is_other = after != *backup;
    Ok((opening::whole(backup, keys)?, is_other.then_some(after)))
}

async fn from_before(
    seals: &Seals,
    masters: &[KeyId],
    present: Option<&StoredKeyring>,
    (now, entropy): (Timestamp, &dyn Entropy),
) -> Result<(Keyring, Option<StoredKeyring>), KeyringError> {
    let (mut keys, mut is_kept) = (Vec::new(), false);
    for id in masters {
        if let Some(key) = seals.master_key(*id) {
            keys.push(key.clone());
            continue;
        }
        let key = kept(seals, *id, present).await?;
        keys.push(key.ok_or(KeyringError::NoMasterKey(*id))?);
        is_kept = true;
    }
    let (store, key) = (opening::name(entropy), vault::key::generate(entropy));
    if !is_kept {
        // The daemon's next start has them from the configuration, too.
        return Ok((Keyring::new(key, keys), None));
    }
    let former: Vec<&Key> = keys.iter().collect();
    let founded = opening::found(seals, &store, (&key, &former), now).await?;
    Ok((Keyring::new(key, keys), Some(founded)))
}

/// The key, as the database that is replaced keeps it.
///
/// # Errors
/// The seal is away that would tell.
async fn kept(
    seals: &Seals,
    id: KeyId,
    present: Option<&StoredKeyring>,
) -> Result<Option<Key>, KeyringError> {
    let Some((present, record)) = present.and_then(|present| Some((present, present.key(id)?))) else {
        return Ok(None);
    };
    let vault = match opening::unwrapped(seals, present).await {
        Err(away) if away.is_away() => return Err(away),
        Err(_) => return Ok(None),
        Ok(vault) => vault,
    };
    Ok(match record.state {
        KeyState::Retired => record.kept(&vault).ok(),
        _ => vault.keyring().key(id).cloned(),
    })
}
