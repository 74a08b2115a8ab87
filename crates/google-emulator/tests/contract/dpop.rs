//! Proofs of a key (RFC 9449): what binds a refresh token, and what a bound one takes.

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use http::Method;
use jsonwebtoken::{Algorithm, EncodingKey, Header, jwk::Jwk};
use serde_json::{Value, json};

use crate::support::{Answer, CALLBACK, Google, SEND, VERIFIER, form, google};

/// A key of a client's.
struct Key {
    signing: EncodingKey,
    jwk: Jwk,
}

impl Key {
    fn new() -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let signing = EncodingKey::from_ec_der(pair.to_pkcs8v1().unwrap().as_ref());
        let jwk = Jwk::from_encoding_key(&signing, Algorithm::ES256).unwrap();
        Self { signing, jwk }
    }

    /// A proof with these claims in place of the usual ones.
    fn proof(&self, google: &Google, jti: &str, changes: &Value) -> String {
        let header = Header {
            typ: Some("dpop+jwt".to_owned()),
            jwk: Some(self.jwk.clone()),
            ..Header::new(Algorithm::ES256)
        };
        self.signed(&header, google, jti, changes)
    }

    fn signed(&self, header: &Header, google: &Google, jti: &str, changes: &Value) -> String {
        let mut claims = json!({
            "jti": jti, "htm": "POST", "htu": format!("{}/token", google.handle.base_url()), "iat": google.now(),
        });
        for (name, value) in changes.as_object().into_iter().flatten() {
            claims[name] = value.clone();
        }
        jsonwebtoken::encode(header, &claims, &self.signing).unwrap()
    }
}

async fn post(google: &Google, proofs: &[&str], pairs: &[(&str, &str)]) -> Answer {
    let client = [
        ("client_id", "100000000001-emulator.apps.googleusercontent.com"),
        ("client_secret", "GOCSPX-emulator"),
    ];
    let mut headers = vec![("content-type", "application/x-www-form-urlencoded")];
    headers.extend(proofs.iter().map(|proof| ("DPoP", *proof)));
    let body = form(&[&client, pairs].concat());
    google.send(Method::POST, "/token", &headers, body).await
}

async fn exchange(google: &Google, code: &str, proof: &str) -> Answer {
    let pairs = [
        ("grant_type", "authorization_code"),
        ("redirect_uri", CALLBACK),
        ("code_verifier", VERIFIER),
        ("code", code),
    ];
    post(google, &[proof], &pairs).await
}

async fn refresh(google: &Google, token: &str, proofs: &[&str]) -> Answer {
    let pairs = [("grant_type", "refresh_token"), ("refresh_token", token)];
    post(google, proofs, &pairs).await
}

async fn code(google: &Google) -> String {
    let back = google.allow(&Google::consent_path(SEND, &[]), SEND).await;
    back.sent_back_value("code")
}

/// A refresh token that is bound to this key.
async fn bound(google: &Google, key: &Key) -> String {
    let code = code(google).await;
    let answer = exchange(google, &code, &key.proof(google, "exchange", &json!({}))).await;
    assert_eq!(answer.token("token_type").as_deref(), Some("Bearer"));
    answer.refresh_token().unwrap()
}

fn refused(error: &str) -> (u16, String) {
    (400, error.to_owned())
}

#[tokio::test]
async fn a_bound_refresh_token_is_worth_nothing_without_its_key() {
    let (google, key, other) = (google().await, Key::new(), Key::new());
    let token = bound(&google, &key).await;
    assert_eq!(
        refresh(&google, &token, &[]).await.refused(),
        refused("invalid_grant"),
        "client secret and token are not enough"
    );
    let stranger = other.proof(&google, "a", &json!({}));
    assert_eq!(
        refresh(&google, &token, &[&stranger]).await.refused(),
        refused("invalid_grant")
    );
    let proof = key.proof(&google, "b", &json!({}));
    assert_eq!(refresh(&google, &token, &[&proof]).await.scopes(), [SEND]);
    assert_eq!(google.handle.stats().proofs, 3);
}

#[tokio::test]
async fn what_takes_a_bound_tokens_place_is_bound_as_well() {
    let (google, key) = (google().await, Key::new());
    google.handle.set_rotation(google_emulator::Rotation::Strict);
    let mut token = bound(&google, &key).await;
    for round in ["1", "2", "3"] {
        let answer = refresh(&google, &token, &[&key.proof(&google, round, &json!({}))]).await;
        token = answer.refresh_token().unwrap();
    }
    assert_eq!(
        refresh(&google, &token, &[]).await.refused(),
        refused("invalid_grant")
    );
    let order = json!({"account": "alice@example.com"});
    let stolen = google.control(Method::POST, "/refresh-token", order).await;
    assert_eq!(stolen.json()["refresh_token"], json!(token));
}

#[tokio::test]
async fn an_unbound_token_needs_no_proof_and_is_not_bound_by_one() {
    let (google, key) = (google().await, Key::new());
    let token = google.handle.seed_grant("alice@example.com", &[SEND]);
    let proof = key.proof(&google, "a", &json!({}));
    assert_eq!(refresh(&google, &token, &[&proof]).await.status, 200);
    assert_eq!(refresh(&google, &token, &[]).await.status, 200);
}

#[tokio::test]
async fn a_proof_that_is_wrong_is_refused_and_spends_nothing() {
    let (google, key) = (google().await, Key::new());
    let token = bound(&google, &key).await;
    let now = google.now();
    let url = google.handle.base_url().to_owned();
    let changed = [
        json!({"htm": "GET"}),
        json!({"htu": format!("{url}/revoke")}),
        json!({"htu": "https://elsewhere.example/token"}),
        json!({"htu": "no address"}),
        json!({"iat": now - 301}),
        json!({"iat": now + 301}),
        json!({"iat": null}),
        json!({"jti": ""}),
        json!({"jti": "exchange"}),
    ];
    for (number, changes) in changed.iter().enumerate() {
        let proof = key.proof(&google, &format!("n{number}"), changes);
        let answer = refresh(&google, &token, &[&proof]).await;
        assert_eq!(answer.refused(), refused("invalid_dpop_proof"), "{changes}");
    }
    let jwk = || Some(key.jwk.clone());
    let header = |typ: &str, jwk| Header {
        typ: Some(typ.to_owned()),
        jwk,
        ..Header::new(Algorithm::ES256)
    };
    let other = Key::new();
    let good = key.proof(&google, "good", &json!({}));
    for proofs in [
        vec![key.signed(&header("JWT", jwk()), &google, "h1", &json!({}))],
        vec![key.signed(&header("dpop+jwt", None), &google, "h2", &json!({}))],
        vec![other.signed(&header("dpop+jwt", jwk()), &google, "h3", &json!({}))],
        vec!["rubbish".to_owned()],
        vec![good.clone(), good.clone()],
    ] {
        let proofs: Vec<&str> = proofs.iter().map(String::as_str).collect();
        let answer = refresh(&google, &token, &proofs).await;
        assert_eq!(answer.refused(), refused("invalid_dpop_proof"), "{proofs:?}");
    }
    assert_eq!(refresh(&google, &token, &[&good]).await.status, 200);
    assert_eq!(
        refresh(&google, &token, &[&good]).await.refused(),
        refused("invalid_dpop_proof"),
        "it was used before"
    );

    let code = code(&google).await;
    let late = key.proof(&google, "late", &json!({"iat": now - 301}));
    let answer = exchange(&google, &code, &late).await;
    assert_eq!(answer.refused(), refused("invalid_dpop_proof"));
    let punctual = key.proof(&google, "punctual", &json!({"htu": format!("{url}/token?a=b#c")}));
    assert_eq!(exchange(&google, &code, &punctual).await.status, 200);
}

#[tokio::test]
async fn a_proof_that_holds_a_private_key_is_refused() {
    use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
    let (google, key) = (google().await, Key::new());
    let proof = key.proof(&google, "a", &json!({}));
    let (head, rest) = proof.split_once('.').unwrap();
    let mut head: Value = serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(head).unwrap()).unwrap();
    head["jwk"]["d"] = json!("AAAA");
    let head = BASE64_URL_SAFE_NO_PAD.encode(head.to_string());
    let token = google.handle.seed_grant("alice@example.com", &[SEND]);
    let answer = refresh(&google, &token, &[&format!("{head}.{rest}")]).await;
    assert_eq!(answer.refused(), refused("invalid_dpop_proof"));
    assert!(answer.text().contains("public half"), "{}", answer.text());
}

#[tokio::test]
async fn a_nonce_is_told_and_then_demanded() {
    let (google, key) = (google().await, Key::new());
    let token = bound(&google, &key).await;
    let order = json!({"nonce": "n-1"});
    assert_eq!(
        google.control(Method::POST, "/dpop-nonce", order).await.status,
        200
    );
    let without = refresh(&google, &token, &[&key.proof(&google, "a", &json!({}))]).await;
    assert_eq!(without.refused(), refused("use_dpop_nonce"));
    assert_eq!(without.header("dpop-nonce"), "n-1");
    let old = key.proof(&google, "b", &json!({"nonce": "n-0"}));
    let old = refresh(&google, &token, &[&old]).await;
    assert_eq!(old.refused(), refused("use_dpop_nonce"));
    let right = key.proof(&google, "c", &json!({"nonce": "n-1"}));
    let right = refresh(&google, &token, &[&right]).await;
    assert_eq!((right.status.as_u16(), right.header("dpop-nonce")), (200, "n-1"));

    assert_eq!(
        google
            .control(Method::POST, "/dpop-nonce", json!({"nonce": "a b"}))
            .await
            .status,
        400
    );
    let none = google
        .try_send(
            Method::POST,
            &format!("{}/dpop-nonce", google.handle.control_url()),
            &[],
            "null".to_owned(),
        )
        .await
        .unwrap();
    assert_eq!(none.status, 200);
    let free = refresh(&google, &token, &[&key.proof(&google, "d", &json!({}))]).await;
    assert_eq!((free.status.as_u16(), free.header("dpop-nonce")), (200, ""));
}
