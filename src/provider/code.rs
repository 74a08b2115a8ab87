//! The code of a provider's error, fit to be shown.

use super::failure::FailureTable;
use crate::secret::shape::is_suspicious;

/// What the provider's `error` may look like; anything else could be an echo or an attack on a terminal.
pub(in crate::provider) fn code(error: &str) -> String {
    let valid = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
    if (1..=64).contains(&error.len()) && error.bytes().all(valid) && !is_suspicious(error) {
        error.to_owned()
    } else {
        "unknown_error".to_owned()
    }
}

/// The same for a code of `OAuth`'s. Some servers write one that is known as words or in capitals (`Invalid grant`,
/// `INVALID_GRANT`).
pub(in crate::provider) fn oauth_code(error: &str, failures: FailureTable) -> String {
    let words: Vec<&str> = error.split_whitespace().collect();
    let known = words.join("_").to_ascii_lowercase();
    if failures.knows(&known) {
        known
    } else {
        code(error.trim())
    }
}
