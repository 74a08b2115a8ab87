//! Sealing anew: the keyring's keys are wrapped by another seal, or by another key of the same. No row is touched.

use std::sync::Arc;

use super::{KeyringError, KeyringParts, Seals, opening, parts};
use crate::{
    seal::Seal,
    secret::Key,
    store::{KeyRecord, KeyState, StoredKeyring},
    telemetry::audit::{Actor, AuditEvent, Decision},
    vault::KeyId,
};

/// What wraps the keyring now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resealed {
    /// The seal, as the configuration names it.
    pub seal: String,
    /// Its own key.
    pub seal_key: String,
    /// The keys that it wraps now.
    pub keys: Vec<KeyId>,
}

/// Seals the keyring anew.
pub struct Resealing {
    parts: Arc<KeyringParts>,
}

impl Resealing {
    /// Made of these parts.
    pub fn new(parts: Arc<KeyringParts>) -> Self {
        Self { parts }
    }

    /// Wraps every key with `to`, or with the seal in use. The keys that are in use need no seal from before, and those that are
    /// retired lie under the active one.
    ///
    /// # Errors
    /// The seal or the store does not do it: nothing has changed.
    pub(super) async fn reseal(&self, to: Option<Seal>, actor: Actor) -> Result<Resealed, KeyringError> {
        let _turn = self.parts.turn.lock().await;
        let mut seals = self.parts.seals.write().await;
        let before = self.parts.keys.keyring().await?;
        self.parts.check(&before)?;
        let mut after = before.clone();
        let target = to.as_ref().unwrap_or(&seals.current);
        // A pending key that does not open is none: nothing lies under it.
        let mut keys = Vec::new();
        for record in &mut after.keys {
            if record.state == KeyState::Retired {
                continue;
            }
            let key = match self.key(&seals, &before.store, record).await {
                Err(_) if record.state == KeyState::Pending => continue,
                key => key?,
            };
            record.wrapped = parts::wrap(target, &before.store, &key).await?;
            keys.push(record.id);
        }
        after
            .keys
            .retain(|key| key.state != KeyState::Pending || keys.contains(&key.id));
        let done = Resealed {
            seal: target.name().to_owned(),
            seal_key: sealed_with(&after),
            keys,
        };
        let event = AuditEvent {
            detail: format!(
                "{} keys by {} (key {})",
                done.keys.len(),
                done.seal,
                done.seal_key
            ),
            ..AuditEvent::new(self.parts.clock.now(), actor, "key.resealed", Decision::Allowed)
        };
        self.parts.put(before, after, vec![event]).await?;
        if let Some(to) = to {
            let former = std::mem::replace(&mut seals.current, to);
            seals.previous.insert(0, former);
        }
        tracing::info!(
            seal = done.seal,
            key = done.seal_key,
            "the keyring was sealed anew"
        );
        Ok(done)
    }

    /// At the start: where the configuration's seal is not what wraps the keyring, or wraps with another key by now, it does so
    /// from now on. A seal that is away changes nothing.
    pub async fn follow_configuration(&self) {
        match self.is_due().await {
            Ok(false) => return,
            Ok(true) => {}
            Err(error) => {
                return tracing::warn!("whether the keyring is to be sealed anew is not known: {error}");
            }
        }
        if let Err(error) = self.reseal(None, Actor::Daemon).await {
            tracing::warn!("the keyring stays sealed as it was: {error}");
        }
    }

    async fn is_due(&self) -> Result<bool, KeyringError> {
        let stored = self.parts.keys.keyring().await?;
        let seals = self.parts.seals.read().await;
        let in_use = seals.current.key_in_use().await?;
        let mut lasting = stored.keys.iter().filter(|key| key.state != KeyState::Retired);
        Ok(lasting.any(|key| !seals.current.fits(&key.wrapped) || key.wrapped.seal_key != in_use))
    }

    async fn key(&self, seals: &Seals, store: &str, record: &KeyRecord) -> Result<Key, KeyringError> {
        match self.parts.vault.keyring().key(record.id) {
            Some(key) => Ok(key.clone()),
            None => opening::unwrap_one(seals, store, record).await,
        }
    }
}

/// The seal's own key, as the active key's record says it.
fn sealed_with(keyring: &StoredKeyring) -> String {
    let active = keyring.active();
    active.map_or_else(String::new, |key| key.wrapped.seal_key.clone())
}
