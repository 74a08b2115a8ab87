//! Revocations that the provider could not be told of at once.

use token_broker::{
    broker::{AccountRef, AgentState, ConnectError, ConnectTarget, Disconnected, Revocation},
    provider::Remedy,
    store::Store,
};

use crate::support::*;

/// Disconnects alice's account while the provider answers revocations with `fault`.
async fn disconnected(scene: &Scene, fault: Fault) -> Disconnected {
    scene.google.fail_revocation(fault);
    let which = AccountRef::Owner {
        owner: "alice".parse().unwrap(),
        account: None,
    };
    scene
        .broker
        .disconnect
        .disconnect(&which, Revocation::WhenLast, admin())
        .await
        .unwrap()
}

#[tokio::test]
async fn what_google_could_not_be_told_is_tried_until_it_is_done_and_shown_meanwhile() {
    let (scene, bot) = Scene::of_alice().await;
    let id = scene.account("alice").record.id;
    let done = disconnected(&scene, Fault::unavailable()).await;
    assert!(!done.revoked);
    let problem = done.problem().unwrap();
    assert!(
        problem.contains("tried until it is done") && problem.contains("http_503"),
        "{problem}"
    );
    // Here everything is gone at once.
    assert_eq!((state(&bot), token(&bot)), (AgentState::NotConnected, None));
    assert!(scene.store_has_nothing_of(&id).await);

    scene.pass_in_steps(HOUR, MINUTE).await;
    let pending = scene.broker.revocations.pending_revocations();
    assert_eq!(pending.len(), 1);
    assert_eq!(
        (pending[0].record.id.clone(), pending[0].record.account.as_str()),
        (id, ALICE)
    );
    let message = pending[0].message();
    assert!(message.contains("http_503"), "{message}");
    assert!(pending[0].retry_at > scene.uptime());
    assert!(scene.google.revoked().is_empty());

    scene.google.heal_revocation();
    scene.pass_in_steps(10 * MINUTE, MINUTE).await;
    assert_eq!(scene.google.revoked(), [ALICE]);
    assert!(scene.broker.revocations.pending_revocations().is_empty());
    assert!(scene.store.load().await.unwrap().revocations.is_empty());
    let trail = scene.audited("integration.revocation").await;
    assert_eq!(
        trail,
        ["daemon allowed: alice@example.com of alice: revoked at the provider"]
    );
}

#[tokio::test]
async fn what_is_dead_at_the_provider_is_given_up_and_the_trail_says_why() {
    let (scene, _bot) = Scene::of_alice().await;
    let done = disconnected(&scene, Fault::invalid_grant()).await;
    let problem = done.problem().unwrap();
    let why = problem
        .strip_prefix("the grant could not be revoked at the provider (")
        .and_then(|rest| rest.split_once("): the owner can remove it at "))
        .map(|(why, _)| why);
    let why = why.unwrap_or_else(|| panic!("{problem}"));
    assert!(why.contains("invalid_grant"), "{problem}");
    assert!(scene.broker.revocations.pending_revocations().is_empty());
    let trail = scene.audited("integration.revocation").await;
    assert_eq!(
        trail,
        [format!(
            "admin:uid=0 failed: alice@example.com of alice: given up ({why}): the owner can remove it at the provider"
        )]
    );
}

#[tokio::test]
async fn a_power_cut_does_not_forget_it() {
    let (scene, _bot) = Scene::of_alice().await;
    disconnected(&scene, Fault::unavailable()).await;
    let after = scene.after_power_cut().await;
    assert_eq!(after.broker.revocations.pending_revocations().len(), 1);
    scene.google.heal_revocation();
    after.pass_in_steps(MINUTE, 5).await;
    assert_eq!(scene.google.revoked().first().map(String::as_str), Some(ALICE));
    assert!(after.broker.revocations.pending_revocations().is_empty());
}

#[tokio::test]
async fn a_new_consent_ends_it_for_it_would_end_the_new_grant_too() {
    let (scene, bot) = Scene::of_alice().await;
    disconnected(&scene, Fault::unavailable()).await;
    scene.connect("alice", &[SEND]).await;
    scene.google.heal_revocation();
    scene.pass_in_steps(20 * MINUTE, MINUTE).await;
    assert!(scene.google.revoked().is_empty());
    assert!(scene.broker.revocations.pending_revocations().is_empty());
    assert!(scene.store.load().await.unwrap().revocations.is_empty());
    assert_eq!(state(&bot), AgentState::Active);
    let trail = scene.audited("integration.revocation").await;
    assert!(
        trail[0].contains("given up: the account was connected again"),
        "{trail:?}"
    );
}

#[tokio::test]
async fn what_an_operator_can_mend_waits_for_it_with_the_grant() {
    for code in [
        "invalid_client",
        "unauthorized_client",
        "http_403",
        "http_407",
        "disabled_client",
    ] {
        let (scene, _bot) = Scene::of_alice().await;
        let done = disconnected(&scene, Fault::new(Remedy::Operator, code)).await;
        assert!(!done.revoked);
        assert!(done.problem().unwrap().contains("tried until it is done"));
        scene.pass_in_steps(24 * HOUR, 10 * MINUTE).await;
        let pending = scene.broker.revocations.pending_revocations();
        assert_eq!(pending.len(), 1, "{code}");
        let message = pending[0].message();
        assert!(message.contains(code), "{message}");
        // Also over a restart.
        let scene = scene.restart().await;
        assert_eq!(scene.store.load().await.unwrap().revocations.len(), 1);
        scene.google.heal_revocation();
        scene.pass_in_steps(HOUR, MINUTE).await;
        assert_eq!(scene.google.revoked(), [ALICE], "{code}");
        assert!(scene.broker.revocations.pending_revocations().is_empty());
        assert!(scene.store.load().await.unwrap().revocations.is_empty());
    }
}

#[tokio::test]
async fn revocations_that_hang_hold_up_nobody_else() {
    let scene = Scene::new().await;
    scene.google.hold_revocations(true);
    let mut hanging = Vec::new();
    for owner in ["alice", "carol", "dave"] {
        scene.connect(owner, &[SEND]).await;
        hanging.push(disconnect_later(&scene, owner));
    }
    scene.idle().await;
    // Some that were owed already hang as well, more than are tried at once.
    for number in 0..12 {
        let owner = format!("owner-{number}");
        scene.connect(&owner, &[SEND]).await;
        hanging.push(disconnect_later(&scene, &owner));
    }
    scene.idle().await;
    assert!(hanging.iter().all(|disconnecting| !disconnecting.is_finished()));

    // Connecting, importing, and disconnecting what needs no revocation.
    scene.connect("erin", &[SEND]).await;
    let grant = scene.google.held_elsewhere(&email("frank"), with_openid(&[SEND]));
    let target = token_broker::broker::ConnectTarget::Owner(owner("frank"));
    let imported = scene
        .broker
        .import
        .import(&target, "", grant.as_str().into(), admin())
        .await;
    assert!(imported.is_ok());
    let which = AccountRef::Owner {
        owner: owner("erin"),
        account: None,
    };
    let gone = scene
        .broker
        .disconnect
        .disconnect(&which, Revocation::Never, admin())
        .await;
    assert!(gone.is_ok());

    // Whoever connects the same account again waits until it is known what became of the old grant.
    let started = scene.begin("alice", &[SEND]);
    let redirect = scene.decided(&started, &[SEND], Person::named(ALICE));
    let broker = scene.broker.clone();
    let again =
        tokio::spawn(async move { broker.connect.complete_connect(&redirect, None).await.map(|_| ()) });
    scene.idle().await;
    assert!(!again.is_finished());
    scene.google.hold_revocations(false);
    for disconnecting in hanging {
        assert!(disconnecting.await.unwrap());
    }
    // The revocation took what they allowed along: they are told, and connect once more.
    let ended = again.await.unwrap().unwrap_err();
    assert!(
        matches!(&ended, ConnectError::RevokedMeanwhile { account, .. } if account == ALICE),
        "{ended}"
    );
    assert!(
        scene
            .broker
            .accounts
            .account(&AccountRef::Owner {
                owner: owner("alice"),
                account: None
            })
            .is_err()
    );
    scene.idle().await;
    assert!(scene.broker.revocations.pending_revocations().is_empty());
    scene.connect("alice", &[SEND]).await;
    let bot = scene.put("bot", "alice", &[SEND]).await;
    scene.idle().await;
    assert_eq!(state(&bot), AgentState::Active);
}

#[tokio::test]
async fn what_survived_a_revocation_that_failed_is_kept_and_what_did_not_is_not_imported() {
    for survives in [true, false] {
        let scene = Scene::new().await;
        scene.connect("alice", &[SEND]).await;
        let imported = scene.google.held_elsewhere(ALICE, with_openid(&[SEND]));
        let started = scene.begin("alice", &[SEND]);
        let redirect = scene.decided(&started, &[SEND], Person::named(ALICE));
        scene.google.hold_revocations(true);
        if survives {
            scene.google.fail_revocation(Fault::unavailable());
        }
        let disconnecting = disconnect_later(&scene, "alice");
        scene.idle().await;
        let broker = scene.broker.clone();
        let connecting =
            tokio::spawn(async move { broker.connect.complete_connect(&redirect, None).await.is_ok() });
        let broker = scene.broker.clone();
        let importing = tokio::spawn(async move {
            let target = ConnectTarget::Owner(owner("bob"));
            let outcome = broker
                .import
                .import(&target, "", imported.as_str().into(), admin())
                .await;
            outcome.map(|_| ()).map_err(|error| error.to_string())
        });
        scene.idle().await;
        assert!(!connecting.is_finished() && !importing.is_finished());
        scene.google.hold_revocations(false);
        assert_eq!(disconnecting.await.unwrap(), !survives);
        assert_eq!(connecting.await.unwrap(), survives);
        let imported = importing.await.unwrap();
        assert_eq!(imported.is_ok(), survives);
        if let Err(told) = imported {
            assert!(told.contains("was being disconnected at that moment"), "{told}");
        }
        scene.idle().await;
        assert_eq!(
            scene.broker.accounts.accounts(None).len(),
            if survives { 2 } else { 0 }
        );
        assert!(scene.broker.revocations.pending_revocations().is_empty());
    }
}

#[tokio::test]
async fn the_successor_that_came_with_a_renewal_is_what_is_revoked() {
    let (scene, _bot) = Scene::of_alice().await;
    scene.google.habits().rotates = true;
    scene.store.hold_finish(true);
    scene.pass(51 * MINUTE).await;
    assert_eq!(scene.store.held_now(), 1);
    let disconnecting = disconnect_later(&scene, "alice");
    until_deleted(&scene, "alice").await;
    assert!(
        !disconnecting.is_finished(),
        "it is not known yet what is to be revoked"
    );
    // After a crash at this moment it is owed still.
    assert_eq!(scene.store.load().await.unwrap().revocations.len(), 1);
    scene.store.hold_finish(false);
    assert!(disconnecting.await.unwrap());
    assert_eq!(scene.google.revoked(), [ALICE]);
    assert!(scene.broker.revocations.pending_revocations().is_empty());
}

#[tokio::test]
async fn a_server_that_did_not_rotate_so_far_may_do_so_now() {
    let (scene, bot) = Scene::of_alice().await;
    assert!(token(&bot).is_some(), "an answer without another grant");
    scene.google.habits().rotates = true;
    scene.google.hold(ALICE);
    scene.pass(51 * MINUTE).await;
    let disconnecting = disconnect_later(&scene, "alice");
    until_deleted(&scene, "alice").await;
    assert!(!disconnecting.is_finished() && scene.google.revoked().is_empty());
    scene.google.let_go(ALICE);
    assert!(disconnecting.await.unwrap());
    assert_eq!(scene.google.revoked(), [ALICE]);
}

/// Waits until an owner's account is deleted: a disconnect gives the renewal that is under way a while first.
async fn until_deleted(scene: &Scene, of: &str) {
    let which = AccountRef::Owner {
        owner: owner(of),
        account: None,
    };
    while scene.broker.accounts.account(&which).is_ok() {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    scene.idle().await;
}

/// Disconnects an owner's account; true when the provider confirmed it.
fn disconnect_later(scene: &Scene, of: &str) -> tokio::task::JoinHandle<bool> {
    let which = AccountRef::Owner {
        owner: owner(of),
        account: None,
    };
    let broker = scene.broker.clone();
    tokio::spawn(async move {
        let done = broker
            .disconnect
            .disconnect(&which, Revocation::WhenLast, admin())
            .await;
        done.is_ok_and(|done| done.revoked)
    })
}

#[tokio::test]
async fn one_that_the_database_does_not_forget_is_asked_for_again_and_found_done() {
    let (scene, _bot) = Scene::of_alice().await;
    scene.store.fail(Part::Settle);
    let which = AccountRef::Owner {
        owner: owner("alice"),
        account: None,
    };
    let done = scene
        .broker
        .disconnect
        .disconnect(&which, Revocation::WhenLast, admin())
        .await;
    assert!(done.ok().unwrap().revoked);
    assert_eq!(scene.broker.revocations.pending_revocations().len(), 1);
    scene.store.heal();
    scene.pass_in_steps(10 * MINUTE, MINUTE).await;
    assert!(scene.broker.revocations.pending_revocations().is_empty());
    assert_eq!(scene.audited("integration.revocation").await.len(), 1);
}
