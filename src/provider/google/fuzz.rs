//! What bytes from the provider, from browsers and from files of credentials reach first, for the fuzzers in `fuzz/`.

use std::sync::{Arc, LazyLock};

use aws_lc_rs::{
    encoding::{AsDer, Pkcs8V1Der},
    rsa::{KeyPair, KeySize},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use http::{HeaderMap, StatusCode};
use jiff::Timestamp;
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use crate::{
    capability::ScopeSet,
    clock::SystemClock,
    config::ClientType,
    entropy::SystemEntropy,
    http_client::{Egress, Limits, Reply, encoding::decoded},
    provider::{
        failure::Call,
        google::{
            ClientOptions, Endpoints, authorized_user, client, providers, service_account::ServiceAccountKey,
        },
        oauth::{idtoken, redirect::Redirect, refused, token},
        registry::Providers,
    },
    text::{json_fields::Fields, without_bom},
};

const TOKEN_ENDPOINT: &str = "https://oauth2.googleapis.com/token";
/// Bytes of an answer.
const MAX_ANSWER: usize = 64 * 1024;
const CLIENT: &str = "client.apps.googleusercontent.com";
/// What stands where a file keeps its secret.
const SECRET: &str = "1//0gCANARY-of-a-file";

/// Google's, asked for nothing.
pub static PROVIDERS: LazyLock<Providers> = LazyLock::new(|| {
    let options = ClientOptions {
        client_id: CLIENT.to_owned(),
        client_secret: None,
        client_type: ClientType::Web,
        dpop: false,
        redirect_uri: "http://127.0.0.1:1/oauth/callback".parse().expect("a URL"),
        endpoints: Endpoints::google(),
        limits: Limits::default(),
        egress: Egress::default(),
    };
    Providers::new(providers(options, Arc::new(SystemClock), Arc::new(SystemEntropy)))
});

/// An answer of the token endpoint, taken for a good one and for a refusal.
pub fn token_answer(bytes: &[u8]) {
    let (body, cut) = decoded(&HeaderMap::new(), Zeroizing::new(bytes.to_vec()), MAX_ANSWER);
    assert!(
        body.len() <= MAX_ANSWER.max(bytes.len()),
        "what is compressed is bounded"
    );
    let reply = Reply {
        heard_at: crate::clock::Uptime::START,
        status: StatusCode::OK,
        headers: HeaderMap::new(),
        body,
        cut,
    };
    if let Some(fields) = Fields::read(&reply.body) {
        if let Ok(answer) = token::parse(&fields) {
            assert!(!answer.expires_in.is_zero(), "a token that lives");
        }
        if let Some(token) = token::refresh_token(&fields, None) {
            assert!(
                token.expose().bytes().all(|b| b.is_ascii_graphic()),
                "a token that can be sent"
            );
        }
    }
    let secret = "canary-refresh-token";
    let dialect = client::dialect(ClientType::Web, &Endpoints::google());
    let error = refused(&dialect, Call::Refresh, &reply, &[secret], Timestamp::UNIX_EPOCH);
    assert!(
        !error.to_string().contains(secret),
        "an echoed secret is not repeated"
    );
}

/// An id token, and the claims of one as if its signature were right.
pub fn id_token(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = idtoken::key_id(text);
    }
    let expected = idtoken::Expected {
        issuers: &["https://accounts.google.com".to_owned()],
        audience: "client",
        nonce: Some("nonce"),
        now: Timestamp::UNIX_EPOCH,
        dialect: &client::dialect(ClientType::Web, &Endpoints::google()),
    };
    if let Ok(claims) = serde_json::from_slice(without_bom(bytes))
        && let Ok(claims) = idtoken::Claims::read(&claims)
    {
        let _ = idtoken::judge(claims, &expected);
    }
}

/// The query that a browser brings back.
pub fn redirect(query: &str) {
    let _ = Redirect::parse(query);
}

/// A service account's key file: as it is, with a key that is one, and with something else in the key's place.
pub fn key_file(text: &str) {
    let parse = |text: &str| ServiceAccountKey::parse(text, TOKEN_ENDPOINT);
    if let Ok(key) = parse(text) {
        keeps_and_signs(&key);
    }
    let Some(mut file) = object(text) else { return };
    file.insert("private_key".to_owned(), Value::from(private_key()));
    if let Ok(key) = parse(&Value::Object(file.clone()).to_string()) {
        keeps_and_signs(&key);
    }
    file.insert("private_key".to_owned(), Value::from(SECRET));
    let refused = parse(&Value::Object(file).to_string()).err();
    let error = refused.expect("this is no key").to_string();
    assert!(!error.contains(SECRET), "the key is not repeated");
}

/// A key that was accepted is the same when it is read back, and signs.
fn keeps_and_signs(key: &ServiceAccountKey) {
    let json = key.to_json();
    let text = std::str::from_utf8(&json).expect("JSON is text");
    let back = ServiceAccountKey::parse(text, TOKEN_ENDPOINT).ok();
    let back = back.expect("what is kept reads back");
    assert_eq!(
        (&back.email, &back.key_id, &back.client_id),
        (&key.email, &key.key_id, &key.client_id)
    );
    let assertion = back.assertion(None, &ScopeSet::default(), Timestamp::UNIX_EPOCH);
    assert!(assertion.is_ok(), "a key that was accepted signs");
}

/// Made when it is needed first: the seeds hold none.
fn private_key() -> &'static str {
    static KEY: LazyLock<String> = LazyLock::new(|| {
        let pair = KeyPair::generate(KeySize::Rsa2048).expect("a key can be made");
        let der: Pkcs8V1Der<'_> = pair.as_der().expect("a key that was made can be written");
        let text = BASE64_STANDARD.encode(der.as_ref());
        format!("-----BEGIN PRIVATE KEY-----\n{text}\n-----END PRIVATE KEY-----\n")
    });
    &KEY
}

/// A grant that is imported: a refresh token, or a file around one; as it is, and with other tokens in the file.
pub fn grant_file(text: &str) {
    let parse = |text: &str| authorized_user::parse(text, CLIENT, TOKEN_ENDPOINT);
    if let Ok(token) = parse(text) {
        let token = token.expose();
        assert!(!token.is_empty() && token.bytes().all(|b| b.is_ascii_graphic()));
    }
    let Some(mut file) = object(text) else { return };
    for (secret, is_token) in [(SECRET.to_owned(), true), (format!("{SECRET} {SECRET}"), false)] {
        file.insert("refresh_token".to_owned(), Value::from(secret));
        match parse(&Value::Object(file.clone()).to_string()) {
            Ok(token) => assert!(
                is_token && token.expose() == SECRET,
                "the token comes out as it is"
            ),
            Err(error) => assert!(!error.to_string().contains(SECRET), "the token is not repeated"),
        }
    }
}

/// A file to put secrets into, unless they stand in it already.
fn object(text: &str) -> Option<Map<String, Value>> {
    let file: Value = serde_json::from_str(text).ok()?;
    if file.to_string().contains(SECRET) {
        return None;
    }
    match file {
        Value::Object(fields) => Some(fields),
        _ => None,
    }
}
