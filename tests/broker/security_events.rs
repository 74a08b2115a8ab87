//! What Google announces about an account, and what follows from it for the agents.

use jiff::Timestamp;
use token_broker::{
    broker::{AccountRef, AgentState, Announced, EventKind, Revocation},
    risc::{EventType, SecurityEvent, SecurityEvents, Subject, TokenIdentifier},
    store::{Health, IntegrationRecord, Store},
};

use crate::support::*;

fn about(subject: Subject, kind: EventType, id: &str, at: Timestamp) -> SecurityEvents {
    SecurityEvents {
        id: id.to_owned(),
        issued_at: at,
        events: vec![SecurityEvent {
            kind,
            subject,
            words: String::new(),
        }],
    }
}

/// An event about the Google account `email`, of now.
fn of(scene: &Scene, email: &str, kind: EventType) -> SecurityEvents {
    let id = format!("{}-{}", kind.as_str(), scene.now());
    about(
        Subject::Account(format!("sub-of-{email}")),
        kind,
        &id,
        scene.now(),
    )
}

async fn announce(scene: &Scene, events: SecurityEvents) -> Announced {
    let done = scene.broker.security_events.handle(events).await.unwrap();
    scene.idle().await;
    done
}

fn which(name: &str) -> AccountRef {
    AccountRef::Owner {
        owner: owner(name),
        account: None,
    }
}

/// What the database holds of Alice: her grant's health, whether it has a refresh token, and its access tokens.
async fn kept(scene: &Scene) -> (Health, usize) {
    let contents = scene.store.load().await.unwrap();
    let alices = |record: &&IntegrationRecord| record.account == ALICE;
    let record = contents.integrations.iter().find(alices).unwrap();
    (record.health.clone(), contents.tokens.len())
}

#[tokio::test]
async fn withdrawn_access_leaves_every_place_and_is_no_longer_asked_for() {
    let (scene, bot) = Scene::of_alice().await;
    let old = token(&bot).unwrap();
    scene.connect("bob", &[SEND]).await;
    let other = scene.put("other", "bob", &[SEND]).await;
    scene.idle().await;
    let mut events = scene.broker.events();
    let requests = scene.google.requests();
    let mut seen = bot.snapshot();

    let events_of_alice = of(&scene, ALICE, EventType::TokensRevoked);
    assert_eq!(announce(&scene, events_of_alice).await, Announced::New);

    assert_eq!(state(&bot), AgentState::Revoked);
    assert_eq!((token(&bot), scene.disk.token("bot")), (None, None));
    assert!(scene.broker.issuer.current(&bot).is_none());
    seen = bot.next_snapshot(&seen).await.expect("the stream sees it");
    assert!(
        seen.main().token.is_none() && seen.message.contains("withdrawn at Google"),
        "{}",
        seen.message
    );
    assert!(seen.action_url.is_some());
    assert_eq!(scene.ask(&bot).await.unwrap_err().code.as_str(), "revoked");
    let told = std::iter::from_fn(|| events.try_recv().ok())
        .find(|event| event.kind == EventKind::IntegrationState)
        .expect("whoever watches is told");
    assert_eq!(told.state, Some(AgentState::Revoked));
    assert_eq!(state(&other), AgentState::Active, "bob's is untouched");

    // Neither the tokens nor the grant are kept, and nobody asks Google any more.
    let (health, tokens) = kept(&scene).await;
    assert!(matches!(health, Health::Revoked(_)));
    assert_eq!(tokens, 1, "bob's alone");
    assert!(!scene.files_contain(&old));
    scene.pass_in_steps(HOUR / 2, MINUTE).await;
    assert_eq!(scene.google.requests(), requests);
    let trail = scene.audited("integration.security_event").await;
    assert_eq!(
        trail,
        ["provider allowed: tokens-revoked: its tokens were withdrawn and the grant was deleted"]
    );
    let scene = scene.restart().await;
    scene.idle().await;
    let bot = scene.handle("bot");
    assert_eq!((state(&bot), token(&bot)), (AgentState::Revoked, None));

    // A new consent heals it.
    scene.google.habits().lifetime = secs(HOUR);
    scene.connect("alice", &[SEND]).await;
    scene.idle().await;
    assert_eq!(state(&bot), AgentState::Active);
}

#[tokio::test]
async fn an_event_is_acted_on_once_also_across_a_restart() {
    let (scene, _bot) = Scene::of_alice().await;
    let event = of(&scene, ALICE, EventType::AccountDisabled);
    assert_eq!(announce(&scene, event.clone()).await, Announced::New);
    scene.pass(1).await;
    announce(&scene, of(&scene, ALICE, EventType::AccountEnabled)).await;
    assert_eq!(state(&scene.handle("bot")), AgentState::Active);

    assert_eq!(announce(&scene, event.clone()).await, Announced::Repeated);
    let scene = scene.restart().await;
    scene.idle().await;
    assert_eq!(announce(&scene, event.clone()).await, Announced::Repeated);
    assert_eq!(state(&scene.handle("bot")), AgentState::Active);
    // The same event twice at once.
    scene.pass(1).await;
    let event = of(&scene, ALICE, EventType::SessionsRevoked);
    let (one, two) = tokio::join!(
        scene.broker.security_events.handle(event.clone()),
        scene.broker.security_events.handle(event)
    );
    assert_ne!(one.unwrap(), two.unwrap());
}

#[tokio::test]
async fn a_disabled_account_comes_back_when_google_enables_it() {
    let (scene, bot) = Scene::of_alice().await;
    let old = token(&bot).unwrap();
    let mut event = of(&scene, ALICE, EventType::AccountDisabled);
    event.events[0].words = "hijacking".to_owned();
    announce(&scene, event).await;
    assert_eq!((state(&bot), token(&bot)), (AgentState::Revoked, None));
    assert!(
        bot.snapshot().message.contains("(hijacking)"),
        "{}",
        bot.snapshot().message
    );
    assert!(matches!(kept(&scene).await, (Health::Disabled(_), 0)));
    assert_eq!(scene.google.living(ALICE).len(), 1, "nothing was revoked");

    let scene = scene.restart().await;
    scene.idle().await;
    let bot = scene.handle("bot");
    assert_eq!((state(&bot), token(&bot)), (AgentState::Revoked, None));
    assert!(scene.ask(&bot).await.is_err());
    scene.pass_in_steps(HOUR / 2, MINUTE).await;
    assert_eq!(scene.google.requests(), 1, "it is not tried meanwhile");

    announce(&scene, of(&scene, ALICE, EventType::AccountEnabled)).await;
    assert_eq!(state(&bot), AgentState::Active);
    assert_ne!(token(&bot).unwrap(), old);
    assert_eq!(kept(&scene).await, (Health::Active, 1));
}

#[tokio::test]
async fn an_enabled_account_whose_grant_is_dead_has_to_be_connected_again() {
    let (scene, bot) = Scene::of_alice().await;
    announce(&scene, of(&scene, ALICE, EventType::AccountDisabled)).await;
    scene.google.fail(ALICE, Fault::invalid_grant());
    scene.pass(1).await;
    announce(&scene, of(&scene, ALICE, EventType::AccountEnabled)).await;
    assert_eq!((state(&bot), token(&bot)), (AgentState::ReconnectRequired, None));
    assert!(matches!(kept(&scene).await, (Health::ReconnectRequired(_), 0)));
    // Another such event changes nothing.
    let requests = scene.google.requests();
    scene.pass(1).await;
    announce(&scene, of(&scene, ALICE, EventType::AccountEnabled)).await;
    assert_eq!(scene.google.requests(), requests);
}

#[tokio::test]
async fn a_check_asks_for_a_disabled_account_too() {
    let (scene, bot) = Scene::of_alice().await;
    announce(&scene, of(&scene, ALICE, EventType::AccountDisabled)).await;
    // Google's word that it was enabled again was lost.
    let view = scene
        .broker
        .account_checks
        .check_account(&which("alice"))
        .await
        .unwrap();
    assert_eq!(view.state(), AgentState::Active, "{}", view.message());
    scene.idle().await;
    assert_eq!(state(&bot), AgentState::Active);
}

#[tokio::test]
async fn a_single_token_is_found_by_its_beginning_and_by_its_hash() {
    for by_hash in [false, true] {
        let (scene, bot) = Scene::of_alice().await;
        scene.connect("bob", &[SEND]).await;
        let other = scene.put("other", "bob", &[SEND]).await;
        scene.idle().await;
        let refresh_token = scene.google.living(ALICE).pop().unwrap();
        let identifier = if by_hash {
            TokenIdentifier::DoubleHash(double_hash(&refresh_token))
        } else {
            // As long as Google's: the scene's tokens differ only behind that.
            TokenIdentifier::Prefix(refresh_token[..16].to_owned())
        };
        if !by_hash {
            let bobs = scene.google.living("bob@example.com").pop().unwrap();
            assert_ne!(bobs[..16], refresh_token[..16], "the scene tells them apart");
        }
        let event = about(
            Subject::Token(identifier),
            EventType::TokenRevoked,
            "one",
            scene.now(),
        );
        announce(&scene, event).await;
        assert_eq!((state(&bot), token(&bot)), (AgentState::ReconnectRequired, None));
        assert_eq!(state(&other), AgentState::Active);
        assert!(matches!(kept(&scene).await.0, Health::ReconnectRequired(_)));
        assert!(scene.account("alice").message().contains("revoked the grant"));
    }
}

fn double_hash(token: &str) -> String {
    use aws_lc_rs::digest::{SHA512, digest};
    use base64::{Engine, prelude::BASE64_STANDARD};
    BASE64_STANDARD.encode(digest(&SHA512, digest(&SHA512, token.as_bytes()).as_ref()))
}

#[tokio::test]
async fn ended_sessions_cost_the_tokens_and_not_the_grant() {
    let (scene, bot) = Scene::of_alice().await;
    let old = token(&bot).unwrap();
    scene.google.hold(ALICE);
    announce(&scene, of(&scene, ALICE, EventType::SessionsRevoked)).await;
    // Gone before Google answers, and not back after a crash.
    assert_eq!((token(&bot), scene.disk.token("bot")), (None, None));
    assert_eq!(kept(&scene).await, (Health::Active, 0));
    scene.google.let_go(ALICE);
    scene.idle().await;
    assert_eq!(state(&bot), AgentState::Active);
    assert_ne!(token(&bot).unwrap(), old);
    assert_eq!(
        scene.google.requests(),
        2,
        "one request for the renewal and the check"
    );
}

#[tokio::test]
async fn a_password_change_makes_the_broker_ask() {
    let (scene, bot) = Scene::of_alice().await;
    announce(&scene, of(&scene, ALICE, EventType::CredentialChangeRequired)).await;
    assert_eq!((state(&bot), scene.google.requests()), (AgentState::Active, 2));
    scene.google.fail(ALICE, Fault::invalid_grant());
    scene.pass(1).await;
    announce(&scene, of(&scene, ALICE, EventType::CredentialChangeRequired)).await;
    assert_eq!((state(&bot), token(&bot)), (AgentState::ReconnectRequired, None));
}

#[tokio::test]
async fn what_concerns_nobody_is_noted_and_changes_nothing() {
    let (scene, bot) = Scene::of_alice().await;
    for (kind, email) in [
        (EventType::TokensRevoked, "mallory@example.com"),
        (EventType::Verification, ALICE),
        (EventType::Other, ALICE),
        (EventType::AccountEnabled, ALICE),
        (EventType::TokenRevoked, "mallory@example.com"),
    ] {
        assert_eq!(announce(&scene, of(&scene, email, kind)).await, Announced::New);
    }
    for subject in [
        Subject::Unknown,
        Subject::Token(TokenIdentifier::Prefix("1//0nobodys-toke".to_owned())),
        Subject::Token(TokenIdentifier::Prefix(String::new())),
    ] {
        let id = format!("odd-{}", scene.audit().await.len());
        announce(&scene, about(subject, EventType::TokenRevoked, &id, scene.now())).await;
    }
    assert_eq!((state(&bot), scene.google.requests()), (AgentState::Active, 1));
    let trail = scene.audited("integration.security_event").await;
    assert_eq!(trail.len(), 8);
    assert_eq!(
        trail[0],
        "provider allowed: tokens-revoked: no connected account is concerned"
    );
    assert!(trail[1].contains("verification"), "{}", trail[1]);
}

#[tokio::test]
async fn an_event_from_before_the_connection_does_not_end_the_new_grant() {
    let (scene, bot) = Scene::of_alice().await;
    let mut event = of(&scene, ALICE, EventType::TokensRevoked);
    event.issued_at = scene.now() - jiff::SignedDuration::from_secs(60);
    announce(&scene, event).await;
    assert_eq!(state(&bot), AgentState::Active);
    assert_eq!(scene.google.requests(), 2, "Google was asked instead");
    // And where it was about this grant all the same, asking tells.
    scene.google.fail(ALICE, Fault::invalid_grant());
    let mut event = of(&scene, ALICE, EventType::TokenRevoked);
    event.events[0].kind = EventType::TokensRevoked;
    event.issued_at = scene.now() - jiff::SignedDuration::from_secs(1);
    announce(&scene, event).await;
    assert_eq!((state(&bot), token(&bot)), (AgentState::ReconnectRequired, None));
}

#[tokio::test]
async fn an_event_and_a_connection_are_compared_on_one_clock() {
    for ahead in [600, -600].map(jiff::SignedDuration::from_secs) {
        let scene = Scene::new().await;
        scene.google.habits().date = Some(ahead);
        scene.connect("alice", &[SEND]).await;
        let bot = scene.put("bot", "alice", &[SEND]).await;
        scene.idle().await;
        let at = |seconds| scene.now() + ahead + jiff::SignedDuration::from_secs(seconds);
        let mut event = of(&scene, ALICE, EventType::TokensRevoked);
        event.issued_at = at(-60);
        announce(&scene, event).await;
        assert_eq!(state(&bot), AgentState::Active, "{ahead}");
        let mut event = of(&scene, ALICE, EventType::AccountDisabled);
        event.issued_at = at(60);
        announce(&scene, event).await;
        assert_eq!(state(&bot), AgentState::Revoked, "{ahead}");
    }
}

#[tokio::test]
async fn a_renewal_under_way_brings_nothing_back() {
    for dies in [false, true] {
        let (scene, bot) = Scene::of_alice().await;
        scene.google.hold(ALICE);
        scene.next_renewal().await;
        assert_eq!(scene.google.requests(), 2, "a renewal is under way");
        announce(&scene, of(&scene, ALICE, EventType::TokensRevoked)).await;
        assert_eq!((state(&bot), token(&bot)), (AgentState::Revoked, None));
        if dies {
            scene.google.fail(ALICE, Fault::invalid_grant());
        }
        scene.google.let_go(ALICE);
        scene.idle().await;
        assert_eq!(
            (state(&bot), token(&bot)),
            (AgentState::Revoked, None),
            "dies: {dies}"
        );
        assert!(scene.ask(&bot).await.is_err());
        assert!(matches!(kept(&scene).await, (Health::Revoked(_), 0)));
        let scene = scene.restart().await;
        assert_eq!(state(&scene.handle("bot")), AgentState::Revoked);
    }
}

#[tokio::test]
async fn a_token_that_came_a_moment_too_late_is_not_handed_out() {
    // Which of the two commits comes first is the store's affair: several scenes see both.
    for _ in 0..8 {
        let (scene, bot) = Scene::of_alice().await;
        scene.store.hold_finish(true);
        scene.next_renewal().await;
        assert_eq!(
            (scene.google.requests(), scene.store.held_now()),
            (2, 1),
            "answered, not kept"
        );
        let broker = scene.broker.clone();
        let event = of(&scene, ALICE, EventType::TokensRevoked);
        let announcing = tokio::spawn(async move { broker.security_events.handle(event).await });
        scene.idle().await;
        assert_eq!((state(&bot), token(&bot)), (AgentState::Revoked, None));
        scene.store.hold_finish(false);
        assert_eq!(announcing.await.unwrap().unwrap(), Announced::New);
        scene.idle().await;
        assert_eq!((state(&bot), token(&bot)), (AgentState::Revoked, None));
        assert!(matches!(kept(&scene).await, (Health::Revoked(_), 0)));
        let renewed = scene.audited("token.renewed").await;
        assert_eq!(renewed.len(), 1, "the first one alone");
    }
}

#[tokio::test]
async fn a_disabled_account_keeps_the_grant_that_rotates_at_that_moment() {
    let (scene, bot) = Scene::of_alice().await;
    scene.google.habits().rotates = true;
    scene.google.hold(ALICE);
    scene.next_renewal().await;
    let broker = scene.broker.clone();
    let event = of(&scene, ALICE, EventType::AccountDisabled);
    let announcing = tokio::spawn(async move { broker.security_events.handle(event).await });
    scene.idle().await;
    assert_eq!((state(&bot), token(&bot)), (AgentState::Revoked, None), "at once");
    scene.google.let_go(ALICE);
    assert_eq!(announcing.await.unwrap().unwrap(), Announced::New);
    scene.idle().await;
    assert_eq!((state(&bot), token(&bot)), (AgentState::Revoked, None));
    scene.pass(1).await;
    announce(&scene, of(&scene, ALICE, EventType::AccountEnabled)).await;
    assert_eq!(state(&bot), AgentState::Active);
    assert_eq!(scene.google.spent_presented(), 0);
}

#[tokio::test]
async fn a_full_disk_takes_the_tokens_away_and_asks_for_the_event_again() {
    let (scene, bot) = Scene::of_alice().await;
    scene.store.fail(Part::Finish);
    let event = of(&scene, ALICE, EventType::TokensRevoked);
    assert!(scene.broker.security_events.handle(event.clone()).await.is_err());
    scene.idle().await;
    assert_eq!((state(&bot), token(&bot)), (AgentState::Revoked, None));
    scene.store.heal();
    assert_eq!(
        announce(&scene, event).await,
        Announced::New,
        "it was not remembered"
    );
    assert!(matches!(kept(&scene).await, (Health::Revoked(_), 0)));
}

#[tokio::test]
async fn disconnecting_what_was_withdrawn_revokes_nothing_more() {
    let (scene, _bot) = Scene::of_alice().await;
    announce(&scene, of(&scene, ALICE, EventType::TokensRevoked)).await;
    let done = scene
        .broker
        .disconnect
        .disconnect(&which("alice"), Revocation::WhenLast, admin())
        .await
        .unwrap();
    assert!(done.revoked && done.problems.is_empty(), "{:?}", done.problems);
    assert!(
        scene.google.revoked().is_empty(),
        "there was nothing left to send"
    );
    assert!(scene.broker.accounts.accounts(None).is_empty());
}
