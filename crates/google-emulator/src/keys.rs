//! RSA keys: the one that signs id tokens, and those of service accounts.

use std::fmt::Write as _;

use aws_lc_rs::{
    encoding::AsDer,
    rsa::{KeyPair, KeySize},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use jsonwebtoken::{
    Algorithm, DecodingKey, EncodingKey, Header,
    jwk::{Jwk, PublicKeyUse},
};
use serde::Serialize;

use crate::random;

/// An RSA key that could not be made or used.
#[derive(Debug, thiserror::Error)]
#[error("an RSA key could not be {0}")]
pub struct KeyError(&'static str);

/// A 2048-bit RSA key pair for RS256.
pub(crate) struct RsaKey {
    encoding: EncodingKey,
    jwk: Jwk,
    /// The key's name, in headers and key sets.
    pub(crate) id: String,
}

impl RsaKey {
    /// A new key, and its PKCS #8 PEM text. Its name is random.
    pub(crate) fn generate() -> Result<(Self, String), KeyError> {
        let pair = KeyPair::generate(KeySize::Rsa2048).map_err(|_| KeyError("generated"))?;
        let pem = pem(pair
            .as_der()
            .map_err(|_| KeyError("written as PKCS #8"))?
            .as_ref());
        let encoding = EncodingKey::from_rsa_pem(pem.as_bytes()).map_err(|_| KeyError("read back"))?;
        let mut jwk =
            Jwk::from_encoding_key(&encoding, Algorithm::RS256).map_err(|_| KeyError("published"))?;
        let mut id = String::new();
        for byte in random::bytes::<20>() {
            // Writing to a string does not fail.
            let _ = write!(id, "{byte:02x}");
        }
        jwk.common.key_id = Some(id.clone());
        jwk.common.public_key_use = Some(PublicKeyUse::Signature);
        Ok((Self { encoding, jwk, id }, pem))
    }

    /// Signs `claims` with RS256, under this key's name.
    pub(crate) fn sign(&self, claims: &impl Serialize) -> Result<String, KeyError> {
        self.sign_as("JWT", claims)
    }

    /// The same for a JWT of another type (RFC 8725, section 3.11).
    pub(crate) fn sign_as(&self, kind: &str, claims: &impl Serialize) -> Result<String, KeyError> {
        let header = Header {
            typ: Some(kind.to_owned()),
            kid: Some(self.id.clone()),
            ..Header::new(Algorithm::RS256)
        };
        jsonwebtoken::encode(&header, claims, &self.encoding).map_err(|_| KeyError("used to sign"))
    }

    /// The public half, for a key set (RFC 7517).
    pub(crate) fn jwk(&self) -> &Jwk {
        &self.jwk
    }

    /// The public half, to check a signature.
    pub(crate) fn verifying(&self) -> Result<DecodingKey, KeyError> {
        DecodingKey::from_jwk(&self.jwk).map_err(|_| KeyError("turned into its public half"))
    }
}

fn pem(der: &[u8]) -> String {
    let text = BASE64_STANDARD.encode(der);
    let mut pem = String::from("-----BEGIN PRIVATE KEY-----\n");
    for line in text.as_bytes().chunks(64) {
        pem.extend(line.iter().map(|byte| char::from(*byte)));
        pem.push('\n');
    }
    pem.push_str("-----END PRIVATE KEY-----\n");
    pem
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_key_signs_its_public_half_verifies() {
        let (key, pem) = RsaKey::generate().unwrap();
        assert!(pem.lines().all(|line| line.len() <= 64));
        let token = key.sign(&serde_json::json!({"iss": "me"})).unwrap();
        let mut rules = jsonwebtoken::Validation::new(Algorithm::RS256);
        rules.set_required_spec_claims::<&str>(&[]);
        rules.validate_exp = false;
        let data =
            jsonwebtoken::decode::<serde_json::Value>(&token, &key.verifying().unwrap(), &rules).unwrap();
        assert_eq!(data.claims["iss"], "me");
        assert_eq!(data.header.kid, Some(key.id.clone()));
    }
}
