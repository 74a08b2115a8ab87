//! `examples/agent.py` with Google's own client library, against the emulator's APIs.

use serde_json::{Value, json};

use super::installed::python;
use crate::support::{Agent, Daemon, Emulator, Output};

/// Short enough for a test, and long enough for a renewal on a busy machine.
const LIFETIME: [&str; 2] = ["--token-lifetime", "12s"];

fn run(agent: &Agent, google: &Emulator, tokens: usize) -> Value {
    let mut program = python("google_agent.py");
    program
        .env("TOKEN_BROKER_ENV_FILE", agent.path("env"))
        .args([&google.base_url, &tokens.to_string()]);
    Output::of(&mut program).expect_ok().json()
}

#[test]
fn googles_library_works_across_renewals() {
    let google = Emulator::start(&LIFETIME);
    let daemon = Daemon::new(&google);
    daemon.write_manifest(
        "invoice-bot",
        "alice",
        &["google.gmail.send", "?google.calendar.readonly"],
    );
    daemon.start();
    daemon
        .connect("alice", &["google.gmail.send", "google.calendar.readonly"])
        .expect_ok();
    let agent = daemon.wait_for_state("invoice-bot", "active");

    let seen = run(&agent, &google, 4);

    // One token from the connection, three from renewals.
    assert_eq!(seen["tokens"].as_array().unwrap().len(), 4);
    let subjects = json!(["Order 1", "Order 2", "Order 3", "Order 4"]);
    assert_eq!(seen["subjects"], subjects);
    assert!(google.count("refresh") >= 3);
    let events = seen["events"].as_array().unwrap();
    assert!(events.contains(&json!("Weekly planning")), "{events:?}");
    // Google has them, from Alice and to Bob.
    let mails = google.look("/mails");
    let mails = mails.as_array().unwrap();
    let arrived: Vec<&Value> = mails.iter().map(|mail| &mail["subject"]).collect();
    assert_eq!(json!(arrived), subjects);
    for mail in mails {
        assert_eq!(mail["account"], "alice@example.com");
        assert_eq!(mail["recipients"], json!(["bob@example.com"]));
    }
    assert_eq!(google.count("sent_mails"), 4);
}

#[test]
fn an_agent_that_did_not_declare_gmail_gets_googles_own_403() {
    let google = Emulator::start(&[]);
    let daemon = Daemon::new(&google);
    daemon.write_manifest("calendar-bot", "alice", &["google.calendar.readonly"]);
    daemon.start();
    daemon
        .connect("alice", &["google.gmail.send", "google.calendar.readonly"])
        .expect_ok();
    let agent = daemon.wait_for_state("calendar-bot", "active");

    let seen = run(&agent, &google, 1);

    assert_eq!(seen["refused"]["status"], 403);
    assert_eq!(
        seen["refused"]["reason"],
        "Request had insufficient authentication scopes."
    );
    let details = &seen["refused"]["details"][0];
    assert_eq!(details["reason"], "ACCESS_TOKEN_SCOPE_INSUFFICIENT");
    assert_eq!(details["metadata"]["service"], "gmail.googleapis.com");
    // What it did declare works.
    assert!(!seen["events"].as_array().unwrap().is_empty());
    assert_eq!(google.count("sent_mails"), 0);
}

#[test]
fn an_agent_without_an_account_is_told_where_to_go() {
    let google = Emulator::start(&[]);
    let daemon = Daemon::new(&google);
    daemon.write_manifest("invoice-bot", "alice", &["google.gmail.send"]);
    daemon.start();
    let agent = daemon.wait_for_state("invoice-bot", "not_connected");
    let mut program = python("google_agent.py");
    program
        .env("TOKEN_BROKER_ENV_FILE", agent.path("env"))
        .args([&google.base_url, "1"]);
    let ended = Output::of(&mut program).expect(1);
    let sentence = format!(
        "RefreshError: not_connected: {}/agents/invoice-bot",
        daemon.http()
    );
    assert!(ended.stderr.contains(&sentence), "{}", ended.stderr);
}
