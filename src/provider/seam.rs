//! The seam to the outside world: what the broker asks of providers.

use std::pin::Pin;

use jiff::Timestamp;

use super::{
    conversation::{AccountKey, AssertionRequest, Consent, ConsentRequest, Identity, NoToken, TokenAnswer},
    error::ProviderError,
    file::InvalidGrantFile,
};
use crate::{
    capability::ScopeSet,
    cause::InvalidKeyFile,
    dpop::Possession,
    secret::{AccessToken, AuthorizationCode, PkceVerifier, RefreshToken},
};

/// What a provider's method returns.
pub type ProviderFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, ProviderError>> + Send + 'a>>;

/// What a provider's method returns whose answer may hold a grant.
pub type GrantFuture<'a> = Pin<Box<dyn Future<Output = Result<TokenAnswer, NoToken>> + Send + 'a>>;

/// A server at which people consent: its tokens are obtained with refresh tokens (RFC 6749).
pub trait ConsentProvider: Send + Sync + 'static {
    /// True when it is known beforehand that a refresh token stays the same however often it is used.
    fn keeps_grants(&self) -> bool {
        false
    }

    /// True when new grants are bound to a key of this broker's (RFC 9449).
    fn binds_grants(&self) -> bool {
        false
    }

    /// Begins a consent.
    fn consent<'a>(&'a self, request: &'a ConsentRequest<'a>) -> ProviderFuture<'a, Consent>;

    /// What a redirect without a code means: its `error`, and its words.
    fn refused_consent(&self, error: &str, description: Option<&str>) -> ProviderError;

    /// Whether a redirect may come from this provider, by the issuer that it names (RFC 9207): a code of another server's
    /// is sent to nobody.
    fn accepts_issuer<'a>(&'a self, _issuer: Option<&'a str>) -> ProviderFuture<'a, ()> {
        Box::pin(std::future::ready(Ok(())))
    }

    /// The server whose bindings begin with this, as people know it: its issuer, where they have another address of it.
    fn server_of(&self, bound_to: &str) -> String {
        bound_to.to_owned()
    }

    /// Exchanges the code of a redirect. The grant is bound to the key that is proven.
    fn exchange<'a>(
        &'a self,
        code: &'a AuthorizationCode,
        verifier: &'a PkceVerifier,
        proven: Option<Possession<'a>>,
    ) -> GrantFuture<'a>;

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

    /// Obtains an access token, narrowed to `scopes` literally. A grant that is bound to a key takes a proof of it.
    fn refresh<'a>(
        &'a self,
        token: &'a RefreshToken,
        scopes: &'a ScopeSet,
        proven: Option<Possession<'a>>,
    ) -> GrantFuture<'a>;

    /// Ends the grant and everything else of that account in the provider's project.
    fn revoke<'a>(&'a self, token: &'a RefreshToken) -> ProviderFuture<'a, ()>;

    /// Finds the refresh token in what somebody else keeps of a grant, unless that says that it belongs elsewhere.
    fn read_grant(&self, text: &str) -> Result<RefreshToken, InvalidGrantFile>;

    /// What the end of a grant that was connected then and refused now may be due to, in a sentence.
    fn explain_end(&self, _connected_at: Timestamp, _refused_at: Timestamp) -> Option<&'static str> {
        None
    }
}

/// A server that gives tokens for what a key signs (RFC 7523).
pub trait AssertionProvider: Send + Sync + 'static {
    /// Reads a key's file, and what was kept of one.
    fn read_key(&self, text: &str) -> Result<AccountKey, InvalidKeyFile>;

    /// Obtains an access token with a key.
    fn assert<'a>(&'a self, request: &'a AssertionRequest<'a>) -> ProviderFuture<'a, TokenAnswer>;
}
