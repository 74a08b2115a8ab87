//! Connecting and adding permissions; tokens that carry less, and a server that grants less than it did.

use serde_json::json;

use crate::{
    browser::Browser,
    provider::{Provider, SCOPE, connect, secrets},
    support::Connecting,
};

const SEND: &str = "google.gmail.send";
const CALENDAR: &str = "google.calendar.readonly";

fn scopes(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| format!("{SCOPE}{name}")).collect()
}

#[test]
fn an_account_is_connected_and_each_agent_gets_its_own_narrow_token() {
    let provider = Provider::start();
    let daemon = provider.daemon();
    daemon.write_manifest("both-bot", "alice", &[SEND, CALENDAR]);
    daemon.write_manifest("mail-bot", "alice", &[SEND]);
    daemon.start();

    let connected = connect(&daemon, ("alice", "alice"), &[SEND, CALENDAR], &[]).expect_ok();
    assert!(connected.stdout.contains("alice@example.com"), "{connected:?}");

    let both = daemon.wait_for_state("both-bot", "active");
    let mail = daemon.wait_for_state("mail-bot", "active");
    let token = |agent: &crate::support::Agent, query: &str| {
        let answer = agent.get(&format!("/v1/token{query}")).expect_ok().json();
        answer["access_token"].as_str().unwrap().to_owned()
    };
    let (wide, narrow) = (token(&both, ""), token(&mail, ""));
    assert_eq!(
        provider.scopes_of(&wide).unwrap(),
        scopes(&["calendar.readonly", "gmail.send"])
    );
    assert_eq!(provider.scopes_of(&narrow).unwrap(), scopes(&["gmail.send"]));
    let narrowed = token(&both, "?capability=google.calendar.readonly");
    assert_eq!(
        provider.scopes_of(&narrowed).unwrap(),
        scopes(&["calendar.readonly"])
    );
    for token in [&wide, &narrow, &narrowed] {
        assert!(provider.is_alive(token));
    }
    assert!(
        !provider.is_alive("somebody-made-this-up"),
        "the server tells them apart"
    );

    // Without PKCE there would have been no code, and without the verifier no tokens.
    assert_eq!(provider.count("exchanges"), 1);
    provider.expect_no_reuse();
    let checked = daemon.cli(&["integrations", "check", "--owner", "alice"]);
    assert_eq!(checked.code, 0, "{checked:?}");
    let secrets = secrets(&provider);
    daemon.scan_for_secrets(&secrets.iter().map(String::as_str).collect::<Vec<_>>());
}

#[test]
fn a_box_that_stays_unticked_is_added_later_and_nothing_is_lost() {
    let provider = Provider::start();
    let daemon = provider.daemon();
    daemon.write_manifest("mail-bot", "alice", &[SEND]);
    daemon.write_manifest("calendar-bot", "alice", &[CALENDAR]);
    daemon.start();
    let send = format!("{SCOPE}gmail.send");
    let _ = connect(&daemon, ("alice", "alice"), &[SEND, CALENDAR], &[&send]);
    daemon.wait_for_state("calendar-bot", "active");
    daemon.wait_for_state("mail-bot", "permission_missing");

    // Somebody else's account is refused, and a No changes nothing.
    let connecting = Connecting::start(&daemon, "alice", &[SEND], &[]).unwrap();
    let asked = connecting.asked();
    assert!(asked.contains(&format!("{SCOPE}calendar.readonly")), "{asked:?}");
    Browser::default().consent(connecting.url.as_str(), "mallory", &[&send]);
    let refused = connecting.finish();
    assert_ne!(refused.code, 0);
    assert!(refused.stderr.contains("mallory@example.com"), "{refused:?}");
    let connecting = Connecting::start(&daemon, "alice", &[SEND], &[]).unwrap();
    Browser::default().decline(connecting.url.as_str());
    assert_ne!(connecting.finish().code, 0);
    daemon.wait_for_state("calendar-bot", "active");

    connect(&daemon, ("alice", "alice"), &[SEND], &[]).expect_ok();
    daemon.wait_for_state("mail-bot", "active");
    daemon.wait_for_state("calendar-bot", "active");
}

#[test]
fn a_scope_that_the_server_no_longer_gives_is_a_missing_permission() {
    let provider = Provider::start();
    let daemon = provider.daemon();
    daemon.write_manifest("mail-bot", "alice", &[SEND]);
    daemon.start();
    connect(&daemon, ("alice", "alice"), &[SEND, CALENDAR], &[]).expect_ok();
    daemon.wait_for_state("mail-bot", "active");

    provider.order("shrink", &json!({ "scope": format!("{SCOPE}calendar.readonly") }));
    daemon.write_manifest("calendar-bot", "alice", &[CALENDAR]);

    let agent = daemon.wait_for_state("calendar-bot", "permission_missing");
    let problem = agent.get("/v1/token");
    assert_eq!(problem.status, 403);
    let problem = problem.json();
    assert_eq!(problem["code"], "permission_missing");
    assert!(
        problem["detail"].as_str().unwrap().contains("invalid_scope"),
        "{problem}"
    );
    assert_eq!(
        problem["action_url"],
        json!(format!("{}/agents/calendar-bot", daemon.http()))
    );
    // The grant lives on for what it still covers.
    daemon.wait_for_state("mail-bot", "active");
    provider.expect_no_reuse();
}
