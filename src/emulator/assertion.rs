//! Service accounts: their key files, and the assertions that they sign (RFC 7523).

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use jsonwebtoken::{Algorithm, Validation, dangerous::insecure_decode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    core::Core,
    keys::{KeyError, RsaKey},
    options::Account,
    state::{AccountId, ServiceKey},
    token::{OAuthError, TokenAnswer},
};
use crate::clock;

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

/// Makes a service account with a key of its own; returns its key file, as Google's console gives it.
pub(super) fn create(core: &Core, name: &str) -> Result<Value, KeyError> {
    let (key, pem) = RsaKey::generate(&*core.entropy)?;
    let email = format!("{name}@{}.iam.gserviceaccount.com", core.project_id);
    let identity = Account::new(&email);
    let file = json!({
        "type": "service_account",
        "project_id": core.project_id,
        "private_key_id": key.id,
        "private_key": pem,
        "client_email": email,
        "client_id": identity.sub,
        "auth_uri": core.url("/o/oauth2/v2/auth"),
        "token_uri": core.url("/token"),
        "auth_provider_x509_cert_url": "https://www.googleapis.com/oauth2/v1/certs",
        "universe_domain": "googleapis.com",
    });
    let service = ServiceKey {
        verifying: key.verifying()?,
        id: key.id,
        delegated: BTreeSet::new(),
    };
    core.state().add_account(identity, Some(Arc::new(service)));
    Ok(file)
}

/// Lets a service account act for people, with these scopes (domain-wide delegation).
pub(super) fn delegate(core: &Core, email: &str, scopes: &[&str]) -> bool {
    let mut state = core.state();
    let Some(account) = state.find(email) else {
        return false;
    };
    let Some(service) = state.account_mut(account).service.as_mut() else {
        return false;
    };
    Arc::make_mut(service)
        .delegated
        .extend(scopes.iter().map(|name| (*name).to_owned()));
    true
}

/// The account that an assertion speaks for, before it is checked.
pub(super) fn account_named(core: &Core, assertion: &str) -> Option<AccountId> {
    core.state()
        .find(&insecure_decode::<Claims>(assertion).ok()?.claims.iss)
}

/// Turns an assertion into an access token.
pub(super) fn exchange(core: &Core, assertion: &str) -> Result<TokenAnswer, OAuthError> {
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
    if scopes.is_empty() || !scopes.iter().all(|name| super::scope::is_known(name)) {
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
    let early = clock::before(now, LEEWAY).as_second();
    let late = clock::after(now, LEEWAY).as_second();
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
