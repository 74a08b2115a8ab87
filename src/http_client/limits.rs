//! What a request may take.

use std::time::Duration;

/// What a request may take. The defaults suit Google; tests shorten them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Until a TCP connection is open.
    pub connect: Duration,
    /// From the first step to the last byte of the answer.
    pub request: Duration,
    /// Bytes of an answer about tokens.
    pub token_answer: usize,
    /// Bytes of the published keys.
    pub keys_answer: usize,
}

impl Limits {
    /// How long a request to the provider takes at most, unless tests say otherwise.
    pub const REQUEST: Duration = Duration::from_secs(30);
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            request: Self::REQUEST,
            token_answer: 256 * 1024,
            keys_answer: 256 * 1024,
        }
    }
}
