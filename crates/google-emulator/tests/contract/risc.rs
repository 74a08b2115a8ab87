//! Cross-Account Protection from Google's side.

use std::sync::{Arc, Mutex};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use bytes::Bytes;
use google_emulator::SecurityEvent;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, jwk::JwkSet};
use serde_json::{Value, json};

use crate::support::{Google, SEND, google};

type Seen = Arc<Mutex<Vec<(Option<String>, String)>>>;

/// A receiver that takes everything, and what it has seen: media type and body.
async fn receiver() -> (String, Seen) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/risc", listener.local_addr().unwrap());
    let seen = Seen::default();
    let kept = seen.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let seen = kept.clone();
            let service = service_fn(move |request: Request<Incoming>| {
                let seen = seen.clone();
                async move {
                    let kind = request.headers().get("content-type");
                    let kind = kind.map(|value| value.to_str().unwrap().to_owned());
                    let body = request.into_body().collect().await.unwrap().to_bytes();
                    let body = String::from_utf8(body.to_vec()).unwrap();
                    seen.lock().unwrap().push((kind, body));
                    let mut answer = Response::new(Full::<Bytes>::default());
                    *answer.status_mut() = http::StatusCode::ACCEPTED;
                    Ok::<_, std::convert::Infallible>(answer)
                }
            });
            tokio::spawn(async move {
                let _ = auto::Builder::new(TokioExecutor::new())
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    });
    (url, seen)
}

fn event(name: &str) -> SecurityEvent {
    SecurityEvent {
        event: name.to_owned(),
        account: Some("alice@example.com".to_owned()),
        ..SecurityEvent::default()
    }
}

/// The claims, checked as a receiver does: by what the configuration document leads to.
async fn verified(google: &Google, set: &str) -> Value {
    let document = google.get("/.well-known/risc-configuration").await.json();
    let keys_at = document["jwks_uri"].as_str().unwrap();
    let path = keys_at.strip_prefix(google.handle.base_url()).unwrap();
    let keys: JwkSet = serde_json::from_value(google.get(path).await.json()).unwrap();
    let header = jsonwebtoken::decode_header(set).unwrap();
    assert_eq!(header.typ.as_deref(), Some("secevent+jwt"));
    let key = keys.find(&header.kid.unwrap()).expect("a published key");
    let mut rules = Validation::new(Algorithm::RS256);
    rules.validate_exp = false;
    rules.validate_aud = false;
    rules.set_required_spec_claims::<&str>(&[]);
    rules.set_issuer(&[document["issuer"].as_str().unwrap()]);
    jsonwebtoken::decode::<Value>(set, &DecodingKey::from_jwk(key).unwrap(), &rules)
        .unwrap()
        .claims
}

#[tokio::test]
async fn an_event_is_signed_and_pushed_as_google_does() {
    let google = google().await;
    let (url, seen) = receiver().await;
    google.handle.set_risc_receiver(Some(&url)).unwrap();
    let pushed = google
        .handle
        .announce(&SecurityEvent {
            reason: Some("hijacking".to_owned()),
            ..event("account-disabled")
        })
        .await
        .unwrap();
    assert_eq!(pushed.status, Some(202));
    let (kind, body) = seen.lock().unwrap()[0].clone();
    assert_eq!(kind.as_deref(), Some("application/secevent+jwt"));
    assert_eq!(body, pushed.set);

    let claims = verified(&google, &body).await;
    assert_eq!(claims["iss"], "https://accounts.google.com/");
    assert_eq!(claims["iat"], google.now());
    assert_eq!(
        claims["aud"].as_array().unwrap().len(),
        2,
        "all clients of the project"
    );
    assert!(claims.get("exp").is_none());
    let events = claims["events"].as_object().unwrap();
    let (address, content) = events.iter().next().unwrap();
    assert_eq!(
        address,
        "https://schemas.openid.net/secevent/risc/event-type/account-disabled"
    );
    let alice = google.handle.accounts()[0].sub.clone();
    assert_eq!(
        *content,
        json!({
            "subject": {"subject_type": "iss-sub", "iss": "https://accounts.google.com/", "sub": alice},
            "reason": "hijacking",
        })
    );
    assert_eq!(google.handle.stats().events_taken, 1);
}

#[tokio::test]
async fn a_token_is_named_and_not_told() {
    let google = google().await;
    let old = google.handle.seed_grant("alice@example.com", &[SEND]);
    let new = google.handle.seed_grant("alice@example.com", &[SEND]);
    for (form, expected) in [("prefix", Some(new[..16].to_owned())), ("hash", None)] {
        let order = json!({"event": "token-revoked", "account": "alice@example.com", "form": form});
        let answer = google
            .control(Method::POST, "/security-events", order)
            .await
            .json();
        assert_eq!(answer["status"], Value::Null, "no receiver, so it is only signed");
        let claims = verified(&google, answer["set"].as_str().unwrap()).await;
        let subject = claims["events"].as_object().unwrap().values().next().unwrap()["subject"].clone();
        assert_eq!(subject["subject_type"], "oauth_token");
        let told = subject["token"].as_str().unwrap();
        assert!(expected.is_none_or(|expected| expected == told), "{subject}");
        assert!(!claims.to_string().contains(&old) && !claims.to_string().contains(&new));
    }
}

#[tokio::test]
async fn a_person_who_removes_the_app_is_announced() {
    let google = google().await;
    google.handle.revoke_account("alice@example.com").unwrap();
    let (url, seen) = receiver().await;
    google
        .control(Method::POST, "/risc-receiver", json!({ "url": url }))
        .await;
    assert!(
        seen.lock().unwrap().is_empty(),
        "what happened before is not told later"
    );
    google.handle.revoke_account("alice@example.com").unwrap();
    google.handle.wait_until(|stats| stats.events_taken == 1).await;
    let set = seen.lock().unwrap()[0].1.clone();
    let claims = verified(&google, &set).await;
    assert!(
        claims["events"]
            .to_string()
            .contains("/oauth/event-type/tokens-revoked")
    );
    // An app that revokes by itself knows already.
    let token = google.handle.seed_grant("alice@example.com", &[SEND]);
    google.post("/revoke", &[("token", &token)]).await;
    let pushed = google.handle.announce(&event("verification")).await.unwrap();
    assert_eq!(pushed.status, Some(202));
    assert_eq!(
        seen.lock().unwrap().len(),
        2,
        "the verification, and nothing before it"
    );
    google.handle.set_risc_receiver(None).unwrap();
    let pushed = google.handle.announce(&event("verification")).await.unwrap();
    assert_eq!(pushed.status, None);
}

#[tokio::test]
async fn an_event_can_be_wrong_in_every_way() {
    let google = google().await;
    let signed = async |changes: SecurityEvent| google.handle.announce(&changes).await.unwrap().set;
    let plain = event("tokens-revoked");
    let claims_of = |set: &str| -> Value {
        let body = BASE64_URL_SAFE_NO_PAD
            .decode(set.split('.').nth(1).unwrap())
            .unwrap();
        serde_json::from_slice(&body).unwrap()
    };
    let set = signed(SecurityEvent {
        audience: Some(vec!["other".to_owned()]),
        issuer: Some("https://elsewhere.example/".to_owned()),
        id: Some("id-1".to_owned()),
        age: 60,
        ..plain.clone()
    })
    .await;
    let claims = claims_of(&set);
    assert_eq!(claims["aud"], "other");
    assert_eq!(claims["iss"], "https://elsewhere.example/");
    assert_eq!(claims["jti"], "id-1");
    assert_eq!(claims["iat"], google.now() - 60);
    let foreign = signed(SecurityEvent {
        foreign_key: true,
        ..plain
    })
    .await;
    let keys: JwkSet = serde_json::from_value(google.get("/oauth2/v3/certs").await.json()).unwrap();
    let kid = jsonwebtoken::decode_header(&foreign).unwrap().kid.unwrap();
    assert!(keys.find(&kid).is_none());
}

#[tokio::test]
async fn what_cannot_be_done_is_said() {
    let google = google().await;
    let refused = google
        .control(
            Method::POST,
            "/risc-receiver",
            json!({"url": "https://broker.example/risc"}),
        )
        .await;
    assert_eq!(refused.status, 400);
    assert!(refused.text().contains("http://"), "{}", refused.text());
    let order = json!({"event": "tokens-revoked", "account": "nobody@example.com"});
    assert_eq!(
        google
            .control(Method::POST, "/security-events", order)
            .await
            .status,
        404
    );
    let order = json!({"events": "tokens-revoked"});
    assert_eq!(
        google
            .control(Method::POST, "/security-events", order)
            .await
            .status,
        400
    );
    // A receiver that is not there.
    google
        .handle
        .set_risc_receiver(Some("http://127.0.0.1:1/risc"))
        .unwrap();
    let pushed = google.handle.announce(&event("verification")).await.unwrap();
    assert_eq!((pushed.status, google.handle.stats().events_refused), (None, 1));
}
