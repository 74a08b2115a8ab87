//! A database was put back: what it says of its accounts may be over.

use token_broker::broker::{AccountRef, AgentState, Revocation};

use crate::support::*;

/// Ends the daemon, and begins another on the older database of `copy`.
async fn put_back(scene: Scene, copy: &Setting) -> Scene {
    let setting = scene.stop().await;
    let (from, to) = (copy.dir.path().join("state"), setting.dir.path().join("state"));
    for file in ["broker.db", "broker.db-wal"] {
        std::fs::copy(from.join(file), to.join(file)).unwrap();
    }
    Scene::standing_still(setting).await
}

const HELD: &str = "The database was restored from a backup, so";

#[tokio::test]
async fn no_agent_has_a_token_of_it_before_the_provider_gave_one() {
    let scene = Scene::new().await;
    for owner in ["alice", "carol"] {
        scene.connect(owner, &[SEND]).await;
        scene.put(&format!("bot-of-{owner}"), owner, &[SEND]).await;
    }
    scene.idle().await;
    let copy = scene.copy_of_disk();
    let alice = scene.account("alice").record.id;
    let revoked = scene
        .broker
        .disconnect
        .disconnect(&AccountRef::Id(alice), Revocation::Always, admin())
        .await
        .unwrap();
    assert!(revoked.revoked);
    scene.idle().await;

    let mut scene = put_back(scene, &copy).await;
    for owner in ["alice", "carol"] {
        let bot = scene.handle(&format!("bot-of-{owner}"));
        assert_eq!(state(&bot), AgentState::ProviderUnavailable);
        assert!(
            bot.snapshot().message.starts_with(HELD),
            "{}",
            bot.snapshot().message
        );
        assert_eq!(token(&bot), None, "the token of before");
        let account = scene.account(owner);
        assert_eq!(account.state(), AgentState::ProviderUnavailable);
        assert!(account.message().starts_with(HELD), "{}", account.message());
    }
    assert_eq!(scene.broker.restored.unchecked_accounts(), 2);
    scene.run();
    scene.pass(1).await;
    assert_eq!(state(&scene.handle("bot-of-carol")), AgentState::Active);
    assert_eq!(
        state(&scene.handle("bot-of-alice")),
        AgentState::ReconnectRequired
    );
    assert_eq!(scene.broker.restored.unchecked_accounts(), 0);
    // That is known from now on.
    let scene = scene.restart().await;
    scene.idle().await;
    assert_eq!(state(&scene.handle("bot-of-carol")), AgentState::Active);
    assert_eq!(
        state(&scene.handle("bot-of-alice")),
        AgentState::ReconnectRequired
    );
}

#[tokio::test]
async fn accounts_that_no_agent_uses_are_checked_until_the_provider_answers() {
    let scene = Scene::new().await;
    scene.connect("alice", &[SEND]).await;
    let copy = scene.copy_of_disk();
    scene.connect("carol", &[SEND]).await;
    let mut scene = put_back(scene, &copy).await;
    scene.google.fail(ALICE, Fault::unavailable());
    scene.run();
    scene.pass_in_steps(10 * MINUTE, 30).await;
    assert!(scene.google.asked_for(ALICE).len() > 1, "it is tried again");
    assert_eq!(scene.account("alice").state(), AgentState::ProviderUnavailable);
    assert_eq!(scene.broker.restored.unchecked_accounts(), 1);
    // Over a restart as well.
    let scene = scene.restart().await;
    assert_eq!(scene.broker.restored.unchecked_accounts(), 1);
    scene.google.heal_all();
    scene.pass_in_steps(20 * MINUTE, 30).await;
    assert_eq!(scene.account("alice").state(), AgentState::Active);
    assert_eq!(scene.broker.restored.unchecked_accounts(), 0);
}

#[tokio::test]
async fn the_provider_is_asked_fifty_times_a_second_at_most() {
    let scene = Scene::new().await;
    for number in 0..200 {
        let owner = format!("owner-{number}");
        scene.connect(&owner, &[SEND]).await;
        if number % 2 == 0 {
            scene.put(&format!("bot-{number}"), &owner, &[SEND]).await;
        }
    }
    scene.idle().await;
    let before = scene.google.requests();
    let copy = scene.copy_of_disk();
    scene.connect("alice", &[SEND]).await;
    let mut scene = put_back(scene, &copy).await;
    scene.run();
    scene.idle().await;
    for second in 1..=4 {
        let asked = scene.google.requests() - before;
        assert!(asked <= 50 * second, "{asked} before second {second}");
        scene.pass_in_steps(1, 1).await;
    }
    assert_eq!(scene.google.requests() - before, 200);
    // Whoever asks does not wait for its turn: that is in another scene.
    assert_eq!(scene.broker.restored.unchecked_accounts(), 0);
}

#[tokio::test]
async fn an_agent_that_asks_does_not_wait_for_its_accounts_turn() {
    let scene = Scene::new().await;
    for number in 0..100 {
        scene.connect(&format!("owner-{number}"), &[SEND]).await;
    }
    scene.connect("zoe", &[SEND]).await;
    scene.put("bot", "zoe", &[SEND]).await;
    scene.idle().await;
    let copy = scene.copy_of_disk();
    scene.connect("alice", &[SEND]).await;
    let scene = put_back(scene, &copy).await;
    // Its queues do not even run.
    let bot = scene.handle("bot");
    assert_eq!(scene.ask(&bot).await.ok(), token(&bot));
    assert_eq!(state(&bot), AgentState::Active);
    assert_eq!(scene.broker.restored.unchecked_accounts(), 100);
}
