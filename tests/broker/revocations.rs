//! Revocations that the provider could not be told of at once.

use token_broker::{
    broker::{AccountRef, AgentState, Disconnected, Revocation},
    google::FailureKind,
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
    let problem = done.problem.unwrap();
    assert!(
        problem.contains("tried until it is done") && problem.contains("http_503"),
        "{problem}"
    );
    // Here everything is gone at once.
    assert_eq!((state(&bot), token(&bot)), (AgentState::NotConnected, None));
    assert!(scene.store_has_nothing_of(&id).await);

    scene.pass_in_steps(HOUR, MINUTE).await;
    let pending = scene.broker.pending_revocations();
    assert_eq!(pending.len(), 1);
    assert_eq!(
        (pending[0].record.id.clone(), pending[0].record.account.as_str()),
        (id, ALICE)
    );
    assert!(pending[0].problem.contains("http_503"), "{}", pending[0].problem);
    assert!(pending[0].retry_at > scene.uptime());
    assert!(scene.google.revoked().is_empty());

    scene.google.heal_revocation();
    scene.pass_in_steps(10 * MINUTE, MINUTE).await;
    assert_eq!(scene.google.revoked(), [ALICE]);
    assert!(scene.broker.pending_revocations().is_empty());
    assert!(scene.store.load().await.unwrap().revocations.is_empty());
    let trail = scene.audited("integration.revocation").await;
    assert_eq!(
        trail,
        ["daemon allowed: alice@example.com of alice: revoked at the provider"]
    );
}

#[tokio::test]
async fn a_power_cut_does_not_forget_it() {
    let (scene, _bot) = Scene::of_alice().await;
    disconnected(&scene, Fault::unavailable()).await;
    let after = scene.after_power_cut().await;
    assert_eq!(after.broker.pending_revocations().len(), 1);
    scene.google.heal_revocation();
    after.pass_in_steps(MINUTE, 5).await;
    assert_eq!(scene.google.revoked().first().map(String::as_str), Some(ALICE));
    assert!(after.broker.pending_revocations().is_empty());
}

#[tokio::test]
async fn a_new_consent_ends_it_for_it_would_end_the_new_grant_too() {
    let (scene, bot) = Scene::of_alice().await;
    disconnected(&scene, Fault::unavailable()).await;
    scene.connect("alice", &[SEND]).await;
    scene.google.heal_revocation();
    scene.pass_in_steps(20 * MINUTE, MINUTE).await;
    assert!(scene.google.revoked().is_empty());
    assert!(scene.broker.pending_revocations().is_empty());
    assert!(scene.store.load().await.unwrap().revocations.is_empty());
    assert_eq!(state(&bot), AgentState::Active);
    let trail = scene.audited("integration.revocation").await;
    assert!(
        trail[0].contains("given up: the account was connected again"),
        "{trail:?}"
    );
}

#[tokio::test]
async fn what_google_refuses_for_good_is_not_tried_again() {
    let (scene, _bot) = Scene::of_alice().await;
    let done = disconnected(&scene, Fault::new(FailureKind::Operator, "invalid_client")).await;
    let problem = done.problem.unwrap();
    assert!(problem.contains("myaccount.google.com"), "{problem}");
    assert!(scene.broker.pending_revocations().is_empty());
    assert!(scene.store.load().await.unwrap().revocations.is_empty());
}
