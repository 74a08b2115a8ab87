//! A renewal that is cut off, and what the disk holds at each moment of it.

use token_broker::{
    broker::{AccountRef, AgentState},
    clock::rfc3339,
    provider::Remedy,
    store::Store,
};

use crate::support::*;

/// Alice's agent with its renewal under way: Google has been asked and has not answered.
async fn mid_renewal(rotates: bool) -> Scene {
    let (scene, _bot) = Scene::of_alice().await;
    scene.google.habits().rotates = rotates;
    scene.google.hold(ALICE);
    scene.pass(51 * MINUTE).await;
    assert_eq!(scene.google.requests(), 2, "the renewal is under way");
    scene
}

#[tokio::test]
async fn the_intent_is_on_disk_before_google_is_asked() {
    let scene = mid_renewal(true).await;
    let cut = Scene::standing_still(scene.copy_of_disk()).await;
    let contents = cut.store.load().await.unwrap();
    let intent = contents.integrations[0]
        .renewal
        .clone()
        .expect("the intent to renew");
    assert_eq!((intent.started_at, intent.attempts), (scene.now(), 1));

    scene.google.let_go(ALICE);
    scene.idle().await;
    let contents = scene.store.load().await.unwrap();
    assert_eq!(contents.integrations[0].renewal, None);
}

#[tokio::test]
async fn a_renewal_that_was_cut_off_is_tried_once_more_with_the_old_token() {
    let scene = mid_renewal(true).await;
    scene.google.habits().leeway = true;
    let copy = scene.copy_of_disk();
    scene.google.let_go(ALICE);
    scene.idle().await;
    drop(scene);

    // Google rotated; the machine that comes back has only the old token, and its access token still lives.
    let back = Scene::with(copy).await;
    back.idle().await;
    let asked = back.google.asked();
    assert_eq!(asked.len(), 3, "exactly one attempt, at once");
    assert_eq!(asked[2].refresh_token, asked[1].refresh_token);
    let bot = back.handle("bot");
    assert_eq!(state(&bot), AgentState::Active);
    assert_eq!(back.store.load().await.unwrap().integrations[0].renewal, None);
    back.next_renewal().await;
    assert_eq!(state(&bot), AgentState::Active);
    let asked = back.google.asked();
    assert_ne!(
        asked[3].refresh_token, asked[2].refresh_token,
        "the rotated token was kept"
    );
}

#[tokio::test]
async fn it_is_tried_at_once_however_long_the_access_token_still_lives() {
    let (scene, _bot) = Scene::of_alice().await;
    scene.pass(10 * MINUTE).await;
    scene.google.hold(ALICE);
    let which = AccountRef::Id(scene.account("alice").record.id);
    let broker = scene.broker.clone();
    let checking = tokio::spawn(async move { broker.account_checks.check_account(&which).await.map(|_| ()) });
    scene.idle().await;
    assert_eq!(scene.google.requests(), 2);
    let copy = scene.copy_of_disk();
    checking.abort();
    drop(scene);
    copy.google.let_go(ALICE);

    let back = Scene::with(copy).await;
    back.idle().await;
    assert_eq!(back.google.requests(), 3);
    assert_eq!(back.store.load().await.unwrap().integrations[0].renewal, None);
    back.pass(30 * MINUTE).await;
    assert_eq!(back.google.requests(), 3, "once is enough");
}

#[tokio::test]
async fn where_google_has_no_leeway_the_state_says_that_a_crash_cost_the_grant() {
    let scene = mid_renewal(true).await;
    let begun = scene.now();
    scene.connect("carol", &[SEND]).await;
    scene.put("other", "carol", &[SEND]).await;
    scene.idle().await;
    let copy = scene.copy_of_disk();
    scene.google.let_go(ALICE);
    scene.idle().await;
    drop(scene);

    let back = Scene::with(copy).await;
    back.idle().await;
    let snapshot = back.handle("bot").snapshot();
    assert_eq!(snapshot.state, AgentState::ReconnectRequired);
    assert!(snapshot.message.contains(&rfc3339(begun)), "{}", snapshot.message);
    assert!(snapshot.message.contains("crash"), "{}", snapshot.message);
    assert_eq!(
        snapshot.action_url.as_deref(),
        Some("https://broker.example/agents/bot")
    );
    // Nothing else is touched.
    assert_eq!(state(&back.handle("other")), AgentState::Active);
    assert_eq!(back.google.asked_for(&email("carol")).len(), 1);
    // And it is tried once, not for ever.
    let requests = back.google.asked_for(ALICE).len();
    back.pass_in_steps(HOUR, MINUTE).await;
    assert_eq!(back.google.asked_for(ALICE).len(), requests);
}

#[tokio::test]
async fn an_unavailable_google_after_the_crash_does_not_forget_it() {
    let scene = mid_renewal(true).await;
    let copy = scene.copy_of_disk();
    scene.google.let_go(ALICE);
    scene.idle().await;
    scene.google.fail_once(ALICE, Fault::unavailable());
    drop(scene);
    let back = Scene::with(copy).await;
    back.idle().await;
    assert_eq!(
        state(&back.handle("bot")),
        AgentState::Active,
        "the old access token lives"
    );
    back.next_renewal().await;
    let snapshot = back.handle("bot").snapshot();
    assert_eq!(snapshot.state, AgentState::ReconnectRequired);
    assert!(snapshot.message.contains("crash"), "{}", snapshot.message);
}

#[tokio::test]
async fn a_lost_answer_is_remembered_like_a_crash() {
    let (scene, bot) = Scene::of_alice().await;
    scene
        .google
        .fail_once(ALICE, Fault::new(Remedy::Retry, "timeout"));
    scene.next_renewal().await;
    assert!(
        scene.store.load().await.unwrap().integrations[0]
            .renewal
            .is_some()
    );
    scene.google.fail(ALICE, Fault::invalid_grant());
    scene.next_renewal().await;
    let message = bot.snapshot().message.clone();
    assert!(message.contains("lost connection"), "{message}");
}

#[tokio::test]
async fn an_answered_failure_leaves_no_intent() {
    let (scene, _bot) = Scene::of_alice().await;
    scene.google.fail_once(ALICE, Fault::unavailable());
    scene.next_renewal().await;
    assert_eq!(scene.google.requests(), 2);
    assert_eq!(scene.store.load().await.unwrap().integrations[0].renewal, None);
}

#[tokio::test]
async fn nobody_sees_a_token_whose_rotated_grant_is_not_on_disk() {
    let (scene, bot) = Scene::of_alice().await;
    scene.google.habits().rotates = true;
    let old = token(&bot).unwrap();
    scene.store.hold_finish(true);
    scene.next_renewal().await;
    assert_eq!(scene.store.held_now(), 1, "the commit is under way");

    assert_eq!(token(&bot).as_deref(), Some(&*old));
    assert_eq!(scene.disk.token("bot").as_deref(), Some(&*old));
    assert_eq!(scene.ask(&bot).await.unwrap(), old);
    scene.store.hold_finish(false);
    scene.idle().await;
    assert_ne!(token(&bot).as_deref(), Some(&*old));
    assert_eq!(scene.disk.token("bot"), token(&bot));
}

#[tokio::test]
async fn a_rotated_grant_is_held_until_the_disk_takes_it() {
    let (scene, bot) = Scene::of_alice().await;
    scene.google.habits().rotates = true;
    let old = token(&bot).unwrap();
    scene.store.fail(Part::Finish);
    scene.next_renewal().await;
    scene.pass_in_steps(2 * MINUTE, 10).await;

    assert!(scene.store.refusals() > 2);
    assert_eq!(
        scene.google.requests(),
        2,
        "Google was asked again with a spent token"
    );
    let snapshot = bot.snapshot();
    assert_eq!(snapshot.state, AgentState::Active);
    assert!(snapshot.message.contains("disk is full"), "{}", snapshot.message);
    assert_eq!(scene.ask(&bot).await.unwrap(), old);

    assert_eq!(scene.broker.unkept_grants(), [ALICE]);
    scene.store.heal();
    // Not in minutes: it may be the only one.
    scene.pass(2).await;
    assert_eq!(
        (state(&bot), bot.snapshot().message.as_str()),
        (AgentState::Active, "")
    );
    assert_ne!(token(&bot).unwrap(), old);
    assert!(scene.broker.unkept_grants().is_empty());
    let scene = scene.restart().await;
    scene.next_renewal().await;
    assert_eq!(scene.google.spent_presented(), 0);
    assert_eq!(state(&scene.handle("bot")), AgentState::Active);
}

#[tokio::test]
async fn stopping_waits_for_a_renewal_between_its_answer_and_the_commit() {
    let scene = mid_renewal(true).await;
    let google = scene.google.clone();
    let stopping = tokio::spawn(scene.stop());
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
    assert!(!stopping.is_finished());
    google.let_go(ALICE);
    let back = Scene::with(stopping.await.unwrap()).await;
    back.next_renewal().await;
    assert_eq!(back.google.spent_presented(), 0);
    assert_eq!(state(&back.handle("bot")), AgentState::Active);
}

#[tokio::test]
async fn without_rotation_a_full_disk_costs_nobody_a_token() {
    let (scene, bot) = Scene::of_alice().await;
    let old = token(&bot).unwrap();
    scene.store.fail(Part::Finish);
    scene.next_renewal().await;
    assert_eq!(state(&bot), AgentState::Active);
    assert_ne!(token(&bot).unwrap(), old);
    scene.store.heal();
    scene.next_renewal().await;
    assert_eq!(state(&bot), AgentState::Active);
}

#[tokio::test]
async fn where_the_intent_cannot_be_recorded_a_grant_that_may_be_replaced_is_not_used() {
    let (scene, bot) = Scene::of_alice().await;
    scene.google.habits().rotates = true;
    scene.next_renewal().await;
    scene.store.fail(Part::Begin);
    scene.pass(51 * MINUTE).await;
    assert_eq!(scene.google.requests(), 2);
    assert_eq!(state(&bot), AgentState::Active);
    assert!(
        bot.snapshot().message.contains("database"),
        "{}",
        bot.snapshot().message
    );
    assert_eq!(scene.broker.accounts.renewals_refused_by_store(), 1);
    scene.store.heal();
    scene.pass_in_steps(3 * MINUTE, 5).await;
    assert_eq!(scene.google.requests(), 3);
    assert_eq!(bot.snapshot().message, "");
    assert_eq!(scene.broker.accounts.renewals_refused_by_store(), 0);
}

#[tokio::test]
async fn where_nothing_can_be_written_a_grant_that_stays_the_same_goes_on_giving_tokens() {
    let (scene, bot) = Scene::of_alice().await;
    let every = [
        Part::Begin,
        Part::Finish,
        Part::Put,
        Part::Delete,
        Part::Audit,
        Part::Agents,
    ];
    for part in every {
        scene.store.fail(part);
    }
    let mut seen = vec![token(&bot).unwrap()];
    for _ in 0..5 {
        scene.next_renewal().await;
        assert_eq!(
            (state(&bot), bot.snapshot().message.as_str()),
            (AgentState::Active, "")
        );
        let now = token(&bot).unwrap();
        assert!(!seen.contains(&now), "no new token");
        assert_eq!(scene.disk.token("bot").as_deref(), Some(&*now));
        seen.push(now);
    }
    scene.store.heal();
    scene.next_renewal().await;
    scene.pass(5).await;
    assert_eq!(
        scene.audited("token.renewed").await.len(),
        7,
        "the trail catches up"
    );
    let scene = scene.restart().await;
    assert_eq!(state(&scene.handle("bot")), AgentState::Active);
}

#[tokio::test]
async fn a_trail_that_takes_nothing_keeps_no_renewal_back() {
    let (scene, bot) = Scene::of_alice().await;
    scene.google.habits().rotates = true;
    scene.store.fail(Part::Audit);
    for _ in 0..5 {
        let before = token(&bot).unwrap();
        scene.next_renewal().await;
        assert_eq!(state(&bot), AgentState::Active);
        assert_ne!(token(&bot).unwrap(), before);
    }
    let scene = scene.restart().await;
    scene.next_renewal().await;
    assert_eq!(state(&scene.handle("bot")), AgentState::Active);
    assert_eq!(scene.google.spent_presented(), 0);
}
