//! Service accounts: their key files, and the assertions that their keys sign (RFC 7523).

use std::{borrow::Cow, time::Duration};

use aws_lc_rs::{
    error::KeyRejected,
    rand::SystemRandom,
    signature::{RSA_PKCS1_SHA256, RsaKeyPair},
};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use jiff::Timestamp;
use rustls::pki_types::{PrivateKeyDer, pem::PemObject};
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, Zeroizing};

use crate::{
    capability::ScopeSet,
    cause::{InvalidKeyFile, JsonPlace, NotKeyFile},
    clock,
    provider::google::endpoints::is_token_endpoint,
    secret::{
        PrivateKey,
        pem::{self, NotRsa},
    },
    text::{self, Field, NotText, scrub::plain},
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
    r#type: Field,
    client_email: Field,
    client_id: Field,
    private_key_id: Field,
    private_key: Field,
    token_uri: Field,
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
    /// Reads a key file. Its `token_uri` has to be `token_endpoint`, where assertions are sent, by its present name or by one
    /// that it had before: a key of another server is told at once, and no file says where its assertions go.
    pub fn parse(file: &str, token_endpoint: &str) -> Result<Self, InvalidKeyFile> {
        if file.len() > MAX_FILE {
            return Err(NotKeyFile::TooLong(MAX_FILE).into());
        }
        let read: KeyFile = serde_json::from_str(text::plain(file)).map_err(|error| not_json(&error))?;
        let needed = |name, field: Field| match field.text() {
            Ok(Some(text)) => Ok(text),
            Ok(None) => Err(InvalidKeyFile::Missing(Cow::Borrowed(name))),
            Err(NotText) => Err(InvalidKeyFile::NotText(Cow::Borrowed(name))),
        };
        // From here on it is wiped, whatever comes of it.
        let private_key = needed("private_key", read.private_key).map(PrivateKey::from);
        let kind = needed("type", read.r#type)?;
        if kind != "service_account" {
            let found = plain(&kind);
            return Err(InvalidKeyFile::OtherKind { found });
        }
        let email = needed("client_email", read.client_email)?;
        let key_id = needed("private_key_id", read.private_key_id)?;
        let client_id = read.client_id.optional().unwrap_or_default();
        let token_uri = read
            .token_uri
            .text()
            .map_err(|_| InvalidKeyFile::NotText("token_uri".into()))?;
        let private_key = private_key?;
        check_fields(&email, &key_id, &client_id)?;
        if !is_token_endpoint(token_uri.as_deref(), token_endpoint) {
            return Err(InvalidKeyFile::TokenUri {
                found: match &token_uri {
                    Some(uri) => format!("`{}`", plain(uri)),
                    None => "not there, which means Google's".to_owned(),
                },
                expected: token_endpoint.to_owned(),
            });
        }
        let private_key = pem::mended(private_key.expose()).map_err(|reason| match reason {
            NotRsa::Damaged => InvalidKeyFile::PrivateKey,
            NotRsa::Is(what) => InvalidKeyFile::OtherKey(what.into()),
        })?;
        let key = Self {
            email,
            key_id,
            client_id,
            private_key: private_key.as_str().into(),
            token_uri: token_endpoint.to_owned(),
        };
        key.key_pair()?;
        Ok(key)
    }

    /// The key itself, to be taken out of what others wrote.
    pub(super) fn private_key(&self) -> &str {
        self.private_key.expose()
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

    /// An assertion for a token with these scopes: RFC 7523, section 3, as Google wants it. With `subject` it speaks for
    /// that person (domain-wide delegation). Whoever has it may exchange it at Google until it ends. An error when the
    /// key does not sign.
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
            PrivateKeyDer::Pkcs8(der) => RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()).map_err(rejected),
            PrivateKeyDer::Pkcs1(der) => RsaKeyPair::from_der(der.secret_pkcs1_der()).map_err(rejected),
            _ => Err(InvalidKeyFile::PrivateKey),
        };
        der.zeroize();
        pair
    }
}

fn rejected(reason: KeyRejected) -> InvalidKeyFile {
    // The library gives its reasons by name alone.
    match reason.to_string().as_str() {
        "TooSmall" => InvalidKeyFile::ShortKey,
        _ => InvalidKeyFile::PrivateKey,
    }
}

/// They go into headers, messages and env files as they are.
fn check_fields(email: &str, key_id: &str, client_id: &str) -> Result<(), InvalidKeyFile> {
    let made_of = |text: &str, more: &[u8]| {
        text.bytes()
            .all(|b| b.is_ascii_alphanumeric() || more.contains(&b))
    };
    let address = email.split_once('@');
    let is_address = address.is_some_and(|(name, domain)| !name.is_empty() && !domain.is_empty());
    if email.len() > MAX_ADDRESS || !is_address || !made_of(email, b"@.-_+") {
        let expected = "a service account's address, such as robot@project.iam.gserviceaccount.com";
        return Err(InvalidKeyFile::Field {
            field: "client_email".into(),
            expected: expected.into(),
        });
    }
    if key_id.len() > MAX_KEY_ID || !made_of(key_id, b"-_") {
        let expected = "the name of a key: letters, digits, `-` and `_`";
        return Err(InvalidKeyFile::Field {
            field: "private_key_id".into(),
            expected: expected.into(),
        });
    }
    if client_id.len() > MAX_KEY_ID || !made_of(client_id, b"-_.") {
        let expected = "the number of a service account";
        return Err(InvalidKeyFile::Field {
            field: "client_id".into(),
            expected: expected.into(),
        });
    }
    Ok(())
}

/// Where the JSON is wrong. What serde says about it is left out: it would quote the file.
fn not_json(error: &serde_json::Error) -> InvalidKeyFile {
    let place = JsonPlace::of(error);
    let what = match error.classify() {
        serde_json::error::Category::Data => NotKeyFile::OtherType(place),
        _ => NotKeyFile::Json(place),
    };
    what.into()
}

#[cfg(test)]
mod tests;
