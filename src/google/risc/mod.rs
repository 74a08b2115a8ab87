//! Cross-Account Protection: what Google announces about an account by itself, as signed security event tokens
//! (RFC 8417) that it pushes to a receiver (RFC 8935).

mod event;
mod issuer;

use std::fmt;

use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::Deserialize;
use serde_json::Value;
use url::Url;

use crate::{budget::Refusals, clock::SharedClock};

use super::{Egress, ProviderError, endpoints::Endpoints, http::Limits};

pub use event::{EventType, SecurityEvent, SecurityEvents, Subject, TokenIdentifier};
use issuer::Issuer;

/// A security event token at most, in bytes; Google's stay around 1 KiB.
pub const MAX_SET: usize = 64 * 1024;

/// What is wrong with a token that was pushed (RFC 8935, section 2.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It is no security event token.
    InvalidRequest,
    /// It names a key that its issuer does not publish, or an algorithm other than RS256.
    InvalidKey,
    /// It comes from somebody else.
    InvalidIssuer,
    /// It is meant for somebody else.
    InvalidAudience,
    /// Its signature is wrong.
    AuthenticationFailed,
}

impl Fault {
    /// The code that the answer carries.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request",
            Self::InvalidKey => "invalid_key",
            Self::InvalidIssuer => "invalid_issuer",
            Self::InvalidAudience => "invalid_audience",
            Self::AuthenticationFailed => "authentication_failed",
        }
    }
}

/// Why a token was not taken. Repeats nothing of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rejected {
    /// It is at fault, and would be again.
    Set(Fault, &'static str),
    /// It could not be checked; pushed once more it may be taken.
    Unavailable(ProviderError),
}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Set(fault, description) => write!(f, "{}: {description}", fault.as_str()),
            Self::Unavailable(error) => error.fmt(f),
        }
    }
}

/// Checks security event tokens with the keys that Google publishes for them.
pub struct Receiver {
    audiences: Vec<String>,
    issuer: Issuer,
    rejected: Refusals,
    unchecked: Refusals,
}

impl Receiver {
    /// Takes tokens that are meant for one of `audiences`, the OAuth clients of the Google project. Asks nobody yet.
    pub fn new(
        endpoints: &Endpoints,
        audiences: Vec<String>,
        limits: Limits,
        egress: Egress,
        clock: SharedClock,
    ) -> Self {
        Self {
            audiences,
            issuer: Issuer::new(endpoints.risc_configuration.clone(), limits, egress, clock),
            rejected: Refusals::new("security events were refused"),
            unchecked: Refusals::new("security events could not be checked"),
        }
    }

    /// Counts what was not taken, for the log.
    pub fn note(&self, rejected: &Rejected) {
        let counter = match rejected {
            Rejected::Set(..) => &self.rejected,
            Rejected::Unavailable(_) => &self.unchecked,
        };
        counter.count(rejected);
    }

    /// Checks signature, issuer and audience, and says what is announced. `exp` is not looked at, as Google asks:
    /// an event stays true however late it comes.
    ///
    /// # Errors
    /// [`Rejected::Set`] where the token is at fault, [`Rejected::Unavailable`] where the issuer's keys cannot be had.
    pub async fn verify(&self, set: &str) -> Result<SecurityEvents, Rejected> {
        let key_id = key_id(set)?;
        let known = self.issuer.known().await.map_err(Rejected::Unavailable)?;
        let key = self
            .issuer
            .key(&known, &key_id)
            .await
            .map_err(Rejected::Unavailable)?
            .ok_or(Rejected::Set(
                Fault::InvalidKey,
                "it is signed with a key that its issuer does not publish",
            ))?;
        check(set, &key, known.name(), &self.audiences)
    }
}

/// What a security event token reaches first, and its claims as if its signature were right.
#[cfg(fuzzing)]
pub(super) fn fuzz(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = key_id(text);
    }
    if let Ok(claims) = serde_json::from_slice(bytes)
        && let Ok(events) = judge(claims, "https://accounts.google.com/", &["client".to_owned()])
    {
        assert!(
            !events.id.is_empty() && !events.events.is_empty(),
            "it says something"
        );
    }
}

/// The key that signed it, as it says itself.
fn key_id(set: &str) -> Result<String, Rejected> {
    let malformed = Rejected::Set(Fault::InvalidRequest, "it is not a JWT");
    if set.len() > MAX_SET {
        return Err(malformed);
    }
    let header = jsonwebtoken::decode_header(set).map_err(|_| malformed)?;
    if header.alg != Algorithm::RS256 || header.crit.is_some() {
        return Err(Rejected::Set(Fault::InvalidKey, "it is not signed with RS256"));
    }
    header
        .kid
        .ok_or(Rejected::Set(Fault::InvalidKey, "it does not name its key"))
}

#[derive(Deserialize)]
struct Claims {
    iss: String,
    aud: Audience,
    iat: i64,
    jti: String,
    events: serde_json::Map<String, Value>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Many(Vec<String>),
}

impl Audience {
    fn names_one_of(&self, known: &[String]) -> bool {
        match self {
            Self::One(audience) => known.contains(audience),
            Self::Many(audiences) => audiences.iter().any(|audience| known.contains(audience)),
        }
    }
}

/// Checks signature and claims. `key` belongs to `issuer`.
fn check(
    set: &str,
    key: &DecodingKey,
    issuer: &str,
    audiences: &[String],
) -> Result<SecurityEvents, Rejected> {
    let fault = |fault, description| Err(Rejected::Set(fault, description));
    let mut signature = Validation::new(Algorithm::RS256);
    signature.required_spec_claims.clear();
    signature.validate_exp = false;
    signature.validate_aud = false;
    // The claims are read behind the signature, so that the two faults can be told apart.
    let Ok(verified) = jsonwebtoken::decode::<Value>(set, key, &signature) else {
        return fault(Fault::AuthenticationFailed, "its signature is wrong");
    };
    judge(verified.claims, issuer, audiences)
}

/// Checks claims whose signature is right.
fn judge(claims: Value, issuer: &str, audiences: &[String]) -> Result<SecurityEvents, Rejected> {
    let fault = |fault, description| Err(Rejected::Set(fault, description));
    let Ok(claims) = serde_json::from_value::<Claims>(claims) else {
        return fault(
            Fault::InvalidRequest,
            "it lacks one of the claims iss, aud, iat, jti and events",
        );
    };
    if !event::same_issuer(&claims.iss, issuer) {
        return fault(
            Fault::InvalidIssuer,
            "its issuer is not the one that was configured",
        );
    }
    if !claims.aud.names_one_of(audiences) {
        return fault(
            Fault::InvalidAudience,
            "it is meant for another OAuth client than those in risc.audiences",
        );
    }
    event::read(claims.jti, claims.iat, claims.events, issuer).ok_or(Rejected::Set(
        Fault::InvalidRequest,
        "its jti, iat or events are not of the form of RFC 8417",
    ))
}

/// Whether keys may be read from there: over HTTPS, or from loopback where their issuer is there too.
fn is_safe(keys: &Url, document: &Url) -> bool {
    keys.scheme() == "https" || (document.scheme() == "http" && super::endpoints::is_loopback(keys))
}

#[cfg(test)]
mod tests;
