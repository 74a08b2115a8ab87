//! Failures, typed by who can act.

use std::time::Duration;

use jiff::Timestamp;

use crate::{
    clock::Moment,
    http_client::{Reply, TransportError},
};

use super::{
    classify::{Call, Failure, FailureKind, Said, classify},
    code::code,
    refusal::Refusal,
    scrub::{plain, scrub},
    service_account::InvalidKeyFile,
};

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

/// The page about answers that Google does not give.
const NOT_GOOGLE: &str = "not-google";

/// How a message ends about what is repeated by itself.
const REPEATED: &str = "It is tried again.";

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

    fn new(
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

    /// A redirect that says why there is no code ([`Outcome::Error`](super::redirect::Outcome)).
    pub fn of_redirect(error: &str, description: Option<&str>) -> Self {
        let code = code(error);
        let &Failure {
            kind, sentence, help, ..
        } = classify(Call::Authorize, 302, Said::code(&code));
        let words = description.map(|text| scrub(text, &[]));
        let message = format!("{sentence} ({})", quote(&code, words.as_deref()));
        Self::new(kind, code, message, help)
    }

    /// An id token that proves nothing.
    pub(super) fn id_token(kind: FailureKind, message: impl Into<String>) -> Self {
        Self::new(kind, "invalid_id_token", message, "identity-unproven")
    }

    /// A service account's key that does not sign, though it did when it was added.
    pub(super) fn key(email: &str, error: &InvalidKeyFile) -> Self {
        let message = format!("The key of {email} cannot be used: {error}.");
        Self::new(
            FailureKind::Operator,
            "invalid_key",
            message,
            "service-account-key-refused",
        )
    }

    /// An answer that cannot be used. `what` names it and says why.
    pub fn malformed(what: &str) -> Self {
        let message = format!("{what}. A proxy may stand between. It is tried again.");
        Self::new(FailureKind::Retry, "malformed_answer", message, NOT_GOOGLE)
    }

    /// An answer whose field cannot be used. `what` names it.
    pub(super) fn unusable(what: &str) -> Self {
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

    /// An answer that refuses. `secrets` are what the request held, should the answer echo them.
    pub(super) fn refused(call: Call, reply: &Reply, secrets: &[&str], now: Timestamp) -> Self {
        let status = reply.status.as_u16();
        let refusal = Refusal::read(&reply.body, secrets);
        let &Failure {
            kind, sentence, help, ..
        } = classify(call, status, refusal.said());
        let said = match refusal.codes() {
            Some(codes) => format!("HTTP {status}, {}", quote(&codes, refusal.description.as_deref())),
            None => format!("HTTP {status}"),
        };
        let code = refusal.error.unwrap_or_else(|| format!("http_{status}"));
        Self {
            status: Some(status),
            retry_after: reply.retry_after(now),
            server_time: reply.date().map(Box::new),
            ..Self::new(kind, code, format!("{sentence} ({said})"), help)
        }
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

fn quote(code: &str, description: Option<&str>) -> String {
    match description {
        Some(words) if !words.is_empty() => format!("{code}: {words}"),
        _ => code.to_owned(),
    }
}

/// Whether a refused revocation says that the token was gone already.
pub(super) fn is_gone(error: &ProviderError) -> bool {
    error.code == "invalid_token"
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, StatusCode, header};
    use proptest::prelude::*;
    use serde_json::{Value, json};
    use zeroize::Zeroizing;

    use super::{super::code::oauth_code, *};
    use crate::clock::Uptime;

    fn reply(status: u16, body: &[u8], headers: &[(header::HeaderName, &'static str)]) -> Reply {
        let headers = headers
            .iter()
            .map(|(name, value)| (name.clone(), HeaderValue::from_static(value)));
        Reply {
            status: StatusCode::from_u16(status).unwrap(),
            headers: headers.collect(),
            body: Zeroizing::new(body.to_vec()),
            cut: None,
            heard_at: Uptime::START,
        }
    }

    fn refused(status: u16, body: &Value, secrets: &[&str]) -> ProviderError {
        let reply = reply(status, body.to_string().as_bytes(), &[]);
        ProviderError::refused(Call::Refresh, &reply, secrets, Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn a_refusal_keeps_what_the_provider_said() {
        let error = refused(
            400,
            &json!({"error": "invalid_grant", "error_subtype": "invalid_rapt", "error_description": "reauth related error"}),
            &[],
        );
        assert_eq!(error.code, "invalid_grant");
        assert_eq!(error.help, "session-ended");
        assert!(
            error
                .message
                .ends_with("(HTTP 400, invalid_grant: reauth related error)"),
            "{error}"
        );
        let nested = refused(
            403,
            &json!({"error": {"code": 403, "status": "PERMISSION_DENIED", "message": "No."}}),
            &[],
        );
        assert_eq!(
            (nested.kind, nested.code.as_str()),
            (FailureKind::Operator, "permission_denied")
        );
        assert!(nested.message.ends_with("permission_denied: No.)"));
    }

    #[test]
    fn a_code_of_oauths_is_known_however_it_is_written() {
        for written in [
            "invalid_grant",
            "INVALID_GRANT",
            " invalid_grant\n",
            "Invalid grant",
            "Invalid_Grant",
        ] {
            let error = refused(
                400,
                &json!({"error": written, "error_subtype": " INVALID_RAPT "}),
                &[],
            );
            assert_eq!(error.code, "invalid_grant", "{written}");
            assert_eq!(
                (error.kind, error.help),
                (FailureKind::Reconnect, "session-ended"),
                "{written}"
            );
        }
        assert_eq!(oauth_code("rateLimitExceeded"), "rateLimitExceeded");
        assert_eq!(oauth_code("RESOURCE_EXHAUSTED"), "RESOURCE_EXHAUSTED");
        assert_eq!(oauth_code("Some words"), "unknown_error");
    }

    #[test]
    fn an_echoed_secret_is_found_nowhere() {
        const CANARY: &str = "1__0gCANARY_refresh_token";
        for body in [
            json!({"error": "invalid_grant", "error_description": format!("bad token {CANARY}")}),
            json!({"error": CANARY}),
            json!({"error": "invalid_grant", "error_subtype": CANARY}),
            json!({"error": {"status": CANARY, "message": CANARY}}),
        ] {
            let error = refused(400, &body, &[CANARY]);
            assert!(
                !format!("{error} {error:?}")
                    .to_ascii_lowercase()
                    .contains("canary"),
                "{error:?}"
            );
        }
    }

    #[test]
    fn what_nothing_repeats_is_not_said_to_be_tried_again() {
        let malformed = ProviderError::malformed("The answer of h cannot be used");
        let refused = refused(503, &json!({}), &[]);
        let cut = ProviderError::transport("h", &TransportError::Network("reset".to_owned()));
        for error in [malformed, refused, cut] {
            assert!(error.message.contains(REPEATED), "{error}");
            let once = error.of_one_attempt();
            assert!(
                once.contains("Try it again") && !once.contains(REPEATED),
                "{once}"
            );
        }
    }

    #[test]
    fn an_answer_that_is_too_long_is_blamed_on_who_sent_it() {
        let error = ProviderError::transport("api.cluster.local", &TransportError::TooLarge(7));
        assert!(
            error
                .message
                .starts_with("api.cluster.local sent more than 7 bytes"),
            "{error}"
        );
        assert!(!error.message.contains("Google"), "{error}");
    }

    #[test]
    fn an_error_that_is_no_code_is_not_repeated() {
        assert_eq!(refused(400, &json!({"error": ""}), &[]).code, "http_400");
        for odd in ["two words", "a\u{1b}[2J", &"x".repeat(65)] {
            assert_eq!(refused(400, &json!({"error": odd}), &[]).code, "unknown_error");
        }
        assert_eq!(ProviderError::of_redirect("<script>", None).code, "unknown_error");
    }

    #[test]
    fn waiting_is_asked_for_in_seconds_or_by_a_moment() {
        let now = "2024-01-15T10:00:00Z".parse().unwrap();
        let date = (header::DATE, "Mon, 15 Jan 2024 10:30:00 GMT");
        let wait = |headers: &[_]| reply(503, b"", headers).retry_after(now);
        assert_eq!(wait(&[]), None);
        assert_eq!(
            wait(&[(header::RETRY_AFTER, "120")]),
            Some(Duration::from_secs(120))
        );
        let moment = (header::RETRY_AFTER, "Mon, 15 Jan 2024 10:31:00 GMT");
        assert_eq!(
            wait(&[moment.clone(), date.clone()]),
            Some(Duration::from_secs(60))
        );
        assert_eq!(
            wait(std::slice::from_ref(&moment)),
            Some(Duration::from_secs(31 * 60))
        );
        let past = (header::RETRY_AFTER, "Mon, 15 Jan 2024 09:00:00 GMT");
        assert_eq!(wait(&[past, date.clone()]), Some(Duration::ZERO));
        // The two older forms (RFC 9110, section 5.6.7).
        for older in ["Monday, 15-Jan-24 10:31:00 GMT", "Mon Jan 15 10:31:00 2024"] {
            let older = (header::RETRY_AFTER, older);
            assert_eq!(wait(&[older, date.clone()]), Some(Duration::from_secs(60)));
        }
        assert_eq!(
            wait(&[(header::RETRY_AFTER, "99999999999")]),
            Some(Duration::from_secs(99_999_999_999))
        );
        for odd in ["soon", "-1", "1.5", ""] {
            assert_eq!(wait(&[(header::RETRY_AFTER, odd)]), None, "{odd}");
        }
    }

    proptest! {
        #[test]
        fn no_body_panics(status in 100_u16..1000, body in prop::collection::vec(any::<u8>(), 0..300)) {
            let reply = reply(status, &body, &[]);
            let _ = ProviderError::refused(Call::Exchange, &reply, &["canary"], Timestamp::UNIX_EPOCH);
        }
    }
}
