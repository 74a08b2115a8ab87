//! What is asked of a provider, and what it answers.

use std::time::Duration;

use jiff::Timestamp;
use zeroize::Zeroizing;

use super::error::ProviderError;
use crate::{
    capability::ScopeSet,
    clock::Moment,
    dpop::ProofKey,
    secret::{AccessToken, PkceVerifier, RefreshToken, StateToken},
};

/// What a consent asks for.
pub struct ConsentRequest<'a> {
    /// The scopes; `openid` and the address are added by the provider.
    pub scopes: &'a ScopeSet,
    /// What was granted before, when permissions are added.
    pub granted: Option<&'a ScopeSet>,
    /// The account to pre-select: its address or `sub`.
    pub login_hint: Option<&'a str>,
}

/// What a service account asks for.
#[derive(Clone, Copy)]
pub struct AssertionRequest<'a> {
    /// With which key.
    pub key: &'a AccountKey,
    /// For whom it speaks, where that is not itself (domain-wide delegation).
    pub subject: Option<&'a str>,
    /// The scopes, literally.
    pub scopes: &'a ScopeSet,
    /// The present moment, as the provider's clock shows it.
    pub now: Timestamp,
}

/// A consent that has begun: what to open, and what to keep until it comes back.
pub struct Consent {
    /// Where the person's browser has to go.
    pub authorization_url: url::Url,
    /// Comes back with the redirect.
    pub state: StateToken,
    /// Comes back inside the id token.
    pub nonce: String,
    /// Proves that the exchange comes from whoever began (RFC 7636).
    pub verifier: PkceVerifier,
    /// What the grant is to be bound to, where grants of this provider are (RFC 9449).
    pub proof_key: Option<ProofKey>,
    /// The answer tells all that the account granted, also before (`include_granted_scopes`). Without it, it tells
    /// what was given this time, and an earlier grant may live on beside it.
    pub cumulative: bool,
}

/// A successful answer of the token endpoint.
pub struct TokenAnswer {
    /// The access token.
    pub access_token: AccessToken,
    /// How long it lives: it is counted from when it was asked for, so that it is never overstated.
    pub expires_in: Duration,
    /// What it carries; `None` when the answer does not say, which means: what was asked for.
    pub scopes: Option<ScopeSet>,
    /// A refresh token, where the answer has one that is not the one that was sent.
    pub refresh_token: Option<RefreshToken>,
    /// How long the refresh token lives, where the answer says so.
    pub refresh_token_expires_in: Option<Duration>,
    /// An id token, unchecked.
    pub id_token: Option<String>,
    /// The provider's own time, from the `Date` header.
    pub server_time: Option<Moment>,
}

/// An answer without an access token that can be used.
pub struct NoToken {
    /// Why.
    pub error: Box<ProviderError>,
    /// A refresh token that could be read all the same. Nothing else holds it, and the one before it may be spent.
    pub refresh_token: Option<RefreshToken>,
    /// How long that one lives, where the answer says so.
    pub refresh_token_expires_in: Option<Duration>,
}

impl From<ProviderError> for NoToken {
    fn from(error: ProviderError) -> Self {
        Self {
            error: Box::new(error),
            refresh_token: None,
            refresh_token_expires_in: None,
        }
    }
}

/// Who consented.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The account's id, which never changes.
    pub subject: String,
    /// The account's address, which can.
    pub email: String,
}

/// A key of an account that nobody consents for, read from its file. No `Debug`: it holds a secret.
pub struct AccountKey {
    /// The account's address: what files are shared with.
    pub address: String,
    /// The key's own name.
    pub id: String,
    /// The account's number at the provider; empty where the file does not tell.
    pub client_id: String,
    /// What is kept of the file: it reads back.
    pub text: Zeroizing<Vec<u8>>,
}
