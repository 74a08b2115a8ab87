//! Google's answers in every form but the right one: what they grant is kept.

use serde_json::{Value, json};

use crate::support::{Daemon, Emulator};

const SEND: &str = "google.gmail.send";

/// In seconds.
const YEAR: i64 = 365 * 24 * 3600;

/// Answers to a request that was granted, each with something wrong about it.
fn odd_answers() -> Vec<Value> {
    vec![
        json!({ "fields": { "expires_in": 3599.0 } }),
        json!({ "fields": { "expires_in": "3599.5 " } }),
        json!({ "fields": { "expires_in": null } }),
        json!({ "fields": { "expires_in": "soon" } }),
        json!({ "fields": { "expires_in": -1 } }),
        json!({ "without": ["expires_in", "scope", "token_type"] }),
        json!({ "without": ["access_token"] }),
        json!({ "fields": { "access_token": { "x": 1 }, "scope": 7 } }),
        json!({ "fields": { "scope": [], "token_type": "", "id_token": {} } }),
        json!({ "fields": { "token_type": "mac" } }),
        json!({ "fields": { "error": "internal_failure" } }),
        json!({ "bom": true }),
        json!({ "gzip": true }),
        json!({ "bom": true, "gzip": true, "headers": { "content-type": "text/html" } }),
        json!({ "drop": "within" }),
        json!({ "gzip": true, "drop": "within" }),
        json!({ "headers": { "content-encoding": "br" } }),
        json!({ "headers": many_headers() }),
        // A proxy's clock, perhaps: what it says of the time is no reason to doubt the rest.
        json!({ "skew_seconds": 20 * YEAR }),
        json!({ "skew_seconds": -20 * YEAR }),
    ]
}

/// More than HTTP libraries expect.
fn many_headers() -> Value {
    (0..300)
        .map(|number| (format!("x-odd-{number}"), json!("odd")))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

fn order(google: &Emulator, grant_type: &str, answer: &Value) -> Value {
    let mut fault = json!({ "endpoint": "token", "grant_type": grant_type, "times": 1 });
    let fields = answer.as_object().unwrap().clone();
    fault.as_object_mut().unwrap().extend(fields);
    google.fault(&fault);
    fault
}

#[test]
fn a_rotating_grant_outlives_every_form_of_a_renewals_answer() {
    let answers = odd_answers();
    // An account for each: how often one is checked is limited.
    let accounts: Vec<String> = (0..answers.len())
        .map(|n| format!("person-{n}@example.com"))
        .collect();
    let mut args = vec!["--rotation", "strict"];
    args.extend(accounts.iter().flat_map(|account| ["--account", account]));
    let google = Emulator::start(&args);
    let daemon = Daemon::new(&google);
    daemon.start();
    for (number, answer) in answers.iter().enumerate() {
        let (owner, bot) = (format!("owner-{number}"), format!("bot-{number}"));
        daemon.write_manifest(&bot, &owner, &[SEND]);
        daemon.connect_as(&owner, &accounts[number], &[SEND]).expect_ok();
        daemon.wait_for_state(&bot, "active");
        let fault = order(&google, "refresh_token", answer);
        let asked = google.count("refresh");
        // Whether this one succeeds is not the question.
        daemon.cli(&["integrations", "check", "--owner", &owner]);
        assert!(google.count("refresh") > asked, "{fault}");
        daemon
            .cli(&["integrations", "check", "--owner", &owner])
            .expect_ok();
        assert_eq!(google.count("refresh_token_reuse"), 0, "{fault}");
        daemon.wait_for_state(&bot, "active");
    }
    daemon.scan_for_secrets(&[&google.client_secret]);
}

#[test]
fn a_consent_outlives_every_form_of_its_answer() {
    let google = Emulator::start(&["--rotation", "strict"]);
    let daemon = Daemon::new(&google);
    daemon.start();
    for (number, answer) in odd_answers().into_iter().enumerate() {
        let fault = order(&google, "authorization_code", &answer);
        let owner = format!("owner-{number}");
        daemon.write_manifest(&format!("bot-{number}"), &owner, &[SEND]);
        let connected = daemon.connect(&owner, &[SEND]);
        assert_eq!(connected.code, 0, "{fault}: {connected:?}");
        daemon.wait_for_state(&format!("bot-{number}"), "active");
        assert_eq!(google.count("refresh_token_reuse"), 0, "{fault}");
    }
    daemon.scan_for_secrets(&[&google.client_secret]);
}

#[test]
fn an_import_outlives_every_form_of_its_answer() {
    let google = Emulator::start(&["--rotation", "strict"]);
    let daemon = Daemon::new(&google);
    daemon.start();
    let scopes = ["openid", "email", "https://www.googleapis.com/auth/gmail.send"];
    for (number, answer) in odd_answers().into_iter().enumerate() {
        let seeded = google.order(
            "/grants",
            &json!({ "account": "alice@example.com", "scopes": scopes }),
        );
        let grant = seeded["refresh_token"].as_str().unwrap();
        let fault = order(&google, "refresh_token", &answer);
        // What an import takes over is what the answer says that the grant holds.
        if fault["without"]
            .as_array()
            .is_some_and(|names| names.contains(&json!("scope")))
            || fault["fields"].get("scope").is_some()
        {
            google.clear_faults();
            continue;
        }
        let owner = format!("owner-{number}");
        let mut command = daemon.command(&["integrations", "import", "--owner", &owner]);
        let said = daemon.remember(crate::support::Output::of_fed(&mut command, grant));
        assert_eq!(said.code, 0, "{fault}: {said:?}");
        daemon
            .cli(&["integrations", "check", "--owner", &owner])
            .expect_ok();
        assert_eq!(google.count("refresh_token_reuse"), 0, "{fault}");
    }
    daemon.scan_for_secrets(&[&google.client_secret]);
}
