//! Google's OAuth, for people and for service accounts.

use std::sync::Arc;

use jiff::Timestamp;
use url::Url;

use super::{
    authorized_user,
    endpoints::{Endpoints, issuer_at},
    failure_table::{FAILURES, testing_mode_hint},
    service_account::ServiceAccountKey,
};
use crate::{
    capability::ScopeSet,
    cause::{InvalidKeyFile, NotKeyFile},
    clock::SharedClock,
    config::ClientType,
    dpop::Possession,
    entropy::SharedEntropy,
    http_client::{Egress, Limits},
    provider::{
        conversation::{AccountKey, AssertionRequest, Consent, ConsentRequest, Identity, TokenAnswer},
        error::ProviderError,
        file::InvalidGrantFile,
        oauth::{self, Dialect, refused_consent},
        seam::{AssertionProvider, ConsentProvider, GrantFuture, ProviderFuture},
    },
    secret::{AccessToken, AuthorizationCode, ClientSecret, PkceVerifier, RefreshToken},
};

/// What the operator configured. No `Debug`: it holds the client's secret.
#[derive(Clone)]
pub struct ClientOptions {
    /// `….apps.googleusercontent.com`
    pub client_id: String,
    /// The client's secret, where it has one.
    pub client_secret: Option<ClientSecret>,
    /// What kind of client it is.
    pub client_type: ClientType,
    /// Where consents come back to, exactly as it is registered.
    pub redirect_uri: Url,
    /// New grants are bound to a key (RFC 9449).
    pub dpop: bool,
    /// Where Google is.
    pub endpoints: Endpoints,
    /// What a request may take.
    pub limits: Limits,
    /// How it is reached.
    pub egress: Egress,
}

/// How Google wants to be asked.
pub(crate) fn dialect(client_type: ClientType, endpoints: &Endpoints) -> Dialect {
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    Dialect {
        name: "Google".to_owned(),
        failures: FAILURES,
        endpoint_setting: "google.endpoint_base".to_owned(),
        client_setting: "google.client_id".to_owned(),
        sign_in_scopes: ["openid", "email"].map(str::to_owned).to_vec(),
        authorize_parameters: vec![
            pair("access_type", "offline"),
            // Without it a second consent yields no refresh token.
            pair("prompt", "consent"),
        ],
        // A desktop client has to ask again for what was granted before.
        adds_granted: (client_type == ClientType::Web).then(|| pair("include_granted_scopes", "true")),
        binds_grants: false,
        // Google documents no such parameter, and refuses some that it does not expect.
        names_key: false,
        keeps_grants: endpoints.is_googles(),
    }
}

/// Google's OAuth over HTTPS.
pub struct Client {
    oauth: oauth::Client,
    token_endpoint: String,
}

impl Client {
    /// Opens no connection yet: a machine without trusted certificates, say, learns so at the first request.
    pub fn new(options: ClientOptions, clock: SharedClock, entropy: SharedEntropy) -> Self {
        let dialect = Arc::new(Dialect {
            binds_grants: options.dpop,
            ..dialect(options.client_type, &options.endpoints)
        });
        let oauth = oauth::ClientOptions {
            client_id: options.client_id,
            client_secret: options.client_secret,
            redirect_uri: options.redirect_uri,
            endpoints: options.endpoints.oauth(),
            dialect,
            limits: options.limits,
            egress: options.egress,
        };
        Self {
            token_endpoint: options.endpoints.token.to_string(),
            oauth: oauth::Client::new(oauth, clock, entropy),
        }
    }
}

impl ConsentProvider for Client {
    fn keeps_grants(&self) -> bool {
        self.oauth.options().dialect.keeps_grants
    }

    fn binds_grants(&self) -> bool {
        self.oauth.options().dialect.binds_grants
    }

    fn consent<'a>(&'a self, request: &'a ConsentRequest<'a>) -> ProviderFuture<'a, Consent> {
        Box::pin(async move { Ok(self.oauth.consent(request)) })
    }

    fn refused_consent(&self, error: &str, description: Option<&str>) -> ProviderError {
        refused_consent(&self.oauth.options().dialect, error, description)
    }

    fn accepts_issuer<'a>(&'a self, issuer: Option<&'a str>) -> ProviderFuture<'a, ()> {
        Box::pin(std::future::ready(self.oauth.accept_issuer(issuer)))
    }

    fn server_of(&self, bound_to: &str) -> String {
        issuer_at(bound_to)
    }

    fn exchange<'a>(
        &'a self,
        code: &'a AuthorizationCode,
        verifier: &'a PkceVerifier,
        proven: Option<Possession<'a>>,
    ) -> GrantFuture<'a> {
        Box::pin(self.oauth.exchange(code, verifier, proven))
    }

    fn identify<'a>(
        &'a self,
        id_token: &'a str,
        nonce: Option<&'a str>,
        now: Timestamp,
    ) -> ProviderFuture<'a, Identity> {
        Box::pin(self.oauth.identify(id_token, nonce, now))
    }

    fn userinfo<'a>(&'a self, token: &'a AccessToken) -> ProviderFuture<'a, Identity> {
        Box::pin(self.oauth.userinfo(token))
    }

    fn refresh<'a>(
        &'a self,
        token: &'a RefreshToken,
        scopes: &'a ScopeSet,
        proven: Option<Possession<'a>>,
    ) -> GrantFuture<'a> {
        Box::pin(self.oauth.refresh(token, scopes, proven))
    }

    fn revoke<'a>(&'a self, token: &'a RefreshToken) -> ProviderFuture<'a, ()> {
        Box::pin(self.oauth.revoke(token))
    }

    fn read_grant(&self, text: &str) -> Result<RefreshToken, InvalidGrantFile> {
        let client_id = &self.oauth.options().client_id;
        authorized_user::parse(text, client_id, &self.token_endpoint)
    }

    fn explain_end(&self, connected_at: Timestamp, refused_at: Timestamp) -> Option<&'static str> {
        testing_mode_hint(connected_at, refused_at)
    }
}

impl AssertionProvider for Client {
    fn read_key(&self, text: &str) -> Result<AccountKey, InvalidKeyFile> {
        let key = ServiceAccountKey::parse(text, &self.token_endpoint)?;
        Ok(AccountKey {
            text: key.to_json(),
            address: key.email,
            id: key.key_id,
            client_id: key.client_id,
        })
    }

    fn assert<'a>(&'a self, request: &'a AssertionRequest<'a>) -> ProviderFuture<'a, TokenAnswer> {
        Box::pin(async move {
            let refused = |fault| ProviderError::key_unusable(&request.key.address, fault);
            let text = std::str::from_utf8(&request.key.text);
            let text = text.map_err(|error| refused(NotKeyFile::NotText(error.to_string()).into()))?;
            let key = ServiceAccountKey::parse(text, &self.token_endpoint).map_err(refused)?;
            let assertion = key
                .assertion(request.subject, request.scopes, request.now)
                .map_err(refused)?;
            let delegated = request.subject.is_some();
            let secrets = [key.private_key()];
            self.oauth.redeem_assertion(&assertion, delegated, &secrets).await
        })
    }
}

#[cfg(test)]
mod tests;
