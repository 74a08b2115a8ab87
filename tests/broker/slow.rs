//! What one slow account does to the others: nothing.

use token_broker::broker::AgentState;

use crate::support::*;

/// `count` owners besides Alice, each with an account and an agent that has its token.
async fn others(scene: &Scene, count: usize) {
    for number in 0..count {
        let owner = format!("owner-{number}");
        scene.connect(&owner, &[SEND]).await;
        scene.put(&format!("bot-{number}"), &owner, &[SEND]).await;
    }
    scene.idle().await;
}

#[tokio::test]
async fn cached_tokens_are_served_while_google_is_silent_for_one_account() {
    let (scene, _bot) = Scene::of_alice().await;
    scene.google.hold(ALICE);
    scene.pass(30 * MINUTE).await;
    others(&scene, 1).await;
    scene.pass(21 * MINUTE).await;
    let other = scene.handle("bot-0");
    assert!(scene.broker.issuer.current(&other).is_some());
    assert_eq!(scene.google.asked_for(ALICE).len(), 2);
    // No request, no wait: the answer is there when it is first polled.
    let (broker, query) = (scene.broker.clone(), query(&[], 0));
    let mut asking = std::pin::pin!(broker.issuer.token(&other, &query));
    let polled = std::future::poll_fn(|context| std::task::Poll::Ready(asking.as_mut().poll(context))).await;
    assert!(polled.is_ready());
}

#[tokio::test]
async fn renewals_of_the_others_go_on() {
    let (scene, bot) = Scene::of_alice().await;
    others(&scene, 30).await;
    scene.google.hold(ALICE);
    for hours in 1..4 {
        scene.pass_in_steps(HOUR, MINUTE).await;
        for number in 0..30 {
            let other = scene.handle(&format!("bot-{number}"));
            assert_eq!(state(&other), AgentState::Active, "{hours} hours");
        }
    }
    assert_eq!(scene.google.asked_for(ALICE).len(), 2);
    // The silent account's own token was let go of when it expired.
    assert_eq!((token(&bot), scene.disk.token("bot")), (None, None));
    scene.google.let_go(ALICE);
    scene.idle().await;
    scene.pass(MINUTE).await;
    assert_eq!(state(&bot), AgentState::Active);
}

#[tokio::test]
async fn many_scope_sets_of_one_silent_account_hold_one_place_not_all() {
    let setting = Setting {
        concurrency: 2,
        ..Setting::default()
    };
    let scene = Scene::with(setting).await;
    let all = [SEND, READ, CALENDAR, DRIVE, DOCS, SHEETS];
    scene.connect("alice", &all).await;
    for (number, capability) in all.iter().enumerate() {
        scene
            .put(&format!("of-alice-{number}"), "alice", &[capability])
            .await;
    }
    others(&scene, 3).await;
    scene.google.hold(ALICE);
    scene.pass_in_steps(3 * HOUR, MINUTE).await;
    for number in 0..3 {
        assert_eq!(state(&scene.handle(&format!("bot-{number}"))), AgentState::Active);
    }
    assert_eq!(scene.google.asked_for(ALICE).len(), all.len() + 1);
    scene.google.let_go(ALICE);
    scene.idle().await;
    for number in 0..all.len() {
        assert_eq!(
            state(&scene.handle(&format!("of-alice-{number}"))),
            AgentState::Active,
            "{number}"
        );
    }
    // Each went on by itself, none twice, but the one whose answer took hours: that token had expired by then.
    assert_eq!(scene.google.asked_for(ALICE).len(), 2 * all.len() + 1);
    assert_eq!(scene.broker.renewals_waiting(), all.len() + 3);
}

#[tokio::test]
async fn agents_that_come_and_go_at_a_silent_account_take_no_places() {
    let setting = Setting {
        concurrency: 2,
        ..Setting::default()
    };
    let scene = Scene::with(setting).await;
    scene.connect("alice", &[SEND]).await;
    scene.google.hold(ALICE);
    for number in 0..20 {
        scene.put(&format!("of-alice-{number}"), "alice", &[SEND]).await;
        scene.idle().await;
    }
    others(&scene, 3).await;
    for number in 0..3 {
        assert_eq!(state(&scene.handle(&format!("bot-{number}"))), AgentState::Active);
    }
    assert_eq!(scene.google.asked_for(ALICE).len(), 1);
}

#[tokio::test]
async fn askers_and_queue_together_send_no_more_requests_at_once_than_allowed() {
    let setting = Setting {
        concurrency: 4,
        ..Setting::default()
    };
    let scene = Scene::standing_still(setting).await;
    let mut asking = Vec::new();
    for number in 0..40 {
        let owner = format!("owner-{number}");
        scene.connect(&owner, &[SEND]).await;
        scene.google.hold(&email(&owner));
        let bot = scene.put(&format!("bot-{number}"), &owner, &[SEND]).await;
        let broker = scene.broker.clone();
        asking.push(tokio::spawn(async move {
            broker.issuer.token(&bot, &query(&[], 0)).await.map(|_| ())
        }));
    }
    scene.idle().await;
    assert_eq!(scene.google.requests(), 4);
    for number in 0..40 {
        scene.google.let_go(&email(&format!("owner-{number}")));
    }
    for asker in asking {
        asker.await.unwrap().unwrap();
    }
    assert_eq!(
        (scene.google.requests(), scene.google.most_under_way().0),
        (40, 4)
    );
}
