//! Failures, typed by who can act.

use std::time::Duration;

use jiff::Timestamp;

/// Who can do something about a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureKind {
    /// Nobody has to: it passes, and is tried again.
    Retry,
    /// The owner has to connect again.
    Reconnect,
    /// The operator has to change the configuration or the Google project.
    Operator,
    /// A scope was asked for that was not granted.
    Permission,
}

/// What went wrong at the provider. Holds no secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ProviderError {
    /// Who can act.
    pub kind: FailureKind,
    /// The provider's `error`, or `network`, `timeout`, `http_503`, `malformed_answer`.
    pub code: String,
    /// The provider's `error_subtype`.
    pub subtype: Option<String>,
    /// A sentence a person can act on.
    pub message: String,
    /// How long the provider asked to wait.
    pub retry_after: Option<Duration>,
    /// The provider's own time, from the `Date` header.
    pub server_time: Option<Timestamp>,
}
