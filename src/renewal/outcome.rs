//! What came of a renewal.

use std::{sync::Arc, time::Duration};

use crate::{
    provider::{FailureKind, ProviderError},
    registry::{snapshot::IssuedToken, tokens::Cause},
};

/// What came of a renewal, for everybody who waited for it.
pub(crate) type Renewed = Result<Arc<IssuedToken>, Refused>;

/// Why there is no new token.
#[derive(Debug, Clone)]
pub(crate) struct Refused {
    pub(crate) kind: FailureKind,
    pub(crate) cause: Cause,
    pub(crate) message: String,
    /// When it is worth asking again: what the provider asked for at first, and then when it is tried next.
    pub(crate) retry_after: Option<Duration>,
}

impl Refused {
    pub(crate) fn gone() -> Self {
        let message = "The account was changed or disconnected meanwhile; ask again.".to_owned();
        Self {
            kind: FailureKind::Retry,
            cause: Cause::Other,
            message,
            retry_after: None,
        }
    }

    pub(crate) fn ending() -> Self {
        let message = "The daemon is ending; ask again when it is back.".to_owned();
        Self {
            message,
            ..Self::gone()
        }
    }

    pub(crate) fn operator(cause: Cause, message: String) -> Self {
        Self {
            kind: FailureKind::Operator,
            cause,
            message,
            retry_after: None,
        }
    }
}

/// A failure inside a renewal.
pub(crate) enum Failure {
    /// The account is not what it was: nothing is recorded.
    Gone,
    /// Neither the provider nor the owner is to blame: the database or the key.
    Local(Cause, String),
    /// The provider said no, or nothing.
    Provider(ProviderError),
    /// The provider did not accept the grant, and gave another one with its answer.
    Replaced(ProviderError),
}
