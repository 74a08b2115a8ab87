//! Proofs of a key that come with token requests (RFC 9449).

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use jsonwebtoken::{
    Algorithm, DecodingKey, Validation,
    jwk::{Jwk, ThumbprintHash},
};
use serde::Deserialize;
use serde_json::Value;
use url::Url;

use crate::{
    core::Core,
    message::Call,
    oauth::OAuthError,
    proofs::{LEEWAY, Thumbprint},
    time::{after, before},
};

/// The header of a proof.
const HEADER: &str = "dpop";

#[derive(Deserialize)]
struct Claims {
    jti: String,
    htm: String,
    htu: String,
    iat: i64,
    nonce: Option<String>,
}

/// The key that the request proves to hold; `None` where it proves none.
pub(crate) fn proven(core: &Core, call: &Call) -> Result<Option<Thumbprint>, OAuthError> {
    let mut headers = call.headers.get_all(HEADER).iter();
    let Some(proof) = headers.next() else {
        return Ok(None);
    };
    if headers.next().is_some() {
        return Err(refused("There is more than one proof."));
    }
    let proof = proof
        .to_str()
        .map_err(|_| refused("The proof is not visible text."))?;
    let jwk = key_of(proof)?;
    let claims = verified(proof, &jwk)?;
    if claims.htm != call.method.as_str() {
        return Err(refused("`htm` is not the request's method."));
    }
    if !is_address(&claims.htu, &core.url(&call.path)) {
        return Err(refused("`htu` is not the request's address."));
    }
    if !core.proofs.is_nonce(claims.nonce.as_deref()) {
        let description = "Authorization server requires nonce in DPoP proof";
        return Err(OAuthError::bad("use_dpop_nonce", description));
    }
    let now = core.now();
    let window = before(now, LEEWAY).as_second()..=after(now, LEEWAY).as_second();
    if !window.contains(&claims.iat) {
        return Err(refused("`iat` is too far from the present."));
    }
    if claims.jti.is_empty() || !core.proofs.use_once(&claims.jti, now) {
        return Err(refused("`jti` was used before."));
    }
    let thumbprint = jwk.thumbprint(ThumbprintHash::SHA256);
    let thumbprint = thumbprint.map_err(|_| refused("`jwk` is not a key."))?;
    core.stats.count(|stats| &stats.proofs);
    Ok(Some(Thumbprint(thumbprint)))
}

/// The public key that a proof carries, before its signature is checked.
fn key_of(proof: &str) -> Result<Jwk, OAuthError> {
    let head = proof.split('.').next().unwrap_or_default();
    let head: Option<Value> = BASE64_URL_SAFE_NO_PAD
        .decode(head)
        .ok()
        .and_then(|json| serde_json::from_slice(&json).ok());
    let head = head.ok_or_else(|| refused("The proof is not a JWT."))?;
    if head["typ"] != "dpop+jwt" || head["alg"] != "ES256" {
        return Err(refused(
            "The proof is not a `dpop+jwt` that is signed with ES256.",
        ));
    }
    let jwk = &head["jwk"];
    if jwk["kty"] != "EC" || jwk["crv"] != "P-256" || !jwk["d"].is_null() {
        return Err(refused("`jwk` is not the public half of a P-256 key."));
    }
    serde_json::from_value(jwk.clone()).map_err(|_| refused("`jwk` is not a key."))
}

fn verified(proof: &str, jwk: &Jwk) -> Result<Claims, OAuthError> {
    let mut rules = Validation::new(Algorithm::ES256);
    rules.set_required_spec_claims::<&str>(&[]);
    rules.validate_exp = false;
    rules.validate_aud = false;
    let key = DecodingKey::from_jwk(jwk).map_err(|_| refused("`jwk` is not a key."))?;
    let verified = jsonwebtoken::decode::<Claims>(proof, &key, &rules);
    verified
        .map(|verified| verified.claims)
        .map_err(|_| refused("The signature is wrong, or a claim is missing."))
}

/// Whether `htu` names this address, which has neither query nor fragment (RFC 9449, section 4.3).
fn is_address(htu: &str, address: &str) -> bool {
    let (Ok(mut bare), Ok(address)) = (Url::parse(htu), Url::parse(address)) else {
        return false;
    };
    bare.set_query(None);
    bare.set_fragment(None);
    bare == address
}

fn refused(description: &str) -> OAuthError {
    OAuthError::bad("invalid_dpop_proof", description)
}
