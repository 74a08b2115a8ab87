//! The ways in which a consent can end badly.

use crate::{google::ProviderError, id::OwnerId};

/// A consent that did not end well. Holds no secret.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ConnectError {
    /// A key that the catalogue does not have, or that no person can grant.
    #[error("{0}")]
    Capability(String),
    /// Not an address that the configuration allows.
    #[error(
        "the return URL {0} is not allowed: list its origin under `return_url_origins` in the `[connect]` section"
    )]
    ReturnUrl(String),
    /// Too many at once.
    #[error("too many consents are under way; finish some, or wait until they expire")]
    TooMany,
    /// The redirect does not parse.
    #[error("this is not a redirect from the provider: {0}")]
    BadRedirect(String),
    /// No consent has this state: used already, expired, or never begun here.
    #[error("this consent has been used already or has expired; begin again")]
    UnknownState,
    /// No consent has this id.
    #[error("there is no consent {0} under way; begin again")]
    UnknownConnect(String),
    /// Nobody came back in time.
    #[error(
        "no answer came back from Google in time. If Google showed a page of its own instead, it names the reason: \
         access blocked by an administrator (admin_policy_enforced), an internal-only app (org_internal), a deleted \
         or unknown client (deleted_client, invalid_client), an embedded browser (disallowed_useragent), a redirect \
         address that is not registered (redirect_uri_mismatch), or an invalid request (invalid_request)"
    )]
    TimedOut,
    /// The person said no.
    #[error("the permission was not given: {0} pressed Cancel, or Google refused. Nothing was changed")]
    Denied(OwnerId),
    /// Every box was unticked.
    #[error("none of the permissions was given: tick at least one on Google's page. Nothing was changed")]
    NothingGranted,
    /// Google answered the redirect or the exchange with an error.
    #[error("{0}")]
    Provider(ProviderError),
    /// Google gave no refresh token.
    #[error(
        "Google gave no lasting permission (no refresh token), so access would end within the hour. Remove this \
         app at https://myaccount.google.com/connections, then connect again. Nothing was changed"
    )]
    NoRefreshToken,
    /// A reconnect must be the same account.
    #[error(
        "the owner {owner} has connected {expected}, but {got} was chosen this time. Choose {expected} on Google's page, or \
         disconnect it first. Nothing was changed"
    )]
    OtherAccount {
        /// Whose.
        owner: OwnerId,
        /// The connected account.
        expected: String,
        /// The account that consented.
        got: String,
    },
    /// The grant could not be kept.
    #[error("the account could not be kept: {0}. Nothing was changed")]
    Store(String),
}
