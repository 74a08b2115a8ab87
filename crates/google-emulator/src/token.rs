//! The token endpoint: codes, refresh tokens and assertions become access tokens.

use base64::{
    Engine,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD},
};
use http::{Method, StatusCode};

use crate::{
    assertion,
    core::Core,
    dpop,
    grants::Refusal,
    identity,
    ids::ClientId,
    message::{Call, Params, Reply, json, wrong_method},
    oauth::{JWT_BEARER, OAuthError, TokenAnswer},
    proofs::Thumbprint,
    scope,
    state::{Code, RefreshError},
    time::seconds_until,
};

/// Parameters that may be given once only (RFC 6749, section 3.2).
const SINGLE: &[&str] = &[
    "grant_type",
    "client_id",
    "client_secret",
    "code",
    "redirect_uri",
    "code_verifier",
    "refresh_token",
    "scope",
    "assertion",
];

/// Answers `/token`.
pub(crate) fn answer(core: &Core, call: &Call) -> Reply {
    if call.method != Method::POST {
        return wrong_method("POST");
    }
    let mut reply = match respond(core, call) {
        Ok(answer) => json(StatusCode::OK, &answer),
        Err(error) => error.reply(),
    };
    core.proofs.stamp(&mut reply);
    reply
}

fn respond(core: &Core, call: &Call) -> Result<TokenAnswer, OAuthError> {
    let form = &call.form;
    if let Some(name) = form.repeated(SINGLE) {
        let description = format!("OAuth 2 parameters can only have a single value: {name}");
        return Err(OAuthError::bad("invalid_request", description));
    }
    match required(form, "grant_type")? {
        "authorization_code" => exchange(core, authenticate(core, call)?, dpop::proven(core, call)?, form),
        "refresh_token" => {
            let client = authenticate(core, call)?;
            refresh(core, client, dpop::proven(core, call)?.as_ref(), form)
        }
        JWT_BEARER => assertion::exchange(core, required(form, "assertion")?),
        other => Err(OAuthError::bad(
            "unsupported_grant_type",
            format!("Invalid grant_type: {other}"),
        )),
    }
}

/// A parameter that must be there.
fn required<'a>(form: &'a Params, name: &str) -> Result<&'a str, OAuthError> {
    form.get(name)
        .ok_or_else(|| OAuthError::bad("invalid_request", format!("Missing required parameter: {name}")))
}

/// The client, by HTTP Basic or by the body (RFC 6749, section 2.3.1).
fn authenticate(core: &Core, call: &Call) -> Result<ClientId, OAuthError> {
    let basic = call.header("authorization").and_then(basic_credentials);
    let (id, secret) = match &basic {
        Some((id, secret)) => (Some(id.as_str()), Some(secret.as_str())),
        None => (call.form.get("client_id"), call.form.get("client_secret")),
    };
    let id =
        id.ok_or_else(|| OAuthError::bad("invalid_request", "Could not determine client ID from request."))?;
    let (client, registered) = core
        .client(id)
        .ok_or_else(|| OAuthError::unauthorized("invalid_client", "The OAuth client was not found."))?;
    let secret = secret.ok_or_else(|| OAuthError::bad("invalid_request", "client_secret is missing."))?;
    if registered.secret == secret {
        Ok(client)
    } else {
        Err(OAuthError::unauthorized(
            "invalid_client",
            "The provided client secret is invalid.",
        ))
    }
}

fn basic_credentials(header: &str) -> Option<(String, String)> {
    let (scheme, encoded) = header.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let text = String::from_utf8(BASE64_STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (id, secret) = text.split_once(':')?;
    // Both halves are form-encoded before they are joined.
    let decode = |half: &str| {
        let pair = format!("v={}", half.replace('&', "%26"));
        Params::parse(pair.as_bytes()).all("v").next().map(str::to_owned)
    };
    Some((decode(id)?, decode(secret)?))
}

fn exchange(
    core: &Core,
    client: ClientId,
    proven: Option<Thumbprint>,
    form: &Params,
) -> Result<TokenAnswer, OAuthError> {
    let text = required(form, "code")?;
    if !text.starts_with("4/") {
        return Err(OAuthError::bad("invalid_grant", "Malformed auth code."));
    }
    let now = core.now();
    let taken = core.state().take_code(text, client, now);
    let code = taken.ok_or_else(|| OAuthError::bad("invalid_grant", "Bad Request"))?;
    if required(form, "redirect_uri")? != code.redirect_uri {
        return Err(OAuthError::bad("redirect_uri_mismatch", "Bad Request"));
    }
    check_verifier(&code, form.get("code_verifier"))?;

    let mut answer = TokenAnswer::bare(core, code.account, &code.scopes);
    if code.with_refresh_token {
        let (claims, expires) = core
            .state()
            .grant((code.account, client), &code.scopes, proven, now);
        answer.refresh_token = Some(core.minter.refresh(claims));
        answer.refresh_token_expires_in = expires.and_then(|end| seconds_until(now, end));
    }
    answer.id_token = identity::id_token(core, code.account, client, &code.scopes, code.nonce.as_deref());
    answer.scope = Some(code.scopes.text.clone());
    Ok(answer)
}

/// PKCE (RFC 7636, section 4.6), and no verifier where there was no challenge.
fn check_verifier(code: &Code, verifier: Option<&str>) -> Result<(), OAuthError> {
    let problem = match (code.challenge.as_deref(), verifier) {
        (None, None) => return Ok(()),
        (None, Some(_)) => "code_verifier or verifier is not needed.",
        (Some(_), None) => "Missing code verifier.",
        (Some(challenge), Some(verifier)) => {
            let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, verifier.as_bytes());
            let computed = BASE64_URL_SAFE_NO_PAD.encode(digest);
            if (43..=128).contains(&verifier.len()) && computed == challenge {
                return Ok(());
            }
            "Invalid code verifier."
        }
    };
    Err(OAuthError::bad("invalid_grant", problem))
}

fn refresh(
    core: &Core,
    client: ClientId,
    proven: Option<&Thumbprint>,
    form: &Params,
) -> Result<TokenAnswer, OAuthError> {
    let token = core
        .minter
        .read_refresh(required(form, "refresh_token")?)
        .ok_or_else(|| OAuthError::bad("invalid_grant", "Bad Request"))?;
    let wanted: Option<Vec<&str>> = form.get("scope").map(|text| text.split_whitespace().collect());
    let now = core.now();
    let renewed = core
        .state()
        .refresh(token, (client, proven), wanted.as_deref(), now);
    let renewed = renewed.map_err(|error| refused(core, &error))?;

    let mut answer = TokenAnswer::bare(core, renewed.account, &renewed.scopes);
    answer.refresh_token = renewed.rotated.map(|claims| core.minter.refresh(claims));
    answer.refresh_token_expires_in = renewed.expires.and_then(|end| seconds_until(now, end));
    if core.id_token_on_refresh {
        answer.id_token = identity::id_token(core, renewed.account, client, &renewed.scopes, None);
    }
    answer.scope = Some(renewed.scopes.text.clone());
    Ok(answer)
}

fn refused(core: &Core, error: &RefreshError) -> OAuthError {
    match error {
        RefreshError::Grant(Refusal::OtherClient) => {
            OAuthError::unauthorized("unauthorized_client", "Unauthorized")
        }
        RefreshError::Grant(Refusal::OtherKey) => OAuthError::bad(
            "invalid_grant",
            "The token is bound to a key that was not proven.",
        ),
        RefreshError::Grant(refusal) => {
            if *refusal == Refusal::Spent {
                core.stats.count(|stats| &stats.refresh_token_reuse);
            }
            OAuthError::bad("invalid_grant", "Token has been expired or revoked.")
        }
        RefreshError::Scope(foreign) if foreign.iter().all(|name| scope::is_known(name)) => {
            OAuthError::bad("invalid_scope", "Bad Request")
        }
        RefreshError::Scope(foreign) => {
            let description = format!("Some requested scopes were invalid. {{invalid={foreign:?}}}");
            OAuthError::bad("invalid_scope", description)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn basic_credentials_are_form_decoded() {
        let header = format!("Basic {}", BASE64_STANDARD.encode("id%3A1:se%2Bcret"));
        assert_eq!(
            basic_credentials(&header),
            Some(("id:1".into(), "se+cret".into()))
        );
        assert_eq!(basic_credentials("Bearer x"), None);
        assert_eq!(basic_credentials("Basic !"), None);
    }
}
