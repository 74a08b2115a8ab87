//! What a disconnect could not do.

use std::fmt;

use crate::{
    id::AgentName,
    revocation::{
        fault::{RevocationFault, RevocationProblem},
        sentences,
    },
};

/// What of a disconnect could not be done. Shown as a sentence, without its full stop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DisconnectProblem {
    /// The agent's files are what they were.
    NotCleared(AgentName),
    /// The grant is revoked when a renewal that is under way has ended.
    AfterRenewal,
    /// The grant is not revoked yet, and that is tried again.
    NotYet(RevocationProblem),
    /// The grant cannot be revoked from here.
    Unrevoked {
        /// Why.
        fault: RevocationFault,
        /// Where its owner can remove it, where that is known.
        connections: Option<String>,
    },
    /// Nobody can revoke a key from here.
    KeyLivesOn,
}

impl fmt::Display for DisconnectProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotCleared(agent) => write!(f, "the directory of the agent `{agent}` could not be cleared"),
            Self::AfterRenewal => f.write_str(sentences::AFTER_RENEWAL),
            Self::NotYet(why) => f.write_str(&sentences::not_yet(why)),
            Self::Unrevoked { fault, connections } => {
                f.write_str(&sentences::unrevoked(fault, connections.as_deref()))
            }
            Self::KeyLivesOn => f.write_str(
                "a service account has no grant to revoke: delete its key in the Google Cloud console",
            ),
        }
    }
}
