//! A proof: a signed text that names one request (RFC 9449, section 4.2).

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use jiff::Timestamp;
use serde::Serialize;
use url::Url;

use super::{
    ALGORITHM,
    key::{ProofKey, PublicJwk},
};
use crate::entropy::Entropy;

/// Who sends a request has this key, at this moment.
#[derive(Clone, Copy)]
pub struct Possession<'a> {
    /// The key that the grant is bound to.
    pub key: &'a ProofKey,
    /// The present moment, as the server's clock shows it.
    pub now: Timestamp,
}

#[derive(Serialize)]
struct Header {
    typ: &'static str,
    alg: &'static str,
    jwk: PublicJwk,
}

#[derive(Serialize)]
struct Claims<'a> {
    jti: &'a str,
    htm: &'a str,
    htu: &'a str,
    iat: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    nonce: Option<&'a str>,
}

impl Possession<'_> {
    /// A proof for one request of this method to this address. It is good once.
    pub(crate) fn prove(
        &self,
        entropy: &dyn Entropy,
        (method, url): (&str, &Url),
        nonce: Option<&str>,
    ) -> String {
        let header = Header {
            typ: "dpop+jwt",
            alg: ALGORITHM,
            jwk: self.key.public(),
        };
        let address = bare(url);
        let claims = Claims {
            jti: &entropy.token(),
            htm: method,
            htu: address.as_str(),
            iat: self.now.as_second(),
            nonce,
        };
        let mut proof = encoded(&header);
        proof.push('.');
        proof.push_str(&encoded(&claims));
        let signature = self.key.sign(&proof);
        proof.push('.');
        proof.push_str(&signature);
        proof
    }
}

/// The address without what a proof does not name, and without what nobody else should read.
fn bare(url: &Url) -> Url {
    let mut bare = url.clone();
    bare.set_query(None);
    bare.set_fragment(None);
    // Neither fails where there is a host, and without one there is nothing to take away.
    let _ = bare.set_username("");
    let _ = bare.set_password(None);
    bare
}

fn encoded(part: &impl Serialize) -> String {
    let json = serde_json::to_vec(part).expect("texts and numbers can be written as JSON");
    BASE64_URL_SAFE_NO_PAD.encode(json)
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::{Algorithm, DecodingKey, Validation};
    use serde_json::{Value, json};

    use super::*;
    use crate::entropy::SystemEntropy;

    fn parts(proof: &str) -> (Value, Value) {
        let mut parts = proof.split('.').map(|part| {
            let part = BASE64_URL_SAFE_NO_PAD.decode(part).unwrap();
            serde_json::from_slice(&part).unwrap_or_default()
        });
        (parts.next().unwrap(), parts.next().unwrap())
    }

    /// What an independent reader finds in a proof whose signature it has checked.
    fn verified(proof: &str) -> Value {
        let (header, _) = parts(proof);
        let text = |name: &str| header["jwk"][name].as_str().unwrap();
        let key = DecodingKey::from_ec_components(text("x"), text("y")).unwrap();
        let mut rules = Validation::new(Algorithm::ES256);
        rules.set_required_spec_claims::<&str>(&[]);
        rules.validate_exp = false;
        jsonwebtoken::decode(proof, &key, &rules).unwrap().claims
    }

    fn prove(key: &ProofKey, url: &str, nonce: Option<&str>) -> String {
        let now = "2026-01-01T00:00:00.9Z".parse().unwrap();
        let possession = Possession { key, now };
        possession.prove(&SystemEntropy, ("POST", &url.parse().unwrap()), nonce)
    }

    #[test]
    fn a_proof_names_its_key_and_one_request() {
        let key = ProofKey::generate();
        let address = "https://oauth2.googleapis.com/token";
        let proof = prove(&key, address, None);
        let (header, mut claims) = parts(&proof);
        assert_eq!(header["typ"], "dpop+jwt");
        assert_eq!(header["alg"], "ES256");
        let members: Vec<&String> = header["jwk"].as_object().unwrap().keys().collect();
        assert_eq!(members, ["crv", "kty", "x", "y"], "the public half alone");
        assert_eq!(verified(&proof), claims);
        let jti = claims["jti"].take();
        assert!(jti.as_str().is_some_and(|jti| jti.len() == 43), "{jti}");
        assert_eq!(
            claims,
            json!({"jti": null, "htm": "POST", "htu": address, "iat": 1_767_225_600})
        );
        let (_, again) = parts(&prove(&key, address, Some("n-1")));
        assert_ne!(again["jti"], jti, "each is another one");
        assert_eq!(again["nonce"], "n-1");
    }

    #[test]
    fn a_proof_names_no_query_and_no_password() {
        let key = ProofKey::generate();
        for (url, named) in [
            ("https://u:p@a.example:8443/t?q=1#f", "https://a.example:8443/t"),
            ("https://A.example", "https://a.example/"),
            ("http://127.0.0.1:9005/token", "http://127.0.0.1:9005/token"),
        ] {
            assert_eq!(verified(&prove(&key, url, None))["htu"], named);
        }
    }
}
