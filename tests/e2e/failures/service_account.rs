//! A service account's key that Google gives no token for: when it is added, and when it is renewed.

use std::fs;

use serde_json::{Value, json};
use tempfile::TempDir;
use token_broker::{proto::v1::AddServiceAccountRequest, provider::failure::Call};

use super::{
    Case, cases,
    surfaces::{Form, NOT_CONNECTED, account_shows, agent_shows, form, nothing_came_of, refused},
};
use crate::support::{Daemon, Emulator, block_on};

const SA: &str = "google.sa";
const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
const SCOPES: [&str; 3] = [
    "https://www.googleapis.com/auth/spreadsheets",
    "https://www.googleapis.com/auth/documents",
    "https://www.googleapis.com/auth/drive",
];

#[test]
fn every_refusal_of_a_service_account_is_the_same_sentence_on_every_surface() {
    refusals_of(Call::Assertion { delegated: false }, "");
}

#[test]
fn every_refusal_of_a_delegated_service_account_is_the_same_sentence_on_every_surface() {
    refusals_of(Call::Assertion { delegated: true }, "alice@example.com");
}

/// A key, and for whom it is to speak.
struct Key {
    text: String,
    subject: &'static str,
    folder: TempDir,
}

impl Key {
    fn request(&self, owner: &str) -> AddServiceAccountRequest {
        AddServiceAccountRequest {
            owner: owner.to_owned(),
            key_file: self.text.clone(),
            subject: self.subject.to_owned(),
        }
    }
}

fn refusals_of(call: Call, subject: &'static str) {
    let google = Emulator::start(&[]);
    let daemon = Daemon::new(&google);
    daemon.write_manifest("waiting", "nobody", &[SA]);
    daemon.start();
    let order = json!({ "name": "robot", "delegated_scopes": SCOPES });
    let file = google.order("/service-accounts", &order);
    let key = Key {
        text: file.to_string(),
        subject,
        folder: tempfile::tempdir().unwrap(),
    };
    fs::write(key.folder.path().join("robot.json"), &key.text).unwrap();
    for (row, case) in cases(call).iter().enumerate() {
        let (agent, owner) = (format!("agent-{row}"), format!("owner-{row}"));
        block_on(daemon.admin().add_service_account(key.request(&owner))).unwrap();
        let fault = case.at("token", &json!({ "grant_type": JWT_BEARER }));
        let id = google.fault(&fault);
        is_not_added(&daemon, &key, case, &fault);
        // Its first token is asked for now.
        daemon.write_manifest(&agent, &owner, &[SA]);
        let (kind, sentence) = (case.failure.kind, case.repeated());
        agent_shows(&daemon, &agent, &no_person(form(kind)), &sentence, &fault);
        account_shows(&daemon, &owner, kind, &sentence, &fault);
        google.clear_fault(&id);
    }
    let private = file["private_key"].as_str().unwrap().lines();
    let secrets: Vec<&str> = private
        .filter(|line| line.len() > 40 && !line.starts_with('-'))
        .collect();
    assert!(secrets.len() > 10);
    daemon.scan_for_secrets(&secrets);
}

/// No person can mend a service account, so no address is shown.
fn no_person(form: Form) -> Form {
    Form {
        person: false,
        ..form
    }
}

fn is_not_added(daemon: &Daemon, key: &Key, case: &Case, fault: &Value) {
    let (form, sentence) = (form(case.failure.kind), case.once());
    let path = key.folder.path().join("robot.json");
    let mut command = vec![
        "service-account",
        "add",
        "--owner",
        "nobody",
        "--key",
        path.to_str().unwrap(),
    ];
    if !key.subject.is_empty() {
        command.extend(["--subject", key.subject]);
    }
    let said = daemon.cli(&command);
    nothing_came_of(daemon, "nobody", &said, &form, &sentence);
    assert!(said.stderr.contains("Nothing was stored"), "{fault}: {said:?}");
    let status = block_on(daemon.admin().add_service_account(key.request("nobody"))).unwrap_err();
    refused(&status, &form, &sentence, fault);
    agent_shows(daemon, "waiting", &no_person(NOT_CONNECTED), "nobody", fault);
}
