//! What an agent is shown, case by case.

use super::*;
use crate::{
    broker::{CapabilityStatus, CredentialView},
    provider::{EnvNames, Profile, google},
    testing::{at, service_view, snapshot, token},
};

const NOW: &str = "2024-01-15T09:31:00Z";

#[test]
fn env_holds_the_promised_lines_in_order() {
    let snapshot = snapshot("invoice-bot").with_token(token("ya29.a0AfB_by-x~y+z/w="));
    insta::assert_snapshot!(View::new(&snapshot, at(NOW)).env().as_str(), @r"
    GOOGLE_OAUTH_ACCESS_TOKEN=ya29.a0AfB_by-x~y+z/w=
    GOOGLE_OAUTH_TOKEN_EXPIRES_AT=2024-01-15T10:30:00Z
    GOOGLE_OAUTH_CAPABILITIES=google.gmail.send,google.calendar.readonly
    TOKEN_BROKER_STATE=active
    ");
}

#[test]
fn without_a_token_only_state_and_url_are_left() {
    let snapshot = snapshot("invoice-bot").in_state(AgentState::ReconnectRequired);
    insta::assert_snapshot!(View::new(&snapshot, at(NOW)).env().as_str(), @r"
    TOKEN_BROKER_STATE=reconnect_required
    TOKEN_BROKER_ACTION_URL=http://127.0.0.1:8420/fix/invoice-bot
    ");
}

#[test]
fn a_service_accounts_lines_stand_beside_a_persons() {
    let both = snapshot("a")
        .with_token(token("person"))
        .with_service(Some(token("robot")));
    insta::assert_snapshot!(View::new(&both, at(NOW)).env().as_str(), @r"
    GOOGLE_OAUTH_ACCESS_TOKEN=person
    GOOGLE_OAUTH_TOKEN_EXPIRES_AT=2024-01-15T10:30:00Z
    GOOGLE_OAUTH_CAPABILITIES=google.gmail.send,google.calendar.readonly,google.sa
    GOOGLE_SA_ACCESS_TOKEN=robot
    GOOGLE_SA_TOKEN_EXPIRES_AT=2024-01-15T10:30:00Z
    GOOGLE_SA_EMAIL=robot@project.iam.gserviceaccount.com
    TOKEN_BROKER_STATE=active
    ");
    let status = View::new(&both, at(NOW)).status_json();
    assert!(status.contains("\"account\": \"alice@example.com\""), "{status}");
    assert!(
        status.contains("\"service_account\": \"robot@project.iam.gserviceaccount.com\""),
        "{status}"
    );
    // Without the person's account, which it can do without, the list tells what is left.
    let mut robot = snapshot("a").with_service(Some(token("robot")));
    robot.credentials[0].granted = Arc::default();
    insta::assert_snapshot!(View::new(&robot, at(NOW)).env().as_str(), @r"
    GOOGLE_OAUTH_CAPABILITIES=google.sa
    GOOGLE_SA_ACCESS_TOKEN=robot
    GOOGLE_SA_TOKEN_EXPIRES_AT=2024-01-15T10:30:00Z
    GOOGLE_SA_EMAIL=robot@project.iam.gserviceaccount.com
    TOKEN_BROKER_STATE=active
    ");
    assert!(
        View::new(&robot, at(NOW)).token().is_none(),
        "access_token stays the person's"
    );
}

#[test]
fn an_agent_with_a_service_account_alone_has_only_its_lines() {
    let mut robot = snapshot("a");
    robot.credentials = Box::new([service_view(Some(token("robot")))]);
    let view = View::new(&robot, at(NOW));
    insta::assert_snapshot!(view.env().as_str(), @r"
    GOOGLE_SA_ACCESS_TOKEN=robot
    GOOGLE_SA_TOKEN_EXPIRES_AT=2024-01-15T10:30:00Z
    GOOGLE_SA_EMAIL=robot@project.iam.gserviceaccount.com
    TOKEN_BROKER_STATE=active
    ");
    assert!(view.token().is_some());
}

#[test]
fn no_state_but_the_good_ones_shows_either_token() {
    let both = || {
        snapshot("a")
            .with_token(token("person"))
            .with_service(Some(token("robot")))
    };
    for state in [
        AgentState::NotConnected,
        AgentState::Revoked,
        AgentState::Misconfigured,
    ] {
        assert!(
            !View::new(&both().in_state(state), at(NOW))
                .env()
                .contains("TOKEN="),
            "{}",
            state.as_str()
        );
    }
    let odd = snapshot("a")
        .with_token(token("person"))
        .with_service(Some(token("a b")));
    assert_eq!(
        View::new(&odd, at(NOW)).env().as_str(),
        "TOKEN_BROKER_STATE=misconfigured\n"
    );
    let view = both();
    assert_eq!(
        View::new(&view, at("2024-01-15T10:30:00Z")).env().as_str(),
        "TOKEN_BROKER_STATE=provider_unavailable\n"
    );
}

#[test]
fn a_token_is_shown_only_alive_and_only_in_states_that_allow_it() {
    let shown = |snapshot: &AgentSnapshot, now| View::new(snapshot, at(now)).token().is_some();
    let active = snapshot("a").with_token(token("t"));
    assert!(shown(&active, "2024-01-15T10:29:59Z"));
    assert!(!shown(&active, "2024-01-15T10:30:00Z"));
    let outage = snapshot("a")
        .with_token(token("t"))
        .in_state(AgentState::ProviderUnavailable);
    assert!(shown(&outage, NOW));
    for state in [
        AgentState::NotConnected,
        AgentState::PermissionMissing,
        AgentState::ReconnectRequired,
        AgentState::Revoked,
        AgentState::Misconfigured,
    ] {
        let held = snapshot("a").with_token(token("t")).in_state(state);
        assert!(!shown(&held, NOW), "{}", state.as_str());
        assert!(!View::new(&held, at(NOW)).env().contains("ACCESS_TOKEN"));
    }
}

#[test]
fn an_expired_token_is_not_called_active() {
    let snapshot = snapshot("a").with_token(token("t"));
    let view = View::new(&snapshot, at("2024-01-15T11:00:00Z"));
    assert_eq!(view.env().as_str(), "TOKEN_BROKER_STATE=provider_unavailable\n");
    assert!(view.message.contains("being obtained"));
}

#[test]
fn a_token_that_a_shell_would_change_is_not_written() {
    for text in [
        "a b", "a$b", "a\nB=1", "", "~root", "a`b`", "ä", "a'b", "a;b", "a#b",
    ] {
        let snapshot = snapshot("a").with_token(token(text));
        let view = View::new(&snapshot, at(NOW));
        assert_eq!(
            view.env().as_str(),
            "TOKEN_BROKER_STATE=misconfigured\n",
            "{text:?}"
        );
    }
}

#[test]
fn a_url_that_a_shell_would_change_is_left_out_and_reported() {
    let mut snapshot = snapshot("a").in_state(AgentState::Revoked);
    snapshot.action_url = Some("https://b.example/fix?a=1&b=2".to_owned());
    let view = View::new(&snapshot, at(NOW));
    assert_eq!(view.env().as_str(), "TOKEN_BROKER_STATE=revoked\n");
    assert!(view.problem().unwrap().contains("a=1&b=2"));
    assert!(view.status_json().contains("a=1&b=2"));
}

#[test]
fn env_is_rendered_without_growing() {
    let snapshot = snapshot("invoice-bot")
        .with_token(token(&"x".repeat(2048)))
        .with_service(Some(token(&"y".repeat(2048))));
    let view = View::new(&snapshot, at(NOW));
    let env = view.env();
    assert_eq!(env.capacity(), view.document(None).env_capacity());
}

#[test]
fn status_tells_all_but_the_secret() {
    let snapshot = snapshot("invoice-bot").with_token(token("sesame"));
    insta::assert_snapshot!(View::new(&snapshot, at(NOW)).status_json(), @r#"
    {
      "agent": "invoice-bot",
      "owner": "alice",
      "state": "active",
      "message": "",
      "action_url": null,
      "account": "alice@example.com",
      "capabilities": [
        {
          "key": "google.gmail.send",
          "state": "granted",
          "granted": true,
          "optional": false,
          "description": "Send order confirmations"
        },
        {
          "key": "google.calendar.readonly",
          "state": "satisfied",
          "granted": true,
          "optional": true,
          "satisfied_by": "google.calendar"
        },
        {
          "key": "google.drive.readonly",
          "state": "declined",
          "granted": false,
          "optional": true,
          "description": "Attach invoices"
        }
      ]
    }
    "#);
}

#[test]
fn status_does_not_change_with_a_renewal() {
    let (first, second) = (token("first"), token("second"));
    let (a, b) = (snapshot("a").with_token(first), snapshot("a").with_token(second));
    let later = at("2024-01-15T10:00:00Z");
    assert_eq!(
        View::new(&a, at(NOW)).status_json(),
        View::new(&b, later).status_json()
    );
}

#[test]
fn what_a_token_serves_is_listed_with_its_own_provider() {
    let acme = Profile {
        id: "acme".parse().unwrap(),
        env: EnvNames::oauth("ACME"),
        ..google::account()
    };
    let view = |profile: Profile, key: &str, value: &str| CredentialView {
        profile: Arc::new(profile),
        account: Some("alice@example.com".into()),
        granted: Arc::new([key.parse().unwrap()]),
        token: Some(token(value)),
        is_expected: true,
    };
    let line = |credentials: Vec<CredentialView>, name: &str| {
        let mut snapshot = snapshot("bot").with_service(Some(token("robot")));
        let robot = snapshot.credentials[1].clone();
        let status = |view: &CredentialView| CapabilityStatus {
            key: view.granted[0].clone(),
            granted: true,
            optional: false,
            satisfied_by: None,
            declined: false,
        };
        let all: Vec<CredentialView> = credentials.into_iter().chain([robot]).collect();
        snapshot.capabilities = all.iter().map(status).collect();
        snapshot.credentials = all.into();
        let env = View::new(&snapshot, at("2024-01-15T09:31:00Z")).env().to_string();
        let found = env
            .lines()
            .find_map(|line| Some(line.strip_prefix(name)?.strip_prefix('=')?.to_owned()));
        found.unwrap_or_default()
    };
    let (googles, acmes) = ("GOOGLE_OAUTH_CAPABILITIES", "ACME_OAUTH_CAPABILITIES");
    let both = || {
        vec![
            view(google::account(), "google.gmail.send", "ya29"),
            view(acme.clone(), "acme.read", "acme"),
        ]
    };
    assert_eq!(line(both(), googles), "google.gmail.send,google.sa");
    assert_eq!(line(both(), acmes), "acme.read");
    let alone = || vec![view(acme.clone(), "acme.read", "acme")];
    assert_eq!(line(alone(), acmes), "acme.read", "a service account is Google's");
    assert_eq!(line(alone(), googles), "");
}
