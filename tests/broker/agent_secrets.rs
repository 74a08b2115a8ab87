//! Each agent has a secret of its own for its credential file, as long as the agent is there.

use futures_util::FutureExt;
use token_broker::{
    broker::{AccountRef, AgentHandle, Revocation},
    budget::Peer,
    secret::AgentSecret,
    store::Store,
};

use crate::support::*;

fn setting() -> Setting {
    Setting {
        agent_secrets: true,
        ..Setting::default()
    }
}

async fn with_agents(names: &[&str]) -> Scene {
    let scene = Scene::with(setting()).await;
    for name in names {
        scene.put(name, "alice", &[SEND]).await;
    }
    scene.idle().await;
    scene
}

fn secret(agent: &AgentHandle) -> String {
    agent.secret().expect("it has a secret").expose().to_owned()
}

async fn rows(scene: &Scene) -> Vec<String> {
    let contents = scene.store.load().await.unwrap();
    let rows = contents.holders.iter().filter(|record| record.secret.is_some());
    rows.map(|record| record.agent.to_string()).collect()
}

#[tokio::test]
async fn every_agent_has_another_and_none_is_on_disk_in_the_clear() {
    let scene = with_agents(&["one", "two"]).await;
    let (one, two) = (secret(&scene.handle("one")), secret(&scene.handle("two")));
    assert_ne!(one, two);
    assert_eq!(one.len(), 43, "256 bits in base64");
    assert_eq!(rows(&scene).await, ["one", "two"]);
    assert!(!scene.files_contain(&one));
}

#[tokio::test]
async fn a_secret_stays_over_restarts_and_power_cuts() {
    let scene = with_agents(&["bot"]).await;
    let before = secret(&scene.handle("bot"));
    let cut = scene.after_power_cut().await;
    cut.idle().await;
    assert_eq!(secret(&cut.handle("bot")), before);
    let scene = scene.restart().await;
    scene.idle().await;
    assert_eq!(secret(&scene.handle("bot")), before);
    // And over a change of what the agent declares.
    scene.put("bot", "alice", &[SEND, CALENDAR]).await;
    scene.idle().await;
    assert_eq!(secret(&scene.handle("bot")), before);
}

#[tokio::test]
async fn an_agent_that_comes_back_has_another() {
    let scene = with_agents(&["bot", "other"]).await;
    let before = secret(&scene.handle("bot"));
    let name = "bot".parse().unwrap();
    scene.broker.agents.delete_agent(&name, admin()).await.unwrap();
    scene.idle().await;
    assert_eq!(rows(&scene).await, ["other"]);
    scene.put("bot", "alice", &[SEND]).await;
    scene.idle().await;
    let after = secret(&scene.handle("bot"));
    assert_ne!(after, before);
    let wrong =
        scene
            .broker
            .authenticator
            .authenticate("bot", &AgentSecret::from(before.as_str()), Some(here()));
    assert!(wrong.is_none(), "the old secret still opens");
    let scene = scene.restart().await;
    scene.idle().await;
    assert_eq!(secret(&scene.handle("bot")), after);
}

#[tokio::test]
async fn an_agent_that_was_replaced_at_once_has_another() {
    let scene = with_agents(&["bot"]).await;
    let before = secret(&scene.handle("bot"));
    // The old row is still there when the new agent comes.
    let name = "bot".parse().unwrap();
    let deleted = scene.broker.agents.delete_agent(&name, admin());
    let (_, handle) = tokio::join!(deleted, async {
        while scene.broker.agent_list.handle(&name).is_some() {
            tokio::task::yield_now().await;
        }
        scene.put("bot", "alice", &[SEND]).await
    });
    scene.idle().await;
    assert_ne!(secret(&handle), before);
    assert_eq!(rows(&scene).await, ["bot"]);
}

#[tokio::test]
async fn no_secret_is_in_use_that_a_restart_would_forget() {
    let scene = Scene::with(setting()).await;
    scene.store.fail(Part::Secrets);
    let bot = scene.put("bot", "alice", &[SEND]).await;
    scene.idle().await;
    assert!(bot.secret().is_none(), "it is out before it is on disk");
    scene.store.heal();
    scene.pass(5).await;
    assert_eq!(rows(&scene).await, ["bot"]);
    assert!(bot.secret().is_some());
}

#[tokio::test]
async fn a_new_secret_is_announced_to_the_delivery_side() {
    let scene = Scene::with(setting()).await;
    scene.store.fail(Part::Secrets);
    let bot = scene.put("bot", "alice", &[SEND]).await;
    scene.idle().await;
    let revision = bot.revision();
    scene.store.heal();
    scene.pass(5).await;
    assert!(bot.revision() > revision);
    let delivered = bot.delivered(bot.revision()).now_or_never();
    assert!(delivered.is_some(), "nobody is told");
}

#[tokio::test]
async fn without_credential_files_no_secret_is_kept() {
    let scene = with_agents(&["bot"]).await;
    let before = secret(&scene.handle("bot"));
    let off = Setting {
        agent_secrets: false,
        ..scene.stop().await
    };
    let scene = Scene::with(off).await;
    scene.idle().await;
    assert!(scene.handle("bot").secret().is_none());
    assert!(rows(&scene).await.is_empty());
    let wrong =
        scene
            .broker
            .authenticator
            .authenticate("bot", &AgentSecret::from(before.as_str()), Some(here()));
    assert!(wrong.is_none());
    // Asked for again, it is another one.
    let on = Setting {
        agent_secrets: true,
        ..scene.stop().await
    };
    let scene = Scene::with(on).await;
    scene.broker.holders.settle_holders().await.unwrap();
    assert_ne!(secret(&scene.handle("bot")), before);
}

#[tokio::test]
async fn a_secret_that_does_not_open_is_replaced() {
    let scene = with_agents(&["bot", "other"]).await;
    let before = secret(&scene.handle("bot"));
    let mut records = scene.store.load().await.unwrap().holders;
    // Moved from another row.
    let others = records.pop().unwrap().secret;
    records[0].secret = others;
    scene.store.change_holders(records, vec![]).await.unwrap();
    let scene = scene.restart().await;
    scene.idle().await;
    let (bot, other) = (secret(&scene.handle("bot")), secret(&scene.handle("other")));
    assert!(bot != before && bot != other);
    let scene = scene.restart().await;
    scene.idle().await;
    assert_eq!(secret(&scene.handle("bot")), bot);
}

#[tokio::test]
async fn only_the_right_name_and_secret_together_open() {
    let scene = with_agents(&["one", "two"]).await;
    let (one, two) = (secret(&scene.handle("one")), secret(&scene.handle("two")));
    let opens = |name: &str, secret: &str| {
        let found = scene
            .broker
            .authenticator
            .authenticate(name, &AgentSecret::from(secret), Some(here()));
        found.map(|handle| handle.name().to_string())
    };
    assert_eq!(opens("one", &one).as_deref(), Some("one"));
    assert_eq!(opens("two", &two).as_deref(), Some("two"));
    for (name, secret) in [
        ("one", two.as_str()),
        ("three", &one),
        ("one", ""),
        ("One", &one),
        ("", &one),
        ("one", &one[..42]),
    ] {
        assert_eq!(opens(name, secret), None, "{name:?}");
    }
}

#[tokio::test]
async fn wrong_secrets_are_a_line_a_minute_and_hold_nothing_that_was_sent() {
    let scene = with_agents(&["bot"]).await;
    let wrong = AgentSecret::from(CANARY);
    for _ in 0..100 {
        assert!(
            scene
                .broker
                .authenticator
                .authenticate(CANARY, &wrong, Some(here()))
                .is_none()
        );
    }
    assert_eq!(
        scene.audited("agent.refused").await,
        ["daemon denied: a wrong name or secret at the agents' token endpoint, from 192.0.2.1"]
    );
    // By itself, also when nobody comes any more.
    scene.pass(MINUTE).await;
    let lines = scene.audited("agent.refused").await;
    assert_eq!(
        lines[1..],
        [
            "daemon denied: a wrong name or secret at the agents' token endpoint: 99 more within 60 s, from 192.0.2.1 (99)"
        ]
    );
    scene.pass_in_steps(5 * MINUTE, MINUTE).await;
    assert_eq!(scene.audited("agent.refused").await.len(), 2);
    assert!(!scene.files_contain(CANARY));
}

#[tokio::test]
async fn who_cannot_wait_gets_the_token_at_hand_as_long_as_it_lives_and_may_be_used() {
    let (scene, bot) = Scene::of_alice().await;
    let before = token(&bot).unwrap();
    let at_hand = || {
        let grant = scene.broker.issuer.at_hand(&bot, &"google".parse().unwrap())?;
        Some(grant.token.access_token.expose().to_owned())
    };
    // The provider is slow, and the token is fresh no more.
    scene.google.hold(ALICE);
    let left = life_left(&scene, &bot);
    scene.clock.advance(left.saturating_sub(secs(60)));
    scene.idle().await;
    assert!(scene.broker.issuer.current(&bot).is_none());
    assert_eq!(at_hand(), Some(before));
    scene.clock.advance(secs(60));
    scene.idle().await;
    assert_eq!(at_hand(), None);
    scene.google.let_go(ALICE);
    scene.idle().await;
    assert!(at_hand().is_some());
    let account = AccountRef::Owner {
        owner: owner("alice"),
        account: None,
    };
    let disconnected = scene
        .broker
        .disconnect
        .disconnect(&account, Revocation::Never, admin())
        .await;
    assert!(disconnected.is_ok());
    assert_eq!(at_hand(), None);
}

/// Where the scenes' clients are.
fn here() -> Peer {
    Peer::from(std::net::IpAddr::from([192, 0, 2, 1]))
}
