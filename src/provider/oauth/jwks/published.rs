//! What an answer of published keys says: which of them can sign with RS256, and how long it may be kept.

use std::{collections::HashMap, sync::Arc, time::Duration};

use http::{HeaderMap, header};
use jsonwebtoken::DecodingKey;
use serde_json::Value;

use crate::{
    http_client::Reply,
    jws::{name, unsigned_integer},
    text::without_bom,
};

/// Keys are kept at least this long, whatever the provider says.
pub(super) const MIN_AGE: Duration = Duration::from_secs(5 * 60);
/// And at most this long: a withdrawn key must go.
pub(super) const MAX_AGE: Duration = Duration::from_secs(24 * 3600);
/// Google publishes two or three.
pub(super) const MAX_KEYS: usize = 64;
/// What RS256 takes (RFC 7518, section 3.3).
pub(super) const MIN_BITS: usize = 2048;

/// What an answer publishes.
#[derive(Default)]
pub(super) struct Published {
    /// The keys of each name: one, as a rule.
    pub(super) keys: HashMap<String, Arc<[DecodingKey]>>,
    /// Names of keys that are too short to be trusted, and how many bits they have.
    pub(super) short: HashMap<String, usize>,
}

/// The RS256 keys of an answer. Other keys are passed over, so that a new kind does not lock everybody out.
pub(super) fn parse(reply: &Reply) -> Option<Published> {
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
pub(super) fn age(headers: &HeaderMap) -> Duration {
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
