//! What came of a renewal.

use std::{sync::Arc, time::Duration};

use crate::{
    provider::{ProviderError, Remedy},
    registry::{renewal_fault::RenewalFault, snapshot::IssuedToken, tokens::Cause},
};

/// What came of a renewal, for everybody who waited for it.
pub(crate) type Renewed = Result<Arc<IssuedToken>, Refused>;

/// Why there is no new token.
#[derive(Debug, Clone)]
pub(crate) struct Refused {
    pub(crate) kind: Remedy,
    pub(crate) cause: Cause,
    pub(crate) fault: RenewalFault,
    /// When it is worth asking again: what the provider asked for at first, and then when it is tried next.
    pub(crate) retry_after: Option<Duration>,
}

impl Refused {
    pub(crate) fn gone() -> Self {
        Self::passing(RenewalFault::AccountChanged)
    }

    pub(crate) fn ending() -> Self {
        Self::passing(RenewalFault::Ending)
    }

    fn passing(fault: RenewalFault) -> Self {
        Self {
            kind: Remedy::Retry,
            cause: Cause::Other,
            fault,
            retry_after: None,
        }
    }

    pub(crate) fn operator(cause: Cause, fault: RenewalFault) -> Self {
        Self {
            kind: Remedy::Operator,
            cause,
            fault,
            retry_after: None,
        }
    }
}

/// A failure inside a renewal.
pub(crate) enum Failure {
    /// The account is not what it was: nothing is recorded.
    Gone,
    /// Neither the provider nor the owner is to blame: the database or the key.
    Local(Cause, RenewalFault),
    /// The provider said no, or nothing.
    Provider(ProviderError),
    /// The provider did not accept the grant, and gave another one with its answer.
    Replaced(ProviderError),
}
