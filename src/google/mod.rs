//! The OAuth client for Google, as the broker sees it.
//!
//! [`Provider`] is the seam to the outside world; [`Client`] implements it over HTTPS.

mod authorize;
pub mod authorized_user;
pub mod classify;
mod client;
mod code;
pub mod endpoints;
pub mod error;
mod fields;
#[cfg(fuzzing)]
pub mod fuzz;
mod idtoken;
mod jwks;
mod jws;
mod pem;
pub mod redirect;
mod refusal;
mod revocation;
pub mod risc;
mod scrub;
mod seconds;
pub mod service_account;
#[cfg(test)]
mod testing;
mod token;

use std::{pin::Pin, sync::Arc, time::Duration};

use jiff::Timestamp;

use crate::{
    catalog::ScopeSet,
    clock::Moment,
    secret::{AccessToken, AuthorizationCode, PkceVerifier, RefreshToken, StateToken},
};

pub use self::{
    classify::{FailureKind, testing_mode_hint},
    client::{Client, ClientOptions},
    endpoints::Endpoints,
    error::ProviderError,
    redirect::Redirect,
    service_account::{InvalidKeyFile, ServiceAccountKey},
};

/// What a provider's method returns.
pub type ProviderFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, ProviderError>> + Send + 'a>>;

/// What a provider's method returns whose answer may hold a grant.
pub type GrantFuture<'a> = Pin<Box<dyn Future<Output = Result<TokenAnswer, NoToken>> + Send + 'a>>;

/// A provider shared by the parts of the program.
pub type SharedProvider = Arc<dyn Provider>;

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
    pub key: &'a ServiceAccountKey,
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

/// Google, or what is shaped like it.
pub trait Provider: Send + Sync + 'static {
    /// The OAuth client and token endpoint that grants belong to, such as
    /// `https://oauth2.googleapis.com/token#<client_id>`.
    fn authority(&self) -> &str;

    /// The OAuth client's id.
    fn client_id(&self) -> &str;

    /// Where tokens are asked for, such as `https://oauth2.googleapis.com/token`: what service accounts' keys belong to.
    fn token_endpoint(&self) -> &str;

    /// True when it is known beforehand that a refresh token stays the same however often it is used.
    fn keeps_grants(&self) -> bool {
        false
    }

    /// Begins a consent.
    fn consent(&self, request: &ConsentRequest<'_>) -> Result<Consent, ProviderError>;

    /// Exchanges the code of a redirect.
    fn exchange<'a>(&'a self, code: &'a AuthorizationCode, verifier: &'a PkceVerifier) -> GrantFuture<'a>;

    /// Checks an id token (signature, `iss`, `aud`, `exp`, `nonce`) and says whose it is. Without a nonce the id token
    /// came with a refresh: it belongs to no consent of ours. `now` is the present moment, as the provider's clock shows
    /// it.
    fn identify<'a>(
        &'a self,
        id_token: &'a str,
        nonce: Option<&'a str>,
        now: Timestamp,
    ) -> ProviderFuture<'a, Identity>;

    /// Asks whose an access token is (`OpenID` Connect Core 1.0, section 5.3).
    fn userinfo<'a>(&'a self, token: &'a AccessToken) -> ProviderFuture<'a, Identity>;

    /// Obtains an access token, narrowed to `scopes` literally.
    fn refresh<'a>(&'a self, token: &'a RefreshToken, scopes: &'a ScopeSet) -> GrantFuture<'a>;

    /// Obtains an access token with a service account's key.
    fn assert<'a>(&'a self, request: &'a AssertionRequest<'a>) -> ProviderFuture<'a, TokenAnswer>;

    /// Ends the grant and everything else of that account in the provider's project.
    fn revoke<'a>(&'a self, token: &'a RefreshToken) -> ProviderFuture<'a, ()>;
}
