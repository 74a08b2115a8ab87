//! Letting go of an account.

use token_broker::{
    broker::{AccountError, AccountRef, AgentState, Revocation},
    id::OwnerId,
    store::Store,
};

use crate::support::*;

fn of(name: &str) -> AccountRef {
    AccountRef::Owner {
        owner: name.parse::<OwnerId>().unwrap(),
        account: None,
    }
}

#[tokio::test]
async fn nothing_happens_before_the_database_has_it_and_then_all_of_it_does() {
    let (scene, bot) = Scene::of_alice().await;
    let id = scene.account("alice").record.id;
    let before = token(&bot);
    scene.store.hold_delete(true);
    let broker = scene.broker.clone();
    let disconnecting = tokio::spawn(async move {
        broker
            .disconnect
            .disconnect(&of("alice"), Revocation::WhenLast, admin())
            .await
    });
    scene.idle().await;
    assert_eq!(scene.store.held_now(), 1);
    assert_eq!((token(&bot), state(&bot)), (before, AgentState::Active));
    assert!(scene.google.revoked().is_empty());

    // Google is told when no agent has anything any more.
    scene.google.hold_revocations(true);
    scene.store.hold_delete(false);
    scene.idle().await;
    assert!(!disconnecting.is_finished());
    assert_eq!((token(&bot), scene.disk.token("bot")), (None, None));
    assert_eq!(state(&bot), AgentState::NotConnected);
    assert!(scene.broker.issuer.current(&bot).is_none());
    assert!(scene.store_has_nothing_of(&id).await);
    assert!(scene.google.revoked().is_empty());

    scene.google.hold_revocations(false);
    let done = disconnecting.await.unwrap().unwrap();
    assert!(done.revoked && done.problems.is_empty());
    assert_eq!(
        done.agents.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["bot"]
    );
    assert_eq!(scene.google.revoked(), [ALICE]);
    assert!(scene.broker.accounts.account(&of("alice")).is_err());
    scene.pass_in_steps(2 * HOUR, MINUTE).await;
    assert_eq!(scene.google.requests(), 1, "a forgotten grant was used");
}

#[tokio::test]
async fn files_are_cleared_before_google_is_told() {
    let (scene, _bot) = Scene::of_alice().await;
    scene.disk.jam("bot");
    let broker = scene.broker.clone();
    let disconnecting = tokio::spawn(async move {
        broker
            .disconnect
            .disconnect(&of("alice"), Revocation::WhenLast, admin())
            .await
    });
    scene.idle().await;
    assert!(!disconnecting.is_finished(), "it does not wait for the files");
    assert!(scene.google.revoked().is_empty());
    // It does not wait for ever either: a directory that cannot be written is named.
    let done = disconnecting.await.unwrap().unwrap();
    assert!(done.problem().unwrap().contains("`bot` could not be cleared"));
    assert_eq!(scene.google.revoked(), [ALICE]);
    let trail = scene.audited("integration.disconnected").await;
    assert!(
        trail[1].contains("failed") && trail[1].contains("`bot` could not be cleared"),
        "{trail:?}"
    );
}

#[tokio::test]
async fn many_jammed_directories_are_waited_for_together() {
    let scene = Scene::new().await;
    scene.connect("alice", &[SEND]).await;
    for number in 0..20 {
        let name = format!("bot-{number}");
        scene.put(&name, "alice", &[SEND]).await;
        scene.idle().await;
        scene.disk.jam(&name);
    }
    let began = std::time::Instant::now();
    let done = scene
        .broker
        .disconnect
        .disconnect(&of("alice"), Revocation::Never, admin())
        .await
        .unwrap();
    assert_eq!(
        done.problem().unwrap().matches("could not be cleared").count(),
        20
    );
    assert!(began.elapsed() < secs(40), "one after the other");
}

#[tokio::test]
async fn what_google_was_not_told_is_reported() {
    let (scene, _bot) = Scene::of_alice().await;
    scene.google.fail_revocation(Fault::unavailable());
    let done = scene
        .broker
        .disconnect
        .disconnect(&of("alice"), Revocation::WhenLast, admin())
        .await
        .unwrap();
    assert!(!done.revoked);
    let problem = done.problem().unwrap();
    assert!(problem.contains("http_503"), "{problem}");
    assert!(scene.broker.accounts.accounts(None).is_empty());
    let trail = scene.audited("integration.disconnected").await;
    assert!(trail[0].starts_with("admin:uid=0 allowed:"), "{trail:?}");
    assert!(
        trail[1].starts_with("admin:uid=0 failed:") && trail[1].contains("http_503"),
        "{trail:?}"
    );
}

#[tokio::test]
async fn a_dry_run_tells_and_does_nothing() {
    let (scene, bot) = Scene::of_alice().await;
    scene.put("idle-bot", "alice", &[CALENDAR]).await;
    for (revocation, revokes) in [
        (Revocation::WhenLast, true),
        (Revocation::Never, false),
        (Revocation::Always, true),
    ] {
        let plan = scene
            .broker
            .disconnect
            .preview_disconnect(&of("alice"), revocation)
            .unwrap();
        assert_eq!(plan.revoked, revokes);
        assert_eq!(
            plan.agents.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["bot"]
        );
    }
    scene.idle().await;
    assert_eq!(state(&bot), AgentState::Active);
    assert!(scene.google.revoked().is_empty());
    assert_eq!(scene.broker.accounts.account_count(), 1);
}

#[tokio::test]
async fn an_account_that_is_connected_elsewhere_is_revoked_only_on_demand() {
    for (revocation, first, second) in [
        (Revocation::WhenLast, false, true),
        (Revocation::Never, false, false),
        (Revocation::Always, true, true),
    ] {
        let scene = Scene::new().await;
        scene
            .consent("alice", &[SEND], Person::named("shared@example.com"))
            .await
            .unwrap();
        scene
            .consent("carol", &[SEND], Person::named("shared@example.com"))
            .await
            .unwrap();
        scene
            .consent("dave", &[SEND], Person::named("dave@example.com"))
            .await
            .unwrap();
        let done = scene
            .broker
            .disconnect
            .disconnect(&of("alice"), revocation, admin())
            .await
            .unwrap();
        assert_eq!(done.revoked, first, "{revocation:?}");
        let done = scene
            .broker
            .disconnect
            .disconnect(&of("carol"), revocation, admin())
            .await
            .unwrap();
        assert_eq!(done.revoked, second, "{revocation:?}");
    }
}

#[tokio::test]
async fn deleting_agents_never_revokes() {
    let (scene, bot) = Scene::of_alice().await;
    scene
        .broker
        .agents
        .delete_agent(bot.name(), admin())
        .await
        .unwrap();
    scene.pass_in_steps(2 * HOUR, MINUTE).await;
    assert!(scene.google.revoked().is_empty());
    assert_eq!(scene.account("alice").state(), AgentState::Active);
    assert_eq!(scene.google.living(ALICE).len(), 1);
}

#[tokio::test]
async fn a_caller_who_leaves_does_not_stop_it_halfway() {
    let (scene, bot) = Scene::of_alice().await;
    scene.store.hold_delete(true);
    let broker = scene.broker.clone();
    let disconnecting = tokio::spawn(async move {
        broker
            .disconnect
            .disconnect(&of("alice"), Revocation::WhenLast, admin())
            .await
    });
    scene.idle().await;
    disconnecting.abort();
    scene.idle().await;
    scene.store.hold_delete(false);
    scene.idle().await;
    assert_eq!(scene.google.revoked(), [ALICE]);
    assert_eq!(state(&bot), AgentState::NotConnected);
    assert_eq!(scene.audited("integration.disconnected").await.len(), 1);
    assert!(scene.restart().await.broker.accounts.accounts(None).is_empty());
}

#[tokio::test]
async fn a_row_that_cannot_be_deleted_is_said_and_the_account_stays_in_use() {
    let scene = Scene::new().await;
    scene.google.habits().rotates = true;
    scene.connect("alice", &[SEND]).await;
    let bot = scene.put("bot", "alice", &[SEND]).await;
    scene.idle().await;
    let (before, file) = (token(&bot), scene.disk.token("bot"));
    let (due, mut seen) = (scene.broker.next_renewal(), bot.snapshot());
    scene.store.fail(Part::Delete);
    let error = scene
        .broker
        .disconnect
        .disconnect(&of("alice"), Revocation::WhenLast, admin())
        .await
        .err()
        .expect("an error");
    assert!(matches!(&error, AccountError::Store(_)), "{error}");
    assert!(error.to_string().contains("disk is full"), "{error}");
    assert!(scene.google.revoked().is_empty());
    let trail = scene.audited("integration.disconnected").await;
    assert!(
        trail[0].contains("failed") && trail[0].contains("nothing was disconnected"),
        "{trail:?}"
    );

    scene.idle().await;
    // Nobody noticed: not for a moment, not in any file or stream.
    assert_eq!((token(&bot), scene.disk.token("bot")), (before, file));
    assert_eq!(scene.broker.next_renewal(), due);
    assert!(
        std::sync::Arc::ptr_eq(&seen, &bot.snapshot()),
        "its snapshot was exchanged"
    );
    seen = bot.snapshot();
    assert_eq!(seen.state, AgentState::Active);
    for _ in 0..3 {
        scene.next_renewal().await;
        assert_eq!(state(&bot), AgentState::Active);
    }
    scene.store.heal();
    scene
        .broker
        .disconnect
        .disconnect(&of("alice"), Revocation::WhenLast, admin())
        .await
        .unwrap();
    assert_eq!(state(&bot), AgentState::NotConnected);
}

#[tokio::test]
async fn a_failed_disconnect_during_a_rotating_renewal_loses_no_grant() {
    let (scene, bot) = Scene::of_alice().await;
    scene.google.habits().rotates = true;
    scene.store.hold_finish(true);
    scene.pass(51 * MINUTE).await;
    assert_eq!(scene.store.held_now(), 1);
    scene.store.fail(Part::Delete);
    let broker = scene.broker.clone();
    let disconnecting = tokio::spawn(async move {
        broker
            .disconnect
            .disconnect(&of("alice"), Revocation::Never, admin())
            .await
            .is_ok()
    });
    scene.idle().await;
    scene.store.hold_finish(false);
    assert!(!disconnecting.await.unwrap());
    scene.store.heal();
    scene.idle().await;
    scene.pass(5 * MINUTE).await;
    assert_eq!(state(&bot), AgentState::Active);
    scene.next_renewal().await;
    assert_eq!(state(&bot), AgentState::Active);
    assert_eq!(scene.google.spent_presented(), 0);
}

#[tokio::test]
async fn a_consent_that_crosses_a_disconnect_leaves_memory_and_database_in_step() {
    // The consent reaches the database first, and its end reaches memory after the disconnect began.
    let (scene, bot) = Scene::of_alice().await;
    let started = scene.begin("alice", &[SEND, CALENDAR]);
    let redirect = scene.decided(&started, &[SEND, CALENDAR], Person::named(ALICE));
    scene.store.hold_put(true);
    let broker = scene.broker.clone();
    let completing =
        tokio::spawn(async move { broker.connect.complete_connect(&redirect, None).await.map(|_| ()) });
    scene.idle().await;
    assert_eq!(scene.store.held_now(), 1);
    let broker = scene.broker.clone();
    let disconnecting = tokio::spawn(async move {
        broker
            .disconnect
            .disconnect(&of("alice"), Revocation::WhenLast, admin())
            .await
            .map(|_| ())
    });
    scene.idle().await;
    scene.store.hold_put(false);
    completing.await.unwrap().unwrap();
    disconnecting.await.unwrap().unwrap();
    scene.idle().await;

    assert_eq!(
        scene.broker.accounts.account_count(),
        scene.store.load().await.unwrap().integrations.len()
    );
    assert_eq!(scene.broker.accounts.account_count(), 0);
    assert_eq!((state(&bot), token(&bot)), (AgentState::NotConnected, None));
}

#[tokio::test]
async fn connecting_while_a_disconnect_is_under_way_makes_a_new_account_that_lives() {
    let (scene, bot) = Scene::of_alice().await;
    let old = scene.account("alice").record.id;
    scene.store.hold_delete(true);
    let broker = scene.broker.clone();
    let disconnecting = tokio::spawn(async move {
        broker
            .disconnect
            .disconnect(&of("alice"), Revocation::WhenLast, admin())
            .await
    });
    scene.idle().await;
    let started = scene.begin("alice", &[SEND]);
    let redirect = scene.decided(&started, &[SEND], Person::named(ALICE));
    let broker = scene.broker.clone();
    let completing = tokio::spawn(async move {
        broker
            .connect
            .complete_connect(&redirect, None)
            .await
            .map(|c| c.account)
    });
    scene.idle().await;
    scene.store.hold_delete(false);
    disconnecting.await.unwrap().unwrap();
    let new = completing.await.unwrap().unwrap();
    scene.idle().await;

    assert_ne!(new, old);
    assert_eq!(scene.broker.accounts.account_count(), 1);
    assert!(scene.store_has_nothing_of(&old).await);
    assert_eq!(scene.store.load().await.unwrap().integrations.len(), 1);
    assert_ne!(state(&bot), AgentState::NotConnected);
}

#[tokio::test]
async fn an_account_is_named_by_id_or_owner() {
    let (scene, _bot) = Scene::of_alice().await;
    let id = scene.account("alice").record.id;
    let view = |which: &AccountRef| {
        scene
            .broker
            .accounts
            .account(which)
            .map(|view| view.record.id)
            .map_err(|e| e.to_string())
    };
    let by = |account: &str| AccountRef::Owner {
        owner: owner("alice"),
        account: Some(account.to_owned()),
    };
    assert_eq!(view(&AccountRef::Id(id.clone())), Ok(id.clone()));
    assert_eq!(view(&by(ALICE)), Ok(id));
    assert!(view(&by("a@b")).unwrap_err().contains("has not connected a@b"));
    assert!(
        view(&of("nobody"))
            .unwrap_err()
            .contains("nobody has connected no account")
    );
    assert!(
        scene
            .broker
            .disconnect
            .disconnect(&of("nobody"), Revocation::Never, admin())
            .await
            .is_err()
    );
}
