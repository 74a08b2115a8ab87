//! Why a grant that was given up here is not revoked, and how what was owed ends, as data. What is said of it is in
//! `revocation::sentences`.

use std::sync::Arc;

use crate::{
    provider::{ProviderError, ProviderFault},
    store::StoreError,
    telemetry::audit::Decision,
    vault::VaultError,
};

/// Why a grant could not be revoked. Holds no secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RevocationFault {
    /// It belongs to this OAuth client and token endpoint, which no provider in the configuration has.
    OtherBinding(Arc<str>),
    /// Its record could not be read.
    UnreadableRecord,
    /// It does not open.
    Sealed(VaultError),
    /// It is not text.
    NotText,
    /// The provider did not revoke it.
    Provider(ProviderFault),
}

impl From<ProviderError> for RevocationFault {
    fn from(error: ProviderError) -> Self {
        Self::Provider(error.into())
    }
}

/// How a revocation that was owed ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RevocationEnding {
    /// The provider revoked the grant.
    Revoked,
    /// It is not asked for any more: the account was connected again.
    ConnectedAgain,
    /// It cannot be done from here.
    GivenUp(RevocationFault),
}

impl RevocationEnding {
    /// How the trail counts it.
    pub(crate) fn decision(&self) -> Decision {
        match self {
            Self::Revoked => Decision::Allowed,
            Self::ConnectedAgain => Decision::Denied,
            Self::GivenUp(_) => Decision::Failed,
        }
    }
}

/// Why a revocation is still owed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RevocationProblem {
    /// It could not be done.
    Fault(RevocationFault),
    /// It has ended, and the database still has it.
    NotDeleted {
        /// How it ended.
        ending: RevocationEnding,
        /// Why it could not be deleted.
        error: Arc<StoreError>,
    },
}

impl From<RevocationFault> for RevocationProblem {
    fn from(fault: RevocationFault) -> Self {
        Self::Fault(fault)
    }
}
