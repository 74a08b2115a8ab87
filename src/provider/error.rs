//! Failures, typed by who can act.

use std::time::Duration;

use super::failure::FailureKind;
use crate::{clock::Moment, http_client::TransportError, text::scrub::plain};

/// What went wrong at the provider. Holds no secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ProviderError {
    /// Who can act.
    pub kind: FailureKind,
    /// The provider's `error`, or `network`, `certificate`, `timeout`, `proxy_authentication`, `http_503`,
    /// `malformed_answer`, `invalid_id_token`.
    pub code: String,
    /// A sentence a person can act on.
    pub message: String,
    /// The page that explains it to people, `/help/<slug>`.
    pub help: &'static str,
    /// The HTTP status of a refusal.
    pub status: Option<u16>,
    /// How long the provider asked to wait.
    pub retry_after: Option<Duration>,
    /// The provider's own time, from the `Date` header of a refusal. Boxed: few have a use for it.
    pub server_time: Option<Box<Moment>>,
}

/// The page about answers that no provider gives.
const NOT_GOOGLE: &str = "not-google";

/// How a message ends about what is repeated by itself.
pub(in crate::provider) const REPEATED: &str = "It is tried again.";

impl ProviderError {
    /// True when the provider may have done what it was asked without its answer arriving.
    pub fn is_unanswered(&self) -> bool {
        matches!(self.code.as_str(), "network" | "timeout" | "malformed_answer")
    }

    /// True when the provider says that it has not done what it was asked, for want of time: it may be asked for the same
    /// again (RFC 9110, section 15.6.4; RFC 6585, section 4).
    pub fn is_too_busy(&self) -> bool {
        matches!(self.status, Some(429 | 503))
    }

    /// The sentence for whoever asked for something that nothing repeats by itself, as renewals and revocations are.
    pub fn of_one_attempt(&self) -> String {
        self.message.replace(REPEATED, "Try it again in a while.")
    }

    pub(in crate::provider) fn new(
        kind: FailureKind,
        code: impl Into<String>,
        message: impl Into<String>,
        help: &'static str,
    ) -> Self {
        Self {
            help,
            kind,
            code: code.into(),
            message: message.into(),
            status: None,
            retry_after: None,
            server_time: None,
        }
    }

    /// An id token that proves nothing.
    pub(in crate::provider) fn id_token(kind: FailureKind, message: impl Into<String>) -> Self {
        Self::new(kind, "invalid_id_token", message, "identity-unproven")
    }

    /// An answer that cannot be used. `what` names it and says why.
    pub fn malformed(what: &str) -> Self {
        let message = format!("{what}. A proxy may stand between. It is tried again.");
        Self::new(FailureKind::Retry, "malformed_answer", message, NOT_GOOGLE)
    }

    /// An answer whose field cannot be used. `what` names it.
    pub(in crate::provider) fn unusable(what: &str) -> Self {
        let message = format!("{what}. {REPEATED}");
        Self::new(FailureKind::Retry, "malformed_answer", message, NOT_GOOGLE)
    }

    /// No answer from `host`.
    pub(crate) fn transport(host: &str, error: &TransportError) -> Self {
        let (code, message) = match error {
            TransportError::NoRoots(reason) => (
                "certificate",
                format!(
                    "No certificate authorities to check {host} with: install the system's `ca-certificates` or \
                     name a bundle with SSL_CERT_FILE ({reason})."
                ),
            ),
            TransportError::Certificate(reason) => (
                "certificate",
                format!(
                    "The TLS certificate of {host} was not accepted: {reason}. A proxy may stand between, its \
                     authority may be unknown here, or this machine's clock may be wrong. It is tried again."
                ),
            ),
            TransportError::NoConnection => (
                "timeout",
                format!("{host} took no connection in time. It is tried again."),
            ),
            TransportError::Timeout(limit) => (
                "timeout",
                format!("{host} did not answer within {limit:?}. It is tried again."),
            ),
            TransportError::TooLarge(limit) => (
                "malformed_answer",
                format!(
                    "{host} sent more than {limit} bytes, more than any answer of use has. It is tried again."
                ),
            ),
            TransportError::Encoding(encoding) => (
                "malformed_answer",
                format!(
                    "{host} sent an answer that is compressed as `{}`, although it was asked not to compress it: a \
                     proxy may stand between. It is tried again.",
                    plain(encoding)
                ),
            ),
            TransportError::ProxyCredentials(reason) => (
                "proxy_authentication",
                format!(
                    "{host} cannot be reached: {reason}. Give them to the daemon in HTTPS_PROXY, as \
                     http://NAME:PASSWORD@HOST:PORT."
                ),
            ),
            TransportError::Network(reason) => (
                "network",
                format!("{host} cannot be reached: {reason}. It is tried again."),
            ),
        };
        let kind = match error {
            TransportError::ProxyCredentials(_) => FailureKind::Operator,
            _ => FailureKind::Retry,
        };
        Self::new(kind, code, message, help_on(error))
    }
}

/// The page about a request without an answer.
fn help_on(error: &TransportError) -> &'static str {
    match error {
        TransportError::NoRoots(_) | TransportError::Certificate(_) => "certificate",
        TransportError::TooLarge(_) | TransportError::Encoding(_) => NOT_GOOGLE,
        TransportError::ProxyCredentials(_) => "proxy-credentials",
        TransportError::NoConnection | TransportError::Timeout(_) | TransportError::Network(_) => {
            "no-connection"
        }
    }
}
