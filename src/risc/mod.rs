//! Cross-Account Protection: what Google announces about an account by itself, as signed security event tokens
//! (RFC 8417) that it pushes to a receiver (RFC 8935).

mod event;
mod issuer;
mod safe;

use std::{borrow::Cow, fmt, sync::Arc};

use jsonwebtoken::DecodingKey;
use serde_json::Value;

use crate::{
    budget::Refusals,
    clock::SharedClock,
    config::ClientType,
    http_client::{Egress, Limits},
    jws::{Jws, Malformed, same_issuer},
    provider::{
        ProviderError,
        google::{client::dialect, endpoints::Endpoints},
    },
    text::{scrub::plain, seconds},
};

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

/// Why a token was not taken. Repeats nothing of it but names, and those only of one whose signature is right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rejected {
    /// It is at fault, and would be again.
    Set(Fault, Cow<'static, str>),
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
    issuer: Arc<Issuer>,
    rejected: Refusals,
    unchecked: Refusals,
    unkept: Refusals,
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
            issuer: Issuer::new(
                endpoints.risc_configuration.clone(),
                Arc::new(dialect(ClientType::Web, endpoints)),
                (limits, egress),
                clock,
            ),
            rejected: Refusals::new("security events were refused"),
            unchecked: Refusals::new("security events could not be checked"),
            unkept: Refusals::new("security events could not be kept"),
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

    /// Notes one that was to be taken, and could not be kept.
    pub fn note_unkept(&self, error: &impl fmt::Display) {
        self.unkept.count(error);
    }

    /// Checks signature, issuer and audience, and says what is announced. `exp` is not looked at, as Google asks:
    /// an event stays true however late it comes.
    ///
    /// # Errors
    /// [`Rejected::Set`] where the token is at fault, [`Rejected::Unavailable`] where the issuer's keys cannot be had, or it
    /// names one that is unknown and they were not read since it came.
    pub async fn verify(&self, set: &str) -> Result<SecurityEvents, Rejected> {
        let set = parse(set)?;
        let known = self.issuer.known().await.map_err(Rejected::Unavailable)?;
        let key = self
            .issuer
            .key(&known, &set.key_id)
            .await
            .map_err(Rejected::Unavailable)?
            .ok_or_else(|| {
                let description = "it is signed with a key that its issuer does not publish";
                at_fault(Fault::InvalidKey, description)
            })?;
        check(&set, &key, known.name(), &self.audiences)
    }
}

/// What a security event token reaches first, and its claims as if its signature were right.
#[cfg(fuzzing)]
pub fn fuzz(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = parse(text);
    }
    if let Ok(claims) = serde_json::from_slice::<Value>(bytes)
        && let Ok(events) = judge(&claims, "https://accounts.google.com/", &["client".to_owned()])
    {
        assert!(
            !events.id.is_empty() && !events.events.is_empty(),
            "it says something"
        );
    }
}

fn at_fault(fault: Fault, description: impl Into<Cow<'static, str>>) -> Rejected {
    Rejected::Set(fault, description.into())
}

fn parse(set: &str) -> Result<Jws<'_>, Rejected> {
    if set.len() > MAX_SET {
        return Err(at_fault(
            Fault::InvalidRequest,
            "it is longer than any of Google's",
        ));
    }
    Jws::parse(set).map_err(|malformed| match malformed {
        Malformed::Form => at_fault(Fault::InvalidRequest, "it is not a JWT"),
        Malformed::Unsigned => at_fault(Fault::InvalidRequest, "it is not signed"),
        Malformed::Algorithm => at_fault(Fault::InvalidKey, "it is not signed with RS256"),
        Malformed::Critical => at_fault(
            Fault::InvalidKey,
            "it demands an extension that is not understood",
        ),
        Malformed::NoKey => at_fault(Fault::InvalidKey, "it does not name its key"),
    })
}

/// Checks signature and claims. `keys` belong to `issuer`.
fn check(
    set: &Jws<'_>,
    keys: &[DecodingKey],
    issuer: &str,
    audiences: &[String],
) -> Result<SecurityEvents, Rejected> {
    if !set.is_signed_by(keys) {
        return Err(at_fault(Fault::AuthenticationFailed, "its signature is wrong"));
    }
    // The claims are read behind the signature, so that the two faults can be told apart.
    judge(&set.claims().unwrap_or_default(), issuer, audiences)
}

/// Checks claims whose signature is right.
fn judge(claims: &Value, issuer: &str, audiences: &[String]) -> Result<SecurityEvents, Rejected> {
    let lacks = |name: &str| at_fault(Fault::InvalidRequest, format!("it lacks the claim `{name}`"));
    let text = |name| claims[name].as_str().ok_or_else(|| lacks(name));
    let (iss, id) = (text("iss")?, text("jti")?);
    let issued_at = seconds::read(&claims["iat"]).ok_or_else(|| lacks("iat"))?;
    let events = claims["events"].as_object().ok_or_else(|| lacks("events"))?;
    let meant: Vec<&str> = match &claims["aud"] {
        Value::String(one) => vec![one],
        Value::Array(list) => list.iter().filter_map(Value::as_str).collect(),
        _ => return Err(lacks("aud")),
    };
    if !same_issuer(iss, issuer) {
        let description = format!("its issuer is `{}`, not `{}`", plain(iss), plain(issuer));
        return Err(at_fault(Fault::InvalidIssuer, description));
    }
    if !meant.iter().any(|one| audiences.iter().any(|known| known == one)) {
        let description = format!(
            "it is meant for `{}`, which is not in risc.audiences",
            plain(&meant.join(" and "))
        );
        return Err(at_fault(Fault::InvalidAudience, description));
    }
    event::read(id.to_owned(), issued_at, events.clone(), issuer).ok_or_else(|| {
        let description = "its jti, iat or events are not of the form of RFC 8417";
        at_fault(Fault::InvalidRequest, description)
    })
}

#[cfg(test)]
mod tests;
