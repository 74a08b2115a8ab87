//! The key that a grant is bound to.

use aws_lc_rs::{
    digest::{SHA256, digest},
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair},
};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde::Serialize;
use zeroize::Zeroizing;

/// A number of the curve P-256.
const NUMBER: usize = 32;

/// A P-256 key pair, which signs with ES256. No `Debug`: it holds a secret, which AWS-LC wipes.
pub struct ProofKey(EcdsaKeyPair);

/// What was kept is no such key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it is not a P-256 key")]
pub struct NotAKey;

/// The public half of a key as JSON (RFC 7517), with its members in the order that a thumbprint is made in (RFC 7638,
/// section 3.3).
#[derive(Serialize)]
pub(super) struct PublicJwk {
    crv: &'static str,
    kty: &'static str,
    x: String,
    y: String,
}

impl ProofKey {
    /// A new one.
    ///
    /// # Panics
    /// Where the system's random generator does not work.
    pub fn generate() -> Self {
        Self(
            EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)
                .expect("the system's random generator works"),
        )
    }

    /// One that was kept (PKCS #8).
    ///
    /// # Errors
    /// What was kept is no such key.
    pub fn from_pkcs8(der: &[u8]) -> Result<Self, NotAKey> {
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der);
        pair.map(Self).map_err(|_| NotAKey)
    }

    /// The key to be kept, as PKCS #8.
    ///
    /// # Panics
    /// Never: a key that was made or read can be written.
    pub fn to_pkcs8(&self) -> Zeroizing<Vec<u8>> {
        let der = self.0.to_pkcs8v1().expect("a key of a known curve has a form");
        Zeroizing::new(der.as_ref().to_vec())
    }

    /// What names it (RFC 7638).
    ///
    /// # Panics
    /// Never: texts can be written as JSON.
    pub fn thumbprint(&self) -> String {
        let json = serde_json::to_vec(&self.public()).expect("texts can be written as JSON");
        BASE64_URL_SAFE_NO_PAD.encode(digest(&SHA256, &json))
    }

    pub(super) fn public(&self) -> PublicJwk {
        // An uncompressed point: 4, x, y.
        let point = &self.0.public_key().as_ref()[1..];
        let (x, y) = point.split_at(NUMBER);
        PublicJwk {
            crv: "P-256",
            kty: "EC",
            x: BASE64_URL_SAFE_NO_PAD.encode(x),
            y: BASE64_URL_SAFE_NO_PAD.encode(y),
        }
    }

    /// Signs as JWS writes it: both numbers at full length (RFC 7518, section 3.4).
    pub(super) fn sign(&self, text: &str) -> String {
        let signature = self.0.sign(&SystemRandom::new(), text.as_bytes());
        BASE64_URL_SAFE_NO_PAD.encode(signature.expect("the system's random generator works"))
    }
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::{
        Algorithm, EncodingKey,
        jwk::{Jwk, ThumbprintHash},
    };

    use super::*;

    #[test]
    fn a_key_that_was_kept_is_the_same_key() {
        let key = ProofKey::generate();
        let kept = key.to_pkcs8();
        let again = ProofKey::from_pkcs8(&kept).unwrap();
        assert_eq!(again.thumbprint(), key.thumbprint());
        assert_ne!(ProofKey::generate().thumbprint(), key.thumbprint());
        for odd in [&[][..], b"key", &kept[..kept.len() - 1]] {
            assert_eq!(ProofKey::from_pkcs8(odd).err(), Some(NotAKey));
        }
    }

    #[test]
    fn others_give_a_key_the_same_name() {
        let key = ProofKey::generate();
        let theirs = EncodingKey::from_ec_der(&key.to_pkcs8());
        let theirs = Jwk::from_encoding_key(&theirs, Algorithm::ES256).unwrap();
        assert_eq!(
            theirs.thumbprint(ThumbprintHash::SHA256).unwrap(),
            key.thumbprint()
        );
    }
}
