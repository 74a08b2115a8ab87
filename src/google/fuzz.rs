//! What bytes from the provider and from browsers reach first, for the fuzzers in `fuzz/`.

use http::{HeaderMap, StatusCode};
use jiff::Timestamp;
use zeroize::Zeroizing;

use super::{ProviderError, classify::Call, http::Reply, idtoken, redirect::Redirect, risc, token};

/// An answer of the token endpoint, taken for a good one and for a refusal.
pub fn token_answer(bytes: &[u8]) {
    let reply = Reply {
        status: StatusCode::OK,
        headers: HeaderMap::new(),
        body: Zeroizing::new(bytes.to_vec()),
    };
    if let Ok(answer) = token::parse(&reply) {
        assert!(!answer.expires_in.is_zero(), "a token that lives");
    }
    let secret = "canary-refresh-token";
    let error = ProviderError::refused(Call::Refresh, &reply, &[secret], Timestamp::UNIX_EPOCH);
    assert!(
        !error.message.contains(secret),
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
    };
    if let Ok(claims) = serde_json::from_slice(bytes) {
        let _ = idtoken::judge(claims, &expected);
    }
}

/// A security event token.
pub fn security_event(bytes: &[u8]) {
    risc::fuzz(bytes);
}

/// The query that a browser brings back.
pub fn redirect(query: &str) {
    let _ = Redirect::parse(query);
}
