//! Somebody who has not the master key writes the database.

use rusqlite::Connection;
use token_broker::broker::{AccountRef, AgentState, Revocation};

use crate::support::*;

/// Alice and carol, each with an agent that has a token; the database is changed by `sql` while no daemon runs.
async fn after(sql: &str) -> Scene {
    let scene = Scene::new().await;
    for owner in ["alice", "carol"] {
        scene.connect(owner, &[SEND]).await;
        scene.put(&format!("bot-of-{owner}"), owner, &[SEND]).await;
    }
    scene.idle().await;
    let setting = scene.stop().await;
    change(&setting.dir, sql);
    let scene = Scene::with(setting).await;
    scene.idle().await;
    scene
}

fn change(dir: &tempfile::TempDir, sql: &str) {
    let database = Connection::open(dir.path().join("state/broker.db")).unwrap();
    database.execute_batch(sql).unwrap();
}

const STEAL: &str = "UPDATE integrations SET owner = 'carol' WHERE owner = 'alice'";

#[tokio::test]
async fn an_account_that_was_given_to_somebody_else_is_nobodys() {
    let scene = after(STEAL).await;
    assert_eq!(state(&scene.handle("bot-of-alice")), AgentState::NotConnected);
    // Carol is not even troubled by a second account.
    assert_eq!(state(&scene.handle("bot-of-carol")), AgentState::Active);
    assert_eq!(scene.broker.accounts.account_count(), 1);
    let problems = scene.broker.unusable.unusable_records();
    let [problem] = problems.as_slice() else {
        panic!("{problems:?}")
    };
    assert!(
        problem.contains(&format!("{ALICE} of carol, as it says"))
            && problem.contains("connect that account again"),
        "{problem}"
    );
    // Alice connects again, and the record goes by its id.
    scene.connect("alice", &[SEND]).await;
    scene.idle().await;
    assert_eq!(state(&scene.handle("bot-of-alice")), AgentState::Active);
    let mut words = problem.split_ascii_whitespace();
    let id = words.find_map(|word| word.parse().ok()).expect("its id");
    let named = scene
        .broker
        .unusable
        .unusable_account(&id)
        .expect("it is known by it");
    scene
        .broker
        .unusable
        .remove_unusable_account(&id, &named, admin())
        .await
        .unwrap();
    assert_eq!(scene.broker.unusable.unusable_account(&id), None);
    let scene = scene.restart().await;
    assert_eq!(scene.broker.unusable.unusable_records(), [""; 0]);
    for owner in ["alice", "carol"] {
        assert_eq!(
            state(&scene.handle(&format!("bot-of-{owner}"))),
            AgentState::Active
        );
    }
}

#[tokio::test]
async fn a_daemon_that_runs_gives_nothing_away_either() {
    let scene = Scene::new().await;
    for owner in ["alice", "carol"] {
        scene.connect(owner, &[SEND]).await;
        scene.put(&format!("bot-of-{owner}"), owner, &[SEND]).await;
    }
    scene.idle().await;
    let asked = scene.google.asked_for(ALICE).len();
    change(
        &scene.dir,
        "UPDATE secrets SET health_reason = 'mine' WHERE place = \
         (SELECT number << 16 FROM integrations WHERE owner = 'alice'); \
         UPDATE integrations SET owner = 'carol' WHERE owner = 'alice'",
    );
    scene.next_renewal().await;
    scene.next_renewal().await;
    assert_eq!(scene.google.asked_for(ALICE).len(), asked, "it is sent to nobody");
    assert_eq!(state(&scene.handle("bot-of-carol")), AgentState::Active);
    assert_eq!(scene.account("alice").state(), AgentState::Misconfigured);
    assert!(scene.account("alice").message().contains("altered"));
    // A new consent takes its place.
    scene.connect("alice", &[SEND]).await;
    scene.idle().await;
    let scene = scene.restart().await;
    assert_eq!(state(&scene.handle("bot-of-alice")), AgentState::Active);
    assert_eq!(scene.broker.unusable.unusable_records(), [""; 0]);
}

#[tokio::test]
async fn an_altered_account_can_be_disconnected_but_not_revoked() {
    let scene = Scene::new().await;
    scene.connect("alice", &[SEND]).await;
    scene.idle().await;
    change(
        &scene.dir,
        "UPDATE integrations SET authority = 'https://evil.example'",
    );
    let which = AccountRef::Owner {
        owner: owner("alice"),
        account: None,
    };
    let gone = scene
        .broker
        .disconnect
        .disconnect(&which, Revocation::WhenLast, admin())
        .await
        .unwrap();
    assert!(!gone.revoked);
    assert!(gone.problem().unwrap().contains("could not be read"));
    let scene = scene.restart().await;
    assert_eq!(scene.broker.accounts.account_count(), 0);
    assert_eq!(scene.broker.unusable.unusable_records(), [""; 0]);
}

#[tokio::test]
async fn an_agent_of_the_api_that_was_altered_is_not_followed() {
    let scene =
        after("UPDATE agents SET manifest = replace(manifest, 'carol', 'alice') WHERE name = 'bot-of-carol'")
            .await;
    let altered = scene.handle("bot-of-carol");
    assert_eq!(
        (state(&altered), token(&altered)),
        (AgentState::Misconfigured, None)
    );
    assert_eq!(altered.snapshot().manifest.owner, owner("carol"));
    assert_eq!(state(&scene.handle("bot-of-alice")), AgentState::Active);
    assert!(scene.broker.unusable.unusable_records()[0].contains("agent bot-of-carol"));
    scene.put("bot-of-carol", "carol", &[SEND]).await;
    scene.idle().await;
    assert_eq!(state(&scene.handle("bot-of-carol")), AgentState::Active);
    assert_eq!(scene.broker.unusable.unusable_records(), [""; 0]);
}
