//! A person's grant that is not renewed.

use serde_json::json;
use token_broker::provider::failure::Call;

use super::{
    SEND, cases,
    surfaces::{account_shows, agent_shows, form},
};
use crate::support::{Daemon, Emulator};

#[test]
fn every_refusal_of_a_renewal_is_the_same_sentence_on_every_surface() {
    let cases = cases(Call::Refresh);
    let account = |row: usize| format!("row-{row}@example.com");
    let accounts: Vec<String> = (0..cases.len()).map(account).collect();
    let args: Vec<&str> = accounts
        .iter()
        .flat_map(|account| ["--account", account])
        .collect();
    let google = Emulator::start(&args);
    let daemon = Daemon::new(&google);
    for row in 0..cases.len() {
        daemon.write_manifest(&format!("agent-{row}"), &format!("owner-{row}"), &[SEND]);
    }
    daemon.start();
    for (row, case) in cases.iter().enumerate() {
        let (agent, owner) = (format!("agent-{row}"), format!("owner-{row}"));
        let of_account = json!({ "grant_type": "refresh_token", "account": account(row) });
        let fault = case.at("token", &of_account);
        google.fault(&fault);
        daemon.connect_as(&owner, &account(row), &[SEND]);
        let (kind, sentence) = (case.failure.kind, case.repeated());
        agent_shows(&daemon, &agent, &form(kind), &sentence, &fault);
        account_shows(&daemon, &owner, kind, &sentence, &fault);
    }
    daemon.scan_for_secrets(&[&google.client_secret]);
}
