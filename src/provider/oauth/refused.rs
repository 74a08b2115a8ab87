//! Refusals, as errors that say who can act.

use jiff::Timestamp;

use super::{dialect::Dialect, refusal};
use crate::{
    cause::{Call, ProviderCause},
    http_client::Reply,
    provider::{code::oauth_code, error::ProviderError, failure::Said},
    text::scrub::scrub,
};

/// A redirect that says why there is no code ([`Outcome::Error`](super::redirect::Outcome)).
pub(crate) fn refused_consent(dialect: &Dialect, error: &str, description: Option<&str>) -> ProviderError {
    let error = oauth_code(error, dialect.failures);
    let row = dialect
        .failures
        .classify(Call::Authorize, 302, Said::code(&error));
    let description = description.map(|text| scrub(text, &[]));
    ProviderError::recognized(
        row,
        &dialect.name,
        ProviderCause::ConsentRefused { error, description },
    )
}

/// An answer that refuses. `secrets` are what the request held, should the answer echo them.
pub(crate) fn refused(
    dialect: &Dialect,
    call: Call,
    reply: &Reply,
    secrets: &[&str],
    now: Timestamp,
) -> ProviderError {
    let status = reply.status.as_u16();
    let refusal = refusal::read(dialect.failures, call, status, &reply.body, secrets);
    let row = dialect.failures.classify(call, status, Said::of(&refusal));
    ProviderError {
        retry_after: reply.retry_after(now),
        server_time: reply.date().map(Box::new),
        ..ProviderError::refused(row, &dialect.name, refusal)
    }
}

/// Whether a refused revocation says that the token was gone already.
pub(crate) fn is_gone(error: &ProviderError) -> bool {
    error.oauth_error() == Some("invalid_token")
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, StatusCode, header};
    use proptest::prelude::*;
    use serde_json::{Value, json};
    use zeroize::Zeroizing;

    use std::time::Duration;

    use super::*;
    use crate::{
        cause::UnusableAnswer,
        clock::Uptime,
        http_client::TransportError,
        provider::{
            Retried,
            code::oauth_code,
            failure::Remedy,
            google,
            google::failure_table::FAILURES,
            oauth::testing::{code, dialect},
        },
    };

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
        super::refused(&dialect(), Call::Refresh, &reply, secrets, Timestamp::UNIX_EPOCH)
    }

    fn help(error: &ProviderError) -> &'static str {
        error.help(google::account().topics)
    }

    #[test]
    fn a_refusal_keeps_what_the_provider_said() {
        let error = refused(
            400,
            &json!({"error": "invalid_grant", "error_subtype": "invalid_rapt", "error_description": "reauth related error"}),
            &[],
        );
        assert_eq!(code(&error), "invalid_grant");
        assert_eq!(help(&error), "session-ended");
        assert!(
            error
                .to_string()
                .ends_with("(HTTP 400, invalid_grant: reauth related error)"),
            "{error}"
        );
        let nested = refused(
            403,
            &json!({"error": {"code": 403, "status": "PERMISSION_DENIED", "message": "No."}}),
            &[],
        );
        assert_eq!(
            (nested.kind, code(&nested).as_str()),
            (Remedy::Operator, "permission_denied")
        );
        assert!(nested.to_string().ends_with("permission_denied: No.)"));
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
            assert_eq!(code(&error), "invalid_grant", "{written}");
            assert_eq!(
                (error.kind, help(&error)),
                (Remedy::Reconnect, "session-ended"),
                "{written}"
            );
        }
        assert_eq!(oauth_code("rateLimitExceeded", FAILURES), "rateLimitExceeded");
        assert_eq!(oauth_code("RESOURCE_EXHAUSTED", FAILURES), "RESOURCE_EXHAUSTED");
        assert_eq!(oauth_code("Some words", FAILURES), "unknown_error");
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
        let host = "h".to_owned();
        let malformed = ProviderError::unusable(UnusableAnswer::NoKeys { host });
        let refused = refused(503, &json!({}), &[]);
        let cut = ProviderError::transport("h", TransportError::Network("reset".to_owned()));
        for error in [malformed, refused, cut] {
            assert!(error.to_string().contains("It is tried again."), "{error}");
            let once = error.sentence(Retried::ByHand);
            assert!(
                once.contains("Try it again in a while.") && !once.contains("It is tried again."),
                "{once}"
            );
        }
    }

    #[test]
    fn a_certificate_that_is_not_accepted_is_named() {
        let refused = TransportError::Certificate("it has expired".to_owned());
        let error = ProviderError::transport("localhost", refused);
        assert_eq!(code(&error), "certificate");
        assert!(
            error.to_string().contains("TLS certificate of localhost"),
            "{error}"
        );
    }

    #[test]
    fn an_answer_that_is_too_long_is_blamed_on_who_sent_it() {
        let error = ProviderError::transport("api.cluster.local", TransportError::TooLarge(7));
        assert!(
            error
                .to_string()
                .starts_with("api.cluster.local sent more than 7 bytes"),
            "{error}"
        );
        assert!(!error.to_string().contains("Google"), "{error}");
    }

    #[test]
    fn an_error_that_is_no_code_is_not_repeated() {
        assert_eq!(code(&refused(400, &json!({"error": ""}), &[])), "http_400");
        for odd in ["two words", "a\u{1b}[2J", &"x".repeat(65)] {
            assert_eq!(code(&refused(400, &json!({"error": odd}), &[])), "unknown_error");
        }
        assert_eq!(
            code(&refused_consent(&dialect(), "<script>", None)),
            "unknown_error"
        );
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
            let _ = super::refused(&dialect(), Call::Exchange, &reply, &["canary"], Timestamp::UNIX_EPOCH);
        }
    }
}
