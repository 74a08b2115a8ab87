//! What went wrong at the provider, by who can act.

use std::{fmt, time::Duration};

use super::{
    failure::{Failure, Remedy},
    help_topics::HelpTopics,
    sentences::{self, Recognized, Retried},
};
use crate::{
    cause::{DiscoveryFault, IdTokenFault, InvalidKeyFile, ProviderCause, Refusal, UnusableAnswer},
    clock::Moment,
    http_client::TransportError,
};

/// What went wrong at the provider. Holds no secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ProviderError {
    /// Who can act.
    pub kind: Remedy,
    /// What happened.
    pub cause: Box<ProviderCause>,
    /// What a refusal is recognized by.
    pub known: Option<Recognized>,
    /// How long the provider asked to wait.
    pub retry_after: Option<Duration>,
    /// The provider's own time, from the `Date` header of a refusal. Boxed: few have a use for it.
    pub server_time: Option<Box<Moment>>,
}

/// What went wrong at the provider, whenever that was: of two that are equal the same is said. Holds no secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderFault {
    /// What happened.
    pub cause: Box<ProviderCause>,
    /// What a refusal is recognized by.
    pub known: Option<Recognized>,
}

impl From<ProviderError> for ProviderFault {
    fn from(error: ProviderError) -> Self {
        Self {
            cause: error.cause,
            known: error.known,
        }
    }
}

impl fmt::Display for ProviderFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&sentences::provider(
            &self.cause,
            self.known.as_ref(),
            Retried::ByItself,
        ))
    }
}

impl fmt::Display for ProviderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sentence(Retried::ByItself))
    }
}

impl ProviderError {
    /// True when the provider may have done what it was asked without its answer arriving.
    pub fn is_unanswered(&self) -> bool {
        match &*self.cause {
            ProviderCause::NoAnswer { error, .. } => !matches!(
                error,
                TransportError::NoRoots(_)
                    | TransportError::Certificate(_)
                    | TransportError::ProxyCredentials(_)
            ),
            ProviderCause::Unusable(_) => true,
            _ => false,
        }
    }

    /// True when the provider says that it has not done what it was asked, for want of time: it may be asked for the same
    /// again (RFC 9110, section 15.6.4; RFC 6585, section 4).
    pub fn is_too_busy(&self) -> bool {
        matches!(&*self.cause, ProviderCause::Refused(refusal) if matches!(refusal.status, 429 | 503))
    }

    /// The provider's `error`, where it gave one.
    pub fn oauth_error(&self) -> Option<&str> {
        match &*self.cause {
            ProviderCause::Refused(refusal) => refusal.error.as_deref(),
            ProviderCause::ConsentRefused { error, .. } => Some(error),
            _ => None,
        }
    }

    /// What is wrong and what to do.
    pub fn sentence(&self, retried: Retried) -> String {
        sentences::provider(&self.cause, self.known.as_ref(), retried)
    }

    /// The page that explains it to people, `/help/<slug>`. `topics` are those of the provider that was asked.
    pub fn help(&self, topics: &HelpTopics) -> &'static str {
        if let Some(known) = &self.known {
            return known.row.help;
        }
        match &*self.cause {
            ProviderCause::NoAnswer { error, .. } => match error {
                TransportError::NoRoots(_) | TransportError::Certificate(_) => topics.certificate,
                TransportError::TooLarge(_) | TransportError::Encoding(_) => topics.unusable_answer,
                TransportError::ProxyCredentials(_) => topics.proxy_credentials,
                TransportError::NoConnection | TransportError::Timeout(_) | TransportError::Network(_) => {
                    topics.no_connection
                }
            },
            ProviderCause::IdToken(_) => topics.identity_unproven,
            ProviderCause::KeyUnusable { .. } => "service-account-key-refused",
            ProviderCause::Discovery(_) => "server-refuses-client",
            ProviderCause::Refused(_)
            | ProviderCause::ConsentRefused { .. }
            | ProviderCause::NoRevocationEndpoint
            | ProviderCause::Unusable(_) => topics.unusable_answer,
        }
    }

    fn new(kind: Remedy, cause: ProviderCause) -> Self {
        Self {
            kind,
            cause: Box::new(cause),
            known: None,
            retry_after: None,
            server_time: None,
        }
    }

    /// An answer by which the provider of this name refuses, which this row recognizes.
    pub fn refused(row: &'static Failure, provider: &str, refusal: Refusal) -> Self {
        Self::recognized(row, provider, ProviderCause::Refused(refusal))
    }

    /// A refusal of the provider of this name, which this row recognizes.
    pub(in crate::provider) fn recognized(
        row: &'static Failure,
        provider: &str,
        cause: ProviderCause,
    ) -> Self {
        let provider = provider.into();
        Self {
            known: Some(Recognized { row, provider }),
            ..Self::new(row.kind, cause)
        }
    }

    /// An id token that proves nothing.
    pub(crate) fn id_token(fault: IdTokenFault) -> Self {
        let kind = match &fault {
            IdTokenFault::OtherIssuer { .. }
            | IdTokenFault::OtherClient { .. }
            | IdTokenFault::Expired { .. }
            | IdTokenFault::IssuedLater { .. }
            | IdTokenFault::ShortKey { .. }
            | IdTokenFault::NoUserinfoEndpoint => Remedy::Operator,
            IdTokenFault::Unreadable(_)
            | IdTokenFault::Signature
            | IdTokenFault::MissingClaim(_)
            | IdTokenFault::OtherConsent
            | IdTokenFault::NoSubject
            | IdTokenFault::UnknownKey { .. }
            | IdTokenFault::OtherServer { .. } => Remedy::Reconnect,
        };
        Self::new(kind, ProviderCause::IdToken(fault))
    }

    /// An answer that cannot be used.
    pub fn unusable(answer: UnusableAnswer) -> Self {
        // Asking again would bring the same.
        let kind = if answer.is_bound_token() {
            Remedy::Operator
        } else {
            Remedy::Retry
        };
        Self::new(kind, ProviderCause::Unusable(answer))
    }

    /// What a server says of itself is of no use. The operator has to mend it: asking again would not.
    pub(in crate::provider) fn discovery(fault: DiscoveryFault) -> Self {
        Self::new(Remedy::Operator, ProviderCause::Discovery(fault))
    }

    /// There is no endpoint that revokes grants.
    pub(in crate::provider) fn no_revocation_endpoint() -> Self {
        Self::new(Remedy::Reconnect, ProviderCause::NoRevocationEndpoint)
    }

    /// The key of this account does not sign.
    pub(in crate::provider) fn key_unusable(account: &str, fault: InvalidKeyFile) -> Self {
        let cause = ProviderCause::KeyUnusable {
            account: account.to_owned(),
            fault,
        };
        Self::new(Remedy::Operator, cause)
    }

    /// No answer from `host`.
    pub fn transport(host: &str, error: TransportError) -> Self {
        let kind = match &error {
            TransportError::ProxyCredentials(_) => Remedy::Operator,
            _ => Remedy::Retry,
        };
        let host = host.to_owned();
        Self::new(kind, ProviderCause::NoAnswer { host, error })
    }
}
