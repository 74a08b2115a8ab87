//! An account that is let go of here and that Google does not let go of.

use serde_json::{Value, json};
use token_broker::{
    proto::v1::{DisconnectRequest, ImportIntegrationRequest, IntegrationRef},
    provider::{Remedy, failure::Call},
};

use super::{
    Case, SCOPE_SEND, SEND, cases,
    surfaces::{NOT_CONNECTED, agent_shows, listed},
};
use crate::support::{Daemon, Emulator, block_on};

#[test]
fn every_refusal_of_a_revocation_is_said_to_whoever_disconnects_and_agents_lose_their_token_all_the_same() {
    let google = Emulator::start(&[]);
    let daemon = Daemon::new(&google);
    daemon.write_manifest("bot", "alice", &[SEND]);
    daemon.start();
    let ways: [fn(&Daemon, &str, &Value); 2] = [by_command, over_grpc];
    for case in cases(Call::Revoke) {
        let fault = case.at("revoke", &Value::Null);
        for disconnect in ways {
            let integration = import(&google, &daemon);
            let token = daemon.wait_for_token("bot", None);
            let asked = google.count("revoke");
            let id = google.fault(&fault);
            disconnect(&daemon, &case.repeated(), &fault);
            // The agent has nothing any more, whatever Google says.
            agent_shows(&daemon, "bot", &NOT_CONNECTED, "alice", &fault);
            is_owed(&daemon, &case, &integration, &fault);
            assert!(
                google.count("revoke") > asked && google.is_alive(&token),
                "{fault}"
            );
            google.clear_fault(&id);
        }
    }
    daemon.scan_for_secrets(&[&google.client_secret]);
}

/// A grant that works; returns the integration's id.
fn import(google: &Emulator, daemon: &Daemon) -> String {
    let order = json!({ "account": "alice@example.com", "scopes": ["openid", "email", SCOPE_SEND] });
    let seeded = google.order("/grants", &order);
    let request = ImportIntegrationRequest {
        owner: "alice".to_owned(),
        grant: seeded["refresh_token"].as_str().unwrap().to_owned(),
        account: String::new(),
        integration: String::new(),
    };
    let imported = block_on(daemon.admin().import_integration(request)).unwrap();
    imported.into_inner().integration.unwrap().id
}

fn by_command(daemon: &Daemon, sentence: &str, fault: &Value) {
    let said = daemon.cli(&["integrations", "disconnect", "--owner", "alice", "--yes"]);
    // It was disconnected, but not all of it was done.
    assert_eq!(said.code, 1, "{fault}: {said:?}");
    for words in [
        "Disconnected alice@example.com of alice",
        "agents that lost access: bot",
        "not confirmed",
    ] {
        assert!(said.stdout.contains(words), "{fault}: {said:?}");
    }
    let not_done = said.stdout.lines().find(|line| line.contains("not done:"));
    assert!(not_done.unwrap().contains(sentence), "{fault}: {said:?}");
}

fn over_grpc(daemon: &Daemon, sentence: &str, fault: &Value) {
    let integration = Some(IntegrationRef {
        owner: "alice".to_owned(),
        ..IntegrationRef::default()
    });
    let request = DisconnectRequest {
        integration,
        ..DisconnectRequest::default()
    };
    // No error: the tokens are gone, which is what was asked for first.
    let done = block_on(daemon.admin().disconnect(request)).unwrap().into_inner();
    assert_eq!(
        (done.revoked, done.agents),
        (false, vec!["bot".to_owned()]),
        "{fault}"
    );
    assert!(done.problem.contains(sentence), "{fault}: {}", done.problem);
}

/// What passes, or an operator can mend, is tried until it is done, and listed as long; of a grant that is dead the owner is
/// told where to look.
fn is_owed(daemon: &Daemon, case: &Case, integration: &str, fault: &Value) {
    let sentence = &case.repeated();
    let listed = listed(daemon, "alice");
    assert_eq!(listed["integrations"], json!([]), "{fault}");
    let owed: Vec<&Value> = listed["pending_revocations"].as_array().unwrap().iter().collect();
    let text = daemon.cli(&["integrations", "list"]).expect_ok();
    let trail: Value = serde_json::from_str(&daemon.audit()).unwrap();
    let recorded = trail["events"].as_array().unwrap().iter().any(|event| {
        event["action"] == "integration.disconnected"
            && event["integration"] == integration
            && event["decision"] == "failed"
            && event["detail"].as_str().unwrap().contains(sentence)
    });
    assert!(recorded, "{fault}: {trail}");
    if case.failure.kind == Remedy::Reconnect {
        assert!(owed.is_empty(), "{fault}: {listed}");
        assert!(!text.stderr.contains("still to be revoked"), "{fault}: {text:?}");
    } else {
        assert_eq!(owed.len(), 1, "{fault}: {listed}");
        assert_eq!(owed[0]["integration_id"], integration, "{fault}");
        assert!(
            owed[0]["message"].as_str().unwrap().contains(sentence),
            "{fault}: {listed}"
        );
        assert!(text.stderr.contains("still to be revoked"), "{fault}: {text:?}");
        assert!(text.stderr.contains(sentence), "{fault}: {text:?}");
    }
}
