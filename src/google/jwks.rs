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
use jsonwebtoken::DecodingKey;
use serde_json::Value;
use tokio::sync::Mutex;
use url::Url;

use crate::{
    clock::{SharedClock, Uptime},
    text::without_bom,
};

use super::{
    FailureKind, ProviderError,
    classify::Call,
    http::{Http, Reply},
    jws::{name, unsigned_integer},
    refusal::is_told,
};

/// Keys are kept at least this long, whatever the provider says.
const MIN_AGE: Duration = Duration::from_secs(5 * 60);
/// And at most this long: a withdrawn key must go.
const MAX_AGE: Duration = Duration::from_secs(24 * 3600);
/// A token that names an unknown key makes them be read again, but not more often than this.
const REREAD_PAUSE: Duration = Duration::from_secs(60);
/// Google publishes two or three.
const MAX_KEYS: usize = 64;
/// What RS256 takes (RFC 7518, section 3.3).
const MIN_BITS: usize = 2048;

/// The keys of one answer.
struct KeySet {
    keys: Published,
    /// When they were asked for.
    read_at: Uptime,
    stale_at: Uptime,
}

impl KeySet {
    fn is_fresh(&self, now: Uptime) -> bool {
        now < self.stale_at
    }

    /// Whether reading again could show a key that is not here.
    fn may_be_outdated(&self, now: Uptime) -> bool {
        !self.is_fresh(now) || now >= self.read_at.after(REREAD_PAUSE)
    }
}

/// What an answer publishes.
#[derive(Default)]
struct Published {
    /// The keys of each name: one, as a rule.
    keys: HashMap<String, Arc<[DecodingKey]>>,
    /// Names of keys that are too short to be trusted, and how many bits they have.
    short: HashMap<String, usize>,
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

    /// The keys that an id token names.
    pub(super) async fn find(&self, http: &Http, id: &str) -> Result<Arc<[DecodingKey]>, ProviderError> {
        let found = self.look_up(http, id).await?;
        found.ok_or_else(|| self.bits_of_short(id).map_or_else(unknown_key, short_key))
    }

    fn bits_of_short(&self, id: &str) -> Option<usize> {
        self.current.load().as_ref()?.keys.short.get(id).copied()
    }

    /// The keys with this id; `None` where none is published.
    pub(super) async fn look_up(
        &self,
        http: &Http,
        id: &str,
    ) -> Result<Option<Arc<[DecodingKey]>>, ProviderError> {
        if let Some(key) = self.known(id) {
            return Ok(Some(key));
        }
        let seen = self.attempts.load(Ordering::Acquire);
        let mut last = self.reading.lock().await;
        if self.attempts.load(Ordering::Acquire) != seen {
            // Somebody tried while we waited: share what they got.
            last.clone()?;
        }
        if let Some(key) = self.known(id) {
            return Ok(Some(key));
        }
        let now = self.clock.uptime();
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
        Ok(self.known(id))
    }

    fn known(&self, id: &str) -> Option<Arc<[DecodingKey]>> {
        let set = self.current.load();
        let set = set.as_ref().filter(|set| set.is_fresh(self.clock.uptime()))?;
        set.keys.keys.get(id).cloned()
    }

    async fn read(&self, http: &Http) -> Result<KeySet, ProviderError> {
        let host = self.url.host_str().unwrap_or_default();
        let read_at = self.clock.uptime();
        let reply = http
            .get(&self.url)
            .await
            .map_err(|error| ProviderError::transport(host, &error))?;
        if !reply.status.is_success() || is_told(&reply.body) {
            return Err(ProviderError::refused(Call::Keys, &reply, &[], self.clock.now()));
        }
        let keys = parse(&reply).ok_or_else(|| {
            let what = format!("The answer of {host} is not a set of signing keys");
            ProviderError::malformed(&what)
        })?;
        Ok(KeySet {
            keys,
            read_at,
            stale_at: read_at.after(age(&reply.headers)),
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

fn short_key(bits: usize) -> ProviderError {
    let message = format!(
        "The id token is signed with an RSA key of {bits} bits, and RS256 takes {MIN_BITS} at the least (RFC 7518, section \
         3.3). The OAuth server at `google.endpoint_base` needs a longer key."
    );
    ProviderError::id_token(FailureKind::Operator, &message)
}

/// The RS256 keys of an answer. Other keys are passed over, so that a new kind does not lock everybody out.
fn parse(reply: &Reply) -> Option<Published> {
    let set: Value = serde_json::from_slice(without_bom(&reply.body)).ok()?;
    let (mut keys, mut short) = (HashMap::<String, Vec<DecodingKey>>::new(), HashMap::new());
    for key in set.get("keys")?.as_array()?.iter().filter_map(key).take(MAX_KEYS) {
        match key.bits {
            MIN_BITS.. => keys.entry(key.name).or_default().push(key.decoding),
            bits => drop(short.insert(key.name, bits)),
        }
    }
    let published = Published {
        keys: keys.into_iter().map(|(name, keys)| (name, keys.into())).collect(),
        short,
    };
    (!published.keys.is_empty() || !published.short.is_empty()).then_some(published)
}

/// A key of an answer.
struct Key {
    name: String,
    bits: usize,
    decoding: DecodingKey,
}

/// A key that can sign with RS256. One that says nothing of its use or algorithm may.
fn key(jwk: &Value) -> Option<Key> {
    let text = |name| jwk.get(name).and_then(Value::as_str);
    let is =
        |name, expected: &str| text(name).is_some_and(|found: &str| found.eq_ignore_ascii_case(expected));
    let may_be = |name, expected| text(name).is_none() || is(name, expected);
    if !is("kty", "RSA") || !may_be("alg", "RS256") || !may_be("use", "sig") {
        return None;
    }
    let number = |name| unsigned_integer(text(name)?);
    let (modulus, exponent) = (number("n")?, number("e")?);
    Some(Key {
        name: name(jwk.get("kid")?)?,
        bits: modulus.len() * 8 - modulus.first()?.leading_zeros() as usize,
        decoding: DecodingKey::from_rsa_raw_components(&modulus, &exponent),
    })
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
mod tests;
