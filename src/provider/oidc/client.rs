//! The client for such a server: the first request reads where it is.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use tokio::sync::OnceCell;

use super::{discovery, failure_table::FAILURES, settings::Settings};
use crate::{
    capability::ScopeSet,
    cause::DiscoveryFault,
    clock::Uptime,
    dpop::Possession,
    http_client::Http,
    provider::{
        context::ProviderContext,
        conversation::{Consent, ConsentRequest, Identity},
        error::ProviderError,
        file::InvalidGrantFile,
        oauth::{self, Dialect, refused_consent},
        seam::{ConsentProvider, GrantFuture, ProviderFuture},
    },
    secret::{AccessToken, AuthorizationCode, PkceVerifier, RefreshToken},
};

/// A refresh token is not longer.
const MAX_GRANT: usize = 16 * 1024;

/// `OpenID` Connect over HTTPS.
pub(super) struct Client {
    settings: Settings,
    context: ProviderContext,
    http: Http,
    /// As soon as the server has said where it is.
    oauth: OnceCell<oauth::Client>,
    /// Why it has not, the last time that it was asked.
    failure: Mutex<Option<(Uptime, ProviderError)>>,
}

impl Client {
    pub(super) fn new(settings: Settings, context: ProviderContext) -> Self {
        Self {
            http: Http::new(context.limits, context.egress.clone()),
            settings,
            context,
            oauth: OnceCell::new(),
            failure: Mutex::default(),
        }
    }

    /// The client of the server where it is. What could not be read is asked for again by the next request; who waited
    /// for an answer that did not come does not wait for another.
    async fn oauth(&self) -> Result<&oauth::Client, ProviderError> {
        let asked_at = self.context.clock.uptime();
        let discover = || async {
            if let Some((failed_at, error)) = &*self.failure()
                && *failed_at >= asked_at
            {
                return Err(error.clone());
            }
            let found = self.discover().await;
            let failed = found.as_ref().err().cloned();
            *self.failure() = failed.map(|error| (self.context.clock.uptime(), error));
            found
        };
        self.oauth.get_or_try_init(discover).await
    }

    fn failure(&self) -> MutexGuard<'_, Option<(Uptime, ProviderError)>> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn discover(&self) -> Result<oauth::Client, ProviderError> {
        let found = discovery::read(&self.http, &self.settings.issuer).await?;
        if self.settings.dpop && !found.takes_proofs {
            let issuer = self.settings.issuer.to_string();
            return Err(ProviderError::discovery(DiscoveryFault::NoProofs { issuer }));
        }
        let options = oauth::ClientOptions {
            client_id: self.settings.client_id.clone(),
            client_secret: self.settings.client_secret.clone(),
            redirect_uri: self.context.redirect_uri.clone(),
            endpoints: found.endpoints,
            dialect: Arc::new(self.dialect(found.scopes.as_deref())),
            limits: self.context.limits,
            egress: self.context.egress.clone(),
        };
        let (clock, entropy) = (self.context.clock.clone(), self.context.entropy.clone());
        Ok(oauth::Client::new(options, clock, entropy))
    }

    /// `scopes` are those that the server says it has.
    fn dialect(&self, scopes: Option<&[String]>) -> Dialect {
        let setting = |name: &str| format!("{name} of the provider {}", self.settings.id);
        let has = |wanted: &str| scopes.map(|all| all.iter().any(|scope| scope == wanted));
        let email = has("email").unwrap_or(true).then_some("email");
        // It makes a server give refresh tokens (OpenID Connect Core 1.0, section 11), where the server has it.
        let offline = has("offline_access").unwrap_or(false).then_some("offline_access");
        Dialect {
            name: self.settings.name.clone(),
            failures: FAILURES,
            endpoint_setting: setting("issuer"),
            client_setting: setting("client_id"),
            sign_in_scopes: ["openid"]
                .into_iter()
                .chain(email)
                .chain(offline)
                .map(str::to_owned)
                .collect(),
            // Many servers give a refresh token with a consent alone (OpenID Connect Core 1.0, section 11).
            authorize_parameters: vec![("prompt".to_owned(), "consent".to_owned())],
            adds_granted: None,
            binds_grants: self.settings.dpop,
            names_key: self.settings.dpop,
            keeps_grants: false,
        }
    }
}

impl ConsentProvider for Client {
    fn binds_grants(&self) -> bool {
        self.settings.dpop
    }

    fn consent<'a>(&'a self, request: &'a ConsentRequest<'a>) -> ProviderFuture<'a, Consent> {
        Box::pin(async move { Ok(self.oauth().await?.consent(request)) })
    }

    fn refused_consent(&self, error: &str, description: Option<&str>) -> ProviderError {
        refused_consent(&self.dialect(None), error, description)
    }

    fn accepts_issuer<'a>(&'a self, issuer: Option<&'a str>) -> ProviderFuture<'a, ()> {
        Box::pin(async move { self.oauth().await?.accept_issuer(issuer) })
    }

    fn exchange<'a>(
        &'a self,
        code: &'a AuthorizationCode,
        verifier: &'a PkceVerifier,
        proven: Option<Possession<'a>>,
    ) -> GrantFuture<'a> {
        Box::pin(async move { self.oauth().await?.exchange(code, verifier, proven).await })
    }

    fn identify<'a>(
        &'a self,
        id_token: &'a str,
        nonce: Option<&'a str>,
        now: Timestamp,
    ) -> ProviderFuture<'a, Identity> {
        Box::pin(async move { self.oauth().await?.identify(id_token, nonce, now).await })
    }

    fn userinfo<'a>(&'a self, token: &'a AccessToken) -> ProviderFuture<'a, Identity> {
        Box::pin(async move { self.oauth().await?.userinfo(token).await })
    }

    fn refresh<'a>(
        &'a self,
        token: &'a RefreshToken,
        scopes: &'a ScopeSet,
        proven: Option<Possession<'a>>,
    ) -> GrantFuture<'a> {
        Box::pin(async move { self.oauth().await?.refresh(token, scopes, proven).await })
    }

    fn revoke<'a>(&'a self, token: &'a RefreshToken) -> ProviderFuture<'a, ()> {
        Box::pin(async move { self.oauth().await?.revoke(token).await })
    }

    fn read_grant(&self, text: &str) -> Result<RefreshToken, InvalidGrantFile> {
        let token = text.trim();
        let visible = token.bytes().all(|b| b.is_ascii_graphic());
        if token.is_empty() || token.len() > MAX_GRANT || !visible || token.starts_with('{') {
            return Err(InvalidGrantFile::NotToken);
        }
        Ok(token.into())
    }
}
