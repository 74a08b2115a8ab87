//! Service accounts: their key files, and the assertions that their keys sign (RFC 7523).

use std::time::Duration;

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{RSA_PKCS1_SHA256, RsaKeyPair},
};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use jiff::Timestamp;
use rustls::pki_types::{PrivateKeyDer, pem::PemObject};
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, Zeroizing};

use crate::{
    catalog::ScopeSet,
    clock,
    secret::{PrivateKey, shape::redacted},
};

/// Google's own key files are about 2.4 KiB long.
const MAX_FILE: usize = 32 * 1024;
/// Google's token endpoint: assertions name it wherever they are sent, as those of Google's own libraries do.
const AUDIENCE: &str = "https://oauth2.googleapis.com/token";
/// The longest life that Google gives an assertion.
const LIFETIME: Duration = Duration::from_secs(3600);
/// The longest address that SMTP carries (RFC 5321).
const MAX_ADDRESS: usize = 254;
const MAX_KEY_ID: usize = 200;

/// What is wrong with a key file. Quotes nothing that could be secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKeyFile {
    /// No JSON, or too much of it.
    #[error("it is not a key file as the Google Cloud console makes them: {0}")]
    NotJson(String),
    /// Another kind of credentials.
    #[error("its `type` is `{found}`, not `service_account`{}", hint(.found))]
    OtherKind {
        /// What it says.
        found: String,
    },
    /// A field is missing or empty.
    #[error("it has no `{0}`: download the key anew, and leave the file as it is")]
    Missing(&'static str),
    /// A field holds something else than it should.
    #[error("its `{field}` is not {expected}")]
    Field {
        /// Which.
        field: &'static str,
        /// What it should hold.
        expected: &'static str,
    },
    /// The private key cannot be used.
    #[error(
        "its `private_key` is not an RSA key of at least 2048 bits in PEM (PKCS #8 or PKCS #1): it is cut off or was \
         changed; download the key anew"
    )]
    PrivateKey,
    /// It is for another server.
    #[error(
        "its `token_uri` is `{found}`, but this daemon sends assertions to {expected} alone: a key file does not say \
         where they go"
    )]
    TokenUri {
        /// What it says.
        found: String,
        /// Where the daemon is configured to send them.
        expected: String,
    },
}

fn hint(found: &str) -> &'static str {
    if found == "authorized_user" {
        ": these are a person's credentials, which `token-broker integrations import` takes"
    } else {
        ""
    }
}

/// A service account's key, checked. No `Debug`: it holds a secret.
pub struct ServiceAccountKey {
    /// The account's address: what files are shared with.
    pub email: String,
    /// The key's own name.
    pub key_id: String,
    /// The account's number, which a domain's administrator delegates to; empty where the file does not tell.
    pub client_id: String,
    private_key: PrivateKey,
    token_uri: String,
}

/// A key file, as far as it matters here.
#[derive(Default, Deserialize)]
#[serde(default)]
struct KeyFile {
    r#type: String,
    client_email: String,
    client_id: String,
    private_key_id: String,
    private_key: String,
    token_uri: String,
}

/// What is kept of a key file: one that reads back.
#[derive(Serialize)]
struct Kept<'a> {
    r#type: &'static str,
    client_email: &'a str,
    client_id: &'a str,
    private_key_id: &'a str,
    private_key: &'a str,
    token_uri: &'a str,
}

#[derive(Serialize)]
struct Header<'a> {
    alg: &'static str,
    typ: &'static str,
    kid: &'a str,
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    sub: Option<&'a str>,
    scope: String,
    aud: &'static str,
    iat: i64,
    exp: i64,
}

impl ServiceAccountKey {
    /// Reads a key file. Its `token_uri` has to be `token_endpoint`, where assertions are sent: a key of another
    /// server is told at once, and no file says where its assertions go.
    pub fn parse(file: &str, token_endpoint: &str) -> Result<Self, InvalidKeyFile> {
        if file.len() > MAX_FILE {
            let what = format!("it is longer than {MAX_FILE} bytes");
            return Err(InvalidKeyFile::NotJson(what));
        }
        let read: KeyFile = serde_json::from_str(file).map_err(|error| not_json(&error))?;
        // From here on it is wiped, whatever comes of it.
        let private_key = PrivateKey::from(read.private_key);
        if read.r#type.is_empty() {
            return Err(InvalidKeyFile::Missing("type"));
        }
        if read.r#type != "service_account" {
            let found = shown(&read.r#type);
            return Err(InvalidKeyFile::OtherKind { found });
        }
        for (field, text) in [
            ("client_email", read.client_email.as_str()),
            ("private_key_id", &read.private_key_id),
            ("private_key", private_key.expose()),
            ("token_uri", &read.token_uri),
        ] {
            if text.is_empty() {
                return Err(InvalidKeyFile::Missing(field));
            }
        }
        check_fields(&read.client_email, &read.private_key_id, &read.client_id)?;
        if read.token_uri != token_endpoint {
            return Err(InvalidKeyFile::TokenUri {
                found: shown(&read.token_uri),
                expected: token_endpoint.to_owned(),
            });
        }
        let key = Self {
            email: read.client_email,
            key_id: read.private_key_id,
            client_id: read.client_id,
            private_key,
            token_uri: read.token_uri,
        };
        key.key_pair()?;
        Ok(key)
    }

    /// What [`Self::parse`] reads back: for sealing.
    pub fn to_json(&self) -> Zeroizing<Vec<u8>> {
        // Room for every byte of the key to be escaped: growing would leave copies behind.
        let room = 2 * self.private_key.expose().len() + 1024;
        let mut json = Zeroizing::new(Vec::with_capacity(room));
        let kept = Kept {
            r#type: "service_account",
            client_email: &self.email,
            client_id: &self.client_id,
            private_key_id: &self.key_id,
            private_key: self.private_key.expose(),
            token_uri: &self.token_uri,
        };
        // Texts alone, written to memory: nothing can fail.
        let _ = serde_json::to_writer(&mut *json, &kept);
        json
    }

    /// An assertion for a token with these scopes: RFC 7523, section 3, as Google wants it. With `subject` it speaks
    /// for that person (domain-wide delegation). Whoever has it may exchange it until it ends, so it is for
    /// `token_uri` alone. An error when the key does not sign.
    pub fn assertion(
        &self,
        subject: Option<&str>,
        scopes: &ScopeSet,
        now: Timestamp,
    ) -> Result<Zeroizing<String>, InvalidKeyFile> {
        let header = Header {
            alg: "RS256",
            typ: "JWT",
            kid: &self.key_id,
        };
        let claims = Claims {
            iss: &self.email,
            sub: subject,
            scope: scopes.to_string(),
            aud: AUDIENCE,
            iat: now.as_second(),
            exp: clock::after(now, LIFETIME).as_second(),
        };
        let part = |json: serde_json::Result<Vec<u8>>| json.map(|json| BASE64_URL_SAFE_NO_PAD.encode(json));
        let (Ok(header), Ok(claims)) = (
            part(serde_json::to_vec(&header)),
            part(serde_json::to_vec(&claims)),
        ) else {
            return Err(InvalidKeyFile::PrivateKey);
        };
        let mut assertion = Zeroizing::new(String::with_capacity(header.len() + claims.len() + 1024));
        assertion.push_str(&header);
        assertion.push('.');
        assertion.push_str(&claims);
        let pair = self.key_pair()?;
        let mut signature = vec![0; pair.public_modulus_len()];
        pair.sign(
            &RSA_PKCS1_SHA256,
            &SystemRandom::new(),
            assertion.as_bytes(),
            &mut signature,
        )
        .map_err(|_| InvalidKeyFile::PrivateKey)?;
        assertion.push('.');
        BASE64_URL_SAFE_NO_PAD.encode_string(signature, &mut assertion);
        Ok(assertion)
    }

    fn key_pair(&self) -> Result<RsaKeyPair, InvalidKeyFile> {
        let mut der = PrivateKeyDer::from_pem_slice(self.private_key.expose().as_bytes())
            .map_err(|_| InvalidKeyFile::PrivateKey)?;
        let pair = match &der {
            PrivateKeyDer::Pkcs8(der) => RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()).ok(),
            PrivateKeyDer::Pkcs1(der) => RsaKeyPair::from_der(der.secret_pkcs1_der()).ok(),
            _ => None,
        };
        der.zeroize();
        pair.ok_or(InvalidKeyFile::PrivateKey)
    }
}

/// They go into headers, messages and env files as they are.
fn check_fields(email: &str, key_id: &str, client_id: &str) -> Result<(), InvalidKeyFile> {
    let plain = |text: &str, more: &[u8]| {
        text.bytes()
            .all(|b| b.is_ascii_alphanumeric() || more.contains(&b))
    };
    let address = email.split_once('@');
    let is_address = address.is_some_and(|(name, domain)| !name.is_empty() && !domain.is_empty());
    if email.len() > MAX_ADDRESS || !is_address || !plain(email, b"@.-_+") {
        let expected = "a service account's address, such as robot@project.iam.gserviceaccount.com";
        return Err(InvalidKeyFile::Field {
            field: "client_email",
            expected,
        });
    }
    if key_id.len() > MAX_KEY_ID || !plain(key_id, b"-_") {
        let expected = "the name of a key: letters, digits, `-` and `_`";
        return Err(InvalidKeyFile::Field {
            field: "private_key_id",
            expected,
        });
    }
    if client_id.len() > MAX_KEY_ID || !plain(client_id, b"-_.") {
        let expected = "the number of a service account";
        return Err(InvalidKeyFile::Field {
            field: "client_id",
            expected,
        });
    }
    Ok(())
}

/// Where the JSON is wrong. What serde says about it is left out: it would quote the file.
fn not_json(error: &serde_json::Error) -> InvalidKeyFile {
    let place = format!("line {}, column {}", error.line(), error.column());
    InvalidKeyFile::NotJson(match error.classify() {
        serde_json::error::Category::Data => format!("a field is of the wrong type at {place}"),
        _ => format!("the JSON is cut off or broken at {place}"),
    })
}

fn shown(text: &str) -> String {
    redacted(text)
        .chars()
        .take(120)
        .flat_map(char::escape_debug)
        .collect()
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::{rsa::KeySize, signature::KeyPair};
    use jsonwebtoken::{Algorithm, DecodingKey, Validation};
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::google::testing::{key_file, pem};

    const ENDPOINT: &str = "https://oauth2.googleapis.com/token";

    fn read(file: &Value) -> Result<ServiceAccountKey, InvalidKeyFile> {
        ServiceAccountKey::parse(&file.to_string(), ENDPOINT)
    }

    fn with(field: &str, value: impl Into<Value>) -> Value {
        let mut file = key_file(ENDPOINT);
        file[field] = value.into();
        file
    }

    fn refused(file: &Value) -> String {
        let text = file["private_key"].as_str().unwrap_or_default().to_owned();
        let error = read(file).err().unwrap().to_string();
        for line in text
            .lines()
            .filter(|line| line.len() > 20 && !line.starts_with("-----"))
        {
            assert!(!error.contains(&line[..20]), "{error}");
        }
        error
    }

    /// What the assertion says, if its key signed it.
    fn claims(key: &ServiceAccountKey, assertion: &str) -> (jsonwebtoken::Header, Value) {
        let pair = key.key_pair().unwrap();
        let verifying = DecodingKey::from_rsa_der(pair.public_key().as_ref());
        let mut rules = Validation::new(Algorithm::RS256);
        rules.required_spec_claims.clear();
        (rules.validate_exp, rules.validate_aud) = (false, false);
        let data = jsonwebtoken::decode::<Value>(assertion, &verifying, &rules).unwrap();
        (data.header, data.claims)
    }

    #[test]
    fn what_is_kept_reads_back_and_signs() {
        let key = read(&key_file(ENDPOINT)).ok().unwrap();
        let kept = key.to_json();
        let key = ServiceAccountKey::parse(std::str::from_utf8(&kept).unwrap(), ENDPOINT)
            .ok()
            .unwrap();
        let scopes = ScopeSet::parse("https://b.example https://a.example").unwrap();
        let now: Timestamp = "2024-01-15T10:30:00Z".parse().unwrap();
        let assertion = key.assertion(None, &scopes, now).unwrap();
        let (header, said) = claims(&key, &assertion);
        assert_eq!(header.kid.as_deref(), Some("0123abcd"));
        let iat = now.as_second();
        let expected = json!({
            "iss": "robot@project.iam.gserviceaccount.com", "scope": "https://a.example https://b.example",
            "aud": ENDPOINT, "iat": iat, "exp": iat + 3600,
        });
        assert_eq!(said, expected);
        let assertion = key.assertion(Some("alice@example.com"), &scopes, now).unwrap();
        assert_eq!(claims(&key, &assertion).1["sub"], "alice@example.com");
        let elsewhere = "http://127.0.0.1:9005/token";
        let key = ServiceAccountKey::parse(&key_file(elsewhere).to_string(), elsewhere)
            .ok()
            .unwrap();
        let assertion = key.assertion(None, &scopes, now).unwrap();
        assert_eq!(claims(&key, &assertion).1["aud"], ENDPOINT);
    }

    #[test]
    fn what_is_kept_is_written_without_growing() {
        let key = read(&key_file(ENDPOINT)).ok().unwrap();
        let room = 2 * key.private_key.expose().len() + 1024;
        assert_eq!(key.to_json().capacity(), room);
    }

    #[test]
    fn both_forms_of_an_rsa_key_are_read() {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        let pkcs8: aws_lc_rs::encoding::Pkcs8V1Der<'_> = aws_lc_rs::encoding::AsDer::as_der(&pair).unwrap();
        // PKCS #8 wraps PKCS #1: a sequence of version, algorithm and an octet string with the key.
        let pkcs1 = &pkcs8.as_ref()[26..];
        assert!(read(&with("private_key", pem("RSA PRIVATE KEY", pkcs1))).is_ok());
        assert!(read(&with("private_key", pem("PRIVATE KEY", pkcs8.as_ref()))).is_ok());
        // Mislabelled, it is neither.
        assert!(read(&with("private_key", pem("RSA PRIVATE KEY", pkcs8.as_ref()))).is_err());
    }

    #[test]
    fn a_file_that_is_no_key_is_told_what_is_wrong_with_it() {
        let whole = key_file(ENDPOINT)["private_key"].as_str().unwrap().to_owned();
        for (file, words) in [
            (
                with("type", "authorized_user"),
                "`token-broker integrations import` takes",
            ),
            (
                with("type", "external_account"),
                "is `external_account`, not `service_account`",
            ),
            (with("type", ""), "it has no `type`"),
            (with("client_email", ""), "it has no `client_email`"),
            (with("client_email", "robot"), "its `client_email` is not"),
            (with("client_email", "robot@x\nB=1"), "its `client_email` is not"),
            (with("private_key_id", "a b"), "its `private_key_id` is not"),
            (with("client_id", "1 2"), "its `client_id` is not"),
            (with("private_key", ""), "it has no `private_key`"),
            (
                with("private_key", &whole[..whole.len() / 2]),
                "cut off or was changed",
            ),
            (
                with("private_key", whole.replace('\n', "")),
                "cut off or was changed",
            ),
            (
                with("private_key", whole.replacen('M', "N", 1)),
                "cut off or was changed",
            ),
            (with("private_key", 5), "a field is of the wrong type"),
            (
                with("token_uri", "https://evil.example/token"),
                "`https://evil.example/token`, but this daemon",
            ),
            (json!("text"), "of the wrong type"),
            (json!({}), "it has no `type`"),
        ] {
            let error = refused(&file);
            assert!(error.contains(words), "{words}: {error}");
        }
        let long = format!("{}{}", key_file(ENDPOINT), " ".repeat(MAX_FILE));
        let cut = &key_file(ENDPOINT).to_string()[..100];
        for (text, words) in [
            (long.as_str(), "longer than"),
            (cut, "cut off"),
            ("", "cut off"),
            ("-----BEGIN", "broken"),
        ] {
            let error = ServiceAccountKey::parse(text, ENDPOINT)
                .err()
                .unwrap()
                .to_string();
            assert!(error.contains(words), "{words}: {error}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".{0,300}") {
            let _ = ServiceAccountKey::parse(&text, ENDPOINT);
        }
    }
}
