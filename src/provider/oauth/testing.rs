//! Keys that sign id tokens, and key files: for the tests beside this file.

use std::sync::{Arc, LazyLock};

use aws_lc_rs::{
    encoding::{AsDer, Pkcs8V1Der},
    rand::SystemRandom,
    rsa::KeySize,
    signature::{KeyPair, RSA_PKCS1_SHA256, RsaKeyPair},
};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey, jwk::Jwk};
use serde_json::{Value, json};

use super::Dialect;
use crate::{
    cause::ProviderCause,
    config::ClientType,
    http_client::{TransportError, testing::pem},
    provider::{
        ProviderError,
        google::{self, Endpoints},
    },
};

/// Google's, for a web client.
pub(crate) fn dialect() -> Arc<Dialect> {
    Arc::new(google::client::dialect(ClientType::Web, &Endpoints::google()))
}

/// What happened, in a word: the provider's `error`, or what there is instead of one.
pub(crate) fn code(error: &ProviderError) -> String {
    let known = match &*error.cause {
        ProviderCause::Refused(refusal) => {
            let status = || format!("http_{}", refusal.status);
            return refusal.error.clone().unwrap_or_else(status);
        }
        ProviderCause::ConsentRefused { error, .. } => return error.clone(),
        ProviderCause::NoAnswer { error, .. } => match error {
            TransportError::NoRoots(_) | TransportError::Certificate(_) => "certificate",
            TransportError::NoConnection | TransportError::Timeout(_) => "timeout",
            TransportError::TooLarge(_) | TransportError::Encoding(_) => "malformed_answer",
            TransportError::ProxyCredentials(_) => "proxy_authentication",
            TransportError::Network(_) => "network",
        },
        ProviderCause::Unusable(_) => "malformed_answer",
        ProviderCause::IdToken(_) => "invalid_id_token",
        ProviderCause::NoRevocationEndpoint => "no_revocation_endpoint",
        ProviderCause::KeyUnusable { .. } => "invalid_key",
        ProviderCause::Discovery(_) => "invalid_discovery_document",
    };
    known.to_owned()
}

/// A key file as the console makes them, for assertions to this endpoint. One key for all tests: making one takes long.
pub(crate) fn key_file(token_endpoint: &str) -> Value {
    static KEY: LazyLock<String> = LazyLock::new(|| {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        let der: Pkcs8V1Der<'_> = pair.as_der().unwrap();
        pem("PRIVATE KEY", der.as_ref())
    });
    json!({
        "type": "service_account",
        "project_id": "project",
        "private_key_id": "0123abcd",
        "private_key": *KEY,
        "client_email": "robot@project.iam.gserviceaccount.com",
        "client_id": "104",
        "auth_uri": "https://accounts.google.com/o/oauth2/auth",
        "token_uri": token_endpoint,
    })
}

/// An RSA key that signs id tokens.
pub(crate) struct Signer {
    id: &'static str,
    key: RsaKeyPair,
}

impl Signer {
    /// The key `one`.
    pub(crate) fn one() -> &'static Self {
        static KEY: LazyLock<Signer> = LazyLock::new(|| Signer::generate("one"));
        &KEY
    }

    /// The key `other`.
    pub(crate) fn other() -> &'static Self {
        static KEY: LazyLock<Signer> = LazyLock::new(|| Signer::generate("other"));
        &KEY
    }

    fn generate(id: &'static str) -> Self {
        Self {
            id,
            key: RsaKeyPair::generate(KeySize::Rsa2048).unwrap(),
        }
    }

    pub(crate) fn verifying_key(&self) -> DecodingKey {
        DecodingKey::from_rsa_der(self.key.public_key().as_ref())
    }

    /// As the certs endpoint shows it.
    pub(crate) fn published(&self) -> Value {
        let jwk = Jwk::from_decoding_key(&self.verifying_key(), Some(Algorithm::RS256)).unwrap();
        let mut jwk = serde_json::to_value(jwk).unwrap();
        jwk["kid"] = json!(self.id);
        jwk["use"] = json!("sig");
        jwk
    }

    /// What an attacker knows of it, in the forms that careless verifiers took for a MAC's key.
    pub(crate) fn public_forms(&self) -> Vec<Vec<u8>> {
        let der = self.key.public_key().as_ref().to_vec();
        let modulus = self.published()["n"].as_str().unwrap().as_bytes().to_vec();
        let pem = base64::prelude::BASE64_STANDARD.encode(&der);
        let pem = format!("-----BEGIN RSA PUBLIC KEY-----\n{pem}\n-----END RSA PUBLIC KEY-----\n");
        vec![der, modulus, pem.into_bytes()]
    }

    pub(crate) fn sign(&self, claims: &Value) -> String {
        self.sign_with(&json!({"alg": "RS256", "typ": "JWT", "kid": self.id}), claims)
    }

    pub(crate) fn sign_with(&self, header: &Value, claims: &Value) -> String {
        self.sign_texts(&header.to_string(), &claims.to_string())
    }

    pub(crate) fn sign_texts(&self, header: &str, claims: &str) -> String {
        let message = message(header, claims);
        let mut signature = vec![0; self.key.public_modulus_len()];
        self.key
            .sign(
                &RSA_PKCS1_SHA256,
                &SystemRandom::new(),
                message.as_bytes(),
                &mut signature,
            )
            .unwrap();
        format!("{message}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))
    }
}

/// A token with an empty signature.
pub(crate) fn unsigned(header: &Value, claims: &Value) -> String {
    format!("{}.", message(&header.to_string(), &claims.to_string()))
}

fn message(header: &str, claims: &str) -> String {
    let part = |json: &str| BASE64_URL_SAFE_NO_PAD.encode(json);
    format!("{}.{}", part(header), part(claims))
}
