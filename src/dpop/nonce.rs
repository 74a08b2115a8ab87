//! The nonce that a server wants in proofs (RFC 9449, section 8).

use std::sync::{Arc, PoisonError, RwLock};

use http::{HeaderMap, HeaderName};

/// Where a server tells it.
const NONCE: HeaderName = HeaderName::from_static("dpop-nonce");
/// No server's is longer.
const MAX_NONCE: usize = 1024;

/// The last nonce that a server told.
#[derive(Default)]
pub(crate) struct LastNonce(RwLock<Option<Arc<str>>>);

impl LastNonce {
    /// The last one, for the next proof.
    pub(crate) fn get(&self) -> Option<Arc<str>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Remembers what an answer tells, and returns it.
    pub(crate) fn learn(&self, headers: &HeaderMap) -> Option<Arc<str>> {
        let told = headers.get(NONCE)?.to_str().ok()?;
        if !is_nonce(told) {
            return None;
        }
        if let Some(same) = self.get().filter(|last| **last == *told) {
            return Some(same);
        }
        let told: Arc<str> = told.into();
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some(told.clone());
        Some(told)
    }
}

/// RFC 9449, section 8.1: `1*NQCHAR`.
fn is_nonce(text: &str) -> bool {
    let fits = |b: u8| b.is_ascii_graphic() && !matches!(b, b'"' | b'\\');
    (1..=MAX_NONCE).contains(&text.len()) && text.bytes().all(fits)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn told(nonce: &str) -> HeaderMap {
        HeaderMap::from_iter([(NONCE, HeaderValue::from_str(nonce).unwrap())])
    }

    #[test]
    fn the_last_one_counts_until_another_is_told() {
        let last = LastNonce::default();
        assert_eq!(last.learn(&HeaderMap::new()), None);
        assert_eq!(last.get(), None);
        for nonce in ["one", "one", "two"] {
            assert_eq!(last.learn(&told(nonce)).as_deref(), Some(nonce));
            assert_eq!(last.get().as_deref(), Some(nonce));
        }
        let long = "x".repeat(MAX_NONCE + 1);
        for odd in ["", "a b", "a\"b", "a\\b", &long] {
            assert_eq!(last.learn(&told(odd)), None, "{odd}");
        }
        last.learn(&HeaderMap::new());
        assert_eq!(last.get().as_deref(), Some("two"));
    }
}
