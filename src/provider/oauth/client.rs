//! The client, put together: which request carries what, and what its answer means.

use std::sync::Arc;

use http::HeaderValue;
use jiff::Timestamp;
use url::Url;

use super::{
    authorize, idtoken,
    jwks::{Keys, NamedBy},
    options::ClientOptions,
    refusal,
    refused::{is_gone, refused},
    revocation, token,
};
use crate::{
    capability::ScopeSet,
    cause::{Call, IdTokenFault, TokenAnswerFault, UnusableAnswer},
    clock::SharedClock,
    dpop::{LastNonce, Possession},
    entropy::SharedEntropy,
    http_client::{Form, Http, Repeat, Reply},
    jws::same_issuer,
    provider::{
        conversation::{Consent, ConsentRequest, Identity, NoToken, TokenAnswer},
        error::ProviderError,
    },
    secret::{AccessToken, AuthorizationCode, ClientSecret, PkceVerifier, RefreshToken},
    text::{json_fields::Fields, scrub::plain},
};

/// RFC 7523, section 2.1.
const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

/// OAuth over HTTPS.
///
/// The `oauth2` crate builds the authorization address. Requests to the token endpoint are made here: the
/// crate keeps secrets in plain strings, and gives back neither status nor headers of an answer that is not
/// JSON, on which `Retry-After` and the kind of a failure depend.
pub struct Client {
    options: ClientOptions,
    clock: SharedClock,
    entropy: SharedEntropy,
    http: Arc<Http>,
    keys: Arc<Keys>,
    nonce: LastNonce,
}

impl Client {
    /// Opens no connection yet: a machine without trusted certificates, say, learns so at the first request.
    pub fn new(options: ClientOptions, clock: SharedClock, entropy: SharedEntropy) -> Self {
        Self {
            http: Arc::new(Http::with_clock(
                options.limits,
                options.egress.clone(),
                Arc::clone(&clock),
            )),
            keys: Keys::new(
                options.endpoints.keys.clone(),
                NamedBy::Provider,
                Arc::clone(&options.dialect),
                Arc::clone(&clock),
            ),
            nonce: LastNonce::default(),
            options,
            clock,
            entropy,
        }
    }

    /// What it was told.
    pub fn options(&self) -> &ClientOptions {
        &self.options
    }

    /// Begins a consent.
    pub fn consent(&self, request: &ConsentRequest<'_>) -> Consent {
        authorize::consent(&self.options, self.entropy.as_ref(), request)
    }

    /// Whether a redirect that names this issuer can be this server's (RFC 9207, section 2.4).
    pub fn accept_issuer(&self, issuer: Option<&str>) -> Result<(), ProviderError> {
        let endpoints = &self.options.endpoints;
        let is_own = |issuer: &str| endpoints.issuers.iter().any(|own| same_issuer(own, issuer));
        match issuer {
            Some(issuer) if is_own(issuer) => Ok(()),
            None if !endpoints.names_itself => Ok(()),
            found => Err(ProviderError::id_token(IdTokenFault::OtherServer {
                found: found.map(plain),
                expected: endpoints.issuers.clone(),
            })),
        }
    }

    /// Exchanges the code of a redirect (RFC 6749, section 4.1.3), for a grant that is bound to the key that is proven.
    pub async fn exchange(
        &self,
        code: &AuthorizationCode,
        verifier: &PkceVerifier,
        proven: Option<Possession<'_>>,
    ) -> Result<TokenAnswer, NoToken> {
        let fields = [
            ("grant_type", "authorization_code"),
            ("code", code.expose()),
            ("code_verifier", verifier.expose()),
            ("redirect_uri", self.options.redirect_uri.as_str()),
        ];
        let secrets = [code.expose(), verifier.expose()];
        self.ask_for_token(Call::Exchange, &fields, &secrets, (None, proven))
            .await
    }

    /// Obtains an access token for a refresh token (RFC 6749, section 6).
    pub async fn refresh(
        &self,
        token: &RefreshToken,
        scopes: &ScopeSet,
        proven: Option<Possession<'_>>,
    ) -> Result<TokenAnswer, NoToken> {
        let scope = scopes.to_string();
        let fields = [
            ("grant_type", "refresh_token"),
            ("refresh_token", token.expose()),
            ("scope", &scope),
        ];
        // An empty `scope` is not a set (RFC 6749, section 3.3): left out, it means all that was granted.
        let fields = if scope.is_empty() { &fields[..2] } else { &fields };
        self.ask_for_token(Call::Refresh, fields, &[token.expose()], (Some(token), proven))
            .await
    }

    /// Exchanges an assertion, which says who asks: the OAuth client has no part in it (RFC 7523, section 2.1).
    /// `secrets` are what it was made with.
    pub async fn redeem_assertion(
        &self,
        assertion: &str,
        delegated: bool,
        secrets: &[&str],
    ) -> Result<TokenAnswer, ProviderError> {
        let fields = [("grant_type", JWT_BEARER), ("assertion", assertion)];
        let call = Call::Assertion { delegated };
        let secrets: Vec<&str> = secrets.iter().copied().chain([assertion]).collect();
        let reply = self.send(call, &self.options.endpoints.token, &fields).await?;
        let answer = self.token_answer(call, &reply, &secrets, None);
        // Whatever refresh token there may be, it does not take the key's place.
        answer.map_err(|failure| *failure.error)
    }

    /// Checks an id token and says whose it is.
    pub async fn identify(
        &self,
        id_token: &str,
        nonce: Option<&str>,
        now: Timestamp,
    ) -> Result<Identity, ProviderError> {
        let key_id = idtoken::key_id(id_token)?;
        let keys = self.keys.find(&self.http, &key_id).await?;
        let expected = idtoken::Expected {
            issuers: &self.options.endpoints.issuers,
            audience: &self.options.client_id,
            nonce,
            now,
            dialect: &self.options.dialect,
        };
        idtoken::check(id_token, &keys, &expected)
    }

    /// Asks whose an access token is.
    pub async fn userinfo(&self, token: &AccessToken) -> Result<Identity, ProviderError> {
        let Some(url) = &self.options.endpoints.userinfo else {
            return Err(ProviderError::id_token(IdTokenFault::NoUserinfoEndpoint));
        };
        let reply = self
            .http
            .get_with(url, token)
            .await
            .map_err(|error| ProviderError::transport(host(url), error))?;
        if !reply.status.is_success() || refusal::is_told(&reply.body) {
            let (dialect, secrets) = (&*self.options.dialect, [token.expose()]);
            return Err(refused(
                dialect,
                Call::Userinfo,
                &reply,
                &secrets,
                self.clock.now(),
            ));
        }
        idtoken::userinfo(&reply.body).ok_or_else(|| {
            let host = host(url).to_owned();
            ProviderError::unusable(UnusableAnswer::NoOwner { host })
        })
    }

    /// Ends a grant (RFC 7009).
    pub async fn revoke(&self, token: &RefreshToken) -> Result<(), ProviderError> {
        let Some(url) = &self.options.endpoints.revocation else {
            return Err(ProviderError::no_revocation_endpoint());
        };
        let outcome = match self.end_grant(url, token, false).await {
            // Google asks for no client authentication here; RFC 7009 (section 2.1) does, and servers that
            // follow it say one of these.
            Err(error) if wants_client(&error) => self.end_grant(url, token, true).await,
            first => first,
        };
        outcome.or_else(|error| if is_gone(&error) { Ok(()) } else { Err(error) })
    }

    /// Asks the token endpoint. `secrets` are what the form holds, should the answer echo them; `sent` is the refresh
    /// token among them, and `proven` the key that it is bound to.
    async fn ask_for_token(
        &self,
        call: Call,
        fields: &[(&str, &str)],
        secrets: &[&str],
        (sent, proven): (Option<&RefreshToken>, Option<Possession<'_>>),
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
        let reply = match proven {
            Some(proven) => self.send_proven(&fields, proven).await?,
            None => self.send(call, &self.options.endpoints.token, &fields).await?,
        };
        self.token_answer(call, &reply, &secrets, sent)
    }

    /// Asks the token endpoint with a proof of a key. A server that wants a nonce in it tells which, and is asked once more
    /// with that: it has done nothing yet (RFC 9449, section 8).
    async fn send_proven(
        &self,
        fields: &[(&str, &str)],
        proven: Possession<'_>,
    ) -> Result<Reply, ProviderError> {
        let sent = self.nonce.get();
        let reply = self.send_proof(fields, proven, sent.as_deref()).await?;
        match self.nonce.learn(&reply.headers) {
            Some(told) if Some(&told) != sent.as_ref() && refusal::wants_nonce(&reply) => {
                let reply = self.send_proof(fields, proven, Some(&told)).await?;
                self.nonce.learn(&reply.headers);
                Ok(reply)
            }
            _ => Ok(reply),
        }
    }

    async fn send_proof(
        &self,
        fields: &[(&str, &str)],
        proven: Possession<'_>,
        nonce: Option<&str>,
    ) -> Result<Reply, ProviderError> {
        let url = &self.options.endpoints.token;
        let proof = proven.prove(self.entropy.as_ref(), ("POST", url), nonce);
        let mut proof = HeaderValue::try_from(proof).expect("base64 and dots fit into a header");
        // No proof comes twice: there is nothing for compression to remember.
        proof.set_sensitive(true);
        // A proof is good once: what is sent again has another one.
        let sending = self
            .http
            .post_proven(url, Form::new(fields), Some(proof), Repeat::Never);
        sending
            .await
            .map_err(|error| ProviderError::transport(host(url), error))
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
            Some(error) if whole.is_none() => return Err(ProviderError::transport(host, error.clone())),
            _ => {}
        }
        if !reply.status.is_success() || refusal::is_told(&reply.body) {
            return Err(refused(
                &self.options.dialect,
                call,
                reply,
                secrets,
                self.clock.now(),
            ));
        }
        let fields = whole.ok_or(TokenAnswerFault::NoObject);
        fields.and_then(|fields| token::parse(&fields)).map_err(|fault| {
            let host = host.to_owned();
            ProviderError::unusable(UnusableAnswer::Token { host, fault })
        })
    }

    /// Asks the revocation endpoint, as this client where `authenticated`.
    async fn end_grant(
        &self,
        revocation: &Url,
        token: &RefreshToken,
        authenticated: bool,
    ) -> Result<(), ProviderError> {
        let mut fields = vec![("token", token.expose())];
        let mut secrets = vec![token.expose()];
        if authenticated {
            fields.push(("client_id", &self.options.client_id));
            if let Some(secret) = &self.options.client_secret {
                fields.push(("client_secret", secret.expose()));
                secrets.push(secret.expose());
            }
        }
        let url = revocation;
        let reply = self.post(Call::Revoke, url, &fields, &secrets).await?;
        if revocation::is_confirmed(reply.status, &reply.body) {
            return Ok(());
        }
        Err(ProviderError::unusable(UnusableAnswer::NoRevocation {
            host: host(url).to_owned(),
            status: reply.status.as_u16(),
        }))
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
            return Err(ProviderError::transport(host(url), error.clone()));
        }
        if reply.status.is_success() && !refusal::is_told(&reply.body) {
            Ok(reply)
        } else {
            Err(refused(
                &self.options.dialect,
                call,
                &reply,
                secrets,
                self.clock.now(),
            ))
        }
    }

    async fn send(&self, call: Call, url: &Url, fields: &[(&str, &str)]) -> Result<Reply, ProviderError> {
        let reply = self.http.post(url, Form::new(fields), self.repeat(call)).await;
        reply.map_err(|error| ProviderError::transport(host(url), error))
    }

    /// What it would mean if the server got this request twice.
    pub(in crate::provider) fn repeat(&self, call: Call) -> Repeat {
        match call {
            // Codes are spent by the first (RFC 6749, section 4.1.2), and so are refresh tokens that are rotated.
            Call::Exchange => Repeat::Never,
            Call::Refresh if !self.options.dialect.keeps_grants => Repeat::Never,
            _ => Repeat::Harmless,
        }
    }
}

/// Whether a refused revocation may be one that lacks the client's credentials.
fn wants_client(error: &ProviderError) -> bool {
    matches!(
        error.oauth_error(),
        Some("invalid_request" | "invalid_client" | "unauthorized_client")
    )
}

fn host(url: &Url) -> &str {
    url.host_str().unwrap_or_default()
}
