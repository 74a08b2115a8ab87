//! The keys, read from a server that plays given answers.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use proptest::prelude::*;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::{
    clock::ManualClock,
    http_client::{
        Egress, Limits, Reply,
        testing::{Answer, Play},
    },
    jws::Jws,
    provider::{
        Remedy,
        oauth::{
            jwks::{
                published::{MAX_AGE, MAX_KEYS, MIN_AGE},
                *,
            },
            testing::{Signer, code, dialect},
        },
    },
};

struct Scene {
    play: Play,
    clock: ManualClock,
    http: Arc<Http>,
    keys: Arc<Keys>,
}

async fn scene(answers: Vec<Answer>) -> Scene {
    scene_of(NamedBy::Provider, answers).await
}

async fn scene_of(named_by: NamedBy, answers: Vec<Answer>) -> Scene {
    let play = Play::start(answers).await;
    let clock = ManualClock::new("2024-01-15T10:30:00Z".parse().unwrap());
    let url = play.url("/oauth2/v3/certs");
    Scene {
        play,
        http: Arc::new(Http::new(Limits::default(), Egress::default())),
        keys: Keys::new(url, named_by, dialect(), Arc::new(clock.clone())),
        clock,
    }
}

fn published(signers: &[&Signer], cache: &'static str) -> Answer {
    let keys: Vec<_> = signers.iter().map(|signer| signer.published()).collect();
    Answer::json(200, &json!({"keys": keys})).header("cache-control", cache)
}

impl Scene {
    async fn find(&self, id: &str) -> Result<Arc<[DecodingKey]>, ProviderError> {
        self.keys.find(&self.http, id).await
    }

    async fn look_up(&self, id: &str) -> Result<bool, ProviderError> {
        let found = self.keys.look_up(&self.http, id).await?;
        Ok(found.is_some())
    }
}

#[tokio::test]
async fn keys_are_kept_as_long_as_the_provider_allows() {
    let cache = "public, max-age=3600, must-revalidate";
    let scene = scene(vec![
        published(&[Signer::one()], cache),
        published(&[Signer::one()], cache),
    ])
    .await;
    for _ in 0..3 {
        assert!(scene.find("one").await.is_ok());
    }
    scene.clock.advance(Duration::from_secs(3599));
    assert!(scene.find("one").await.is_ok());
    assert_eq!(scene.play.requests().len(), 1);
    scene.clock.advance(Duration::from_secs(1));
    assert!(scene.find("one").await.is_ok());
    assert_eq!(scene.play.requests().len(), 2);
}

#[tokio::test]
async fn a_key_that_the_provider_itself_names_is_looked_for_at_once() {
    let scene = scene(vec![
        published(&[Signer::one()], "max-age=3600"),
        published(&[Signer::one(), Signer::other()], "max-age=3600"),
        published(&[Signer::one(), Signer::other()], "max-age=3600"),
    ])
    .await;
    assert!(scene.find("one").await.is_ok());
    assert!(
        scene.find("other").await.is_ok(),
        "a consent right after another's"
    );
    let error = scene.find("third").await.err().unwrap();
    assert_eq!(
        (error.kind, code(&error).as_str()),
        (Remedy::Reconnect, "invalid_id_token")
    );
    assert_eq!(scene.play.requests().len(), 3);
}

#[tokio::test]
async fn a_key_that_anybody_names_is_looked_for_once_a_minute_and_judged_by_what_was_read_since() {
    let scene = scene_of(
        NamedBy::Anybody,
        vec![
            published(&[Signer::one()], "max-age=3600"),
            published(&[Signer::one(), Signer::other()], "max-age=3600"),
        ],
    )
    .await;
    assert!(!scene.look_up("made-up").await.unwrap(), "it was read for it");
    scene.clock.advance(Duration::from_secs(20));
    // The provider has another key by now, and nothing was read since.
    for _ in 0..3 {
        let error = scene.look_up("other").await.unwrap_err();
        assert_eq!(error.kind, Remedy::Retry);
        assert_eq!(error.retry_after, Some(Duration::from_secs(40)));
    }
    assert!(
        scene.look_up("one").await.unwrap(),
        "a known one waits for nothing"
    );
    assert_eq!(scene.play.requests().len(), 1);
    scene.clock.advance(Duration::from_secs(40));
    assert!(!scene.look_up("made-up").await.unwrap());
    assert!(scene.look_up("other").await.unwrap());
    assert_eq!(scene.play.requests().len(), 2);
}

#[tokio::test]
async fn a_failure_counts_as_the_minutes_reading_where_anybody_names_the_keys() {
    let scene = scene_of(
        NamedBy::Anybody,
        vec![
            Answer::text(500, "").header("retry-after", "7200"),
            published(&[Signer::one()], "max-age=3600"),
        ],
    )
    .await;
    for _ in 0..3 {
        let error = scene.look_up("one").await.unwrap_err();
        assert_eq!(code(&error), "http_500");
    }
    let error = scene.look_up("one").await.unwrap_err();
    assert_eq!(
        error.retry_after,
        Some(STRANGERS_PAUSE),
        "not what the answer asks for"
    );
    assert_eq!(scene.play.requests().len(), 1);
    scene.clock.advance(STRANGERS_PAUSE);
    assert!(scene.look_up("one").await.unwrap());
}

#[tokio::test]
async fn who_waited_for_a_reading_that_began_before_is_not_judged_by_it() {
    let gate = Arc::new(tokio::sync::Notify::new());
    let old = published(&[Signer::one()], "max-age=3600").after(Arc::clone(&gate));
    let scene = Arc::new(scene_of(NamedBy::Anybody, vec![old]).await);
    let look_up = |id: &'static str| {
        let scene = Arc::clone(&scene);
        tokio::spawn(async move { scene.look_up(id).await })
    };
    let first = look_up("made-up");
    scene.play.wait_for_requests(1).await;
    // On one thread, it runs up to its wait before the answer can arrive.
    let second = look_up("other");
    tokio::task::yield_now().await;
    gate.notify_one();
    assert!(!first.await.unwrap().unwrap());
    let error = second.await.unwrap().unwrap_err();
    assert!(error.retry_after.is_some(), "{error}");
}

#[tokio::test]
async fn those_who_wait_share_one_request() {
    let gate = Arc::new(tokio::sync::Notify::new());
    let scene = Arc::new(
        scene(vec![
            published(&[Signer::one()], "max-age=3600").after(Arc::clone(&gate)),
        ])
        .await,
    );
    let askers: Vec<_> = (0..16)
        .map(|_| {
            let scene = Arc::clone(&scene);
            tokio::spawn(async move { scene.find("one").await.is_ok() })
        })
        .collect();
    scene.play.wait_for_requests(1).await;
    gate.notify_one();
    for asker in askers {
        assert!(asker.await.unwrap());
    }
    assert_eq!(scene.play.requests().len(), 1);
}

#[tokio::test]
async fn those_who_wait_share_one_failure_and_the_next_tries_again() {
    let gate = Arc::new(tokio::sync::Notify::new());
    let scene = Arc::new(
        scene(vec![
            Answer::text(503, "busy").after(Arc::clone(&gate)),
            published(&[Signer::one()], "max-age=3600"),
        ])
        .await,
    );
    // On one thread, every asker runs up to its first wait before the answer can arrive.
    let askers: Vec<_> = (0..8)
        .map(|_| {
            let scene = Arc::clone(&scene);
            tokio::spawn(async move { scene.find("one").await.err().map(|error| code(&error)) })
        })
        .collect();
    scene.play.wait_for_requests(1).await;
    gate.notify_one();
    for asker in askers {
        assert_eq!(asker.await.unwrap().as_deref(), Some("http_503"));
    }
    assert_eq!(scene.play.requests().len(), 1);
    assert!(scene.find("one").await.is_ok());
}

#[tokio::test]
async fn an_answer_without_usable_keys_is_malformed() {
    let scene = scene(vec![
        Answer::json(200, &json!({"keys": []})),
        Answer::text(200, "<html>"),
        Answer::json(200, &json!({"keys": [{"kty": "EC", "kid": "one"}, 7, {"kty": "RSA", "kid": "one", "n": "!", "e": "AQAB"}]})),
    ])
    .await;
    for _ in 0..3 {
        let error = scene.find("one").await.err().unwrap();
        assert_eq!(
            (error.kind, code(&error).as_str()),
            (Remedy::Retry, "malformed_answer")
        );
    }
}

#[tokio::test]
async fn setting_the_clock_makes_keys_neither_older_nor_younger() {
    let cache = "max-age=3600";
    let scene = scene(vec![
        published(&[Signer::one()], cache),
        published(&[Signer::one()], cache),
    ])
    .await;
    assert!(scene.find("one").await.is_ok());
    for set in ["2034-01-14T00:00:00Z", "2014-01-14T00:00:00Z"] {
        scene.clock.set(set.parse().unwrap());
        assert!(scene.find("one").await.is_ok());
        assert_eq!(scene.play.requests().len(), 1, "{set}");
    }
    scene.clock.advance(Duration::from_secs(3600));
    assert!(scene.find("one").await.is_ok());
    assert_eq!(scene.play.requests().len(), 2);
}

#[tokio::test]
async fn an_asker_that_goes_away_takes_no_reading_with_them() {
    let gate = Arc::new(tokio::sync::Notify::new());
    let answer = published(&[Signer::one()], "max-age=3600").after(Arc::clone(&gate));
    let scene = Arc::new(scene_of(NamedBy::Anybody, vec![answer]).await);
    let gone = Arc::clone(&scene);
    let gone = tokio::spawn(async move { gone.look_up("one").await });
    scene.play.wait_for_requests(1).await;
    gone.abort();
    assert!(gone.await.unwrap_err().is_cancelled());
    gate.notify_one();
    assert!(scene.look_up("one").await.unwrap());
    assert_eq!(scene.play.requests().len(), 1);
}

#[test]
fn only_signing_keys_for_rs256_are_taken() {
    let with = |name: &str, value: Value| {
        let mut key = Signer::one().published();
        key[name] = value;
        let body = json!({"keys": [key, {"kty": "OKP", "kid": "new", "x": "AA"}]}).to_string();
        parse(&Reply {
            heard_at: Uptime::START,
            status: StatusCode::OK,
            headers: HeaderMap::new(),
            body: Zeroizing::new(format!("\u{feff}{body}").into_bytes()),
            cut: None,
        })
    };
    assert!(with("x5t", json!("ignored")).unwrap().keys.contains_key("one"));
    assert!(with("alg", Value::Null).is_some(), "`alg` and `use` are optional");
    assert!(with("use", Value::Null).is_some());
    let padded = with("e", json!("AAEAAQ==")).unwrap();
    let id_token = Signer::one().sign(&json!({"sub": "1098"}));
    let jws = Jws::parse(&id_token).ok().unwrap();
    assert!(
        jws.is_signed_by(&padded.keys["one"]),
        "zeros before a number say nothing"
    );
    for (name, value) in [("kty", "rsa"), ("alg", "rs256"), ("use", "SIG")] {
        assert!(with(name, json!(value)).is_some(), "{name} {value}");
    }
    for (name, value) in [
        ("kty", "EC"),
        ("alg", "RS512"),
        ("alg", "HS256"),
        ("use", "enc"),
        ("n", "!"),
    ] {
        assert!(with(name, json!(value)).is_none(), "{name} {value}");
    }
}

#[tokio::test]
async fn one_odd_key_spoils_no_other() {
    let (mut numbered, mut twin) = (Signer::one().published(), Signer::other().published());
    (numbered["kid"], twin["kid"]) = (json!(7), json!("7"));
    let mut keys = vec![
        json!(null),
        json!({"kty": "RSA"}),
        json!({"kty": ["RSA"], "kid": "7", "n": "AQAB", "e": "AQAB"}),
        json!({"kty": "RSA", "kid": {"x": 1}, "n": "AQAB", "e": "AQAB"}),
        json!({"kty": "RSA", "kid": "7", "n": 5, "e": "AQAB"}),
        json!({"kty": "AKP", "alg": "ML-DSA-44", "kid": "7", "pub": "AA"}),
    ];
    // More than are kept, and none of them of use.
    keys.extend((0..MAX_KEYS).map(|kid| json!({"kty": "OKP", "kid": kid, "x": "AA"})));
    keys.extend([twin, numbered]);
    let scene = scene(vec![Answer::json(200, &json!({"keys": keys}))]).await;
    let found = scene.find("7").await.ok().unwrap();
    assert_eq!(found.len(), 2, "two keys of one name are both tried");
    for signer in [Signer::one(), Signer::other()] {
        let header = json!({"alg": "RS256", "kid": 7});
        let id_token = signer.sign_texts(&header.to_string(), &json!({"sub": "1098"}).to_string());
        let jws = Jws::parse(&id_token).ok().unwrap();
        assert_eq!(jws.key_id, "7");
        assert!(jws.is_signed_by(&found));
    }
}

#[tokio::test]
async fn a_key_that_is_too_short_is_named_with_its_length() {
    let mut short = Signer::one().published();
    let modulus = BASE64_URL_SAFE_NO_PAD.encode([0xff; 128]);
    (short["kid"], short["n"]) = (json!("short"), json!(modulus));
    let keys = json!({"keys": [short, Signer::one().published()]});
    let scene = scene(vec![Answer::json(200, &keys)]).await;
    let error = scene.find("short").await.err().unwrap();
    assert_eq!(error.kind, Remedy::Operator);
    assert!(
        error
            .to_string()
            .contains("an RSA key of 1024 bits, and RS256 takes 2048 at the least"),
        "{error}"
    );
    assert!(scene.find("one").await.is_ok());
}

#[test]
fn the_age_is_bounded() {
    let age = |text| {
        age(&HeaderMap::from_iter([(
            header::CACHE_CONTROL,
            HeaderValue::from_static(text),
        )]))
    };
    assert_eq!(
        age("public, Max-Age=21600, must-revalidate"),
        Duration::from_secs(21_600)
    );
    assert_eq!(age("max-age=1"), MIN_AGE);
    assert_eq!(age("no-store"), MIN_AGE);
    assert_eq!(age("max-age=99999999"), MAX_AGE);
    assert_eq!(age("max-age=-1, s-maxage=9"), MIN_AGE);
    assert_eq!(super::age(&HeaderMap::new()), MIN_AGE);
}

proptest! {
    #[test]
    fn no_body_panics(body in prop::collection::vec(any::<u8>(), 0..300), cache in "[ -~]{0,60}") {
        let _ = parse(&Reply {
            heard_at: Uptime::START,
            status: StatusCode::OK,
            headers: HeaderMap::new(),
            body: Zeroizing::new(body),
            cut: None,
        });
        let _ = age(&HeaderMap::from_iter([(
            header::CACHE_CONTROL,
            HeaderValue::from_str(&cache).unwrap(),
        )]));
    }
}
