//! Cross-Account Protection: Google announces what happened to an account, and the tokens are gone.

use http::Method;
use serde_json::{Value, json};
use token_broker::{
    clock::{Clock, SystemClock},
    proto::v1::{AgentState, watch_access_token_response::Event},
};

use crate::support::{Answer, CLIENT_ID, Daemon, Emulator, block_on, get, reason, request, wait_until};

const SEND: &str = "google.gmail.send";
const ALICE: &str = "alice@example.com";

/// Alice and Bob, each with an agent, and a Google that tells the daemon what happens.
fn scene() -> (Emulator, Daemon) {
    let google = Emulator::start(&[]);
    let daemon = Daemon::with(&google, &[("risc.audiences", CLIENT_ID)]);
    daemon.write_manifest("invoice-bot", "alice", &[SEND]);
    daemon.write_manifest("other-bot", "bob", &[SEND]);
    daemon.start();
    daemon.connect_as("alice", ALICE, &[SEND]).expect_ok();
    daemon.connect_as("bob", "bob@example.com", &[SEND]).expect_ok();
    daemon.wait_for_state("invoice-bot", "active");
    daemon.wait_for_state("other-bot", "active");
    listen(&google, &daemon);
    // What is announced from here on came after the consents, to the second.
    wait_until("the next second", || {
        let connected = daemon.cli(&["integrations", "show", "--owner", "bob", "--output", "json"]);
        let connected = connected.json()["connected_at"].as_str().unwrap().to_owned();
        let now = SystemClock.now().as_second();
        now > connected.parse::<jiff::Timestamp>().unwrap().as_second()
    });
    (google, daemon)
}

/// Google pushes to this daemon from now on.
fn listen(google: &Emulator, daemon: &Daemon) {
    let url = format!("{}/risc", daemon.http());
    google.order("/risc-receiver", &json!({ "url": url }));
}

/// Google says so; what the daemon answered.
fn announce(google: &Emulator, event: &str, more: &Value) -> Value {
    let mut order = json!({"event": event, "account": ALICE});
    order
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    google.order("/security-events", &order)
}

/// Pushes any text, as anybody might.
fn push(daemon: &Daemon, set: &str) -> Answer {
    let headers = [("content-type", "application/secevent+jwt")];
    let url = format!("{}/risc", daemon.http());
    request(Method::POST, &url, &headers, set.to_owned()).unwrap()
}

#[test]
fn a_person_removes_the_app_and_every_place_says_so() {
    let (google, daemon) = scene();
    let agent = daemon.agent("invoice-bot");
    let token = agent.token().unwrap();
    let mut events = agent.watch();
    events.until("the token", |event, data| {
        event == "token" && data["access_token"] == token
    });
    let mut grpc = agent.grpc();
    let mut stream = grpc.watch();

    google.revoke(ALICE);

    let state = events.until("the state", |event, data| {
        event == "state" && data["state"] != "active"
    });
    assert_eq!(state["state"], "revoked");
    let status = loop {
        match block_on(stream.message()).unwrap().unwrap().event.unwrap() {
            Event::Status(status) if status.state() != AgentState::Active => break status,
            Event::Status(_) | Event::Token(_) => {}
        }
    };
    assert_eq!(status.state(), AgentState::Revoked);
    daemon.wait_for_state("invoice-bot", "revoked");
    let url = format!("{}/agents/invoice-bot", daemon.http());
    assert_eq!(
        agent.env(),
        format!("TOKEN_BROKER_STATE=revoked\nTOKEN_BROKER_ACTION_URL={url}\n")
    );
    assert_eq!(agent.try_read("access_token"), None);
    let message = agent.status()["message"].as_str().unwrap().to_owned();
    assert!(message.contains("withdrawn at Google"), "{message}");
    let problem = agent.get("/v1/token");
    assert_eq!(problem.status, 403);
    assert_eq!(problem.json()["code"], "revoked");
    assert_eq!(
        reason(&grpc.token().unwrap_err()),
        ("revoked".to_owned(), Some(url.clone()))
    );
    let shown = daemon
        .cli(&["integrations", "show", "--owner", "alice"])
        .expect_ok();
    assert!(
        shown.stdout.contains("revoked") && shown.stdout.contains("withdrawn at Google"),
        "{}",
        shown.stdout
    );
    assert_eq!(daemon.cli(&["integrations", "check", "--owner", "alice"]).code, 5);
    assert_eq!(daemon.cli(&["token", "--agent", "invoice-bot"]).code, 5);
    assert_eq!(get(&url).expect_ok().status, 200);
    assert!(daemon.agent("other-bot").token().is_some(), "bob's is untouched");

    google.wait_for_count("events_taken", 1);
    assert!((daemon.metric("token_broker_security_events_total{outcome=\"new\"}") - 1.0).abs() < 0.1);
    wait_until("the trail to name the provider", || {
        let trail: Value = serde_json::from_str(&daemon.audit()).unwrap();
        let lines = trail["events"].as_array().unwrap();
        lines
            .iter()
            .any(|line| line["actor"] == "provider" && line["action"] == "integration.security_event")
    });
    daemon.restart();
    daemon.wait_for_state("invoice-bot", "revoked");

    daemon.connect_as("alice", ALICE, &[SEND]).expect_ok();
    daemon.wait_for_state("invoice-bot", "active");
    let new = agent.token().unwrap();
    assert!(google.is_alive(&new));
    daemon.scan_for_secrets(&[&token, &new, &google.client_secret]);
}

#[test]
fn forged_foreign_and_repeated_events_change_nothing() {
    let (google, daemon) = scene();
    let refusal = |answer: &Value| {
        assert_eq!(answer["status"], 400, "{answer}");
        let body: Value = serde_json::from_str(answer["body"].as_str().unwrap()).unwrap();
        assert!(!body["description"].as_str().unwrap().is_empty());
        body["err"].as_str().unwrap().to_owned()
    };
    for (wrong, err) in [
        (json!({"foreign_key": true}), "invalid_key"),
        (json!({"audience": ["another-client"]}), "invalid_audience"),
        (json!({"issuer": "https://elsewhere.example/"}), "invalid_issuer"),
        (json!({"id": "two words"}), "invalid_request"),
    ] {
        assert_eq!(refusal(&announce(&google, "tokens-revoked", &wrong)), err);
    }
    let signed = announce(&google, "tokens-revoked", &json!({"hold_back": true}));
    let set = signed["set"].as_str().unwrap();
    let (body, signature) = set.rsplit_once('.').unwrap();
    let other = announce(&google, "tokens-revoked", &json!({"hold_back": true}));
    let (_, foreign) = other["set"].as_str().unwrap().rsplit_once('.').unwrap();
    assert_ne!(signature, foreign);
    for (odd, err) in [
        (format!("{body}.{foreign}"), "authentication_failed"),
        (body.to_owned(), "invalid_request"),
        (String::new(), "invalid_request"),
        ("x".repeat(100_000), "invalid_request"),
        ("\u{1b}[2J{\"alg\":\"none\"}".to_owned(), "invalid_request"),
    ] {
        let answer = push(&daemon, &odd);
        assert_eq!(answer.status, 400);
        assert_eq!(answer.header("content-type"), "application/json");
        assert_eq!(answer.header("content-language"), "en");
        assert_eq!(answer.json()["err"], err);
    }
    daemon.wait_for_state("invoice-bot", "active");

    // The right one, and then once more, also after a restart.
    let disabled = announce(&google, "account-disabled", &json!({}));
    assert_eq!(
        (&disabled["status"], &disabled["body"]),
        (&json!(202), &json!(""))
    );
    daemon.wait_for_state("invoice-bot", "revoked");
    assert_eq!(announce(&google, "account-enabled", &json!({}))["status"], 202);
    daemon.wait_for_state("invoice-bot", "active");
    for restarts in [false, true] {
        if restarts {
            daemon.kill9();
            daemon.start();
        }
        // With the end of line that many tools add.
        let set = format!("{}\n", disabled["set"].as_str().unwrap());
        assert_eq!(push(&daemon, &set).status, 202);
        daemon.wait_for_state("invoice-bot", "active");
        let repeated = daemon.metric("token_broker_security_events_total{outcome=\"repeated\"}");
        assert!((repeated - 1.0).abs() < 0.1);
    }
    assert!(!daemon.whole_log().contains(set), "{}", daemon.whole_log());
}

#[test]
fn a_disabled_account_rests_and_comes_back() {
    let (google, daemon) = scene();
    let agent = daemon.agent("invoice-bot");
    announce(&google, "account-disabled", &json!({"reason": "hijacking"}));
    daemon.wait_for_state("invoice-bot", "revoked");
    let message = agent.status()["message"].as_str().unwrap().to_owned();
    assert!(
        message.contains("(hijacking)") && message.contains("by itself"),
        "{message}"
    );
    daemon.restart();
    listen(&google, &daemon);
    daemon.wait_for_state("invoice-bot", "revoked");
    assert_eq!(agent.token(), None);
    assert_eq!(announce(&google, "account-enabled", &json!({}))["status"], 202);
    daemon.wait_for_state("invoice-bot", "active");
    assert!(google.is_alive(&agent.token().unwrap()));

    // Where Google's second word is lost, whoever runs the daemon asks.
    wait_until("the next second", || {
        announce(&google, "account-disabled", &json!({}));
        agent.variable("TOKEN_BROKER_STATE").as_deref() == Some("revoked")
    });
    let checked = daemon.cli(&["integrations", "check", "--owner", "alice"]);
    assert_eq!(checked.code, 0, "{checked:?}");
    daemon.wait_for_state("invoice-bot", "active");
}

#[test]
fn a_single_token_is_found_however_it_is_named() {
    for form in ["prefix", "hash"] {
        let (google, daemon) = scene();
        let answer = announce(&google, "token-revoked", &json!({ "form": form }));
        assert_eq!(answer["status"], 202);
        daemon.wait_for_state("invoice-bot", "reconnect_required");
        daemon.wait_for_state("other-bot", "active");
        assert_eq!(daemon.agent("invoice-bot").token(), None);
        // The grant is gone from here, so nothing is left to ask with.
        assert_eq!(daemon.cli(&["integrations", "check", "--owner", "alice"]).code, 5);
        daemon
            .cli(&["integrations", "disconnect", "--owner", "alice", "--yes"])
            .expect_ok();
        assert_eq!(google.count("revoke"), 0);
    }
}

#[test]
fn ended_sessions_mean_new_tokens_and_a_verification_means_nothing() {
    let (google, daemon) = scene();
    let old = daemon.agent("invoice-bot").token().unwrap();
    assert_eq!(announce(&google, "sessions-revoked", &json!({}))["status"], 202);
    let new = daemon.wait_for_token("invoice-bot", Some(&old));
    daemon.wait_for_state("invoice-bot", "active");
    let refreshes = google.count("refresh");
    let verification = json!({"event": "verification", "state": "hello-there"});
    assert_eq!(google.order("/security-events", &verification)["status"], 202);
    wait_until("the trail to tell it", || daemon.audit().contains("hello-there"));
    assert_eq!(daemon.agent("invoice-bot").token(), Some(new));
    assert_eq!(google.count("refresh"), refreshes);
    // A password change is a reason to ask.
    assert_eq!(
        announce(&google, "account-credential-change-required", &json!({}))["status"],
        202
    );
    google.wait_for_count("refresh", refreshes + 1);
    daemon.wait_for_state("invoice-bot", "active");
}

#[test]
fn an_event_that_cannot_be_checked_now_is_asked_for_again() {
    let (google, daemon) = scene();
    let fault = google.fault(&json!({"endpoint": "certs", "status": 503}));
    // The connections have made the daemon know today's key; this one is new.
    google.order("/signing-key", &json!({}));
    let signed = announce(&google, "tokens-revoked", &json!({"hold_back": true}));
    let set = signed["set"].as_str().unwrap();
    let answer = push(&daemon, set);
    assert_eq!(answer.status, 503);
    assert!(!answer.header("retry-after").is_empty());
    daemon.wait_for_state("invoice-bot", "active");
    google.clear_fault(&fault);
    // Whoever pushes does not make it ask again within a minute; a daemon that starts has asked nobody yet.
    assert_eq!(push(&daemon, set).status, 503);
    daemon.restart();
    assert_eq!(push(&daemon, set).status, 202);
    daemon.wait_for_state("invoice-bot", "revoked");
}

#[test]
fn nothing_is_taken_unless_it_is_configured() {
    let google = Emulator::start(&[]);
    let daemon = Daemon::new(&google);
    daemon.start();
    let answer = push(&daemon, "x");
    assert!(
        answer.status.is_client_error() && answer.status != 400,
        "{}",
        answer.status
    );
    let other = Daemon::with(&google, &[("risc.audiences", "another-client")]);
    other.start();
    assert!(
        other
            .log()
            .contains("risc.audiences does not name google.client_id"),
        "{}",
        other.log()
    );
    let looked = other.page("/risc");
    assert_eq!((looked.status.as_u16(), looked.header("allow")), (405, "POST"));
}
