//! Who a person is: id tokens, the keys that sign them, userinfo and discovery (`OpenID` Connect Core 1.0).

use std::time::Duration;

use http::{HeaderValue, Method, StatusCode, header::CACHE_CONTROL};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::{
    apis::access::{ApiError, admit},
    core::{Core, ISSUER},
    ids::{AccountId, ClientId},
    message::{self, Call, Reply, wrong_method},
    oauth::JWT_BEARER,
    scope::{PREFIX, ScopeSet},
    time::after,
};

/// How long an id token is good for.
const ID_TOKEN_LIFETIME: Duration = Duration::from_secs(3600);

#[derive(Serialize)]
struct IdClaims<'a> {
    iss: &'static str,
    azp: &'a str,
    aud: &'a str,
    sub: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    email: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    email_verified: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    nonce: Option<&'a str>,
    iat: i64,
    exp: i64,
}

/// An id token, where `openid` was granted.
pub(crate) fn id_token(
    core: &Core,
    account: AccountId,
    client: ClientId,
    scopes: &ScopeSet,
    nonce: Option<&str>,
) -> Option<String> {
    if !scopes.contains("openid") {
        return None;
    }
    let identity = core.state().account(account).identity.clone();
    let client_id = &core.clients[client.0].id;
    let now = core.now();
    let with_email = scopes.contains(&userinfo("email"));
    let claims = IdClaims {
        iss: ISSUER,
        azp: client_id,
        aud: client_id,
        sub: &identity.sub,
        email: with_email.then_some(&identity.email),
        email_verified: with_email.then_some(true),
        name: scopes
            .contains(&userinfo("profile"))
            .then(|| name(&identity.email)),
        nonce,
        iat: now.as_second(),
        exp: after(now, ID_TOKEN_LIFETIME).as_second(),
    };
    // The key was tried when it was made.
    core.signing_key().sign(&claims).ok()
}

/// Answers `/oauth2/v3/certs` (RFC 7517).
pub(crate) fn certs(core: &Core, call: &Call) -> Reply {
    if call.method != Method::GET {
        return wrong_method("GET");
    }
    let keys = core.published_keys();
    let keys: Vec<_> = keys.iter().map(|key| key.jwk()).collect();
    let mut reply = message::json(StatusCode::OK, &json!({ "keys": keys }));
    let policy = HeaderValue::from_static("public, max-age=19800, must-revalidate, no-transform");
    reply.headers_mut().insert(CACHE_CONTROL, policy);
    reply
}

/// Answers `/v1/userinfo`.
pub(crate) fn userinfo_answer(core: &Core, call: &Call) -> Result<Value, ApiError> {
    let (account, scopes) = admit(
        core,
        call,
        "openidconnect.googleapis.com",
        &["openid", "userinfo.email", "userinfo.profile"],
    )?;
    let state = core.state();
    let identity = &state.account(account).identity;
    let mut answer = Map::new();
    answer.insert("sub".into(), identity.sub.clone().into());
    if scopes.contains(&userinfo("email")) {
        answer.insert("email".into(), identity.email.clone().into());
        answer.insert("email_verified".into(), true.into());
    }
    if scopes.contains(&userinfo("profile")) {
        answer.insert("name".into(), name(&identity.email).into());
    }
    Ok(answer.into())
}

/// Answers `/.well-known/openid-configuration`. The issuer is Google's, as in the id tokens.
pub(crate) fn discovery(core: &Core, call: &Call) -> Reply {
    if call.method != Method::GET {
        return wrong_method("GET");
    }
    let document = json!({
        "issuer": ISSUER,
        "authorization_endpoint": core.url("/o/oauth2/v2/auth"),
        "token_endpoint": core.url("/token"),
        "revocation_endpoint": core.url("/revoke"),
        "userinfo_endpoint": core.url("/v1/userinfo"),
        "jwks_uri": core.url("/oauth2/v3/certs"),
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "scopes_supported": ["openid", "email", "profile"],
        "token_endpoint_auth_methods_supported": ["client_secret_post", "client_secret_basic"],
        "claims_supported":
            ["aud", "email", "email_verified", "exp", "iat", "iss", "name", "sub"],
        "code_challenge_methods_supported": ["S256"],
        "grant_types_supported":
            ["authorization_code", "refresh_token", JWT_BEARER],
    });
    message::json(StatusCode::OK, &document)
}

fn userinfo(what: &str) -> String {
    format!("{PREFIX}userinfo.{what}")
}

/// A name to show, from the address.
fn name(email: &str) -> &str {
    email.split('@').next().unwrap_or(email)
}
