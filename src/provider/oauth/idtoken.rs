//! Who consented: checks of an id token (`OpenID` Connect Core, section 3.1.3.7).

use jiff::Timestamp;
use jsonwebtoken::DecodingKey;
use serde_json::Value;
use subtle::ConstantTimeEq;

use super::dialect::Dialect;
use crate::{
    cause::{IdTokenFault, IdTokenForm},
    jws::{Jws, Malformed, same_issuer},
    provider::{conversation::Identity, error::ProviderError},
    text::{is_part_of_name, scrub::plain, seconds, without_bom},
};

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
pub(in crate::provider) struct Expected<'a> {
    pub(in crate::provider) issuers: &'a [String],
    pub(in crate::provider) audience: &'a str,
    /// `None` for an id token that came with a refresh (`OpenID` Connect Core 1.0, section 12.2).
    pub(in crate::provider) nonce: Option<&'a str>,
    pub(in crate::provider) now: Timestamp,
    pub(in crate::provider) dialect: &'a Dialect,
}

/// What it says.
pub(in crate::provider) struct Claims {
    iss: String,
    aud: Vec<String>,
    azp: Option<String>,
    exp: i64,
    iat: i64,
    nonce: Option<String>,
    sub: String,
    email: Option<String>,
}

impl Claims {
    /// Reads claims; the error is the name of one that is missing or of another type.
    pub(in crate::provider) fn read(claims: &Value) -> Result<Self, &'static str> {
        let text = |name: &'static str| claims[name].as_str().map(str::to_owned);
        let moment = |name: &'static str| seconds::read(&claims[name]).ok_or(name);
        let texts = |list: &Vec<Value>| list.iter().map(|one| one.as_str().map(str::to_owned)).collect();
        let aud = match &claims["aud"] {
            Value::String(one) => Some(vec![one.clone()]),
            Value::Array(list) => texts(list),
            _ => None,
        };
        if !claims["azp"].is_null() && text("azp").is_none() {
            return Err("azp");
        }
        Ok(Self {
            iss: text("iss").ok_or("iss")?,
            aud: aud.ok_or("aud")?,
            azp: text("azp"),
            exp: moment("exp")?,
            iat: moment("iat")?,
            nonce: text("nonce"),
            sub: text("sub").ok_or("sub")?,
            email: text("email"),
        })
    }
}

/// The key that signed it, as it says itself.
pub(in crate::provider) fn key_id(id_token: &str) -> Result<String, ProviderError> {
    parse(id_token).map(|jws| jws.key_id)
}

fn parse(id_token: &str) -> Result<Jws<'_>, ProviderError> {
    if id_token.len() > MAX_TOKEN {
        return Err(unreadable(IdTokenForm::TooLong));
    }
    Jws::parse(id_token).map_err(|malformed| {
        unreadable(match malformed {
            Malformed::Form => IdTokenForm::NoJwt,
            Malformed::Unsigned => IdTokenForm::Unsigned,
            Malformed::Algorithm => IdTokenForm::Algorithm,
            Malformed::Critical => IdTokenForm::Critical,
            Malformed::NoKey => IdTokenForm::NoKey,
        })
    })
}

/// Checks signature and claims, and says whose it is.
pub(in crate::provider) fn check(
    id_token: &str,
    keys: &[DecodingKey],
    expected: &Expected<'_>,
) -> Result<Identity, ProviderError> {
    let jws = parse(id_token)?;
    if !jws.is_signed_by(keys) {
        return Err(ProviderError::id_token(IdTokenFault::Signature));
    }
    let claims = jws.claims().ok_or_else(|| unreadable(IdTokenForm::NoClaims))?;
    let claims = Claims::read(&claims)
        .map_err(|name| ProviderError::id_token(IdTokenFault::MissingClaim(name.to_owned())))?;
    judge(claims, expected)
}

/// Checks claims whose signature is right.
pub(in crate::provider) fn judge(claims: Claims, expected: &Expected<'_>) -> Result<Identity, ProviderError> {
    let by = |issuer: &String| same_issuer(issuer, &claims.iss);
    if !expected.issuers.iter().any(by) {
        return Err(ProviderError::id_token(IdTokenFault::OtherIssuer {
            found: plain(&claims.iss),
            expected: expected.issuers.to_vec(),
            setting: expected.dialect.endpoint_setting.clone(),
        }));
    }
    let only = matches!(claims.aud.as_slice(), [one] if one == expected.audience);
    let other = claims.azp.as_ref().filter(|azp| *azp != expected.audience);
    if !only || other.is_some() {
        let found = other.map_or(claims.aud.join(" and "), Clone::clone);
        return Err(ProviderError::id_token(IdTokenFault::OtherClient {
            found: plain(&found),
            expected: expected.audience.to_owned(),
            setting: expected.dialect.client_setting.clone(),
        }));
    }
    let now = expected.now.as_second();
    if claims.exp.saturating_add(EXPIRY_LEEWAY) <= now {
        let (at, now) = (claims.exp, expected.now);
        return Err(ProviderError::id_token(IdTokenFault::Expired { at, now }));
    }
    if claims.iat.saturating_sub(ISSUED_LEEWAY) > now {
        let (at, now) = (claims.iat, expected.now);
        return Err(ProviderError::id_token(IdTokenFault::IssuedLater { at, now }));
    }
    let nonce = claims.nonce.unwrap_or_default();
    let is_other = |expected: &str| !bool::from(nonce.as_bytes().ct_eq(expected.as_bytes()));
    if expected.nonce.is_some_and(is_other) {
        return Err(ProviderError::id_token(IdTokenFault::OtherConsent));
    }
    identity(claims.sub, claims.email)
}

/// Reads the answer of the userinfo endpoint (`OpenID` Connect Core 1.0, section 5.3.2).
pub(in crate::provider) fn userinfo(body: &[u8]) -> Option<Identity> {
    let answer: Value = serde_json::from_slice(without_bom(body)).ok()?;
    let text = |name| Some(answer.get(name)?.as_str()?.to_owned());
    identity(text("sub")?, text("email")).ok()
}

fn identity(subject: String, email: Option<String>) -> Result<Identity, ProviderError> {
    if subject.is_empty() || subject.len() > MAX_SUBJECT || !subject.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(ProviderError::id_token(IdTokenFault::NoSubject));
    }
    let fits = |c: char| is_part_of_name(c) && !matches!(c, '"' | '\\' | '<' | '>');
    let email = email
        .filter(|address| (1..=MAX_EMAIL).contains(&address.len()) && address.chars().all(fits))
        .unwrap_or_else(|| subject.clone());
    Ok(Identity { subject, email })
}

fn unreadable(form: IdTokenForm) -> ProviderError {
    ProviderError::id_token(IdTokenFault::Unreadable(form))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::provider::oauth::testing::{Signer, code, dialect, unsigned};

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
            dialect: &dialect(),
        };
        check(id_token, &[signer.verifying_key()], &expected)
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
        assert!(with("iss", json!("https://accounts.google.com/")).is_ok());
        assert!(with("aud", json!(["client"])).is_ok());
        assert!(with("azp", json!(null)).is_ok());
    }

    #[test]
    fn every_claim_is_checked() {
        let rows = [
            (
                "iss",
                json!("https://accounts.google.com.example"),
                "`https://accounts.google.com.example`, not from `https://accounts.google.com` or",
            ),
            ("iss", json!("http://accounts.google.com"), "issuer"),
            ("iss", json!("https://accounts.google.com//"), "issuer"),
            ("iss", json!(["https://accounts.google.com"]), "claim `iss`"),
            ("iss", json!(null), "claim `iss`"),
            ("aud", json!("other"), "`other`, not for `client`"),
            ("aud", json!(["client", "other"]), "not for `client`"),
            ("aud", json!([]), "not for `client`"),
            ("aud", json!(["client", 7]), "claim `aud`"),
            ("aud", json!(null), "claim `aud`"),
            ("azp", json!("other"), "`other`, not for `client`"),
            ("azp", json!(7), "claim `azp`"),
            (
                "exp",
                json!(NOW - 60),
                "expired at 2024-01-15T10:29:00Z, and it is 2024-01-15T10:30:00Z here",
            ),
            ("exp", json!(i64::MIN), "expired"),
            ("exp", json!("soon"), "claim `exp`"),
            ("exp", json!(null), "claim `exp`"),
            ("iat", json!(NOW + 601), "future"),
            ("iat", json!(1e300), "future"),
            ("iat", json!(null), "claim `iat`"),
            ("nonce", json!("canary-noncf"), "another consent"),
            ("nonce", json!(""), "another consent"),
            ("nonce", json!(null), "another consent"),
            ("sub", json!(""), "whose"),
            ("sub", json!("1 2"), "whose"),
            ("sub", json!("1".repeat(256)), "whose"),
            ("sub", json!(null), "claim `sub`"),
            ("sub", json!(1098), "claim `sub`"),
        ];
        for (name, value, words) in rows {
            let error = with(name, value.clone()).unwrap_err();
            assert!(error.to_string().contains(words), "{name} {value}: {error}");
            assert_eq!(code(&error), "invalid_id_token");
            assert!(!error.to_string().contains("canary"));
        }
        assert!(
            with("exp", json!(NOW - 59)).is_ok(),
            "a clock may be a minute ahead"
        );
        assert!(with("iat", json!(NOW + 600)).is_ok(), "a clock may be behind");
        for moment in [
            json!(f64::from(1_705_314_600) + 0.5),
            json!("1705314600.5"),
            json!(1.705_314_600e9),
        ] {
            assert!(
                with("exp", moment.clone()).is_ok() && with("iat", moment.clone()).is_ok(),
                "{moment}"
            );
        }
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
            json!(["a@b"]),
            json!({"a": "b"}),
        ] {
            assert_eq!(with("email", odd).unwrap().email, "1098");
        }
    }

    #[test]
    fn an_address_of_any_script_stays_what_it_is() {
        for address in [
            "ผู้ใช้@ตัวอย่าง.ไทย",
            "उपयोगकर्ता@उदाहरण.भारत",
            "e\u{301}mile@example.com",
            "o'brien@example.com",
            "alice+tag@example.com",
        ] {
            assert_eq!(with("email", json!(address)).unwrap().email, address);
        }
        for trick in [
            "alice\u{202e}moc.elpmaxe@b",
            "ali\u{200b}ce@example.com",
            "alice\u{3164}@example.com",
            "\u{feff}alice@example.com",
            "alice\u{2028}@example.com",
        ] {
            assert_eq!(with("email", json!(trick)).unwrap().email, "1098", "{trick:?}");
        }
    }

    #[test]
    fn another_key_or_another_algorithm_is_refused() {
        let signer = Signer::one();
        let forged = Signer::other().sign(&claims());
        assert!(
            checked(&forged, signer)
                .unwrap_err()
                .to_string()
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
            let mut header = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::HS256);
            header.kid = Some("one".into());
            let key = jsonwebtoken::EncodingKey::from_secret(&secret).unwrap();
            let token = jsonwebtoken::encode(&header, &claims(), &key).unwrap();
            assert!(checked(&token, signer).unwrap_err().to_string().contains("RS256"));
            // Not even a caller who forgets to look at the header first gets it through.
            let expected = Expected {
                issuers: &[],
                audience: "",
                nonce: Some(""),
                now: Timestamp::UNIX_EPOCH,
                dialect: &dialect(),
            };
            assert!(check(&token, &[signer.verifying_key()], &expected).is_err());
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
