//! Why a seal does not do what it is asked for.

use crate::vault::KeyId;

/// Why a key is not wrapped or unwrapped. Holds no secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// It does not answer, is unhealthy, or does not let this process in at the moment: to be asked again later.
    #[error("the seal {seal} cannot be used at the moment: {reason}")]
    Away {
        /// The seal, as the configuration names it.
        seal: String,
        /// What it said or did, and what to do.
        reason: String,
    },
    /// This seal cannot have wrapped that: it is of another kind, or has another master key.
    #[error(
        "the key {key} was wrapped by {needed}, and the seal that is configured is {configured}: name the one that \
         wrapped it in key.source or key.previous"
    )]
    Foreign {
        /// The key that is wrapped.
        key: KeyId,
        /// The seal that wrapped it, and the seal's own key.
        needed: String,
        /// The seal that was asked.
        configured: String,
    },
    /// It answers, and what it encrypted is of no use: nothing was changed.
    #[error("the seal {seal} cannot be used to wrap keys: {reason}")]
    Unfit {
        /// The seal, as the configuration names it.
        seal: String,
        /// What is wrong with what it gave.
        reason: String,
    },
    /// It answers, and what it opened is not the key of this place: asking again does not help.
    #[error(
        "the seal {seal} does not give the key {key} back: {reason}; restore a backup of the database, or bring the seal \
         back to what it was when it wrapped the key"
    )]
    Refused {
        /// The seal, as the configuration names it.
        seal: String,
        /// The key that is wrapped.
        key: KeyId,
        /// What is wrong with what it gave.
        reason: String,
    },
}

/// Why who wraps is of no use. The seal that asked makes a [`SealError`] of it.
#[derive(Debug)]
pub(super) enum Problem {
    /// Not at the moment: [`SealError::Away`].
    Away(String),
    /// What it gives is wrong: [`SealError::Unfit`] of what it wraps, [`SealError::Refused`] of what it unwraps.
    Wrong(String),
}

#[cfg(test)]
impl Problem {
    /// Why it is away.
    pub(super) fn away(self) -> String {
        match self {
            Self::Away(reason) => reason,
            Self::Wrong(reason) => panic!("refused: {reason}"),
        }
    }

    /// Why it is wrong.
    pub(super) fn wrong(self) -> String {
        match self {
            Self::Wrong(reason) => reason,
            Self::Away(reason) => panic!("away: {reason}"),
        }
    }
}

impl Problem {
    /// What it is, whatever follows from it.
    pub(super) fn into_reason(self) -> String {
        match self {
            Self::Away(reason) | Self::Wrong(reason) => reason,
        }
    }
}
