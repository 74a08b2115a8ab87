//! A person connects an account, adds a permission, or does not.

use futures_util::FutureExt;
use token_broker::{
    broker::{AgentState, ConnectError, ConnectTarget, EventKind},
    capability::ScopeSet,
    store::Store,
};

use crate::support::*;

pub(crate) fn refusal<T>(ending: Result<T, ConnectError>) -> ConnectError {
    match ending {
        Ok(_) => panic!("it was not refused"),
        Err(error) => error,
    }
}

#[tokio::test]
async fn a_consent_connects_the_account_and_every_agent_of_its_owner() {
    let scene = Scene::new().await;
    let bot = scene.put("bot", "alice", &[SEND]).await;
    assert_eq!(state(&bot), AgentState::NotConnected);
    assert_eq!(
        bot.snapshot().action_url.as_deref(),
        Some("https://broker.example/agents/bot")
    );
    let mut events = scene.broker.events();

    let (target, capabilities) = (ConnectTarget::Owner(owner("alice")), [SEND.to_owned()]);
    let started =
        scene
            .broker
            .connect
            .begin_connect(&target, &capabilities, Some("https://app.example/done?x=1"));
    let started = started.await.unwrap();
    assert_eq!(scene.google.begun().granted, None);
    let redirect = scene.decided(&started, &[SEND], Person::named(ALICE));
    let connected = scene.complete(&redirect).await.unwrap();
    scene.idle().await;

    assert_eq!((connected.owner, connected.missing.len()), (owner("alice"), 0));
    assert_eq!(
        connected.return_url.as_deref(),
        Some("https://app.example/done?x=1")
    );
    let view = scene.account("alice");
    assert_eq!(
        (view.record.account.as_str(), view.record.subject.as_str()),
        (ALICE, "sub-of-alice@example.com")
    );
    assert_eq!(state(&bot), AgentState::Active);
    assert_eq!(scene.disk.token("bot"), token(&bot));
    let mut kinds = Vec::new();
    while let Ok(event) = events.try_recv() {
        kinds.push(event.kind);
    }
    assert!(
        kinds.contains(&EventKind::IntegrationConnected) && kinds.contains(&EventKind::AgentState),
        "{kinds:?}"
    );
    assert!(!scene.files_contain(CANARY), "a secret is in a file in the clear");
}

#[tokio::test]
async fn what_was_granted_is_recorded_not_what_was_asked_for() {
    let scene = Scene::new().await;
    let all = scene.put("all", "alice", &[SEND, CALENDAR]).await;
    let some = scene.put("some", "alice", &[SEND, "google.calendar?"]).await;
    let person = Person::named(ALICE).ticking(scopes(&[SEND]));
    let connected = scene.consent("alice", &[SEND, CALENDAR], person).await.unwrap();
    scene.idle().await;

    assert_eq!(
        connected
            .missing
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>(),
        [CALENDAR]
    );
    assert_eq!(scene.account("alice").record.scopes, scopes(&[SEND]));
    let snapshot = all.snapshot();
    assert_eq!(
        (snapshot.state, token(&all)),
        (AgentState::PermissionMissing, None)
    );
    assert!(
        snapshot.message.contains(CALENDAR) && !snapshot.message.contains(SEND),
        "{}",
        snapshot.message
    );
    assert_eq!(
        snapshot.action_url.as_deref(),
        Some("https://broker.example/agents/all")
    );
    let granted: Vec<_> = snapshot
        .capabilities
        .iter()
        .map(|c| (c.key.to_string(), c.granted))
        .collect();
    assert_eq!(granted, [(SEND.to_owned(), true), (CALENDAR.to_owned(), false)]);

    let snapshot = some.snapshot();
    assert_eq!(snapshot.state, AgentState::Active);
    assert_eq!(
        snapshot
            .main()
            .granted
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>(),
        [SEND]
    );
    assert_eq!(scene.google.asked().last().unwrap().scopes, scopes(&[SEND]));
    // What was recorded is what the next daemon knows.
    let scene = scene.restart().await;
    assert_eq!(state(&scene.handle("all")), AgentState::PermissionMissing);
}

#[tokio::test]
async fn adding_a_permission_keeps_what_was_granted_and_interrupts_nobody() {
    let (scene, bot) = Scene::of_alice().await;
    let planner = scene.put("planner", "alice", &[SEND, CALENDAR]).await;
    let before = token(&bot).unwrap();
    assert_eq!(state(&planner), AgentState::PermissionMissing);

    scene.google.hold(ALICE);
    let id = scene.connect("alice", &[CALENDAR]).await;
    let begun = scene.google.begun();
    assert_eq!(begun.granted, Some(scopes(&[SEND])));
    assert_eq!(begun.login_hint.as_deref(), Some(ALICE));
    assert_eq!(begun.scopes, scopes(&[CALENDAR]));
    scene.idle().await;
    assert_eq!(state(&bot), AgentState::Active);
    assert_eq!(
        scene.disk.token("bot").as_deref(),
        Some(&*before),
        "the agent lost its token over it"
    );

    scene.google.let_go(ALICE);
    scene.idle().await;
    assert_eq!(scene.account("alice").record.id, id);
    assert_eq!(scene.account("alice").record.scopes, scopes(&[SEND, CALENDAR]));
    assert_eq!(
        (state(&bot), state(&planner)),
        (AgentState::Active, AgentState::Active)
    );
    // The new grant's own token is obtained, so that nothing depends on the old one.
    assert_ne!(token(&bot).unwrap(), before);
    assert!(scene.store.load().await.unwrap().tokens.len() == 2);
}

#[tokio::test]
async fn a_consent_without_a_refresh_token_is_an_error_and_keeps_nothing() {
    let scene = Scene::new().await;
    let bot = scene.put("bot", "alice", &[SEND]).await;
    let person = Person {
        lasting: false,
        ..Person::named(ALICE)
    };
    let error = refusal(scene.consent("alice", &[SEND], person).await);
    assert!(matches!(error, ConnectError::NoRefreshToken(_)));
    assert!(
        error.to_string().contains("myaccount.google.com/connections"),
        "{error}"
    );
    scene.idle().await;
    assert!(scene.broker.accounts.accounts(None).is_empty());
    assert!(scene.store.load().await.unwrap().integrations.is_empty());
    assert_eq!(state(&bot), AgentState::NotConnected);
}

#[tokio::test]
async fn on_a_connected_account_it_changes_nothing_either() {
    let (scene, bot) = Scene::of_alice().await;
    let before = (token(&bot), scene.account("alice").record.version);
    let person = Person {
        lasting: false,
        ..Person::named(ALICE)
    };
    refusal(scene.consent("alice", &[CALENDAR], person).await);
    scene.idle().await;
    assert_eq!((token(&bot), scene.account("alice").record.version), before);
}

#[tokio::test]
async fn another_google_account_is_refused_with_both_addresses() {
    let (scene, bot) = Scene::of_alice().await;
    let before = (token(&bot), scene.account("alice").record.version);
    let error = refusal(
        scene
            .consent("alice", &[SEND], Person::named("mallory@example.net"))
            .await,
    )
    .to_string();
    assert!(
        error.contains(ALICE) && error.contains("mallory@example.net"),
        "{error}"
    );
    scene.idle().await;
    assert_eq!((token(&bot), scene.account("alice").record.version), before);
    assert_eq!(scene.account("alice").record.account, ALICE);
    assert_eq!(scene.broker.accounts.account_count(), 1);
}

#[tokio::test]
async fn nothing_ticked_is_an_error() {
    let scene = Scene::new().await;
    let person = Person::named(ALICE).ticking(ScopeSet::parse("openid email").unwrap());
    let error = refusal(scene.consent("alice", &[SEND], person).await);
    assert!(matches!(error, ConnectError::NothingGranted(_)), "{error}");
    assert!(scene.broker.accounts.accounts(None).is_empty());
}

#[tokio::test]
async fn a_person_who_says_no_changes_nothing() {
    let (scene, bot) = Scene::of_alice().await;
    let started = scene.begin("alice", &[CALENDAR]);
    let redirect = format!(
        "{}&error=access_denied",
        started.authorization_url.query().unwrap()
    );
    let error = refusal(scene.complete(&redirect).await);
    assert!(
        matches!(&error, ConnectError::Denied(who, _) if *who == owner("alice")),
        "{error}"
    );
    assert_eq!(state(&bot), AgentState::Active);
    let waited = refusal(scene.broker.connect.wait_connect(&started.connect_id).await);
    assert!(matches!(waited, ConnectError::Denied(..)));
}

#[tokio::test]
async fn another_refusal_on_the_redirect_says_who_can_act() {
    let scene = Scene::new().await;
    let started = scene.begin("alice", &[SEND]);
    let redirect = format!(
        "{}&error=redirect_uri_mismatch",
        started.authorization_url.query().unwrap()
    );
    let error = refusal(scene.complete(&redirect).await).to_string();
    assert!(error.contains("/oauth/callback"), "{error}");
}

#[tokio::test]
async fn a_consent_that_cannot_be_stored_changes_nothing() {
    let (scene, bot) = Scene::of_alice().await;
    let before = token(&bot);
    scene.store.fail(Part::Put);
    let error = refusal(scene.consent("alice", &[CALENDAR], Person::named(ALICE)).await).to_string();
    assert!(error.contains("disk is full"), "{error}");
    scene.idle().await;
    assert_eq!((token(&bot), state(&bot)), (before, AgentState::Active));
    assert_eq!(scene.account("alice").record.scopes, scopes(&[SEND]));
}

#[tokio::test]
async fn what_nobody_can_consent_to_is_refused_with_a_hint() {
    let scene = Scene::new().await;
    let begin = |names: &[&str], url: Option<&str>| {
        let names: Vec<_> = names.iter().map(ToString::to_string).collect();
        let target = ConnectTarget::Owner(owner("alice"));
        let begun = scene.broker.connect.begin_connect(&target, &names, url);
        refusal(begun.now_or_never().unwrap()).to_string()
    };
    assert!(begin(&["google.gmail.sned"], None).contains("did you mean `google.gmail.send`?"));
    assert!(begin(&[], None).contains("at least one capability"));
    assert!(begin(&["google.sa"], None).contains("service account"));
    for elsewhere in [
        "https://evil.example/",
        "javascript:alert(1)",
        "https://app.example.evil.example/",
        "nonsense",
    ] {
        assert!(
            begin(&[SEND], Some(elsewhere)).contains("not allowed"),
            "{elsewhere}"
        );
    }
}
