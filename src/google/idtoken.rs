//! Who consented: checks of an id token (`OpenID` Connect Core, section 3.1.3.7).

use jiff::Timestamp;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::Deserialize;
use subtle::ConstantTimeEq;

use super::{FailureKind, Identity, ProviderError};

/// Google's id tokens stay around 1 KiB.
const MAX_TOKEN: usize = 16 * 1024;
/// `sub` is at most this long, in ASCII (`OpenID` Connect Core, section 2).
const MAX_SUBJECT: usize = 255;
/// The longest address that SMTP carries (RFC 5321), and then some.
const MAX_EMAIL: usize = 320;
/// How far this machine's clock may be ahead, in seconds.
const EXPIRY_LEEWAY: i64 = 60;
/// How far it may be behind, in seconds. Wider, since nothing but sanity hangs on it.
const ISSUED_LEEWAY: i64 = 600;

/// What an id token has to say.
pub(super) struct Expected<'a> {
    pub(super) issuers: &'a [String],
    pub(super) audience: &'a str,
    /// `None` for an id token that came with a refresh (`OpenID` Connect Core 1.0, section 12.2).
    pub(super) nonce: Option<&'a str>,
    pub(super) now: Timestamp,
}

/// What it says.
#[derive(Deserialize)]
pub(super) struct Claims {
    iss: String,
    aud: Audience,
    azp: Option<String>,
    exp: i64,
    iat: i64,
    nonce: Option<String>,
    sub: String,
    email: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Many(Vec<String>),
}

impl Audience {
    /// Meant for `client` and nobody else.
    fn is(&self, client: &str) -> bool {
        match self {
            Self::One(audience) => audience == client,
            Self::Many(audiences) => matches!(audiences.as_slice(), [only] if only == client),
        }
    }
}

/// The key that signed it, as it says itself.
pub(super) fn key_id(id_token: &str) -> Result<String, ProviderError> {
    if id_token.len() > MAX_TOKEN {
        return Err(again("is longer than any of Google's"));
    }
    let header = jsonwebtoken::decode_header(id_token)
        .map_err(|_| again("is not a JWT, or is signed in a way that Google does not use"))?;
    if header.alg != Algorithm::RS256 {
        return Err(again("is not signed with RS256"));
    }
    if header.crit.is_some() {
        return Err(again("demands an extension that is not understood"));
    }
    header.kid.ok_or_else(|| again("does not name its key"))
}

/// Checks signature and claims, and says whose it is.
pub(super) fn check(
    id_token: &str,
    key: &DecodingKey,
    expected: &Expected<'_>,
) -> Result<Identity, ProviderError> {
    let mut signature = Validation::new(Algorithm::RS256);
    // The claims are checked below: the library would compare with a clock of its own, and would take a
    // token that is meant for others too.
    signature.required_spec_claims.clear();
    signature.validate_exp = false;
    signature.validate_aud = false;
    let claims = jsonwebtoken::decode::<Claims>(id_token, key, &signature)
        .map_err(|_| again("has a wrong signature, or lacks a claim"))?
        .claims;
    judge(claims, expected)
}

/// Checks claims whose signature is right.
pub(super) fn judge(claims: Claims, expected: &Expected<'_>) -> Result<Identity, ProviderError> {
    if !expected.issuers.contains(&claims.iss) {
        return Err(operator(
            "comes from another issuer; check `google.endpoint_base`",
        ));
    }
    let authorized = claims.azp.as_deref().unwrap_or(expected.audience);
    if !claims.aud.is(expected.audience) || authorized != expected.audience {
        return Err(operator(
            "is meant for another OAuth client; check `google.client_id`",
        ));
    }
    let now = expected.now.as_second();
    if claims.exp.saturating_add(EXPIRY_LEEWAY) <= now {
        return Err(operator("has expired on arrival; check this machine's clock"));
    }
    if claims.iat.saturating_sub(ISSUED_LEEWAY) > now {
        return Err(operator("was issued in the future; check this machine's clock"));
    }
    let nonce = claims.nonce.unwrap_or_default();
    let is_other = |expected: &str| !bool::from(nonce.as_bytes().ct_eq(expected.as_bytes()));
    if expected.nonce.is_some_and(is_other) {
        return Err(again("belongs to another consent"));
    }
    identity(claims.sub, claims.email)
}

/// Reads the answer of the userinfo endpoint (`OpenID` Connect Core 1.0, section 5.3.2).
pub(super) fn userinfo(body: &[u8]) -> Option<Identity> {
    #[derive(Deserialize)]
    struct Answer {
        sub: String,
        email: Option<String>,
    }
    let answer: Answer = serde_json::from_slice(body).ok()?;
    identity(answer.sub, answer.email).ok()
}

fn identity(subject: String, email: Option<String>) -> Result<Identity, ProviderError> {
    if subject.is_empty() || subject.len() > MAX_SUBJECT || !subject.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(again("does not say whose it is"));
    }
    let plain = |c: char| !c.is_whitespace() && c.escape_debug().len() == 1;
    let email = email
        .filter(|address| (1..=MAX_EMAIL).contains(&address.len()) && address.chars().all(plain))
        .unwrap_or_else(|| subject.clone());
    Ok(Identity { subject, email })
}

fn again(what: &str) -> ProviderError {
    let message = format!("The id token {what}. Begin the connection again.");
    ProviderError::id_token(FailureKind::Reconnect, message)
}

fn operator(what: &str) -> ProviderError {
    ProviderError::id_token(FailureKind::Operator, format!("The id token {what}."))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::google::testing::{Signer, unsigned};

    const NOW: i64 = 1_705_314_600;

    fn claims() -> Value {
        json!({
            "iss": "https://accounts.google.com", "aud": "client", "azp": "client", "sub": "1098",
            "email": "alice@example.com", "nonce": "canary-nonce", "iat": NOW, "exp": NOW + 3600,
        })
    }

    fn checked(id_token: &str, signer: &Signer) -> Result<Identity, ProviderError> {
        key_id(id_token)?;
        let issuers = ["https://accounts.google.com", "accounts.google.com"].map(str::to_owned);
        let expected = Expected {
            issuers: &issuers,
            audience: "client",
            nonce: Some("canary-nonce"),
            now: Timestamp::from_second(NOW).unwrap(),
        };
        check(id_token, &signer.verifying_key(), &expected)
    }

    fn with(name: &str, value: Value) -> Result<Identity, ProviderError> {
        let mut claims = claims();
        claims[name] = value;
        let signer = Signer::one();
        checked(&signer.sign(&claims), signer)
    }

    #[test]
    fn a_token_of_google_names_the_account() {
        let identity = with("hd", json!("example.com")).unwrap();
        assert_eq!(identity.subject, "1098");
        assert_eq!(identity.email, "alice@example.com");
        assert!(with("iss", json!("accounts.google.com")).is_ok());
        assert!(with("aud", json!(["client"])).is_ok());
        assert!(with("azp", json!(null)).is_ok());
    }

    #[test]
    fn every_claim_is_checked() {
        let rows = [
            ("iss", json!("https://accounts.google.com.example"), "issuer"),
            ("iss", json!(["https://accounts.google.com"]), "lacks a claim"),
            ("iss", json!(null), "lacks a claim"),
            ("aud", json!("other"), "another OAuth client"),
            ("aud", json!(["client", "other"]), "another OAuth client"),
            ("aud", json!([]), "another OAuth client"),
            ("aud", json!(null), "lacks a claim"),
            ("azp", json!("other"), "another OAuth client"),
            ("exp", json!(NOW - 60), "expired"),
            ("exp", json!(i64::MIN), "expired"),
            ("exp", json!(null), "lacks a claim"),
            ("iat", json!(NOW + 601), "future"),
            ("iat", json!(null), "lacks a claim"),
            ("nonce", json!("canary-noncf"), "another consent"),
            ("nonce", json!(""), "another consent"),
            ("nonce", json!(null), "another consent"),
            ("sub", json!(""), "whose"),
            ("sub", json!("1 2"), "whose"),
            ("sub", json!("1".repeat(256)), "whose"),
            ("sub", json!(null), "lacks a claim"),
        ];
        for (name, value, words) in rows {
            let error = with(name, value.clone()).unwrap_err();
            assert!(error.message.contains(words), "{name} {value}: {error}");
            assert_eq!(error.code, "invalid_id_token");
            assert!(!error.message.contains("canary"));
        }
        assert!(
            with("exp", json!(NOW - 59)).is_ok(),
            "a clock may be a minute ahead"
        );
        assert!(with("iat", json!(NOW + 600)).is_ok(), "a clock may be behind");
        assert!(with("sub", json!("1".repeat(255))).is_ok());
    }

    #[test]
    fn an_address_is_only_for_show() {
        for odd in [
            json!(null),
            json!(""),
            json!("a b@c"),
            json!("a\u{1b}[2J@b"),
            json!("x".repeat(321)),
        ] {
            assert_eq!(with("email", odd).unwrap().email, "1098");
        }
    }

    #[test]
    fn another_key_or_another_algorithm_is_refused() {
        let signer = Signer::one();
        let forged = Signer::other().sign(&claims());
        assert!(
            checked(&forged, signer)
                .unwrap_err()
                .message
                .contains("wrong signature")
        );

        let mut changed = signer.sign(&claims());
        changed.truncate(changed.len() - 4);
        assert!(checked(&changed, signer).is_err());

        for header in [
            json!({"alg": "none", "kid": "one"}),
            json!({"alg": "None", "kid": "one"}),
            json!({"kid": "one"}),
        ] {
            assert!(
                checked(&unsigned(&header, &claims()), signer).is_err(),
                "{header}"
            );
        }
        // The classic confusion: a MAC whose key is the public key, which everybody has.
        for secret in signer.public_forms() {
            let mut header = jsonwebtoken::Header::new(Algorithm::HS256);
            header.kid = Some("one".into());
            let key = jsonwebtoken::EncodingKey::from_secret(&secret);
            let token = jsonwebtoken::encode(&header, &claims(), &key).unwrap();
            assert!(checked(&token, signer).unwrap_err().message.contains("RS256"));
            // Not even a caller who forgets to look at the header first gets it through.
            let expected = Expected {
                issuers: &[],
                audience: "",
                nonce: Some(""),
                now: Timestamp::UNIX_EPOCH,
            };
            assert!(check(&token, &signer.verifying_key(), &expected).is_err());
        }
        for header in [
            json!({"alg": "RS512", "kid": "one"}),
            json!({"alg": "RS256"}),
            json!({"alg": "RS256", "kid": "one", "crit": ["x"], "x": 1}),
        ] {
            assert!(
                checked(&signer.sign_with(&header, &claims()), signer).is_err(),
                "{header}"
            );
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".{0,300}", a in "[A-Za-z0-9_-]{0,60}", b in "[A-Za-z0-9_-]{0,60}") {
            let _ = key_id(&text);
            let _ = checked(&format!("{a}.{b}.{a}"), Signer::one());
        }
    }
}
