//! What the next daemon knows, and what it asks for.

use std::sync::Arc;

use token_broker::{
    broker::{AgentState, Broker},
    store::{AgentRecord, Store},
    vault::Sealed,
};

use crate::support::*;

#[tokio::test]
async fn living_tokens_are_served_at_once_without_a_request() {
    let scene = Scene::new().await;
    let mut before = Vec::new();
    for number in 0..50 {
        let owner = format!("owner-{number}");
        scene.connect(&owner, &[SEND]).await;
        let bot = scene.put(&format!("bot-{number}"), &owner, &[SEND]).await;
        before.push(bot);
    }
    scene.idle().await;
    let before: Vec<_> = before.iter().map(|bot| token(bot).unwrap()).collect();
    let setting = scene.stop().await;
    setting.clock.advance(secs(20 * MINUTE));

    // Before its queues run, so before anything could be renewed.
    let mut scene = Scene::standing_still(setting).await;
    for (number, token_before) in before.iter().enumerate() {
        let bot = scene.handle(&format!("bot-{number}"));
        assert_eq!(state(&bot), AgentState::Active);
        assert_eq!(
            scene.broker.current(&bot).unwrap().token.access_token.expose(),
            token_before
        );
    }
    scene.idle().await;
    assert_eq!(scene.disk.token("bot-7").as_ref(), Some(&before[7]));
    scene.run();
    scene.pass(20 * MINUTE).await;
    assert_eq!(scene.google.requests(), 50, "a request for a token that lives");
    scene.pass_in_steps(11 * MINUTE, 10).await;
    assert_eq!(scene.google.requests(), 100, "renewed ahead of time as before");
}

#[tokio::test]
async fn expired_tokens_are_not_served_and_renewed_at_once() {
    let (scene, bot) = Scene::of_alice().await;
    let old = token(&bot).unwrap();
    let setting = scene.stop().await;
    setting.clock.advance(secs(2 * HOUR));
    let mut scene = Scene::standing_still(setting).await;
    let bot = scene.handle("bot");
    assert_eq!(token(&bot), None);
    scene.run();
    scene.idle().await;
    assert_eq!(scene.google.requests(), 2);
    assert_eq!(state(&bot), AgentState::Active);
    assert_ne!(token(&bot).unwrap(), old);
}

#[tokio::test]
async fn thousands_of_expired_tokens_are_renewed_a_few_at_a_time() {
    let scene = Scene::new().await;
    for number in 0..100 {
        let owner = format!("owner-{number}");
        scene.connect(&owner, &[SEND]).await;
        scene.put(&format!("bot-{number}"), &owner, &[SEND]).await;
    }
    scene.idle().await;
    let setting = scene.stop().await;
    setting.clock.advance(secs(2 * HOUR));
    setting.google.forget_most_under_way();
    let scene = Scene::with(setting).await;
    scene.idle().await;
    assert_eq!(scene.google.requests(), 200);
    assert!(scene.google.most_under_way().0 <= 8);
}

#[tokio::test]
async fn a_stored_token_that_does_not_open_is_obtained_anew() {
    let (scene, bot) = Scene::of_alice().await;
    let old = token(&bot).unwrap();
    let mut setting = scene.stop().await;
    setting = altering_tokens(setting, |record| record.secret = Sealed::from_bytes(vec![1; 200])).await;
    let scene = Scene::with(setting).await;
    scene.idle().await;
    let bot = scene.handle("bot");
    assert_eq!((state(&bot), scene.google.requests()), (AgentState::Active, 2));
    assert_ne!(token(&bot).unwrap(), old);
}

#[tokio::test]
async fn a_token_from_the_future_is_not_trusted() {
    // The clock was set back while the daemon was down: the token would seem to live for a day.
    let (scene, _bot) = Scene::of_alice().await;
    let setting = scene.stop().await;
    setting.clock.set("2026-02-28T12:00:00Z".parse().unwrap());
    let mut scene = Scene::standing_still(setting).await;
    assert_eq!(token(&scene.handle("bot")), None);
    scene.run();
    scene.idle().await;
    assert_eq!(scene.google.requests(), 2);
}

/// Rewrites the stored access tokens through the store itself.
async fn altering_tokens(setting: Setting, alter: impl Fn(&mut token_broker::store::TokenRecord)) -> Setting {
    let scene = Scene::standing_still(setting).await;
    let contents = scene.store.load().await.unwrap();
    for mut token in contents.tokens {
        alter(&mut token);
        let record = contents
            .integrations
            .iter()
            .find(|record| record.id == token.integration)
            .unwrap();
        let outcome = token_broker::store::RenewalOutcome {
            rotated: None,
            health: record.health.clone(),
            renewed_at: None,
            token: Some(token),
        };
        scene
            .store
            .finish_renewal(&record.id, record.version, outcome)
            .await
            .unwrap();
    }
    scene.stop().await
}

#[tokio::test]
async fn a_grant_of_another_client_or_endpoint_is_sent_nowhere() {
    let (scene, _bot) = Scene::of_alice().await;
    let mut setting = scene.stop().await;
    let elsewhere = "https://oauth2.example/token#another-client";
    setting.google = Arc::new(Google::with_authority(setting.clock.clone(), elsewhere));
    let scene = Scene::with(setting).await;
    scene.idle().await;
    let bot = scene.handle("bot");
    let snapshot = bot.snapshot();
    assert_eq!((snapshot.state, token(&bot)), (AgentState::Misconfigured, None));
    for part in [ALICE, "#client", "#another-client", "connect it anew"] {
        assert!(snapshot.message.contains(part), "{}", snapshot.message);
    }
    assert_eq!(scene.ask(&bot).await.unwrap_err().code.as_str(), "misconfigured");
    let which = token_broker::broker::AccountRef::Id(scene.account("alice").record.id);
    scene.broker.check_account(&which).await.unwrap();
    scene.pass_in_steps(2 * HOUR, MINUTE).await;
    assert_eq!(scene.google.requests(), 0);

    // Disconnecting does not send it there either, and says so.
    let done = scene
        .broker
        .disconnect(&which, token_broker::broker::Revocation::Always, admin())
        .await
        .unwrap();
    assert!(!done.revoked && done.problem.unwrap().contains("#client"));
    assert!(scene.google.revoked().is_empty());
}

#[tokio::test]
async fn agents_of_the_api_and_their_accounts_are_back() {
    let scene = Scene::new().await;
    scene.connect("alice", &[SEND]).await;
    scene.put("bot", "alice", &[SEND]).await;
    scene.put("gone", "alice", &[SEND]).await;
    scene.put("bot", "alice", &[SEND, "google.drive?"]).await;
    scene
        .broker
        .delete_agent(&"gone".parse().unwrap(), admin())
        .await
        .unwrap();
    let scene = scene.restart().await;
    let names: Vec<_> = scene
        .broker
        .handles()
        .iter()
        .map(|handle| handle.name().to_string())
        .collect();
    assert_eq!(names, ["bot"]);
    assert_eq!(scene.handle("bot").snapshot().capabilities.len(), 2);
}

#[tokio::test]
async fn an_agent_in_the_database_that_makes_no_sense_is_left_alone() {
    let (scene, _bot) = Scene::of_alice().await;
    let odd = AgentRecord {
        name: "odd".parse().unwrap(),
        manifest: "{".into(),
    };
    scene.store.put_agent(odd, Vec::new()).await.unwrap();
    let scene = scene.restart().await;
    assert_eq!(scene.broker.handles().len(), 1);
    assert_eq!(state(&scene.handle("bot")), AgentState::Active);
    assert_eq!(scene.store.load().await.unwrap().agents.len(), 2);
}

#[tokio::test]
async fn the_broker_runs_on_several_threads_at_once() {
    fn is_send<T: Send>(_: T) {}
    let (scene, bot) = Scene::of_alice().await;
    let broker: Arc<Broker> = scene.broker.clone();
    is_send(broker.token(&bot, &query(&[], 0)));
}
