//! The keyring in use: opened by its seal at the start, rotated, sealed anew, looked at.
//!
//! Each row lies under a key of the keyring ([`crate::vault`]); the keys lie in the database, wrapped by a seal
//! ([`crate::seal`]). The seal is asked at the start and when keys change: while it is away, nothing else stops.
//!
//! A rotation takes four steps, each of them a commit, so that it goes on wherever it was cut off: the new key is *pending*;
//! it is *active*, and the one before is *retiring*; its rows are moved, some at a time; it is *retired*. The vault changes
//! its keys between the commits: from an activation on, whatever is written lies under the new key, so one walk over the rows
//! finds all that is left under the old one.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::{seal::Seal, telemetry::audit::Actor, vault::KeyId};

mod error;
mod inspection;
mod opening;
mod parts;
mod resealing;
mod restoring;
mod rotation;
mod seals;
#[cfg(test)]
mod tests;

pub use error::KeyringError;
pub use inspection::{Inspection, KeyReport, KeyringReport};
pub use opening::{Opened, open, try_open};
pub use parts::KeyringParts;
pub use resealing::{Resealed, Resealing};
pub use restoring::{for_restore, replaced_since};
pub use rotation::{Progress, Rotation};
pub use seals::Seals;

/// What can be done with the keyring while it is in use.
pub struct KeyringCases {
    /// Another key becomes the active one.
    pub rotation: Rotation,
    /// Another seal wraps it.
    pub resealing: Resealing,
    /// What it is.
    pub inspection: Inspection,
}

impl KeyringCases {
    /// Makes another key the active one ([`Rotation::rotate`]), also where nobody waits for it any more: between the commit and
    /// the change of the keys in use, nothing may be cut off.
    ///
    /// # Errors
    /// The seal or the store does not do it: nothing has changed.
    pub async fn rotate(self: &Arc<Self>, actor: Actor) -> Result<KeyId, KeyringError> {
        let this = Arc::clone(self);
        whole(tokio::spawn(async move { this.rotation.rotate(actor).await })).await
    }

    /// Wraps every key anew ([`Resealing::reseal`]), in the same way.
    ///
    /// # Errors
    /// The seal or the store does not do it: nothing has changed.
    pub async fn reseal(self: &Arc<Self>, to: Option<Seal>, actor: Actor) -> Result<Resealed, KeyringError> {
        let this = Arc::clone(self);
        whole(tokio::spawn(
            async move { this.resealing.reseal(to, actor).await },
        ))
        .await
    }

    /// Keeps the keyring as the configuration wants it, and moves what lies under retiring keys. Until `shutdown`.
    pub async fn keep(&self, shutdown: CancellationToken) {
        // What a seal is asked may take long; nothing else waits for it.
        let follow = async {
            tokio::select! {
                () = self.resealing.follow_configuration() => {}
                () = shutdown.cancelled() => {}
            }
        };
        tokio::join!(follow, self.rotation.run(shutdown.clone()));
    }
}

/// What a task came to. It is cut off where the runtime ends alone.
async fn whole<T>(task: tokio::task::JoinHandle<Result<T, KeyringError>>) -> Result<T, KeyringError> {
    task.await.unwrap_or_else(|_| Err(KeyringError::CutOff))
}
