//! The assertions that service accounts sign (RFC 7523), and what they are exchanged for.

use std::{sync::Arc, time::Duration};

use jsonwebtoken::{Algorithm, Validation, dangerous::insecure_decode};
use serde::Deserialize;

use crate::{
    core::Core,
    ids::AccountId,
    oauth::{OAuthError, TokenAnswer},
    scope,
    state::ServiceKey,
    time::{after, before},
};

/// Google's own token address, which libraries name as the audience wherever they send the assertion.
const AUDIENCE: &str = "https://oauth2.googleapis.com/token";

/// The longest life of an assertion.
const LONGEST: i64 = 3600;

/// How far the two clocks may differ.
const LEEWAY: Duration = Duration::from_secs(300);

#[derive(Deserialize)]
struct Claims {
    iss: String,
    #[serde(default)]
    scope: String,
    aud: String,
    iat: i64,
    exp: i64,
    sub: Option<String>,
}

/// The account that an assertion speaks for, before it is checked.
pub(crate) fn account_named(core: &Core, assertion: &str) -> Option<AccountId> {
    core.state()
        .find(&insecure_decode::<Claims>(assertion).ok()?.claims.iss)
}

/// Turns an assertion into an access token.
pub(crate) fn exchange(core: &Core, assertion: &str) -> Result<TokenAnswer, OAuthError> {
    let unchecked = insecure_decode::<Claims>(assertion)
        .map_err(|_| OAuthError::bad("invalid_grant", "Invalid JWT: Failed to parse the assertion."))?;
    let (issuer, key) = service_key(core, &unchecked.claims.iss)
        .ok_or_else(|| OAuthError::bad("invalid_grant", "Invalid grant: account not found"))?;
    let mut rules = Validation::new(Algorithm::RS256);
    rules.set_required_spec_claims::<&str>(&[]);
    // Time is compared below, by the emulator's own clock.
    rules.validate_exp = false;
    rules.validate_aud = false;
    let known = unchecked.header.kid.as_ref() == Some(&key.id);
    let claims = jsonwebtoken::decode::<Claims>(assertion, &key.verifying, &rules)
        .ok()
        .filter(|_| known)
        .ok_or_else(|| OAuthError::bad("invalid_grant", "Invalid JWT Signature."))?
        .claims;
    check_times(&claims, core.now())?;
    if claims.aud != AUDIENCE && claims.aud != core.url("/token") {
        return Err(OAuthError::bad(
            "invalid_grant",
            "Invalid JWT: Failed audience check.",
        ));
    }
    let scopes: Vec<&str> = claims.scope.split_whitespace().collect();
    if scopes.is_empty() || !scopes.iter().all(|name| scope::is_known(name)) {
        let description = "Invalid OAuth scope or ID token audience provided.";
        return Err(OAuthError::bad("invalid_scope", description));
    }
    let mut state = core.state();
    let account = match claims.sub.as_deref().filter(|sub| *sub != claims.iss) {
        None => issuer,
        Some(person) => {
            let allowed = scopes.iter().all(|name| key.delegated.contains(*name));
            state.find(person).filter(|_| allowed).ok_or_else(|| {
                let description = "Client is unauthorized to retrieve access tokens using this method, or \
                                   client not authorized for any of the scopes requested.";
                OAuthError::unauthorized("unauthorized_client", description)
            })?
        }
    };
    let scopes = state.intern(scopes);
    drop(state);
    Ok(TokenAnswer::bare(core, account, &scopes))
}

fn service_key(core: &Core, email: &str) -> Option<(AccountId, Arc<ServiceKey>)> {
    let state = core.state();
    let account = state.find(email)?;
    Some((account, state.account(account).service.clone()?))
}

fn check_times(claims: &Claims, now: jiff::Timestamp) -> Result<(), OAuthError> {
    let early = before(now, LEEWAY).as_second();
    let late = after(now, LEEWAY).as_second();
    let life = claims.exp.saturating_sub(claims.iat);
    if (0..=LONGEST).contains(&life) && claims.exp > early && claims.iat < late {
        return Ok(());
    }
    let description = "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable \
                       timeframe. Check your iat and exp values in the JWT claim.";
    Err(OAuthError::bad("invalid_grant", description))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(iat: i64, exp: i64) -> bool {
        let (iss, scope, aud) = (String::new(), String::new(), String::new());
        let now = jiff::Timestamp::from_second(1_700_000_000).unwrap();
        check_times(
            &Claims {
                iss,
                scope,
                aud,
                iat,
                exp,
                sub: None,
            },
            now,
        )
        .is_ok()
    }

    #[test]
    fn an_assertion_lives_an_hour_at_most_and_now() {
        assert!(times(1_700_000_000, 1_700_003_600));
        assert!(!times(1_700_000_000, 1_700_003_601));
        assert!(!times(1_699_990_000, 1_699_993_600), "long past");
        assert!(!times(1_700_001_000, 1_700_003_600), "from the future");
    }
}
