use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::*;
use crate::{
    agent_view::view::View,
    broker::{AgentSnapshot, CredentialView, IssuedToken},
    capability::ScopeSet,
    provider::{EnvNames, Profile, google},
    testing::{name, service_view, snapshot},
};

const PROJECT: &str = "token-broker";

/// This time of a day on which the broker's clock and the machine's uptime go together.
fn at(time: &str) -> Uptime {
    let wall: Timestamp = format!("2030-01-01T{time}Z").parse().unwrap();
    midnight().uptime_at(wall)
}

fn midnight() -> Moment {
    Moment {
        uptime: Uptime::START,
        wall: "2030-01-01T00:00:00Z".parse().unwrap(),
    }
}

fn token(text: &str, end: &str) -> Arc<IssuedToken> {
    Arc::new(IssuedToken {
        access_token: text.into(),
        integration: "int_00000000000000000000".parse().unwrap(),
        scopes: ScopeSet::parse("https://scopes.example/a https://scopes.example/b").unwrap(),
        issued_at: Uptime::START,
        expires_at: at(end),
    })
}

/// A person's token, which ends at one, and a service account's, which ends at two.
fn both() -> AgentSnapshot {
    snapshot("bot")
        .with_token(token("ya29.person", "01:00:00"))
        .with_service(Some(token("ya29.service", "02:00:00")))
}

/// What another machine hears of it.
fn told(snapshot: &AgentSnapshot) -> Document<'static> {
    let view = View::new(snapshot, midnight());
    Document::read(&json(&view.document(Some(PROJECT)))).unwrap()
}

fn state(snapshot: &AgentSnapshot) -> State {
    State::new(told(snapshot), midnight())
}

/// What the node's daemon writes for the agent.
fn written(snapshot: &AgentSnapshot) -> (String, Option<String>, String) {
    let view = View::new(snapshot, midnight());
    let token = view.token().map(|token| token.access_token.expose().to_owned());
    (view.env().to_string(), token, view.status_json())
}

fn files(shown: &Shown) -> (String, Option<String>, String) {
    let token = shown.access_token().map(str::to_owned);
    (shown.env().to_string(), token, shown.status_json())
}

#[test]
fn files_are_those_that_the_daemon_writes() {
    let acme = |token: Option<Arc<IssuedToken>>| CredentialView {
        profile: Arc::new(Profile {
            id: "acme".parse().unwrap(),
            env: EnvNames::oauth("ACME"),
            account_field: crate::provider::AccountField::Accounts("acme".parse().unwrap()),
            serves_google_libraries: false,
            ..google::account()
        }),
        account: Some("alice@acme.example".into()),
        granted: Arc::new(["google.drive.readonly".parse().unwrap()]),
        token,
        is_expected: true,
    };
    let with = |mut snapshot: AgentSnapshot, credentials: Vec<CredentialView>| {
        snapshot.credentials = credentials.into();
        snapshot
    };
    let person = || both().credentials[0].clone();
    let service = || both().credentials[1].clone();
    let none = |mut view: CredentialView| {
        (view.token, view.granted) = (None, Arc::default());
        view
    };
    let lost = |state| both().in_state(state);
    let end = "03:00:00";
    for (case, snapshot) in [
        ("a person's", with(both(), vec![person()])),
        ("a service account's", with(both(), vec![service()])),
        ("both", both()),
        (
            "the service account's of both",
            with(both(), vec![none(person()), service()]),
        ),
        (
            "the person's of both",
            with(both(), vec![person(), service_view(None)]),
        ),
        ("acme's", with(both(), vec![acme(Some(token("acme", end)))])),
        (
            "all three",
            with(both(), vec![person(), service(), acme(Some(token("acme", end)))]),
        ),
        (
            "acme's first",
            with(both(), vec![acme(Some(token("acme", end))), person()]),
        ),
        (
            "acme's without a token",
            with(both(), vec![none(acme(None)), person(), service()]),
        ),
        ("nobody's", lost(AgentState::NotConnected)),
        ("nobody's any more", lost(AgentState::Revoked)),
        ("an outage", lost(AgentState::ProviderUnavailable)),
        (
            "a token that no file can carry",
            snapshot("bot").with_token(token("a b", "01:00:00")),
        ),
    ] {
        let shown = state(&snapshot).show(at("00:00:00"), None);
        assert_eq!(files(&shown), written(&snapshot), "{case}");
    }
}

#[test]
fn what_lives_is_shown_as_the_broker_wrote_it() {
    let away = Trouble::passing("The broker is away.");
    for trouble in [None, Some(&away)] {
        let shown = state(&both()).show(at("00:30:00"), trouble);
        assert_eq!(files(&shown), written(&both()));
        assert_eq!(shown.access_token(), Some("ya29.person"));
        assert_eq!(shown.expires_at(), Some(at("01:00:00")));
    }
}

#[test]
fn a_token_that_expired_goes_and_the_other_stays() {
    let away = Trouble::passing("The broker is away.");
    let shown = state(&both()).show(at("01:00:00"), Some(&away));
    // As on the node, where the list tells what is left.
    assert_eq!(
        shown.env().as_str(),
        "GOOGLE_OAUTH_CAPABILITIES=google.sa\nGOOGLE_SA_ACCESS_TOKEN=ya29.service\n\
         GOOGLE_SA_TOKEN_EXPIRES_AT=2030-01-01T02:00:00Z\n\
         GOOGLE_SA_EMAIL=robot@project.iam.gserviceaccount.com\nTOKEN_BROKER_STATE=provider_unavailable\n"
    );
    assert_eq!(shown.access_token(), None, "it stays the person's");
    assert!(shown.token_json(at("01:00:00")).is_none());
    let status = shown.status_json();
    assert!(status.contains("The broker is away.") && status.contains("\"owner\": \"alice\""));
    assert_eq!(shown.expires_at(), Some(at("02:00:00")));
    assert!(shown.has_token(at("01:59:59")) && !shown.has_token(at("02:00:00")));
    let shown = state(&both()).show(at("02:00:00"), None);
    assert_eq!(shown.env().as_str(), "TOKEN_BROKER_STATE=provider_unavailable\n");
    assert!(shown.status_json().contains(EXPIRED));
    assert!(shown.expires_at().is_none() && shown.access_token().is_none());
}

#[test]
fn the_broker_is_asked_before_a_token_ends_and_when_it_does() {
    let state = state(&both());
    let look = |now: &str| state.next_look(at(now));
    assert_eq!(look("00:00:00"), Some(at("00:59:00")));
    assert_eq!(look("00:59:00"), Some(at("00:59:54")));
    assert_eq!(look("00:59:54"), Some(at("01:00:00")));
    // The other one's turn: what has ended is no reason to ask again and again.
    assert_eq!(look("01:00:00"), Some(at("01:59:00")));
    assert_eq!(look("02:00:00"), None);
    assert_eq!(state.without_tokens().next_look(at("00:00:00")), None);
}

#[test]
fn a_refusal_takes_what_lives() {
    let refused = Trouble::refused("The agent is for other pods.");
    for state in [state(&both()), state(&both()).without_tokens()] {
        let shown = state.show(at("00:00:00"), Some(&refused));
        assert_eq!(shown.env().as_str(), "TOKEN_BROKER_STATE=misconfigured\n");
        assert!(shown.token_json(at("00:00:00")).is_none());
        assert!(shown.metadata_json(at("00:00:00")).is_none());
    }
    // What a person could have mended before is not what is wrong now.
    let waiting = state(&snapshot("bot").in_state(AgentState::NotConnected));
    let url = "http://127.0.0.1:8420/fix/bot";
    let shows_url = |shown: Shown| shown.env().contains(url) || shown.status_json().contains(url);
    assert!(shows_url(waiting.show(at("00:00:00"), None)));
    assert!(!shows_url(waiting.show(at("00:00:00"), Some(&refused))));
}

#[test]
fn tokens_are_answered_as_the_broker_answers_them() {
    let shown = state(&both()).show(at("00:30:00"), None);
    let json = |bytes: Option<Zeroizing<Vec<u8>>>| serde_json::from_slice::<Value>(&bytes.unwrap()).unwrap();
    let scope = "https://scopes.example/a https://scopes.example/b";
    assert_eq!(
        json(shown.token_json(at("00:30:00"))),
        json!({ "access_token": "ya29.person", "token_type": "Bearer", "expires_in": 1800, "scope": scope,
                "expires_at": "2030-01-01T01:00:00Z",
                "capabilities": ["google.gmail.send", "google.calendar.readonly"] })
    );
    assert_eq!(
        json(shown.metadata_json(at("00:59:59"))),
        json!({ "access_token": "ya29.person", "token_type": "Bearer", "expires_in": 1, "scope": scope })
    );
    // Shown before it expired, asked after.
    assert!(shown.token_json(at("01:00:00")).is_none());
    let facts = shown.metadata_facts(at("00:30:00")).unwrap();
    assert_eq!((facts.agent, facts.project_id), ("bot", PROJECT));
    assert_eq!(facts.scopes.join(" "), scope);
    assert!(shown.metadata_facts(at("01:00:00")).unwrap().scopes.is_empty());
}

#[test]
fn googles_libraries_are_given_googles_tokens_alone() {
    let mut acme_first = both();
    let mut acme = acme_first.credentials[0].clone();
    acme.profile = Arc::new(Profile {
        serves_google_libraries: false,
        env: EnvNames::oauth("ACME"),
        id: "acme".parse().unwrap(),
        ..google::account()
    });
    acme.token = Some(token("acme", "01:00:00"));
    let token_of = |snapshot: &AgentSnapshot| {
        let shown = state(snapshot).show(at("00:00:00"), None);
        let token = shown.metadata_json(at("00:00:00"));
        token.map(|token| serde_json::from_slice::<Value>(&token).unwrap()["access_token"].clone())
    };
    acme_first.credentials = Box::new([acme.clone(), acme_first.credentials[0].clone()]);
    assert_eq!(token_of(&acme_first), Some(json!("ya29.person")));
    acme_first.credentials = Box::new([acme]);
    assert_eq!(token_of(&acme_first), None);
}

#[test]
fn what_was_never_there_is_told_with_its_reason() {
    let away = Trouble::passing("The broker is away.");
    for agent in [None, Some(name("bot"))] {
        let shown = State::of_agent(agent.as_ref()).show(at("00:00:00"), Some(&away));
        assert_eq!(shown.env().as_str(), "TOKEN_BROKER_STATE=provider_unavailable\n");
        let status: Value = serde_json::from_str(&shown.status_json()).unwrap();
        let agent = agent.map_or_else(String::new, |agent| agent.to_string());
        assert_eq!(
            status,
            json!({ "agent": agent, "owner": "", "state": "provider_unavailable", "message": "The broker is away.",
                    "action_url": null, "account": null, "capabilities": [] })
        );
    }
}

#[test]
fn the_ends_of_tokens_follow_this_machines_clock_when_it_is_set() {
    let mut state = state(&both());
    let (before, ..) = written(&both());
    let after = |uptime: &str, set: i64| Moment {
        uptime: at(uptime),
        wall: midnight().wall_at(at(uptime)) + SignedDuration::from_secs(set),
    };
    state.clock_shows(after("00:10:00", 2));
    assert_eq!(
        state.show(at("00:10:00"), None).env().as_str(),
        before,
        "NTP's steering"
    );
    for _ in 0..2 {
        state.clock_shows(after("00:10:00", -5400));
        let shown = state.show(at("00:10:00"), None);
        let set = before
            .replace("01T01:00", "31T23:30")
            .replace("2030-01-31", "2029-12-31");
        assert_eq!(shown.env().as_str(), set.replace("01T02:00", "01T00:30"));
        assert_eq!(shown.expires_at(), Some(at("01:00:00")), "no other end");
    }
}

#[test]
fn a_view_that_is_told_on_says_how_long_tokens_live_by_then() {
    let shown = state(&both()).show(at("00:30:00"), None);
    let view: Document<'static> = serde_json::from_slice(&shown.view_json(at("00:30:00"))).unwrap();
    let left: Vec<u64> = view.tokens().map(|token| token.expires_in).collect();
    assert_eq!(left, [1800, 5400]);
    assert_eq!(view.env(), shown.env());
}
