//! What the keyring is, and whether every row opens.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use tokio::time::timeout;

use super::KeyringParts;
use crate::{
    store::{KeyState, KeyringFault, RowPlace, RowStep, StoreError},
    vault::KeyId,
};

/// How long a seal may take to say that it is there.
const PATIENCE: Duration = Duration::from_secs(3);

/// A key of the keyring.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyReport {
    /// Which.
    pub id: KeyId,
    /// What it is for.
    pub state: KeyState,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it came to its state.
    pub changed_at: Timestamp,
    /// How many rows need it.
    pub rows: u64,
    /// What wraps it, as the configuration named it.
    pub seal: String,
    /// That one's own key.
    pub seal_key: String,
}

/// The keyring.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyringReport {
    /// Its keys, the oldest first.
    pub keys: Vec<KeyReport>,
    /// The seal in use, as the configuration names it.
    pub seal: String,
    /// The key that it wraps with now, or why it does not say so.
    pub seal_key: Result<String, String>,
    /// For how many days a retired key is kept.
    pub keep_days: u16,
}

/// Looks at the keyring, and changes nothing.
pub struct Inspection {
    parts: Arc<KeyringParts>,
}

impl Inspection {
    /// Made of these parts.
    pub fn new(parts: Arc<KeyringParts>) -> Self {
        Self { parts }
    }

    /// The keyring as it is now. The seal is asked.
    ///
    /// # Errors
    /// The store does not tell.
    pub async fn report(&self) -> Result<KeyringReport, StoreError> {
        let stored = self.parts.keys.keyring().await?;
        let uses = self.parts.keys.key_uses().await?;
        let rows = |id| {
            uses.iter()
                .find(|found| found.id == id)
                .map_or(0, |found| found.rows)
        };
        let seals = self.parts.seals.read().await;
        let keys = stored.keys.into_iter().map(|key| KeyReport {
            id: key.id,
            state: key.state,
            created_at: key.created_at,
            changed_at: key.changed_at,
            rows: rows(key.id),
            seal: key.wrapped.seal,
            seal_key: key.wrapped.seal_key,
        });
        Ok(KeyringReport {
            keys: keys.collect(),
            seal: seals.current.name().to_owned(),
            seal_key: seals
                .current
                .key_in_use()
                .await
                .map_err(|error| error.to_string()),
            keep_days: self.parts.keep_days,
        })
    }

    /// What is wrong with the keyring itself, if anything.
    ///
    /// # Errors
    /// The store does not tell.
    pub async fn fault(&self) -> Result<Option<KeyringFault>, StoreError> {
        let stored = self.parts.keys.keyring().await?;
        Ok(self.parts.check(&stored).err())
    }

    /// What is wrong with the keyring, with what it keeps for backups, and with its seal, which is asked; a sentence each.
    pub async fn troubles(&self) -> Vec<String> {
        // What is wrong with the database is told by others.
        let Ok(stored) = self.parts.keys.keyring().await else {
            return Vec::new();
        };
        if let Err(fault) = self.parts.check(&stored) {
            return vec![fault.to_string()];
        }
        let mut troubles: Vec<String> = stored
            .lost(&self.parts.vault)
            .map(|(key, error)| {
                format!(
                    "key {}, which backups from its time need, is lost: {error}",
                    key.id
                )
            })
            .collect();
        let asked = async { self.parts.seals.read().await.current.key_in_use().await };
        match timeout(PATIENCE, asked).await {
            Ok(Ok(_)) => {}
            Ok(Err(away)) => troubles.push(away.to_string()),
            Err(_) => troubles.push(format!(
                "the seal of the keyring does not answer within {} s: the next start of the daemon needs it",
                PATIENCE.as_secs()
            )),
        }
        troubles
    }

    /// How many rows there are to be looked at.
    pub async fn rows(&self) -> Result<u64, StoreError> {
        self.parts.keys.keyed_rows().await
    }

    /// Opens the next rows, from [`RowPlace::default`] on, and looks whether they are this broker's.
    ///
    /// # Errors
    /// The store does not go on.
    pub async fn look(&self, from: RowPlace) -> Result<RowStep, StoreError> {
        self.parts.keys.check_rows(from).await
    }
}
