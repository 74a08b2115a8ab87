//! A platform's grant that is not taken over: Google does not renew it, or does not say whose it is.

use serde_json::{Value, json};
use token_broker::{proto::v1::ImportIntegrationRequest, provider::failure::Call};

use super::{
    SCOPE_SEND, SEND, cases,
    surfaces::{NOT_CONNECTED, agent_shows, form, nothing_came_of, refused},
};
use crate::support::{Daemon, Emulator, Output, block_on};

#[test]
fn every_refusal_of_a_grants_first_renewal_is_said_to_whoever_imports_it() {
    refusals_of(Call::Refresh, "token", &json!({ "grant_type": "refresh_token" }));
}

#[test]
fn every_refusal_to_say_whose_a_grant_is_is_said_to_whoever_imports_it() {
    refusals_of(Call::Userinfo, "userinfo", &Value::Null);
}

fn refusals_of(call: Call, endpoint: &str, more: &Value) {
    let google = Emulator::start(&[]);
    let daemon = Daemon::new(&google);
    daemon.write_manifest("waiting", "alice", &[SEND]);
    daemon.start();
    // Without an id token, so that Google is asked whose it is.
    let order = json!({ "account": "alice@example.com", "scopes": [SCOPE_SEND] });
    let seeded = google.order("/grants", &order);
    let grant = seeded["refresh_token"].as_str().unwrap();
    for case in cases(call) {
        let fault = case.at(endpoint, more);
        let id = google.fault(&fault);
        let (form, sentence) = (form(case.failure.kind), case.once());
        let mut command = daemon.command(&["integrations", "import", "--owner", "alice"]);
        let said = daemon.remember(Output::of_fed(&mut command, grant));
        nothing_came_of(&daemon, "alice", &said, &form, &sentence);
        assert!(said.stderr.contains("Nothing was stored"), "{fault}: {said:?}");

        let request = ImportIntegrationRequest {
            owner: "alice".to_owned(),
            grant: grant.to_owned(),
            account: String::new(),
            integration: String::new(),
        };
        let status = block_on(daemon.admin().import_integration(request)).unwrap_err();
        refused(&status, &form, &sentence, &fault);
        agent_shows(&daemon, "waiting", &NOT_CONNECTED, "alice", &fault);
        google.clear_fault(&id);
    }
    daemon.scan_for_secrets(&[grant, &google.client_secret]);
}
