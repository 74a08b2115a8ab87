//! Each row of the table of failures, as the emulated Google answers it, on every surface.

use http::StatusCode;
use serde_json::{Value, json};
use token_broker::google::{
    FailureKind,
    classify::{Call, FAILURES, Failure, Sign},
};
use url::Url;

use crate::support::{Connecting, Daemon, Emulator, get, reason, wait_until};

const SEND: &str = "google.gmail.send";

/// How a state looks: its name, the HTTP status, the gRPC code, the exit code, and whether a person can act.
struct Form {
    state: &'static str,
    http: StatusCode,
    grpc: tonic::Code,
    exit: i32,
    person: bool,
}

/// Written down here once more: programs rely on it.
fn form(kind: FailureKind) -> Form {
    let (state, http, grpc, exit, person) = match kind {
        FailureKind::Retry => (
            "provider_unavailable",
            StatusCode::SERVICE_UNAVAILABLE,
            tonic::Code::Unavailable,
            6,
            false,
        ),
        FailureKind::Reconnect => (
            "reconnect_required",
            StatusCode::FORBIDDEN,
            tonic::Code::FailedPrecondition,
            5,
            true,
        ),
        FailureKind::Operator => (
            "misconfigured",
            StatusCode::INTERNAL_SERVER_ERROR,
            tonic::Code::FailedPrecondition,
            7,
            false,
        ),
        FailureKind::Permission => (
            "permission_missing",
            StatusCode::FORBIDDEN,
            tonic::Code::PermissionDenied,
            5,
            true,
        ),
    };
    Form {
        state,
        http,
        grpc,
        exit,
        person,
    }
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
        Sign::Silent => vec![json!({ "status": 403, "body": "<html>a proxy</html>" })],
        Sign::Other => vec![refusal("never_seen_before")],
    }
}

fn refusal(code: &str) -> Value {
    json!({ "status": 400, "error": code, "error_description": "Said by the provider." })
}

#[test]
fn every_refusal_of_a_renewal_is_the_same_sentence_on_every_surface() {
    let rows: Vec<(&Failure, Value)> = FAILURES
        .iter()
        .filter(|failure| failure.concerns(Call::Refresh))
        .flat_map(|failure| faults(failure).into_iter().map(move |fault| (failure, fault)))
        .collect();
    let account = |row: usize| format!("row-{row}@example.com");
    let accounts: Vec<String> = (0..rows.len()).map(account).collect();
    let args: Vec<&str> = accounts
        .iter()
        .flat_map(|account| ["--account", account])
        .collect();
    let google = Emulator::start(&args);
    let daemon = Daemon::new(&google);
    for row in 0..rows.len() {
        daemon.write_manifest(&format!("agent-{row}"), &format!("owner-{row}"), &[SEND]);
    }
    daemon.start();
    for (row, (failure, fault)) in rows.iter().enumerate() {
        let mut fault = fault.clone();
        fault["endpoint"] = json!("token");
        fault["grant_type"] = json!("refresh_token");
        fault["account"] = json!(account(row));
        google.fault(&fault);
        daemon.connect_as(&format!("owner-{row}"), &account(row), &[SEND]);
        shows(&daemon, row, failure, &fault);
    }
    daemon.scan_for_secrets(&[&google.client_secret]);
}

/// Everything that an agent, its author and the operator can look at.
fn shows(daemon: &Daemon, row: usize, failure: &Failure, fault: &Value) {
    let name = format!("agent-{row}");
    let form = form(failure.kind);
    let agent = daemon.wait_for_state(&name, form.state);
    // The same state may be there before, while the token is being obtained.
    wait_until("the refusal to be known", || {
        agent.env().contains(form.state) && {
            agent.status()["message"]
                .as_str()
                .is_some_and(|message| message.contains(failure.sentence))
        }
    });

    let url = format!("{}/agents/{name}", daemon.http());
    let action = if form.person {
        format!("TOKEN_BROKER_ACTION_URL={url}\n")
    } else {
        String::new()
    };
    assert_eq!(
        agent.env(),
        format!("TOKEN_BROKER_STATE={}\n{action}", form.state),
        "{fault}"
    );
    assert_eq!(agent.try_read("access_token"), None, "{fault}");

    let says = |place: &str, text: &str| {
        assert!(text.contains(failure.sentence), "{fault}: {place} says {text:?}");
    };
    let status = agent.status();
    assert_eq!(status["state"], form.state, "{fault}");
    says("status.json", status["message"].as_str().unwrap());

    let problem = agent.get("/v1/token");
    assert_eq!(problem.status, form.http, "{fault}");
    let problem = problem.json();
    assert_eq!(problem["code"], form.state, "{fault}");
    assert_eq!(problem.get("action_url").is_some(), form.person, "{fault}");
    says("the socket", problem["detail"].as_str().unwrap());

    let refused = agent.grpc().token().unwrap_err();
    assert_eq!(refused.code(), form.grpc, "{fault}");
    assert_eq!(
        reason(&refused),
        (form.state.to_owned(), form.person.then_some(url)),
        "{fault}"
    );
    says("gRPC", refused.message());

    let said = daemon.cli(&["token", "--agent", &name]);
    assert_eq!(said.code, form.exit, "{fault}: {said:?}");
    says("token", &said.stderr);
    let listed = daemon
        .cli(&["agents", "show", &name, "--output", "json"])
        .expect_ok()
        .json();
    assert_eq!(listed["state"], form.state, "{fault}");
}

#[test]
fn every_refusal_of_a_consent_is_said_to_the_person_and_to_whoever_waits() {
    let google = Emulator::start(&[]);
    let daemon = Daemon::new(&google);
    daemon.start();
    let rows = FAILURES
        .iter()
        .filter(|failure| matches!(failure.calls, [Call::Authorize | Call::Exchange]));
    for failure in rows {
        for mut fault in faults(failure) {
            let connecting = Connecting::start(&daemon, "alice", &[SEND], &[]).unwrap();
            let page = if failure.concerns(Call::Authorize) {
                // Google shows some of these on a page of its own, so the redirect is made here.
                let mut url = Url::parse(&daemon.http())
                    .unwrap()
                    .join("/oauth/callback")
                    .unwrap();
                url.query_pairs_mut()
                    .append_pair("error", fault["error"].as_str().unwrap())
                    .append_pair("state", &connecting.parameter("state"));
                get(url.as_str())
            } else {
                fault["endpoint"] = json!("token");
                let id = google.fault(&fault);
                let page = connecting.approve();
                google.clear_fault(&id);
                page
            };
            let said = daemon.remember(connecting.finish());
            assert_eq!(said.code, 5, "{fault}: {said:?}");
            // A person who declines is told so in plainer words than the provider's.
            if fault["error"] == "access_denied" {
                assert!(page.text().contains("Nothing was connected"), "{}", page.text());
                assert!(said.stderr.contains("Nothing was changed"), "{said:?}");
                continue;
            }
            let start = failure.sentence.split(['`', '\'']).next().unwrap();
            assert!(page.text().contains(start), "{fault}: {}", page.text());
            assert!(said.stderr.contains(failure.sentence), "{fault}: {said:?}");
        }
    }
    let nobody = daemon
        .cli(&["integrations", "list", "--output", "json"])
        .expect_ok()
        .json();
    assert_eq!(nobody["integrations"], json!([]));
}
