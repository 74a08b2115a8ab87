//! Opens the keyring when the daemon starts.

use std::{fmt::Write, sync::Arc, time::Duration};

use jiff::Timestamp;

use super::{KeyringError, Seals, parts};
use crate::{
    entropy::{Entropy, SystemEntropy},
    secret::Key,
    store::{KeyRecord, KeyState, KeyringFault, NamedKeys, StoredKeyring},
    vault::{self, Keyring, Vault, VaultError},
};

/// The first and the longest pause before a seal that is away is asked again.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// The keys of a database, unwrapped.
pub struct Opened {
    /// Those that rows may lie under.
    pub keyring: Keyring,
    /// The keyring that a database is to get that has none.
    pub founded: Option<StoredKeyring>,
}

/// Unwraps the keys that a database names. One that has no keyring gets one, and its master keys become keys of that.
///
/// A seal that is away is asked again until it is not; `waits` is told each time.
///
/// # Errors
/// What no waiting helps against.
pub async fn open(
    seals: &Seals,
    named: &NamedKeys,
    now: Timestamp,
    entropy: &dyn Entropy,
    mut waits: impl FnMut(&KeyringError) + Send,
) -> Result<Opened, KeyringError> {
    let masters = match named {
        NamedKeys::Keyring(stored) => {
            let keyring = again(&mut waits, || unwrap(seals, stored)).await?;
            return Ok(Opened {
                keyring,
                founded: None,
            });
        }
        NamedKeys::Masters(masters) => masters,
    };
    let masters: Vec<&Key> = masters
        .iter()
        .map(|id| seals.master_key(*id).ok_or(KeyringError::NoMasterKey(*id)))
        .collect::<Result<_, _>>()?;
    let (store, key) = (name(entropy), vault::key::generate(entropy));
    let founded = again(&mut waits, || found(seals, &store, (&key, &masters), now)).await?;
    Ok(Opened {
        keyring: Keyring::new(key, masters.into_iter().cloned().collect()),
        founded: Some(founded),
    })
}

/// Asks until the seal is not away.
async fn again<T, F: Future<Output = Result<T, KeyringError>>>(
    waits: &mut impl FnMut(&KeyringError),
    mut ask: impl FnMut() -> F,
) -> Result<T, KeyringError> {
    let (mut pause, longest) = PAUSES;
    loop {
        match ask().await {
            Err(away) if away.is_away() => waits(&away),
            ended => return ended,
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(longest);
    }
}

/// Looks whether the keys open now; a seal that is away is not waited for. Returns the retired keys that do not open, and why:
/// backups from their time are of no use without them.
///
/// # Errors
/// Why those do not that rows may lie under.
pub async fn try_open(
    seals: &Seals,
    stored: &StoredKeyring,
) -> Result<Vec<(KeyRecord, VaultError)>, KeyringError> {
    let vault = unwrapped(seals, stored).await?;
    let lost = stored.lost(&vault);
    Ok(lost.map(|(record, error)| (record.clone(), error)).collect())
}

/// A vault with the keys of a keyring.
pub(super) async fn unwrapped(seals: &Seals, stored: &StoredKeyring) -> Result<Vault, KeyringError> {
    let keyring = unwrap(seals, stored).await?;
    Ok(Vault::new(keyring, Arc::new(SystemEntropy)))
}

/// The keys that rows may lie under.
async fn unwrap(seals: &Seals, stored: &StoredKeyring) -> Result<Keyring, KeyringError> {
    let mut keys = Vec::new();
    for record in in_use(stored)? {
        keys.push((record.state, unwrap_one(seals, &stored.store, record).await?));
    }
    whole(stored, keys)
}

/// The records of the keys that rows may lie under, where one of them is the active one.
pub(super) fn in_use(stored: &StoredKeyring) -> Result<Vec<&KeyRecord>, KeyringFault> {
    let is_used = |key: &&KeyRecord| matches!(key.state, KeyState::Active | KeyState::Retiring);
    let used: Vec<_> = stored.keys.iter().filter(is_used).collect();
    match used.iter().filter(|key| key.state == KeyState::Active).count() {
        1 => Ok(used),
        other => Err(KeyringFault::NotOneActive(other)),
    }
}

/// The keyring of these keys, where the active one confirms every record.
pub(super) fn whole(stored: &StoredKeyring, keys: Vec<(KeyState, Key)>) -> Result<Keyring, KeyringError> {
    let (active, retiring): (Vec<_>, Vec<_>) = keys
        .into_iter()
        .partition(|(state, _)| *state == KeyState::Active);
    let (_, active) = active.into_iter().next().ok_or(KeyringFault::NotOneActive(0))?;
    if let Some(altered) = stored.unconfirmed(&active) {
        return Err(KeyringFault::Altered(altered).into());
    }
    Ok(Keyring::new(
        active,
        retiring.into_iter().map(|(_, key)| key).collect(),
    ))
}

/// One key, whose record was written by who has it.
pub(super) async fn unwrap_one(seals: &Seals, store: &str, record: &KeyRecord) -> Result<Key, KeyringError> {
    let altered = KeyringError::Altered(KeyringFault::Altered(record.id));
    if record.is_kept() {
        return Err(altered);
    }
    let key = seals.unwrap(store, record).await?;
    record.is_of(store, &key).then_some(key).ok_or(altered)
}

/// A keyring with a new key, and with the master keys that rows lie under.
pub(super) async fn found(
    seals: &Seals,
    store: &str,
    (key, masters): (&Key, &[&Key]),
    now: Timestamp,
) -> Result<StoredKeyring, KeyringError> {
    let states = std::iter::once((key, KeyState::Active));
    let states = states.chain(masters.iter().map(|master| (*master, KeyState::Retiring)));
    let mut keys = Vec::new();
    for (key, state) in states {
        let wrapped = parts::wrap(&seals.current, store, key).await?;
        keys.push(KeyRecord::new(store, key, state, now, now, wrapped));
    }
    let mut founded = StoredKeyring {
        store: store.to_owned(),
        keys,
    };
    founded.sort();
    founded.confirm(key);
    Ok(founded)
}

/// A database's own name.
pub(super) fn name(entropy: &dyn Entropy) -> String {
    entropy
        .bytes::<16>()
        .iter()
        .fold(String::new(), |mut name, byte| {
            let _ = write!(name, "{byte:02x}");
            name
        })
}
