//! Each row of the table of failures, as the emulated Google answers it, on every surface.
//!
//! The scenes walk the table itself, so a new row is seen in them by itself; one that no answer leads to, or whose
//! request has no scene here, fails [`every_row_is_seen_in_a_scene`].

mod consent;
mod import;
mod renewal;
mod revocation;
mod service_account;
mod surfaces;

use serde_json::{Value, json};
use token_broker::provider::{
    Retried,
    failure::{Call, Failure, Said, Sign},
    google::failure_table::FAILURES,
    sentences,
};

const SEND: &str = "google.gmail.send";
const SCOPE_SEND: &str = "https://www.googleapis.com/auth/gmail.send";

/// What is asked of Google; each is refused in a scene of the modules here.
const CALLS: [Call; 8] = [
    Call::Authorize,
    Call::Exchange,
    Call::Keys,
    Call::Refresh,
    Call::Userinfo,
    Call::Revoke,
    Call::Assertion { delegated: false },
    Call::Assertion { delegated: true },
];

/// A row of the table, and an answer by which it is recognized.
struct Case {
    failure: &'static Failure,
    fault: Value,
}

impl Case {
    /// The sentence for whoever waits for what is repeated by itself.
    fn repeated(&self) -> String {
        sentences::row(self.failure, "Google", Retried::ByItself)
    }

    /// The sentence for whoever asked for what nothing repeats by itself.
    fn once(&self) -> String {
        sentences::row(self.failure, "Google", Retried::ByHand)
    }

    /// The fault, for requests to one endpoint, and for those of a kind: `{"account": …}`.
    fn at(&self, endpoint: &str, more: &Value) -> Value {
        let mut fault = self.fault.clone();
        let fields = fault.as_object_mut().unwrap();
        fields.insert("endpoint".to_owned(), json!(endpoint));
        fields.extend(
            more.as_object()
                .into_iter()
                .flatten()
                .map(|(k, v)| (k.clone(), v.clone())),
        );
        fault
    }
}

/// The rows that a request can meet, each once for every answer that leads to it.
fn cases(call: Call) -> Vec<Case> {
    assert!(CALLS.contains(&call), "{call:?} has a scene and is not listed");
    let all = FAILURES.rows().iter().flat_map(|failure| {
        let case = |fault| Case { failure, fault };
        faults(failure).into_iter().map(case)
    });
    let found: Vec<Case> = all
        .filter(|case| leads_to(call, &case.fault, case.failure))
        .collect();
    assert!(!found.is_empty(), "{call:?} cannot fail");
    found
}

/// Whether this answer to this request is the row's, and not an earlier one's.
fn leads_to(call: Call, fault: &Value, failure: &Failure) -> bool {
    let error = fault["error"].as_str().unwrap_or_default();
    let status = fault["status"].as_u64().and_then(|status| status.try_into().ok());
    let found = match call {
        // Not answered with a status, but by sending the browser back with an error, which has no subtype.
        Call::Authorize if error.is_empty() => return false,
        Call::Authorize => FAILURES.classify(call, 302, Said::code(error)),
        _ => {
            let subtype = fault["error_subtype"].as_str();
            FAILURES.classify(
                call,
                status.unwrap(),
                Said {
                    subtype,
                    ..Said::code(error)
                },
            )
        }
    };
    std::ptr::eq(found, failure)
}

/// What the emulator is to answer so that a row applies: one fault for each code in it.
fn faults(failure: &Failure) -> Vec<Value> {
    match failure.sign {
        Sign::Busy => [408, 429, 503].map(|status| json!({ "status": status })).to_vec(),
        Sign::Status(statuses) => statuses
            .iter()
            .map(|status| json!({ "status": status }))
            .collect(),
        Sign::Error(codes) => codes.iter().map(|code| refusal(code)).collect(),
        Sign::Reason(codes) => codes.iter().map(|code| forbidden(code)).collect(),
        Sign::Subtype(code, subtypes) => {
            let with = |subtype: &&str| {
                let mut refusal = refusal(code);
                refusal["error_subtype"] = json!(subtype);
                refusal
            };
            subtypes.iter().map(with).collect()
        }
        Sign::Redirected => {
            vec![json!({ "status": 302, "body": "", "headers": { "Location": "http://127.0.0.1:1/" } })]
        }
        Sign::Silent => vec![json!({ "status": 404, "body": "<html>a proxy</html>" })],
        Sign::Other => vec![refusal("never_seen_before")],
    }
}

fn refusal(code: &str) -> Value {
    json!({ "status": 400, "error": code, "error_description": "Said by the provider." })
}

/// How Google's APIs put it.
fn forbidden(reason: &str) -> Value {
    json!({ "status": 403, "error": reason, "error_description": "Said by the provider." })
}

#[test]
fn every_row_is_seen_in_a_scene() {
    for failure in FAILURES.rows() {
        for fault in faults(failure) {
            let seen = CALLS.iter().any(|call| leads_to(*call, &fault, failure));
            assert!(seen, "nothing leads to {failure:?} by {fault}");
        }
        for call in failure.calls {
            assert!(CALLS.contains(call), "no scene refuses {call:?}: {failure:?}");
            let seen = faults(failure)
                .iter()
                .any(|fault| leads_to(*call, fault, failure));
            assert!(seen, "nothing leads to {failure:?} during {call:?}");
        }
    }
}
