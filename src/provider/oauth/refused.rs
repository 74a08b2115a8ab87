//! Refusals, as errors that say who can act.

use jiff::Timestamp;

use super::refusal::Refusal;
use crate::{
    http_client::Reply,
    provider::{
        code::oauth_code,
        error::ProviderError,
        failure::{Call, Failure, FailureTable, Said},
    },
    text::scrub::scrub,
};

/// A redirect that says why there is no code ([`Outcome::Error`](super::redirect::Outcome)).
pub(in crate::provider) fn refused_consent(
    failures: FailureTable,
    error: &str,
    description: Option<&str>,
) -> ProviderError {
    let code = oauth_code(error, failures);
    let &Failure {
        kind, sentence, help, ..
    } = failures.classify(Call::Authorize, 302, Said::code(&code));
    let words = description.map(|text| scrub(text, &[]));
    let message = format!("{sentence} ({})", quote(&code, words.as_deref()));
    ProviderError::new(kind, code, message, help)
}

/// An answer that refuses. `secrets` are what the request held, should the answer echo them.
pub(in crate::provider) fn refused(
    failures: FailureTable,
    call: Call,
    reply: &Reply,
    secrets: &[&str],
    now: Timestamp,
) -> ProviderError {
    let status = reply.status.as_u16();
    let refusal = Refusal::read(&reply.body, secrets, failures);
    let &Failure {
        kind, sentence, help, ..
    } = failures.classify(call, status, refusal.said());
    let said = match refusal.codes() {
        Some(codes) => format!("HTTP {status}, {}", quote(&codes, refusal.description.as_deref())),
        None => format!("HTTP {status}"),
    };
    let code = refusal.error.unwrap_or_else(|| format!("http_{status}"));
    ProviderError {
        status: Some(status),
        retry_after: reply.retry_after(now),
        server_time: reply.date().map(Box::new),
        ..ProviderError::new(kind, code, format!("{sentence} ({said})"), help)
    }
}

fn quote(code: &str, description: Option<&str>) -> String {
    match description {
        Some(words) if !words.is_empty() => format!("{code}: {words}"),
        _ => code.to_owned(),
    }
}

/// Whether a refused revocation says that the token was gone already.
pub(in crate::provider) fn is_gone(error: &ProviderError) -> bool {
    error.code == "invalid_token"
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
        clock::Uptime,
        http_client::TransportError,
        provider::{
            code::oauth_code, error::REPEATED, failure::FailureKind, google::failure_table::FAILURES,
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
        super::refused(FAILURES, Call::Refresh, &reply, secrets, Timestamp::UNIX_EPOCH)
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
    fn a_certificate_that_is_not_accepted_is_named() {
        let refused = TransportError::Certificate("it has expired".to_owned());
        let error = ProviderError::transport("localhost", &refused);
        assert_eq!(error.code, "certificate");
        assert!(error.message.contains("TLS certificate of localhost"), "{error}");
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
        assert_eq!(refused_consent(FAILURES, "<script>", None).code, "unknown_error");
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
            let _ = super::refused(FAILURES, Call::Exchange, &reply, &["canary"], Timestamp::UNIX_EPOCH);
        }
    }
}
