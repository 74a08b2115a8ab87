//! A grant dies: its token leaves every place at once, every place says what to do, and a new consent heals it.

use serde_json::{Value, json};
use token_broker::proto::v1::{AgentState, watch_access_token_response::Event};

use crate::support::{Daemon, Emulator, block_on, get, reason, wait_until};

const SEND: &str = "google.gmail.send";

fn scene() -> (Emulator, Daemon) {
    let google = Emulator::start(&[]);
    let daemon = Daemon::new(&google);
    daemon.write_manifest("invoice-bot", "alice", &[SEND]);
    daemon.write_manifest("other-bot", "bob", &[SEND]);
    daemon.start();
    daemon
        .connect_as("alice", "alice@example.com", &[SEND])
        .expect_ok();
    daemon.connect_as("bob", "bob@example.com", &[SEND]).expect_ok();
    daemon.wait_for_state("invoice-bot", "active");
    daemon.wait_for_state("other-bot", "active");
    (google, daemon)
}

#[test]
fn a_revoked_grant_leaves_every_place_and_a_new_consent_heals_it() {
    let (google, daemon) = scene();
    let agent = daemon.agent("invoice-bot");
    let token = agent.token().unwrap();
    let mut events = agent.watch();
    events.until("the token", |event, data| {
        event == "token" && data["access_token"] == token
    });
    let mut grpc = agent.grpc();
    let mut stream = grpc.watch();

    google.revoke("alice@example.com");
    let checked = daemon.cli(&["integrations", "check", "--owner", "alice"]);
    assert_eq!(checked.code, 5, "{checked:?}");

    let state = events.until("the state", |event, data| {
        event == "state" && data["state"] != "active"
    });
    assert_eq!(state["state"], "reconnect_required");
    let status = loop {
        match block_on(stream.message()).unwrap().unwrap().event.unwrap() {
            Event::Status(status) if status.state() != AgentState::Active => break status,
            Event::Status(_) | Event::Token(_) => {}
        }
    };
    assert_eq!(status.state(), AgentState::ReconnectRequired);

    daemon.wait_for_state("invoice-bot", "reconnect_required");
    let url = format!("{}/agents/invoice-bot", daemon.http());
    assert_eq!(
        agent.env(),
        format!("TOKEN_BROKER_STATE=reconnect_required\nTOKEN_BROKER_ACTION_URL={url}\n")
    );
    assert_eq!(agent.try_read("access_token"), None);
    let written = agent.status();
    assert_eq!(written["state"], "reconnect_required");
    assert_eq!(written["action_url"], json!(url));
    assert_eq!(written["message"], state["message"]);

    let problem = agent.get("/v1/token");
    assert_eq!(problem.status, 403);
    assert_eq!(problem.header("content-type"), "application/problem+json");
    let problem = problem.json();
    assert_eq!(
        (&problem["code"], &problem["action_url"]),
        (&json!("reconnect_required"), &json!(url))
    );
    let refused = grpc.token().unwrap_err();
    assert_eq!(
        reason(&refused),
        ("reconnect_required".to_owned(), Some(url.clone()))
    );
    assert_eq!(
        (status.action_url, status.message),
        (url.clone(), written["message"].as_str().unwrap().to_owned())
    );

    told_to_the_operator(&daemon, &url);
    let page = get(&url).expect_ok();
    assert!(
        page.text()
            .contains("token-broker connect --owner alice --capability google.gmail.send")
    );
    assert!(daemon.agent("other-bot").token().is_some(), "bob's is untouched");

    // A new consent heals it, without a restart, also for those who were watching.
    daemon
        .connect_as("alice", "alice@example.com", &[SEND])
        .expect_ok();
    daemon.wait_for_state("invoice-bot", "active");
    let new = agent.token().unwrap();
    assert_ne!(new, token);
    assert!(google.is_alive(&new));
    events.until("the new token", |event, data| {
        event == "token" && data["access_token"] == new
    });
    wait_until("the new token in the gRPC stream", || {
        let event = block_on(stream.message()).unwrap().unwrap().event;
        matches!(event, Some(Event::Token(told)) if told.access_token == new)
    });
    assert_eq!(daemon.cli(&["integrations", "check", "--owner", "alice"]).code, 0);
    daemon.scan_for_secrets(&[&token, &new, &google.client_secret]);
}

/// Tables, JSON, exit codes and metrics.
fn told_to_the_operator(daemon: &Daemon, url: &str) {
    for (command, code) in [("token", 5), ("env", 5), ("status", 5)] {
        let said = daemon.cli(&[command, "--agent", "invoice-bot"]);
        assert_eq!(said.code, code, "{command}: {said:?}");
    }
    let waited = daemon.cli(&["wait", "--agent", "invoice-bot", "--timeout", "0"]);
    assert!(waited.stderr.contains("reconnect_required"), "{waited:?}");
    let shown = daemon.cli(&["agents", "show", "invoice-bot"]).expect_ok();
    assert!(
        shown.stdout.contains("reconnect_required") && shown.stdout.contains(url),
        "{}",
        shown.stdout
    );
    let shown = daemon
        .cli(&["integrations", "show", "--owner", "alice"])
        .expect_ok();
    assert!(shown.stdout.contains("reconnect_required"), "{}", shown.stdout);
    let listed = daemon
        .cli(&["integrations", "list", "--output", "json"])
        .expect_ok()
        .json();
    let states: Vec<(&Value, &Value)> = listed["integrations"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| (&entry["owner"], &entry["state"]))
        .collect();
    let (alice, bob) = (json!("alice"), json!("bob"));
    let (dead, well) = (json!("reconnect_required"), json!("active"));
    assert_eq!(states, [(&alice, &dead), (&bob, &well)]);
    for series in ["token_broker_agents", "token_broker_integrations"] {
        let count = daemon.metric(&format!("{series}{{state=\"reconnect_required\"}}"));
        assert!((count - 1.0).abs() < f64::EPSILON, "{series}: {count}");
    }
    let audit = daemon.audit();
    assert!(audit.contains("failed"), "{audit}");
}

#[test]
fn the_brokers_own_renewal_finds_out_as_well() {
    let google = Emulator::start(&["--token-lifetime", "6s"]);
    let daemon = Daemon::new(&google);
    daemon.write_manifest("invoice-bot", "alice", &[SEND]);
    daemon.start();
    daemon.connect("alice", &[SEND]).expect_ok();
    daemon.wait_for_state("invoice-bot", "active");
    google.revoke("alice@example.com");
    let agent = daemon.wait_for_state("invoice-bot", "reconnect_required");
    assert_eq!(agent.token(), None);
    assert_eq!(agent.try_read("access_token"), None);
    // A dead grant is not asked for again and again.
    let asked = google.count("refresh");
    assert_eq!(agent.get("/v1/token").status, 403);
    daemon.restart();
    assert_eq!(agent.get("/v1/token").status, 403);
    assert_eq!(
        agent.variable("TOKEN_BROKER_STATE").as_deref(),
        Some("reconnect_required")
    );
    assert_eq!(google.count("refresh"), asked);
}

#[test]
fn disconnect_takes_the_token_from_every_agent_and_revokes_it_at_google() {
    let (google, daemon) = scene();
    let agent = daemon.agent("invoice-bot");
    let token = agent.token().unwrap();
    let mut events = agent.watch();
    let preview = daemon.cli(&["integrations", "disconnect", "--owner", "alice", "--dry-run"]);
    assert!(
        preview.clone().expect_ok().stdout.contains("invoice-bot"),
        "{preview:?}"
    );
    assert_eq!(
        agent.token().as_deref(),
        Some(token.as_str()),
        "a dry run does nothing"
    );
    daemon
        .cli(&["integrations", "disconnect", "--owner", "alice", "--yes"])
        .expect_ok();
    // Once the command has ended, it is so.
    assert_eq!(
        agent.variable("TOKEN_BROKER_STATE").as_deref(),
        Some("not_connected")
    );
    assert_eq!((agent.token(), agent.try_read("access_token")), (None, None));
    assert_eq!(agent.get("/v1/token").json()["code"], "not_connected");
    events.until("the state", |event, data| {
        event == "state" && data["state"] == "not_connected"
    });
    assert!(!google.is_alive(&token));
    assert_eq!(google.count("revoke"), 1);
    assert!(daemon.agent("other-bot").token().is_some());
    let missing = daemon.cli(&["integrations", "show", "--owner", "alice"]);
    assert_eq!(missing.code, 4, "{missing:?}");
    daemon.kill9();
    daemon.start();
    assert_eq!(
        agent.variable("TOKEN_BROKER_STATE").as_deref(),
        Some("not_connected")
    );
    daemon.scan_for_secrets(&[&token]);
}

#[test]
fn a_revocation_that_google_did_not_take_is_shown_and_done_later() {
    let (google, daemon) = scene();
    let agent = daemon.agent("invoice-bot");
    let token = agent.token().unwrap();
    let fault = google.fault(&json!({ "endpoint": "revoke", "status": 503 }));
    let said = daemon.cli(&["integrations", "disconnect", "--owner", "alice", "--yes"]);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.stdout.contains("tried until it is done"), "{said:?}");
    // Here it is gone at once.
    assert_eq!(
        agent.variable("TOKEN_BROKER_STATE").as_deref(),
        Some("not_connected")
    );
    assert_eq!(agent.try_read("access_token"), None);
    let pending = || {
        let listed = daemon
            .cli(&["integrations", "list", "--output", "json"])
            .expect_ok()
            .json();
        listed["pending_revocations"].as_array().unwrap().clone()
    };
    assert_eq!(pending()[0]["account"], "alice@example.com");
    let listed = daemon.cli(&["integrations", "list"]).expect_ok();
    assert!(
        format!("{}{}", listed.stdout, listed.stderr).contains("still to be revoked at Google"),
        "{listed:?}"
    );
    // The daemon that promised it may be gone.
    daemon.kill9();
    daemon.start();
    assert_eq!(pending().len(), 1);
    google.clear_fault(&fault);
    wait_until("the revocation", || pending().is_empty());
    assert!(!google.is_alive(&token));
    daemon.scan_for_secrets(&[&token]);
}
