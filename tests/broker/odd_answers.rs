//! Answers that are not what they should be, with a grant in them that nothing else holds.

use token_broker::{
    broker::{AgentState, ConnectTarget},
    capability::ScopeSet,
    provider::Remedy,
};

use crate::support::*;

/// More than the first pauses after a failure.
const A_WHILE: u64 = 30;

fn with_openid(capabilities: &[&str]) -> ScopeSet {
    scopes(capabilities).union(&ScopeSet::parse("openid").unwrap())
}

/// Lets time pass for whoever waits for another try.
async fn meanwhile<T>(scene: &Scene, work: impl Future<Output = T>) -> T {
    let passing = async {
        loop {
            scene.idle().await;
            scene.clock.advance(secs(A_WHILE));
        }
    };
    tokio::select! {
        done = work => done,
        () = passing => unreachable!(),
    }
}

#[tokio::test]
async fn a_rotated_grant_is_kept_though_the_rest_of_the_answer_cannot_be_used() {
    let (scene, bot) = Scene::of_alice().await;
    scene.google.habits().rotates = true;
    scene.google.fail_once(ALICE, Fault::rotating());
    scene.next_renewal().await;
    assert_eq!(state(&bot), AgentState::Active, "the token at hand lives");
    let disk = scene.copy_of_disk();
    scene.stop().await;
    let after_crash = Scene::with(disk).await;
    after_crash.pass(A_WHILE).await;
    assert_eq!(state(&after_crash.handle("bot")), AgentState::Active);
    assert_eq!(
        after_crash.google.spent_presented(),
        0,
        "the new grant was on the disk"
    );
}

#[tokio::test]
async fn the_next_attempt_presents_the_new_grant() {
    let (scene, bot) = Scene::of_alice().await;
    scene.google.habits().rotates = true;
    let before = token(&bot);
    for _ in 0..3 {
        scene.google.fail_once(ALICE, Fault::rotating());
    }
    scene.next_renewal().await;
    scene.pass_in_steps(10 * MINUTE, A_WHILE).await;
    assert_eq!(state(&bot), AgentState::Active);
    assert_ne!(token(&bot), before);
    assert_eq!(scene.google.spent_presented(), 0);
}

#[tokio::test]
async fn what_is_said_of_the_old_grant_does_not_end_the_new_one() {
    let (scene, bot) = Scene::of_alice().await;
    let ended = Fault {
        kind: Remedy::Reconnect,
        code: "invalid_grant",
        ..Fault::rotating()
    };
    scene.google.fail_once(ALICE, ended);
    scene.next_renewal().await;
    assert_eq!(state(&bot), AgentState::Active);
    scene.pass(10 * MINUTE).await;
    assert_eq!(
        (state(&bot), scene.google.spent_presented()),
        (AgentState::Active, 0)
    );
}

#[tokio::test]
async fn a_rotated_grant_waits_for_the_disk_though_its_answer_holds_no_token() {
    let (scene, bot) = Scene::of_alice().await;
    scene.google.habits().rotates = true;
    scene.google.fail_once(ALICE, Fault::rotating());
    scene.store.fail(Part::Finish);
    scene.next_renewal().await;
    scene.pass_in_steps(2 * MINUTE, 10).await;
    assert!(scene.store.refusals() > 2);
    scene.store.heal();
    scene.pass_in_steps(10 * MINUTE, A_WHILE).await;
    assert_eq!(
        (state(&bot), scene.google.spent_presented()),
        (AgentState::Active, 0)
    );
}

#[tokio::test]
async fn a_consent_is_kept_though_the_answer_to_its_code_cannot_be_used() {
    let scene = Scene::new().await;
    let bot = scene.put("bot", "alice", &[SEND]).await;
    let person = Person {
        spoilt: Some(Fault::new(Remedy::Retry, "malformed_answer")),
        ..Person::named(ALICE).ticking(with_openid(&[SEND]))
    };
    // The first try with the grant fails as well.
    scene.google.fail_once(ALICE, Fault::rotating());
    let connected = meanwhile(&scene, scene.consent("alice", &[SEND], person)).await;
    connected.unwrap_or_else(|error| panic!("{error}"));
    scene.idle().await;
    assert_eq!(state(&bot), AgentState::Active);
    assert_eq!((scene.google.exchanged(), scene.google.spent_presented()), (1, 0));
    assert_eq!(scene.account("alice").record.account, ALICE);
}

#[tokio::test]
async fn an_answer_without_an_id_token_is_asked_whose_it_is() {
    let scene = Scene::new().await;
    let person = Person {
        named: false,
        ..Person::named(ALICE).ticking(with_openid(&[SEND]))
    };
    scene
        .consent("alice", &[SEND], person)
        .await
        .unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(scene.account("alice").record.subject, "sub-of-alice@example.com");

    // Nobody says whose this is.
    let nameless = Person {
        named: false,
        ..Person::named("bob@example.com")
    };
    let error = scene.consent("bob", &[SEND], nameless).await.err().unwrap();
    assert!(error.to_string().contains("no_openid"), "{error}");
}

#[tokio::test]
async fn an_import_goes_on_with_the_grant_that_took_the_place_of_the_one_given() {
    let scene = Scene::new().await;
    let grant = scene.google.held_elsewhere(ALICE, with_openid(&[SEND]));
    scene.google.fail_once(ALICE, Fault::rotating());
    let target = ConnectTarget::Owner(owner("alice"));
    let import = scene
        .broker
        .import
        .import(&target, "", grant.as_str().into(), admin());
    let imported = meanwhile(&scene, import).await;
    imported.unwrap_or_else(|error| panic!("{error}"));
    let bot = scene.put("bot", "alice", &[SEND]).await;
    scene.idle().await;
    assert_eq!(
        (state(&bot), scene.google.spent_presented()),
        (AgentState::Active, 0)
    );
}

#[tokio::test]
async fn a_grant_that_others_hold_is_tried_once() {
    let scene = Scene::new().await;
    let grant = scene.google.held_elsewhere(ALICE, with_openid(&[SEND]));
    scene.google.fail(ALICE, Fault::new(Remedy::Retry, "network"));
    let target = ConnectTarget::Owner(owner("alice"));
    let refused = scene
        .broker
        .import
        .import(&target, "", grant.as_str().into(), admin())
        .await;
    assert!(refused.is_err());
    assert_eq!(scene.google.requests(), 1);
}
