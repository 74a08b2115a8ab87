//! The published keys that id tokens are signed with (RFC 7517), kept as long as the provider allows.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwapOption;
use http::{HeaderMap, header};
use jiff::Timestamp;
use jsonwebtoken::DecodingKey;
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::Mutex;
use url::Url;

use crate::clock::{self, SharedClock};

use super::{
    FailureKind, ProviderError,
    classify::Call,
    http::{Http, Reply},
};

/// Keys are kept at least this long, whatever the provider says.
const MIN_AGE: Duration = Duration::from_secs(5 * 60);
/// And at most this long: a withdrawn key must go.
const MAX_AGE: Duration = Duration::from_secs(24 * 3600);
/// A token that names an unknown key makes them be read again, but not more often than this.
const REREAD_PAUSE: Duration = Duration::from_secs(60);
/// Google publishes two or three.
const MAX_KEYS: usize = 64;

/// The keys of one answer.
struct KeySet {
    keys: HashMap<String, DecodingKey>,
    read_at: Timestamp,
    stale_at: Timestamp,
}

impl KeySet {
    fn is_fresh(&self, now: Timestamp) -> bool {
        // A clock that was set back makes them stale too: how old they are is not known then.
        (self.read_at..self.stale_at).contains(&now)
    }

    /// Whether reading again could show a key that is not here.
    fn may_be_outdated(&self, now: Timestamp) -> bool {
        !self.is_fresh(now) || now >= clock::after(self.read_at, REREAD_PAUSE)
    }
}

/// The provider's keys.
pub(super) struct Keys {
    url: Url,
    clock: SharedClock,
    current: ArcSwapOption<KeySet>,
    attempts: AtomicU64,
    // Held while the keys are read: one request for everybody who waits. Holds how the last attempt ended.
    reading: Mutex<Result<(), ProviderError>>,
}

impl Keys {
    pub(super) fn new(url: Url, clock: SharedClock) -> Self {
        Self {
            url,
            clock,
            current: ArcSwapOption::empty(),
            attempts: AtomicU64::new(0),
            reading: Mutex::new(Ok(())),
        }
    }

    /// The key with this id.
    pub(super) async fn find(&self, http: &Http, id: &str) -> Result<DecodingKey, ProviderError> {
        if let Some(key) = self.known(id) {
            return Ok(key);
        }
        let seen = self.attempts.load(Ordering::Acquire);
        let mut last = self.reading.lock().await;
        if self.attempts.load(Ordering::Acquire) != seen {
            // Somebody tried while we waited: share what they got.
            last.clone()?;
        }
        if let Some(key) = self.known(id) {
            return Ok(key);
        }
        let now = self.clock.now();
        if self
            .current
            .load()
            .as_ref()
            .is_none_or(|set| set.may_be_outdated(now))
        {
            let outcome = self.read(http).await;
            *last = outcome.as_ref().map(|_| ()).map_err(Clone::clone);
            self.attempts.fetch_add(1, Ordering::Release);
            self.current.store(Some(Arc::new(outcome?)));
        }
        self.known(id).ok_or_else(unknown_key)
    }

    fn known(&self, id: &str) -> Option<DecodingKey> {
        let set = self.current.load();
        let set = set.as_ref().filter(|set| set.is_fresh(self.clock.now()))?;
        set.keys.get(id).cloned()
    }

    async fn read(&self, http: &Http) -> Result<KeySet, ProviderError> {
        let host = self.url.host_str().unwrap_or_default();
        let reply = http
            .get(&self.url)
            .await
            .map_err(|error| ProviderError::transport(host, &error))?;
        let read_at = self.clock.now();
        if !reply.status.is_success() {
            return Err(ProviderError::refused(Call::Keys, &reply, &[], read_at));
        }
        let keys = parse(&reply).ok_or_else(|| {
            let what = format!("The answer of {host} is not a set of signing keys");
            ProviderError::malformed(&what, reply.date())
        })?;
        Ok(KeySet {
            keys,
            read_at,
            stale_at: clock::after(read_at, age(&reply.headers)),
        })
    }
}

fn unknown_key() -> ProviderError {
    ProviderError::id_token(
        FailureKind::Reconnect,
        "The id token is signed with a key that Google does not publish. Begin the connection again; if it stays \
         so, check `google.endpoint_base`.",
    )
}

#[derive(Deserialize)]
struct Wire {
    keys: Vec<Value>,
}

#[derive(Deserialize)]
struct WireKey {
    kty: String,
    kid: String,
    alg: Option<String>,
    #[serde(rename = "use")]
    purpose: Option<String>,
    n: String,
    e: String,
}

/// The RS256 keys of an answer. Other keys are passed over, so that a new kind does not lock everybody out.
fn parse(reply: &Reply) -> Option<HashMap<String, DecodingKey>> {
    let wire: Wire = serde_json::from_slice(&reply.body).ok()?;
    let keys: HashMap<_, _> = wire
        .keys
        .into_iter()
        .take(MAX_KEYS)
        .filter_map(|key| serde_json::from_value::<WireKey>(key).ok())
        .filter(|key| key.kty == "RSA")
        .filter(|key| key.alg.as_deref().is_none_or(|alg| alg == "RS256"))
        .filter(|key| key.purpose.as_deref().is_none_or(|purpose| purpose == "sig"))
        .filter_map(|key| Some((key.kid, DecodingKey::from_rsa_components(&key.n, &key.e).ok()?)))
        .collect();
    (!keys.is_empty()).then_some(keys)
}

/// How long an answer may be kept (RFC 9111, section 5.2.2.1), within our bounds.
fn age(headers: &HeaderMap) -> Duration {
    headers
        .get_all(header::CACHE_CONTROL)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|directive| directive.trim().split_once('='))
        .filter(|(name, _)| name.eq_ignore_ascii_case("max-age"))
        .find_map(|(_, seconds)| seconds.trim_matches('"').parse().ok())
        .map_or(MIN_AGE, Duration::from_secs)
        .clamp(MIN_AGE, MAX_AGE)
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, StatusCode};
    use proptest::prelude::*;
    use serde_json::json;
    use zeroize::Zeroizing;

    use super::*;
    use crate::{
        clock::ManualClock,
        google::{
            http::{Limits, no_tls},
            testing::{Answer, Play, Signer},
        },
    };

    struct Scene {
        play: Play,
        clock: ManualClock,
        http: Http,
        keys: Keys,
    }

    async fn scene(answers: Vec<Answer>) -> Scene {
        let play = Play::start(answers).await;
        let clock = ManualClock::new("2024-01-15T10:30:00Z".parse().unwrap());
        let url = play.url("/oauth2/v3/certs");
        Scene {
            play,
            http: Http::new(Limits::default(), Arc::new(no_tls)),
            keys: Keys::new(url, Arc::new(clock.clone())),
            clock,
        }
    }

    fn published(signers: &[&Signer], cache: &'static str) -> Answer {
        let keys: Vec<_> = signers.iter().map(|signer| signer.published()).collect();
        Answer::json(200, &json!({"keys": keys})).header("cache-control", cache)
    }

    impl Scene {
        async fn find(&self, id: &str) -> Result<DecodingKey, ProviderError> {
            self.keys.find(&self.http, id).await
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
    async fn an_unknown_key_is_looked_for_once_a_minute() {
        let scene = scene(vec![
            published(&[Signer::one()], "max-age=3600"),
            published(&[Signer::one(), Signer::other()], "max-age=3600"),
        ])
        .await;
        assert!(scene.find("other").await.is_err(), "just read: no second request");
        scene.clock.advance(Duration::from_secs(59));
        let error = scene.find("other").await.err().unwrap();
        assert_eq!(
            (error.kind, error.code.as_str()),
            (FailureKind::Reconnect, "invalid_id_token")
        );
        assert_eq!(scene.play.requests().len(), 1);
        scene.clock.advance(Duration::from_secs(1));
        assert!(scene.find("other").await.is_ok());
        assert_eq!(scene.play.requests().len(), 2);
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
                tokio::spawn(async move { scene.find("one").await.err().map(|error| error.code) })
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
                (error.kind, error.code.as_str()),
                (FailureKind::Retry, "malformed_answer")
            );
        }
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
                status: StatusCode::OK,
                headers: HeaderMap::new(),
                body: Zeroizing::new(body),
            });
            let _ = age(&HeaderMap::from_iter([(
                header::CACHE_CONTROL,
                HeaderValue::from_str(&cache).unwrap(),
            )]));
        }
    }
}
