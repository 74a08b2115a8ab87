//! The client, put together: which request carries what, and what its answer means.

use std::sync::Arc;

use url::Url;

use crate::{
    catalog::ScopeSet,
    clock::SharedClock,
    config::ClientType,
    entropy::SharedEntropy,
    secret::{AccessToken, AuthorizationCode, ClientSecret, PkceVerifier, RefreshToken},
};

use super::{
    AssertionRequest, Consent, ConsentRequest, Egress, Identity, Provider, ProviderError, ProviderFuture,
    TokenAnswer, authorize,
    classify::Call,
    endpoints::Endpoints,
    error,
    http::{Form, Http, Limits, Reply},
    idtoken,
    jwks::Keys,
    token,
};

/// RFC 7523, section 2.1.
const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

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
    /// Where Google is.
    pub endpoints: Endpoints,
    /// What a request may take.
    pub limits: Limits,
    /// How it is reached.
    pub egress: Egress,
}

/// Google's OAuth over HTTPS.
///
/// The `oauth2` crate builds the authorization address. Requests to the token endpoint are made here: the
/// crate keeps secrets in plain strings, and gives back neither status nor headers of an answer that is not
/// JSON, on which `Retry-After` and the kind of a failure depend.
pub struct Client {
    options: ClientOptions,
    authority: String,
    clock: SharedClock,
    entropy: SharedEntropy,
    http: Http,
    keys: Keys,
}

impl Client {
    /// Opens no connection yet: a machine without trusted certificates, say, learns so at the first request.
    pub fn new(options: ClientOptions, clock: SharedClock, entropy: SharedEntropy) -> Self {
        Self {
            authority: format!("{}#{}", options.endpoints.token, options.client_id),
            http: Http::to(&options.endpoints.token, options.limits, options.egress.clone()),
            keys: Keys::new(options.endpoints.keys.clone(), Arc::clone(&clock)),
            options,
            clock,
            entropy,
        }
    }

    /// Asks the token endpoint. `secrets` are what the form holds, should the answer echo them.
    async fn ask_for_token(
        &self,
        call: Call,
        fields: &[(&str, &str)],
        secrets: &[&str],
    ) -> Result<TokenAnswer, ProviderError> {
        let client_secret = self.options.client_secret.as_ref().map(ClientSecret::expose);
        let mut fields = fields.to_vec();
        fields.push(("client_id", &self.options.client_id));
        let mut secrets = secrets.to_vec();
        // In the body, as Google's own libraries send it.
        if let Some(secret) = client_secret {
            fields.push(("client_secret", secret));
            secrets.push(secret);
        }
        let url = &self.options.endpoints.token;
        let reply = self.post(call, url, &fields, &secrets).await?;
        self.token_answer(&reply)
    }

    /// What an answer of the token endpoint says.
    fn token_answer(&self, reply: &Reply) -> Result<TokenAnswer, ProviderError> {
        token::parse(reply).map_err(|reason| {
            let host = host(&self.options.endpoints.token);
            let what = format!("The token answer of {host} cannot be used: {reason}");
            ProviderError::malformed(&what, reply.date())
        })
    }

    /// Asks the revocation endpoint, as this client where `authenticated`.
    async fn end_grant(&self, token: &RefreshToken, authenticated: bool) -> Result<(), ProviderError> {
        let mut fields = vec![("token", token.expose())];
        let mut secrets = vec![token.expose()];
        if authenticated {
            fields.push(("client_id", &self.options.client_id));
            if let Some(secret) = &self.options.client_secret {
                fields.push(("client_secret", secret.expose()));
                secrets.push(secret.expose());
            }
        }
        let url = &self.options.endpoints.revocation;
        self.post(Call::Revoke, url, &fields, &secrets).await.map(drop)
    }

    async fn post(
        &self,
        call: Call,
        url: &Url,
        fields: &[(&str, &str)],
        secrets: &[&str],
    ) -> Result<Reply, ProviderError> {
        let reply = self
            .http
            .post(url, Form::new(fields))
            .await
            .map_err(|error| ProviderError::transport(host(url), &error))?;
        if reply.status.is_success() {
            Ok(reply)
        } else {
            Err(ProviderError::refused(call, &reply, secrets, self.clock.now()))
        }
    }
}

/// Whether a refused revocation may be one that lacks the client's credentials.
fn wants_client(error: &ProviderError) -> bool {
    matches!(
        error.code.as_str(),
        "invalid_request" | "invalid_client" | "unauthorized_client"
    )
}

fn host(url: &Url) -> &str {
    url.host_str().unwrap_or_default()
}

impl Provider for Client {
    fn authority(&self) -> &str {
        &self.authority
    }

    fn client_id(&self) -> &str {
        &self.options.client_id
    }

    fn token_endpoint(&self) -> &str {
        self.options.endpoints.token.as_str()
    }

    fn keeps_grants(&self) -> bool {
        self.options.endpoints.is_googles()
    }

    fn consent(&self, request: &ConsentRequest<'_>) -> Result<Consent, ProviderError> {
        Ok(authorize::consent(&self.options, self.entropy.as_ref(), request))
    }

    fn exchange<'a>(
        &'a self,
        code: &'a AuthorizationCode,
        verifier: &'a PkceVerifier,
    ) -> ProviderFuture<'a, TokenAnswer> {
        Box::pin(async move {
            let fields = [
                ("grant_type", "authorization_code"),
                ("code", code.expose()),
                ("code_verifier", verifier.expose()),
                ("redirect_uri", self.options.redirect_uri.as_str()),
            ];
            let secrets = [code.expose(), verifier.expose()];
            self.ask_for_token(Call::Exchange, &fields, &secrets).await
        })
    }

    fn identify<'a>(&'a self, id_token: &'a str, nonce: Option<&'a str>) -> ProviderFuture<'a, Identity> {
        Box::pin(async move {
            let key_id = idtoken::key_id(id_token)?;
            let key = self.keys.find(&self.http, &key_id).await?;
            let expected = idtoken::Expected {
                issuers: &self.options.endpoints.issuers,
                audience: &self.options.client_id,
                nonce,
                now: self.clock.now(),
            };
            idtoken::check(id_token, &key, &expected)
        })
    }

    fn refresh<'a>(
        &'a self,
        token: &'a RefreshToken,
        scopes: &'a ScopeSet,
    ) -> ProviderFuture<'a, TokenAnswer> {
        Box::pin(async move {
            let scope = scopes.to_string();
            let fields = [
                ("grant_type", "refresh_token"),
                ("refresh_token", token.expose()),
                ("scope", &scope),
            ];
            // An empty `scope` is not a set (RFC 6749, section 3.3): left out, it means all that was granted.
            let fields = if scope.is_empty() { &fields[..2] } else { &fields };
            self.ask_for_token(Call::Refresh, fields, &[token.expose()]).await
        })
    }

    fn userinfo<'a>(&'a self, token: &'a AccessToken) -> ProviderFuture<'a, Identity> {
        Box::pin(async move {
            let url = &self.options.endpoints.userinfo;
            let reply = self
                .http
                .get_with(url, token)
                .await
                .map_err(|error| ProviderError::transport(host(url), &error))?;
            if !reply.status.is_success() {
                let secrets = [token.expose()];
                return Err(ProviderError::refused(
                    Call::Userinfo,
                    &reply,
                    &secrets,
                    self.clock.now(),
                ));
            }
            idtoken::userinfo(&reply.body).ok_or_else(|| {
                let what = format!("The answer of {} does not say whose the grant is", host(url));
                ProviderError::malformed(&what, reply.date())
            })
        })
    }

    fn assert<'a>(&'a self, request: &'a AssertionRequest<'a>) -> ProviderFuture<'a, TokenAnswer> {
        Box::pin(async move {
            let assertion = request
                .key
                .assertion(request.subject, request.scopes, request.now)
                .map_err(|error| ProviderError::key(&request.key.email, &error))?;
            let fields = [("grant_type", JWT_BEARER), ("assertion", assertion.as_str())];
            let call = Call::Assertion {
                delegated: request.subject.is_some(),
            };
            // The assertion says who asks: the OAuth client has no part in it.
            let url = &self.options.endpoints.token;
            let secrets = [assertion.as_str(), request.key.private_key()];
            let reply = self.post(call, url, &fields, &secrets).await?;
            self.token_answer(&reply)
        })
    }

    fn revoke<'a>(&'a self, token: &'a RefreshToken) -> ProviderFuture<'a, ()> {
        Box::pin(async move {
            let outcome = match self.end_grant(token, false).await {
                // Google asks for no client authentication here; RFC 7009 (section 2.1) does, and servers that
                // follow it say one of these.
                Err(error) if wants_client(&error) => self.end_grant(token, true).await,
                first => first,
            };
            outcome.or_else(|error| {
                if error::is_gone(&error) {
                    Ok(())
                } else {
                    Err(error)
                }
            })
        })
    }
}

#[cfg(test)]
mod tests;
