//! Failures, by who can act.

use token_broker::{
    broker::{AccountRef, AgentState, EventKind, ProblemCode},
    provider::Remedy,
    store::{Health, Store},
};

use crate::support::*;

const DAY: u64 = 24 * HOUR;

async fn with_fault(fault: Fault) -> (Scene, std::sync::Arc<token_broker::broker::AgentHandle>) {
    let scene = Scene::new().await;
    scene.connect("alice", &[SEND]).await;
    scene.google.fail(ALICE, fault);
    let bot = scene.put("bot", "alice", &[SEND]).await;
    scene.idle().await;
    (scene, bot)
}

#[tokio::test]
async fn each_kind_of_failure_leads_to_its_own_state() {
    let url = Some("https://broker.example/agents/bot");
    for (kind, code, expected, action_url) in [
        (Remedy::Retry, "http_503", AgentState::ProviderUnavailable, None),
        (
            Remedy::Reconnect,
            "invalid_grant",
            AgentState::ReconnectRequired,
            url,
        ),
        (
            Remedy::Operator,
            "invalid_client",
            AgentState::Misconfigured,
            None,
        ),
        (
            Remedy::Permission,
            "invalid_scope",
            AgentState::PermissionMissing,
            url,
        ),
    ] {
        let (scene, bot) = with_fault(Fault::new(kind, code)).await;
        let snapshot = bot.snapshot();
        assert_eq!(snapshot.state, expected, "{code}");
        assert!(snapshot.message.contains(code), "{}", snapshot.message);
        assert_eq!(snapshot.action_url.as_deref(), action_url, "{code}");
        let problem = scene.ask(&bot).await.unwrap_err();
        assert_eq!(problem.code, ProblemCode::State(expected), "{code}");
        assert!(problem.message.contains(code), "{problem}");
        assert_eq!(problem.action_url.as_deref(), action_url, "{code}");
        let view = scene.account("alice");
        assert_eq!(view.state(), expected, "{code}");
        assert!(view.message().contains(code), "{}", view.message());
    }
}

#[tokio::test]
async fn a_dead_grant_takes_its_tokens_from_everywhere_at_once() {
    let scene = Scene::new().await;
    scene.connect("alice", &[SEND, CALENDAR]).await;
    let sender = scene.put("sender", "alice", &[SEND]).await;
    let planner = scene.put("planner", "alice", &[CALENDAR]).await;
    scene.idle().await;
    let mut seen = sender.snapshot();
    let mut events = scene.broker.events();
    scene.google.fail(ALICE, Fault::invalid_grant());
    scene.next_renewal().await;

    // One renewal of one scope set finds out; both lose their tokens, though both would have lived on.
    for bot in [&sender, &planner] {
        assert_eq!(state(bot), AgentState::ReconnectRequired);
        assert_eq!(token(bot), None);
        assert!(scene.broker.issuer.current(bot).is_none());
        assert_eq!(scene.disk.token(bot.name().as_str()), None);
        assert!(bot.snapshot().action_url.is_some());
        let problem = scene.ask(bot).await.unwrap_err();
        assert_eq!(problem.code.as_str(), "reconnect_required");
    }
    seen = sender.next_snapshot(&seen).await.expect("the stream sees it");
    assert!(seen.main().token.is_none());
    let mut kinds = Vec::new();
    while let Ok(event) = events.try_recv() {
        kinds.push(event.kind);
    }
    assert!(kinds.contains(&EventKind::IntegrationState), "{kinds:?}");
    assert!(matches!(
        scene.account("alice").record.health,
        Health::ReconnectRequired(_)
    ));

    // The grant is not tried again, neither by the queue nor by whoever asks, nor after a restart.
    let requests = scene.google.requests();
    scene.pass_in_steps(2 * HOUR, MINUTE).await;
    let said = scene.handle("sender").snapshot().message.clone();
    let scene = scene.restart().await;
    let bot = scene.handle("sender");
    assert_eq!(state(&bot), AgentState::ReconnectRequired);
    assert_eq!(bot.snapshot().message, said, "what is kept says the same");
    assert!(said.ends_with("(HTTP 400, invalid_grant)"), "{said}");
    assert_eq!(token(&bot), None);
    assert!(scene.ask(&bot).await.is_err());
    scene.pass(HOUR).await;
    assert_eq!(scene.google.requests(), requests);
}

#[tokio::test]
async fn a_dead_grants_living_tokens_are_not_served_by_the_next_daemon_either() {
    let scene = Scene::new().await;
    scene.connect("alice", &[SEND, CALENDAR]).await;
    scene.put("sender", "alice", &[SEND]).await;
    scene.idle().await;
    scene.google.fail(ALICE, Fault::invalid_grant());
    scene.put("planner", "alice", &[CALENDAR]).await;
    scene.idle().await;
    let scene = scene.after_power_cut().await;
    scene.idle().await;
    let sender = scene.handle("sender");
    assert_eq!(token(&sender), None);
    assert_eq!(state(&sender), AgentState::ReconnectRequired);
}

#[tokio::test]
async fn connecting_again_heals_without_a_restart() {
    let (scene, bot) = with_fault(Fault::invalid_grant()).await;
    assert_eq!(state(&bot), AgentState::ReconnectRequired);
    let id = scene.account("alice").record.id;
    scene.google.heal(ALICE);

    let again = scene.connect("alice", &[SEND]).await;
    scene.idle().await;
    assert_eq!(again, id, "the account keeps its id");
    assert_eq!(state(&bot), AgentState::Active);
    assert_eq!(bot.snapshot().message, "");
    assert_eq!(scene.disk.token("bot"), token(&bot));
    assert_eq!(scene.account("alice").state(), AgentState::Active);
}

#[tokio::test]
async fn a_grant_that_died_after_seven_days_gets_the_sentence_about_testing_mode() {
    for (days, hinted) in [(3, false), (7, true), (30, false)] {
        let (scene, bot) = Scene::of_alice().await;
        scene.clock.advance(secs(days * DAY + 5 * MINUTE));
        scene.google.fail(ALICE, Fault::invalid_grant());
        scene.idle().await;
        let message = bot.snapshot().message.clone();
        assert_eq!(state(&bot), AgentState::ReconnectRequired);
        assert_eq!(message.contains("Testing mode"), hinted, "{days} days: {message}");
    }
}

#[tokio::test]
async fn a_passing_failure_heals_by_itself_whoever_had_to_act() {
    for kind in [Remedy::Retry, Remedy::Operator, Remedy::Permission] {
        let (scene, bot) = with_fault(Fault::new(kind, "odd")).await;
        assert_ne!(state(&bot), AgentState::Active);
        scene.google.heal(ALICE);
        scene.pass(5 * MINUTE).await;
        assert_eq!(state(&bot), AgentState::Active, "{kind:?}");
        assert_eq!(scene.account("alice").state(), AgentState::Active);
    }
}

#[tokio::test]
async fn what_the_token_carries_is_the_truth() {
    let scene = Scene::new().await;
    scene.connect("alice", &[SEND, CALENDAR]).await;
    scene.google.carry_only(scopes(&[CALENDAR]));
    let strict = scene.put("strict", "alice", &[SEND, CALENDAR]).await;
    let easy = scene
        .put("easy", "alice", &["google.gmail.send?", CALENDAR])
        .await;
    scene.idle().await;

    assert_eq!(state(&strict), AgentState::PermissionMissing);
    assert_eq!((token(&strict), scene.disk.token("strict")), (None, None));
    assert!(
        strict.snapshot().message.contains(SEND),
        "{}",
        strict.snapshot().message
    );
    assert_eq!(
        scene.ask(&strict).await.unwrap_err().code.as_str(),
        "permission_missing"
    );

    assert_eq!(state(&easy), AgentState::Active);
    let granted: Vec<_> = easy
        .snapshot()
        .main()
        .granted
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(granted, [CALENDAR]);
    let grant = scene
        .broker
        .issuer
        .token(&easy, &query(&[], 0))
        .await
        .map_err(|p| p.to_string())
        .unwrap();
    assert_eq!(grant.capabilities.len(), 1);
}

#[tokio::test]
async fn checking_an_account_asks_google_now_and_tells_what_it_says() {
    let (scene, bot) = Scene::of_alice().await;
    let which = AccountRef::Id(scene.account("alice").record.id);
    let view = scene.broker.account_checks.check_account(&which).await.unwrap();
    assert_eq!((view.state(), scene.google.requests()), (AgentState::Active, 2));
    scene.google.fail(ALICE, Fault::invalid_grant());
    let view = scene.broker.account_checks.check_account(&which).await.unwrap();
    assert_eq!(view.state(), AgentState::ReconnectRequired);
    assert_eq!(scene.disk.token("bot"), None);
    assert_eq!(state(&bot), AgentState::ReconnectRequired);
    // It is known to be dead: no need to ask again.
    scene.broker.account_checks.check_account(&which).await.unwrap();
    assert_eq!(scene.google.requests(), 3);
}

#[tokio::test]
async fn a_flipped_byte_in_one_row_is_that_accounts_trouble_alone() {
    let scene = Scene::new().await;
    for owner in ["alice", "carol"] {
        scene.connect(owner, &[SEND]).await;
        scene.put(&format!("bot-of-{owner}"), owner, &[SEND]).await;
    }
    scene.idle().await;
    let mut record = scene
        .store
        .integration(&scene.account("alice").record.id)
        .await
        .unwrap()
        .unwrap();
    let mut bytes = record.secret.as_bytes().to_vec();
    *bytes.last_mut().unwrap() ^= 1;
    record.secret = token_broker::vault::Sealed::from_bytes(bytes);
    let version = record.version;
    scene
        .store
        .put_integration(record, Some(version), Vec::new())
        .await
        .unwrap();
    let requests = scene.google.asked_for(ALICE).len();

    let scene = scene.restart().await;
    scene.pass(51 * MINUTE).await;
    let broken = scene.handle("bot-of-alice").snapshot();
    assert_eq!(broken.state, AgentState::Misconfigured);
    assert!(
        broken.message.contains(ALICE) && broken.message.contains("altered"),
        "{}",
        broken.message
    );
    assert_eq!(
        scene.google.asked_for(ALICE).len(),
        requests,
        "something was sent"
    );
    assert_eq!(scene.account("alice").state(), AgentState::Misconfigured);
    assert_eq!(state(&scene.handle("bot-of-carol")), AgentState::Active);
    // Nothing was sent, so no crash can have cost anything.
    assert_eq!(
        scene
            .store
            .load()
            .await
            .unwrap()
            .integrations
            .iter()
            .filter(|r| r.renewal.is_some())
            .count(),
        0
    );

    scene.connect("alice", &[SEND]).await;
    scene.idle().await;
    assert_eq!(state(&scene.handle("bot-of-alice")), AgentState::Active);
}

#[tokio::test]
async fn a_row_that_vanished_from_the_database_does_not_spin() {
    let (scene, bot) = Scene::of_alice().await;
    scene
        .store
        .delete_integration(&scene.account("alice").record.id, Vec::new())
        .await
        .unwrap();
    scene.pass(51 * MINUTE).await;
    let (_, before) = scene.store.activity();
    scene.idle().await;
    assert_eq!(scene.store.activity().1, before);
    assert_eq!(scene.google.requests(), 1);
    assert!(
        scene
            .broker
            .next_renewal()
            .is_some_and(|due| due > scene.uptime())
    );
    assert!(token(&bot).is_some());
}
