//! Why a grant does not work.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::ProviderCause;

/// Why a grant does not work. It is kept with the grant, so a new cause takes a new version of the database. Holds no secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GrantCause {
    /// The provider refused it.
    Refused(GrantRefusal),
    /// The provider announced that the app's permissions were removed.
    PermissionsRemoved {
        /// The account.
        account: String,
        /// When that was announced.
        announced_at: Timestamp,
    },
    /// The provider announced that it revoked the grant.
    GrantRevoked {
        /// The account.
        account: String,
        /// When that was announced.
        announced_at: Timestamp,
    },
    /// The provider announced that it disabled the account.
    AccountDisabled {
        /// The account.
        account: String,
        /// Why, in the provider's words; empty where it did not say.
        reason: String,
        /// When that was announced.
        announced_at: Timestamp,
    },
    /// The grant's row was written by somebody else.
    Altered {
        /// The account.
        account: String,
    },
    /// An earlier version kept this sentence.
    Written(String),
}

/// A grant that the provider refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantRefusal {
    /// What happened.
    pub cause: ProviderCause,
    /// When.
    pub refused_at: Timestamp,
    /// When the account was connected.
    pub connected_at: Option<Timestamp>,
    /// When a renewal began that was cut off before its answer was kept, where the one before this was.
    pub cut_off: Option<Timestamp>,
}
