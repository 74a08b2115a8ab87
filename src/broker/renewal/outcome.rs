//! What came of a renewal.

use std::{sync::Arc, time::Duration};

use crate::{
    broker::{registry::tokens::Cause, snapshot::IssuedToken},
    provider::{FailureKind, ProviderError},
};

/// What came of a renewal, for everybody who waited for it.
pub(in crate::broker) type Renewed = Result<Arc<IssuedToken>, Refused>;

/// Why there is no new token.
#[derive(Debug, Clone)]
pub(in crate::broker) struct Refused {
    pub(in crate::broker) kind: FailureKind,
    pub(in crate::broker) cause: Cause,
    pub(in crate::broker) message: String,
    /// When it is worth asking again: what the provider asked for at first, and then when it is tried next.
    pub(in crate::broker) retry_after: Option<Duration>,
}

impl Refused {
    pub(in crate::broker) fn gone() -> Self {
        let message = "The account was changed or disconnected meanwhile; ask again.".to_owned();
        Self {
            kind: FailureKind::Retry,
            cause: Cause::Other,
            message,
            retry_after: None,
        }
    }

    pub(in crate::broker) fn ending() -> Self {
        let message = "The daemon is ending; ask again when it is back.".to_owned();
        Self {
            message,
            ..Self::gone()
        }
    }

    pub(in crate::broker) fn operator(cause: Cause, message: String) -> Self {
        Self {
            kind: FailureKind::Operator,
            cause,
            message,
            retry_after: None,
        }
    }
}

/// A failure inside a renewal.
pub(in crate::broker) enum Failure {
    /// The account is not what it was: nothing is recorded.
    Gone,
    /// Neither the provider nor the owner is to blame: the database or the key.
    Local(Cause, String),
    /// The provider said no, or nothing.
    Provider(ProviderError),
}
