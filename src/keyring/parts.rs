//! What rotation, sealing anew and inspection share.

use std::sync::Arc;

use jiff::Timestamp;
use tokio::sync::{Mutex, RwLock};

use super::Seals;
use crate::{
    clock::SharedClock,
    entropy::SharedEntropy,
    seal::{Place, Seal, SealError, WrappedKey},
    secret::Key,
    store::{KeyStore, KeyringFault, StoreError, StoredKeyring},
    telemetry::audit::AuditEvent,
    vault::{KeyId, Vault},
};

/// What the use cases of the keyring are made of.
pub struct KeyringParts {
    /// Where the keyring and the rows are.
    pub keys: Arc<dyn KeyStore>,
    /// The keys in use.
    pub vault: Arc<Vault>,
    /// What wraps them.
    pub seals: RwLock<Seals>,
    /// Time.
    pub clock: SharedClock,
    /// Randomness.
    pub entropy: SharedEntropy,
    /// How long a retired key is kept, in days.
    pub keep_days: u16,
    /// One change of the keyring at a time.
    pub turn: Mutex<()>,
}

impl KeyringParts {
    /// Commits a change of the keyring.
    pub(super) async fn put(
        &self,
        before: StoredKeyring,
        mut after: StoredKeyring,
        audit: Vec<AuditEvent>,
    ) -> Result<(), StoreError> {
        after.sort();
        let put = self.keys.put_keyring(before, after.clone(), audit).await;
        match put {
            // A commit that was not confirmed may be there all the same. What is there counts.
            Err(StoreError::Storage { .. }) if self.keys.keyring().await.is_ok_and(|now| now == after) => {
                Ok(())
            }
            other => other,
        }
    }

    /// Whether a keyring is as the keys in use left it.
    ///
    /// # Errors
    /// What somebody changed.
    pub(super) fn check(&self, keyring: &StoredKeyring) -> Result<(), KeyringFault> {
        let in_use = self.vault.keyring();
        let active = in_use.key(in_use.active_id());
        match (keyring.active(), active) {
            (Some(record), Some(key)) if record.id == in_use.active_id() => keyring
                .unconfirmed(key)
                .map_or(Ok(()), |id| Err(KeyringFault::Altered(id))),
            (Some(record), _) => Err(KeyringFault::Altered(record.id)),
            (None, _) => Err(KeyringFault::NotOneActive(0)),
        }
    }

    /// The present moment, never before what the trail knows: a key that is kept for its time is not gone early because a
    /// clock was wrong.
    pub(super) async fn moment(&self) -> Timestamp {
        self.clock
            .now()
            .max(self.trail_time().await.unwrap_or(Timestamp::MIN))
    }

    /// The time by which what is kept grows old. A wall clock that is wrong by years does not move it.
    pub(super) async fn trail_time(&self) -> Result<Timestamp, StoreError> {
        let (now, moment) = (self.clock.now(), self.clock.boot_moment());
        self.keys.tick_trail(now, moment).await
    }
}

/// Wraps a key of the keyring of `store`.
pub(super) async fn wrap(seal: &Seal, store: &str, key: &Key) -> Result<WrappedKey, SealError> {
    let place = Place {
        store,
        key: KeyId::of(key),
    };
    seal.wrap(&place, key).await
}
