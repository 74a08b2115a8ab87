//! Why the keyring is not opened, or not changed.

use crate::{
    seal::SealError,
    store::{KeyringFault, StoreError},
    vault::KeyId,
};

/// Why it is not. Holds no secret.
#[derive(Debug, thiserror::Error)]
pub enum KeyringError {
    /// The seal does not do it.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// The store does not.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Somebody else wrote it.
    #[error(transparent)]
    Altered(#[from] KeyringFault),
    /// Rows lie under a master key itself, from before there was a keyring, and no source of the configuration has that key.
    #[error(
        "the database is sealed with master key {0}, and neither key.source nor key.previous has it: put it there; nothing \
         else opens what is sealed with it"
    )]
    NoMasterKey(KeyId),
    /// The daemon ended meanwhile.
    #[error("the daemon goes down: `token-broker key status` says after its next start what became of it")]
    CutOff,
}

impl KeyringError {
    /// Whether the seal is away, and may do it later.
    pub fn is_away(&self) -> bool {
        matches!(self, Self::Seal(SealError::Away { .. }))
    }
}
