//! What an answer that refuses says: OAuth's errors (RFC 6749, section 5.2), and those of APIs beside it.

use serde_json::Value;

use crate::{
    cause::{Call, Refusal},
    http_client::Reply,
    provider::{
        code::{code, oauth_code},
        failure::FailureTable,
    },
    text::{json_fields::Fields, scrub::scrub},
};

/// Reasons of one answer at most.
const MAX_REASONS: usize = 16;

/// Reads the body of an answer to `call` that refuses. `secrets` are what the request held, should the answer echo them.
pub(crate) fn read(
    failures: FailureTable,
    call: Call,
    status: u16,
    body: &[u8],
    secrets: &[&str],
) -> Refusal {
    let silent = Refusal {
        call,
        status,
        error: None,
        subtype: None,
        reasons: Vec::new(),
        description: None,
    };
    let Some(fields) = Fields::read(body) else {
        return silent;
    };
    let clean = |text: &str| code(&scrub(text, secrets));
    let text = |name| fields.value(name).filter(is_something);
    // APIs put all of it into `error`; some proxies take it out of there.
    let (error, inner) = match text("error") {
        Some(Value::Object(object)) => (None, Value::Object(object)),
        error => (error, root(&fields)),
    };
    let state = inner["status"]
        .as_str()
        .map(|state| clean(&state.to_ascii_lowercase()));
    let mut reasons: Vec<String> = state.iter().cloned().collect();
    let listed = ["errors", "details"]
        .into_iter()
        .flat_map(|list| inner[list].as_array().into_iter().flatten());
    let given = listed
        .filter_map(|entry| entry["reason"].as_str())
        .chain(inner["reason"].as_str());
    reasons.extend(given.take(MAX_REASONS).map(clean));
    let named = |text: &str| oauth_code(&scrub(text, secrets), failures);
    let told = error.map(|error| named(error.as_str().unwrap_or_default()));
    let words = fields.text("error_description").map(|words| words.to_string());
    let words = words.or_else(|| inner["message"].as_str().map(str::to_owned));
    Refusal {
        error: told.or(state).or_else(|| reasons.first().cloned()),
        subtype: fields.text("error_subtype").map(|subtype| named(&subtype)),
        description: words.map(|words| scrub(&words, secrets)),
        reasons,
        ..silent
    }
}

/// Whether an answer says that something failed, whatever its status is.
pub(crate) fn is_told(body: &[u8]) -> bool {
    let error = Fields::read(body).and_then(|fields| fields.value("error"));
    error.is_some_and(|error| is_something(&error))
}

/// Whether an answer says that the proof of a key has to carry another nonce (RFC 9449, section 8).
pub(crate) fn wants_nonce(reply: &Reply) -> bool {
    let error = Fields::read(&reply.body).and_then(|fields| fields.text("error"));
    reply.status.is_client_error() && error.is_some_and(|error| *error == "use_dpop_nonce")
}

/// Whether a field says anything: some servers send one that is empty with every answer.
fn is_something(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::Bool(true) => true,
        Value::Number(number) => number.as_i64() != Some(0),
        Value::String(text) => !text.trim().is_empty(),
        Value::Array(list) => !list.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
    }
}

/// The fields of an API's error that stand in no `error` of their own.
fn root(fields: &Fields<'_>) -> Value {
    let names = ["status", "reason", "message", "errors", "details"];
    let found = names
        .into_iter()
        .filter_map(|name| Some((name.to_owned(), fields.value(name)?)));
    Value::Object(found.collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::provider::google::failure_table::FAILURES;

    fn read(body: &Value) -> Refusal {
        super::read(FAILURES, Call::Refresh, 400, body.to_string().as_bytes(), &[])
    }

    #[test]
    fn a_reason_is_found_wherever_it_stands() {
        for body in [
            json!({"error": "rateLimitExceeded"}),
            json!({"error": {"status": "RESOURCE_EXHAUSTED", "errors": [{"domain": "usageLimits", "reason": "rateLimitExceeded"}]}}),
            json!({"error": {"code": 403, "errors": [{"x": 1}, {"reason": "rateLimitExceeded"}]}}),
            json!({"error": {"code": 403, "details": [{"@type": "ErrorInfo", "reason": "rateLimitExceeded"}]}}),
            json!({"code": 403, "errors": [{"reason": "rateLimitExceeded"}]}),
            json!({"error": "", "reason": "rateLimitExceeded"}),
            json!([{"error": {"errors": [{"reason": "rateLimitExceeded"}]}}]),
        ] {
            let refusal = read(&body);
            let all: Vec<&String> = refusal.reasons.iter().chain(&refusal.error).collect();
            assert!(
                all.iter().any(|said| *said == "rateLimitExceeded"),
                "{body}: {all:?}"
            );
            assert!(refusal.codes().unwrap().contains("rateLimitExceeded"), "{body}");
        }
    }

    #[test]
    fn an_error_that_says_nothing_is_none() {
        for empty in [
            json!(null),
            json!(""),
            json!(" "),
            json!(false),
            json!(0),
            json!({}),
            json!([]),
        ] {
            let body = json!({"error": empty, "access_token": "t"});
            assert!(!is_told(body.to_string().as_bytes()), "{body}");
            assert_eq!(read(&body).error, None, "{body}");
        }
        for told in [
            json!("invalid_grant"),
            json!({"code": 403}),
            json!(true),
            json!(["x"]),
            json!(7),
        ] {
            let body = json!({"error": told, "access_token": "t"});
            assert!(is_told(body.to_string().as_bytes()), "{body}");
        }
        assert!(!is_told(b"<html>{\"error\""), "not read to its end");
        assert!(!is_told(b""));
        assert_eq!(
            read(&json!({"error": true})).error.as_deref(),
            Some("unknown_error")
        );
    }

    proptest! {
        #[test]
        fn no_body_panics(body in prop::collection::vec(any::<u8>(), 0..300)) {
            let refusal = super::read(FAILURES, Call::Refresh, 400, &body, &["canary"]);
            let _ = (refusal.codes(), is_told(&body));
        }
    }
}
