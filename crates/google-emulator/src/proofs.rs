//! What is remembered of proofs: the nonce that they have to carry, and which were used.

use std::{
    collections::{HashSet, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use http::{HeaderName, HeaderValue};
use jiff::Timestamp;

use crate::{message::Reply, time::after};

/// The header of a nonce.
const NONCE: HeaderName = HeaderName::from_static("dpop-nonce");

/// How far the two clocks may differ.
pub(crate) const LEEWAY: Duration = Duration::from_secs(300);

/// What names a key: the SHA-256 of its public half (RFC 7638).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Thumbprint(pub(crate) String);

/// A nonce that no header can carry.
#[derive(Debug, thiserror::Error)]
#[error("`nonce` has to be one or more visible characters without spaces and quotes")]
pub struct InvalidNonce;

/// What is remembered of proofs.
#[derive(Default)]
pub(crate) struct Proofs(Mutex<Remembered>);

#[derive(Default)]
struct Remembered {
    /// What every proof has to carry.
    nonce: Option<HeaderValue>,
    /// The names of proofs that would still be accepted by their time, the oldest first.
    used: VecDeque<(Timestamp, String)>,
    names: HashSet<String>,
}

impl Proofs {
    /// Every proof has to carry this nonce from now on; `None` asks for none.
    pub(crate) fn demand(&self, nonce: Option<&str>) -> Result<(), InvalidNonce> {
        let fits = |b: u8| b.is_ascii_graphic() && !matches!(b, b'"' | b'\\');
        let nonce = match nonce {
            Some(text) if !text.is_empty() && text.bytes().all(fits) => {
                Some(HeaderValue::from_str(text).map_err(|_| InvalidNonce)?)
            }
            Some(_) => return Err(InvalidNonce),
            None => None,
        };
        self.lock().nonce = nonce;
        Ok(())
    }

    /// Tells which nonce the next proof has to carry.
    pub(crate) fn stamp(&self, reply: &mut Reply) {
        if let Some(nonce) = &self.lock().nonce {
            reply.headers_mut().insert(NONCE, nonce.clone());
        }
    }

    /// Whether a proof carries what it has to.
    pub(crate) fn is_nonce(&self, given: Option<&str>) -> bool {
        let demanded = &self.lock().nonce;
        demanded
            .as_ref()
            .is_none_or(|demanded| given.is_some_and(|given| demanded.as_bytes() == given.as_bytes()))
    }

    /// False where a proof of this name was used before.
    pub(crate) fn use_once(&self, name: &str, now: Timestamp) -> bool {
        let mut guard = self.lock();
        let remembered = &mut *guard;
        while let Some((used_at, name)) = remembered.used.front()
            && after(*used_at, LEEWAY * 2) < now
        {
            remembered.names.remove(name);
            remembered.used.pop_front();
        }
        if !remembered.names.insert(name.to_owned()) {
            return false;
        }
        remembered.used.push_back((now, name.to_owned()));
        true
    }

    fn lock(&self) -> MutexGuard<'_, Remembered> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
