//! A service account's key file, as the console makes it.

use std::sync::LazyLock;

use aws_lc_rs::{
    encoding::{AsDer, Pkcs8V1Der},
    rsa::{KeyPair, KeySize},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::json;

/// One RSA key for all of them: making one takes long.
pub(crate) static PRIVATE_KEY: LazyLock<String> = LazyLock::new(|| {
    let pair = KeyPair::generate(KeySize::Rsa2048).unwrap();
    let der: Pkcs8V1Der<'_> = pair.as_der().unwrap();
    let text = BASE64_STANDARD.encode(der.as_ref());
    format!("-----BEGIN PRIVATE KEY-----\n{text}\n-----END PRIVATE KEY-----\n")
});

/// The file.
pub(crate) fn key_file(email: &str, key_id: &str, token_endpoint: &str) -> String {
    let file = json!({
        "type": "service_account",
        "project_id": "project",
        "private_key_id": key_id,
        "private_key": *PRIVATE_KEY,
        "client_email": email,
        "client_id": "104",
        "token_uri": token_endpoint,
    });
    file.to_string()
}
