//! What an answer that refuses says: OAuth's errors (RFC 6749, section 5.2), and those of APIs beside it.

use serde_json::Value;

use crate::{
    provider::{
        code::{code, oauth_code},
        failure::{FailureTable, Said},
    },
    text::{json_fields::Fields, scrub::scrub},
};

/// Reasons of one answer at most.
const MAX_REASONS: usize = 16;

/// The words of a refusal, free of secrets.
#[derive(Default)]
pub(in crate::provider) struct Refusal {
    pub(in crate::provider) error: Option<String>,
    pub(in crate::provider) description: Option<String>,
    subtype: Option<String>,
    reasons: Vec<String>,
}

impl Refusal {
    /// Reads a body. `secrets` are what the request held, should the answer echo them.
    pub(in crate::provider) fn read(body: &[u8], secrets: &[&str], failures: FailureTable) -> Self {
        let Some(fields) = Fields::read(body) else {
            return Self::default();
        };
        let clean = |text: &str| code(&scrub(text, secrets));
        let text = |name| fields.value(name).filter(is_something);
        // APIs put all of it into `error`; some proxies take it out of there.
        let (error, inner) = match text("error") {
            Some(Value::Object(object)) => (None, Value::Object(object)),
            error => (error, root(&fields)),
        };
        let status = inner["status"]
            .as_str()
            .map(|status| clean(&status.to_ascii_lowercase()));
        let mut reasons: Vec<String> = status.iter().cloned().collect();
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
        Self {
            error: told.or(status).or_else(|| reasons.first().cloned()),
            subtype: fields.text("error_subtype").map(|subtype| named(&subtype)),
            description: words.map(|words| scrub(&words, secrets)),
            reasons,
        }
    }

    pub(in crate::provider) fn said(&self) -> Said<'_> {
        Said {
            error: self.error.as_deref().unwrap_or_default(),
            subtype: self.subtype.as_deref(),
            reasons: &self.reasons,
        }
    }

    /// Its code, with the reason that an API gives beside it: what people look up.
    pub(in crate::provider) fn codes(&self) -> Option<String> {
        let error = self.error.as_ref()?;
        let more = self.reasons.iter().find(|reason| *reason != error);
        Some(more.map_or_else(|| error.clone(), |reason| format!("{error}, {reason}")))
    }
}

/// Whether an answer says that something failed, whatever its status is.
pub(in crate::provider) fn is_told(body: &[u8]) -> bool {
    let error = Fields::read(body).and_then(|fields| fields.value("error"));
    error.is_some_and(|error| is_something(&error))
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
        Refusal::read(body.to_string().as_bytes(), &[], FAILURES)
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
            let said = refusal.said();
            let all: Vec<&str> = said
                .reasons
                .iter()
                .map(String::as_str)
                .chain([said.error])
                .collect();
            assert!(all.contains(&"rateLimitExceeded"), "{body}: {all:?}");
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
            let _ = (Refusal::read(&body, &["canary"], FAILURES).codes(), is_told(&body));
        }
    }
}
