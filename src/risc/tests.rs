use std::sync::Arc;

use serde_json::json;
use url::Url;

use crate::{
    clock::{Clock, ManualClock},
    http_client::testing::{Answer, Play, deserted},
    provider::{
        Remedy,
        oauth::{
            jwks::STRANGERS_PAUSE,
            testing::{Signer, code, unsigned},
        },
    },
    risc::*,
};

const NOW: &str = "2026-03-01T12:00:00Z";
const OURS: &str = "100-ours.apps.googleusercontent.com";
const ISSUER: &str = "https://accounts.google.com/";

fn claims() -> Value {
    let event = "https://schemas.openid.net/secevent/oauth/event-type/tokens-revoked";
    json!({
        "iss": ISSUER, "aud": OURS, "iat": 1_705_314_600, "jti": "canary-id",
        "events": {event: {"subject": {"subject_type": "iss-sub", "iss": ISSUER, "sub": "1098"}}},
    })
}

fn with(name: &str, value: Value) -> Value {
    let mut claims = claims();
    claims[name] = value;
    claims
}

/// What the issuer shows: its document, then its keys.
fn shown(origin: &str, signer: &Signer) -> [Answer; 2] {
    [
        Answer::json(
            200,
            &json!({"issuer": ISSUER, "jwks_uri": format!("{origin}/oauth2/v3/certs"), "delivery_methods_supported": []}),
        ),
        Answer::json(200, &json!({"keys": [signer.published()]})),
    ]
}

fn receiver(play: &Play, clock: &ManualClock) -> Receiver {
    let endpoints = Endpoints::with_base(play.origin()).unwrap();
    let audiences = vec![OURS.to_owned(), "200-also.apps.googleusercontent.com".to_owned()];
    Receiver::new(
        &endpoints,
        audiences,
        Limits::default(),
        Egress::default(),
        Arc::new(clock.clone()),
    )
}

/// A receiver whose issuer answers as it should.
async fn scene() -> (Play, Receiver) {
    let play = Play::start(Vec::new()).await;
    play.add(shown(play.origin(), Signer::one()));
    let receiver = receiver(&play, &ManualClock::new(NOW.parse().unwrap()));
    (play, receiver)
}

fn unavailable(outcome: Result<SecurityEvents, Rejected>) -> ProviderError {
    match outcome {
        Err(Rejected::Unavailable(error)) => error,
        _ => panic!("it was judged"),
    }
}

async fn fault(receiver: &Receiver, set: &str) -> Fault {
    match receiver.verify(set).await {
        Err(Rejected::Set(fault, _)) => fault,
        Err(Rejected::Unavailable(error)) => panic!("{error}"),
        Ok(_) => panic!("it was taken"),
    }
}

#[tokio::test]
async fn a_signed_event_is_taken_and_the_keys_are_read_once() {
    let (play, receiver) = scene().await;
    for id in ["canary-1", "canary-2"] {
        let set = Signer::one().sign(&with("jti", json!(id)));
        let read = receiver
            .verify(&set)
            .await
            .unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(read.id, id);
        assert_eq!(read.issued_at.as_second(), 1_705_314_600);
        assert_eq!(read.events[0].kind, EventType::TokensRevoked);
        assert!(read.events[0].subject == Subject::Account("1098".into()));
    }
    let paths: Vec<_> = play.requests().into_iter().map(|seen| seen.path).collect();
    assert_eq!(paths, ["/.well-known/risc-configuration", "/oauth2/v3/certs"]);
}

#[tokio::test]
async fn an_event_that_is_old_or_says_that_it_has_expired_stays_true() {
    let (_play, receiver) = scene().await;
    for claims in [
        with("exp", json!(1)),
        with("iat", json!(1)),
        with("iat", json!(1_705_314_600.5)),
        with("iat", json!("1705314600.0")),
    ] {
        assert!(receiver.verify(&Signer::one().sign(&claims)).await.is_ok());
    }
}

#[tokio::test]
async fn what_differs_is_said_with_both_values() {
    let (_play, receiver) = scene().await;
    for (name, value, words) in [
        (
            "iss",
            "https://elsewhere.example",
            "`https://elsewhere.example`, not `https://accounts.google.com/`",
        ),
        (
            "aud",
            "300-foreign",
            "`300-foreign`, which is not in risc.audiences",
        ),
    ] {
        let set = Signer::one().sign(&with(name, json!(value)));
        let refused = receiver.verify(&set).await.err().unwrap().to_string();
        assert!(refused.contains(words), "{refused}");
        // Whoever has no key is told nothing.
        let forged = Signer::other().sign(&with(name, json!("canary")));
        let refused = receiver.verify(&forged).await.err().unwrap().to_string();
        assert!(!refused.contains("canary"), "{refused}");
    }
}

#[tokio::test]
async fn any_of_our_clients_may_be_meant_and_nobody_else() {
    let (_play, receiver) = scene().await;
    for aud in [
        json!("200-also.apps.googleusercontent.com"),
        json!(["300-foreign", OURS]),
    ] {
        let set = Signer::one().sign(&with("aud", aud));
        assert!(receiver.verify(&set).await.is_ok());
    }
    for aud in [json!("300-foreign"), json!(["300-foreign"]), json!([]), json!("")] {
        let set = Signer::one().sign(&with("aud", aud.clone()));
        assert_eq!(fault(&receiver, &set).await, Fault::InvalidAudience, "{aud}");
    }
}

#[tokio::test]
async fn only_the_issuer_speaks_with_or_without_its_slash() {
    let (_play, receiver) = scene().await;
    let set = Signer::one().sign(&with("iss", json!("https://accounts.google.com")));
    assert!(receiver.verify(&set).await.is_ok());
    for iss in [
        "https://accounts.google.com.example/",
        "http://accounts.google.com/",
        "",
    ] {
        let set = Signer::one().sign(&with("iss", json!(iss)));
        assert_eq!(fault(&receiver, &set).await, Fault::InvalidIssuer, "{iss}");
    }
}

#[tokio::test]
async fn a_forged_event_is_refused() {
    let (_play, receiver) = scene().await;
    let set = Signer::one().sign(&claims());
    // Signed by a key that nobody publishes, under its own name and under that of the right one.
    let foreign = Signer::other().sign(&claims());
    assert_eq!(fault(&receiver, &foreign).await, Fault::InvalidKey);
    let header = json!({"alg": "RS256", "kid": "one"});
    let forged = Signer::other().sign_with(&header, &claims());
    assert_eq!(fault(&receiver, &forged).await, Fault::AuthenticationFailed);
    // One event's signature under another event.
    let (_, signature) = set.rsplit_once('.').unwrap();
    let other = Signer::one().sign(&with("jti", json!("other")));
    let (body, _) = other.rsplit_once('.').unwrap();
    assert_eq!(
        fault(&receiver, &format!("{body}.{signature}")).await,
        Fault::AuthenticationFailed
    );
    for header in [json!({"alg": "RS512", "kid": "one"}), json!({"alg": "RS256"})] {
        let set = Signer::one().sign_with(&header, &claims());
        assert_eq!(fault(&receiver, &set).await, Fault::InvalidKey, "{header}");
    }
    let none = unsigned(&json!({"alg": "none", "kid": "one"}), &claims());
    assert_eq!(fault(&receiver, &none).await, Fault::InvalidRequest);
    for secret in Signer::one().public_forms() {
        let mut header = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::HS256);
        header.kid = Some("one".into());
        let key = jsonwebtoken::EncodingKey::from_secret(&secret).unwrap();
        let set = jsonwebtoken::encode(&header, &claims(), &key).unwrap();
        assert_eq!(fault(&receiver, &set).await, Fault::InvalidKey);
    }
}

#[tokio::test]
async fn what_is_no_event_is_refused_without_asking_anybody() {
    let (play, receiver) = scene().await;
    for odd in ["", "a.b.c", "{}", "ya29.canary", &"x".repeat(MAX_SET + 1)] {
        assert_eq!(
            fault(&receiver, odd).await,
            Fault::InvalidRequest,
            "{}",
            odd.len()
        );
    }
    assert!(play.requests().is_empty());
}

#[tokio::test]
async fn an_id_token_is_no_event() {
    let (_play, receiver) = scene().await;
    let id_token = json!({"iss": ISSUER, "aud": OURS, "sub": "1098", "iat": 1, "exp": 9_999_999_999_i64});
    let set = Signer::one().sign(&id_token);
    assert_eq!(fault(&receiver, &set).await, Fault::InvalidRequest);
    for name in ["jti", "iat", "events", "iss", "aud"] {
        let mut claims = claims();
        claims.as_object_mut().unwrap().remove(name);
        let set = Signer::one().sign(&claims);
        assert_eq!(fault(&receiver, &set).await, Fault::InvalidRequest, "{name}");
    }
}

#[tokio::test]
async fn an_issuer_that_cannot_be_asked_is_no_fault_of_the_event() {
    let clock = ManualClock::new(NOW.parse().unwrap());
    let play = Play::start(vec![Answer::text(503, "")]).await;
    let receiver = receiver(&play, &clock);
    let set = Signer::one().sign(&claims());
    assert_eq!(unavailable(receiver.verify(&set).await).kind, Remedy::Retry);
    // Whoever pushes does not make it ask again and again.
    assert_eq!(unavailable(receiver.verify(&set).await).kind, Remedy::Retry);
    assert_eq!(play.requests().len(), 1);
    play.add(shown(play.origin(), Signer::one()));
    clock.advance(STRANGERS_PAUSE);
    assert!(receiver.verify(&set).await.is_ok());

    let gone = Endpoints::with_base(&deserted().await).unwrap();
    let receiver = Receiver::new(
        &gone,
        vec![OURS.into()],
        Limits::default(),
        Egress::default(),
        Arc::new(clock.clone()),
    );
    assert_eq!(code(&unavailable(receiver.verify(&set).await)), "network");
    assert!(clock.now() > NOW.parse().unwrap());
}

#[tokio::test]
async fn a_stranger_who_makes_up_a_key_has_no_event_of_a_new_key_refused_for_good() {
    let clock = ManualClock::new(NOW.parse().unwrap());
    let play = Play::start(Vec::new()).await;
    play.add(shown(play.origin(), Signer::one()));
    let receiver = receiver(&play, &clock);
    let made_up = Signer::one().sign_with(&json!({"alg": "RS256", "kid": "made-up"}), &claims());
    assert_eq!(fault(&receiver, &made_up).await, Fault::InvalidKey);
    let genuine = Signer::other().sign(&claims());
    for _ in 0..6 {
        clock.advance(std::time::Duration::from_secs(9));
        unavailable(receiver.verify(&made_up).await);
        let wait = unavailable(receiver.verify(&genuine).await).retry_after;
        assert!(wait.is_some(), "it is pushed again");
    }
    assert_eq!(play.requests().len(), 2);
    let [_, keys] = shown(play.origin(), Signer::other());
    play.add([keys]);
    clock.advance(std::time::Duration::from_secs(6));
    assert_eq!(fault(&receiver, &made_up).await, Fault::InvalidKey);
    assert!(receiver.verify(&genuine).await.is_ok());
}

#[tokio::test]
async fn a_stranger_who_goes_away_has_the_document_read_once() {
    let clock = ManualClock::new(NOW.parse().unwrap());
    let play = Play::start(Vec::new()).await;
    let gate = Arc::new(tokio::sync::Notify::new());
    let [document, keys] = shown(play.origin(), Signer::one());
    play.add([document.after(Arc::clone(&gate)), keys]);
    let receiver = Arc::new(receiver(&play, &clock));
    let gone = Arc::clone(&receiver);
    let gone = tokio::spawn(async move { gone.verify(&Signer::one().sign(&claims())).await.is_ok() });
    play.wait_for_requests(1).await;
    gone.abort();
    assert!(gone.await.unwrap_err().is_cancelled());
    gate.notify_one();
    assert!(receiver.verify(&Signer::one().sign(&claims())).await.is_ok());
    assert_eq!(play.requests().len(), 2);
}

#[tokio::test]
async fn the_document_is_read_again_after_a_day_and_an_old_one_stays_good() {
    let clock = ManualClock::new(NOW.parse().unwrap());
    let play = Play::start(Vec::new()).await;
    let [document, keys] = shown(play.origin(), Signer::one());
    play.add([document, keys.clone()]);
    let receiver = receiver(&play, &clock);
    let set = Signer::one().sign(&claims());
    assert!(receiver.verify(&set).await.is_ok());
    clock.advance(std::time::Duration::from_secs(24 * 3600 + 1));
    // The document cannot be read, the keys can.
    play.add([Answer::text(500, ""), keys]);
    assert!(receiver.verify(&set).await.is_ok());
    assert_eq!(play.requests().len(), 4);
}

#[tokio::test]
async fn a_document_that_leads_elsewhere_in_the_clear_is_not_followed() {
    for document in [
        json!({"issuer": ISSUER, "jwks_uri": "http://192.0.2.1/certs"}),
        json!({"issuer": "", "jwks_uri": "https://www.googleapis.com/oauth2/v3/certs"}),
        json!({"issuer": ISSUER}),
        json!([]),
    ] {
        let play = Play::start(vec![Answer::json(200, &document)]).await;
        let receiver = receiver(&play, &ManualClock::new(NOW.parse().unwrap()));
        let outcome = receiver.verify(&Signer::one().sign(&claims())).await;
        assert!(matches!(outcome, Err(Rejected::Unavailable(_))), "{document}");
        assert_eq!(play.requests().len(), 1);
    }
    // Google's own document does not lead to this machine.
    let loopback: Url = "http://127.0.0.1:1/certs".parse().unwrap();
    assert!(!safe::is_safe(&loopback, &Endpoints::google().risc_configuration));
}
