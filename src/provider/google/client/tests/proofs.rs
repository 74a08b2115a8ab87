//! Proofs of a key, and the nonces that a server wants in them.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};

use super::*;
use crate::dpop::ProofKey;

/// What the proof of a request says, which an independent reader has checked.
fn claims(request: &Seen) -> Value {
    let proof = request.headers["dpop"].to_str().unwrap();
    let head = proof.split('.').next().unwrap();
    let head: Value = serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(head).unwrap()).unwrap();
    let jwk = serde_json::from_value(head["jwk"].clone()).unwrap();
    let key = jsonwebtoken::DecodingKey::from_jwk(&jwk).unwrap();
    let mut rules = jsonwebtoken::Validation::new(jsonwebtoken::Algorithm::ES256);
    rules.set_required_spec_claims::<&str>(&[]);
    rules.validate_exp = false;
    jsonwebtoken::decode(proof, &key, &rules).unwrap().claims
}

/// What the requests carried, and nothing for none.
fn nonces(play: &Play) -> Vec<String> {
    let requests = play.requests();
    let nonce = |request| claims(request)["nonce"].as_str().unwrap_or_default().to_owned();
    requests.iter().map(nonce).collect()
}

async fn refresh_bound(client: &Client, key: &ProofKey) -> Result<TokenAnswer, ProviderError> {
    let proven = Possession {
        key,
        now: NOW.parse().unwrap(),
    };
    let scopes = ScopeSet::parse(SEND).unwrap();
    let answer = client.refresh(&REFRESH.into(), &scopes, Some(proven)).await;
    answer.map_err(|failure| *failure.error)
}

fn wants(nonce: &'static str) -> Answer {
    Answer::json(400, &json!({"error": "use_dpop_nonce"})).header("dpop-nonce", nonce)
}

#[tokio::test]
async fn a_request_with_a_bound_grant_proves_its_key_and_any_other_proves_nothing() {
    let (play, client) = play(vec![granted(), granted(), granted()]).await;
    let key = ProofKey::generate();
    refresh_bound(&client, &key).await.ok().unwrap();
    let now = NOW.parse().unwrap();
    let proven = Some(Possession { key: &key, now });
    let exchanged = client.exchange(&CODE.into(), &VERIFIER.into(), proven).await;
    exchanged.ok().unwrap();
    refresh(&client).await.ok().unwrap();
    let requests = play.requests();
    for request in &requests[..2] {
        let claims = claims(request);
        assert_eq!(claims["htm"], "POST");
        assert_eq!(claims["htu"], format!("{}/token", play.origin()));
        assert_eq!(claims["iat"], 1_705_314_600);
    }
    assert_ne!(claims(&requests[0])["jti"], claims(&requests[1])["jti"]);
    assert!(!requests[2].headers.contains_key("dpop"));
    assert!(
        requests[0]
            .form()
            .contains(&("client_secret".to_owned(), SECRET.to_owned())),
        "the client's secret is still needed"
    );
}

#[tokio::test]
async fn a_nonce_is_taken_over_at_once_and_remembered() {
    let told = granted().header("dpop-nonce", "two");
    let (play, client) = play(vec![
        wants("one"),
        granted(),
        told,
        granted(),
        wants("three"),
        granted(),
    ])
    .await;
    let key = ProofKey::generate();
    for _ in 0..4 {
        refresh_bound(&client, &key).await.ok().unwrap();
    }
    assert_eq!(nonces(&play), ["", "one", "one", "two", "two", "three"]);
}

#[tokio::test]
async fn a_server_that_is_never_content_is_asked_twice() {
    let (play, client) = play(vec![wants("one"), wants("two"), wants("two"), granted()]).await;
    let key = ProofKey::generate();
    let error = refresh_bound(&client, &key).await.err().unwrap();
    assert_eq!((error.kind, play.requests().len()), (Remedy::Retry, 2));
    assert_eq!(
        error.help(crate::provider::google::account().topics),
        "proof-nonce"
    );
    // It has the nonce that it asks for.
    let error = refresh_bound(&client, &key).await.err().unwrap();
    assert_eq!((error.kind, play.requests().len()), (Remedy::Retry, 3));
    assert_eq!(nonces(&play), ["", "one", "two"]);
}

#[tokio::test]
async fn a_refusal_that_names_no_nonce_is_not_repeated() {
    for answer in [
        Answer::json(400, &json!({"error": "use_dpop_nonce"})),
        Answer::json(400, &json!({"error": "use_dpop_nonce"})).header("dpop-nonce", "a b"),
        Answer::json(400, &json!({"error": "invalid_grant"})).header("dpop-nonce", "one"),
        Answer::json(503, &json!({"error": "use_dpop_nonce"})).header("dpop-nonce", "one"),
    ] {
        let (play, client) = play(vec![answer, granted()]).await;
        refresh_bound(&client, &ProofKey::generate()).await.err().unwrap();
        assert_eq!(play.requests().len(), 1);
    }
}
