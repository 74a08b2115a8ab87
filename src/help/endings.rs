//! Which topic tells of a consent that did not end well.

use crate::broker::ConnectError;

/// The slug of the topic about a consent that did not end well.
pub(crate) fn of_connect(error: &ConnectError) -> &'static str {
    match error {
        ConnectError::Capability(_) => "unknown-capability",
        ConnectError::NoCapability => "invalid-request",
        ConnectError::SeveralProviders(_)
        | ConnectError::ProviderUnsaid(_)
        | ConnectError::UnknownProvider { .. }
        | ConnectError::OtherProvider { .. } => "several-providers",
        ConnectError::OtherIssuer { .. } => "other-server",
        ConnectError::ReturnUrl(_) => "return-address",
        ConnectError::TooMany => "too-many-connections",
        ConnectError::BadRedirect(_) => "incomplete-address",
        ConnectError::UnknownState | ConnectError::UnknownConnect(_) => "link-used",
        ConnectError::OtherBrowser => "ended-already",
        ConnectError::OtherSession => "other-session",
        ConnectError::TimedOut(_) => "consent-timed-out",
        ConnectError::Denied(_, at) => at.topics.declined,
        ConnectError::NothingGranted(at) => at.topics.nothing_granted,
        ConnectError::Provider(error, at) => error.help(at.topics),
        ConnectError::NoRefreshToken(at) => at.topics.no_refresh_token,
        ConnectError::UnknownAccount(_) => "no-such-account",
        ConnectError::ServiceAccount(_) => "nobody-consents",
        ConnectError::Ambiguous(_) => "several-accounts",
        ConnectError::OtherAccount { .. } | ConnectError::NotThatAccount { .. } => "other-account",
        ConnectError::ConnectedAlready { .. } => "connected-already",
        ConnectError::Narrower { .. } => "narrower-grant",
        ConnectError::RevokedMeanwhile { .. } => "revoked-meanwhile",
        ConnectError::Store(_) => "account-not-kept",
    }
}
