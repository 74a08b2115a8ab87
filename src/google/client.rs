//! The client, put together: which request carries what, and what its answer means.

use std::sync::Arc;

use jiff::Timestamp;
use url::Url;

use crate::{
    catalog::ScopeSet,
    clock::SharedClock,
    config::ClientType,
    entropy::SharedEntropy,
    http_client::{Egress, Form, Http, Limits, Repeat, Reply},
    secret::{AccessToken, AuthorizationCode, ClientSecret, PkceVerifier, RefreshToken},
};

use super::{
    AssertionRequest, Consent, ConsentRequest, GrantFuture, Identity, NoToken, Provider, ProviderError,
    ProviderFuture, TokenAnswer, authorize,
    classify::Call,
    endpoints::Endpoints,
    error,
    fields::Fields,
    idtoken,
    jwks::{Keys, NamedBy},
    refusal, revocation,
    token::{self, Unusable},
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
    http: Arc<Http>,
    keys: Arc<Keys>,
}

impl Client {
    /// Opens no connection yet: a machine without trusted certificates, say, learns so at the first request.
    pub fn new(options: ClientOptions, clock: SharedClock, entropy: SharedEntropy) -> Self {
        Self {
            authority: format!("{}#{}", options.endpoints.token, options.client_id),
            http: Arc::new(Http::with_clock(
                options.limits,
                options.egress.clone(),
                Arc::clone(&clock),
            )),
            keys: Keys::new(
                options.endpoints.keys.clone(),
                NamedBy::Provider,
                Arc::clone(&clock),
            ),
            options,
            clock,
            entropy,
        }
    }

    /// Asks the token endpoint. `secrets` are what the form holds, should the answer echo them; `sent` is the refresh
    /// token among them.
    async fn ask_for_token(
        &self,
        call: Call,
        fields: &[(&str, &str)],
        secrets: &[&str],
        sent: Option<&RefreshToken>,
    ) -> Result<TokenAnswer, NoToken> {
        let client_secret = self.options.client_secret.as_ref().map(ClientSecret::expose);
        let mut fields = fields.to_vec();
        fields.push(("client_id", &self.options.client_id));
        let mut secrets = secrets.to_vec();
        // In the body, as Google's own libraries send it.
        if let Some(secret) = client_secret {
            fields.push(("client_secret", secret));
            secrets.push(secret);
        }
        let reply = self.send(call, &self.options.endpoints.token, &fields).await?;
        self.token_answer(call, &reply, &secrets, sent)
    }

    /// What an answer of the token endpoint says. The grant is read first, whatever the rest may be.
    fn token_answer(
        &self,
        call: Call,
        reply: &Reply,
        secrets: &[&str],
        sent: Option<&RefreshToken>,
    ) -> Result<TokenAnswer, NoToken> {
        let fields = Fields::read(&reply.body);
        let refresh_token = fields
            .as_ref()
            .and_then(|fields| token::refresh_token(fields, sent));
        let refresh_token_expires_in = fields.as_ref().and_then(token::refresh_token_life);
        match self.judged(call, reply, fields, secrets) {
            Ok(token) => Ok(TokenAnswer {
                access_token: token.access_token,
                expires_in: token.expires_in,
                scopes: token.scopes,
                id_token: token.id_token,
                server_time: reply.date(),
                refresh_token,
                refresh_token_expires_in,
            }),
            Err(error) => Err(NoToken {
                error: Box::new(error),
                refresh_token,
                refresh_token_expires_in,
            }),
        }
    }

    fn judged(
        &self,
        call: Call,
        reply: &Reply,
        fields: Option<Fields<'_>>,
        secrets: &[&str],
    ) -> Result<token::Read, ProviderError> {
        let host = host(&self.options.endpoints.token);
        let whole = fields.filter(Fields::is_whole);
        match &reply.cut {
            // What an object is followed by does not matter.
            Some(error) if whole.is_none() => return Err(ProviderError::transport(host, error)),
            _ => {}
        }
        if !reply.status.is_success() || refusal::is_told(&reply.body) {
            return Err(ProviderError::refused(call, reply, secrets, self.clock.now()));
        }
        let fields = whole.ok_or(Unusable::NoAnswer("it is not a JSON object"));
        fields.and_then(|fields| token::parse(&fields)).map_err(|reason| {
            let what = |reason: &str| format!("The token answer of {host} cannot be used: {reason}");
            match reason {
                Unusable::NoAnswer(reason) => ProviderError::malformed(&what(reason)),
                Unusable::Field(reason) => ProviderError::unusable(&what(&reason)),
            }
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
        let reply = self.post(Call::Revoke, url, &fields, &secrets).await?;
        if revocation::is_confirmed(reply.status, &reply.body) {
            return Ok(());
        }
        let what = format!(
            "What answered for {} (status {}) is no revocation endpoint",
            host(url),
            reply.status.as_u16()
        );
        Err(ProviderError::malformed(&what))
    }

    async fn post(
        &self,
        call: Call,
        url: &Url,
        fields: &[(&str, &str)],
        secrets: &[&str],
    ) -> Result<Reply, ProviderError> {
        let reply = self.send(call, url, fields).await?;
        if let Some(error) = &reply.cut {
            return Err(ProviderError::transport(host(url), error));
        }
        if reply.status.is_success() && !refusal::is_told(&reply.body) {
            Ok(reply)
        } else {
            Err(ProviderError::refused(call, &reply, secrets, self.clock.now()))
        }
    }

    async fn send(&self, call: Call, url: &Url, fields: &[(&str, &str)]) -> Result<Reply, ProviderError> {
        let reply = self.http.post(url, Form::new(fields), self.repeat(call)).await;
        reply.map_err(|error| ProviderError::transport(host(url), &error))
    }

    /// What it would mean if the server got this request twice.
    fn repeat(&self, call: Call) -> Repeat {
        match call {
            // Codes are spent by the first (RFC 6749, section 4.1.2), and so are refresh tokens that are rotated.
            Call::Exchange => Repeat::Never,
            Call::Refresh if !self.keeps_grants() => Repeat::Never,
            _ => Repeat::Harmless,
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

    fn exchange<'a>(&'a self, code: &'a AuthorizationCode, verifier: &'a PkceVerifier) -> GrantFuture<'a> {
        Box::pin(async move {
            let fields = [
                ("grant_type", "authorization_code"),
                ("code", code.expose()),
                ("code_verifier", verifier.expose()),
                ("redirect_uri", self.options.redirect_uri.as_str()),
            ];
            let secrets = [code.expose(), verifier.expose()];
            self.ask_for_token(Call::Exchange, &fields, &secrets, None).await
        })
    }

    fn identify<'a>(
        &'a self,
        id_token: &'a str,
        nonce: Option<&'a str>,
        now: Timestamp,
    ) -> ProviderFuture<'a, Identity> {
        Box::pin(async move {
            let key_id = idtoken::key_id(id_token)?;
            let keys = self.keys.find(&self.http, &key_id).await?;
            let expected = idtoken::Expected {
                issuers: &self.options.endpoints.issuers,
                audience: &self.options.client_id,
                nonce,
                now,
            };
            idtoken::check(id_token, &keys, &expected)
        })
    }

    fn refresh<'a>(&'a self, token: &'a RefreshToken, scopes: &'a ScopeSet) -> GrantFuture<'a> {
        Box::pin(async move {
            let scope = scopes.to_string();
            let fields = [
                ("grant_type", "refresh_token"),
                ("refresh_token", token.expose()),
                ("scope", &scope),
            ];
            // An empty `scope` is not a set (RFC 6749, section 3.3): left out, it means all that was granted.
            let fields = if scope.is_empty() { &fields[..2] } else { &fields };
            self.ask_for_token(Call::Refresh, fields, &[token.expose()], Some(token))
                .await
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
            if !reply.status.is_success() || refusal::is_told(&reply.body) {
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
                ProviderError::malformed(&what)
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
            let reply = self.send(call, url, &fields).await?;
            let answer = self.token_answer(call, &reply, &secrets, None);
            // Whatever refresh token there may be, it does not take the key's place.
            answer.map_err(|failure| *failure.error)
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
