//! What the next daemon knows, and what it asks for.

use std::sync::Arc;

use token_broker::{
    broker::{AgentState, Broker},
    clock::Clock,
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
            scene
                .broker
                .issuer
                .current(&bot)
                .unwrap()
                .token
                .access_token
                .expose(),
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
async fn in_the_same_boot_a_token_lives_as_long_as_it_would_have_without_a_restart() {
    for set in ["2006-01-01T00:00:00Z", "2046-01-01T00:00:00Z"] {
        let (scene, bot) = Scene::of_alice().await;
        let before = token(&bot).unwrap();
        let setting = scene.stop().await;
        setting.clock.advance(secs(20 * MINUTE));
        setting.clock.set(set.parse().unwrap());
        let scene = Scene::standing_still(setting).await;
        let bot = scene.handle("bot");
        assert_eq!(token(&bot).as_ref(), Some(&before), "{set}");
        let kept = scene.broker.issuer.current(&bot).unwrap().token;
        let left = kept.remaining(scene.clock.uptime()).unwrap();
        assert_eq!(left, secs(HOUR - 20 * MINUTE), "{set}");
        // And no longer than that.
        let setting = scene.stop().await;
        setting.clock.advance(secs(40 * MINUTE));
        let scene = Scene::standing_still(setting).await;
        assert_eq!(token(&scene.handle("bot")), None, "{set}");
    }
}

#[tokio::test]
async fn a_clock_that_was_set_while_the_daemon_was_down_has_tokens_renewed_as_if_it_had_run() {
    let (scene, _bot) = Scene::of_alice().await;
    let setting = scene.stop().await;
    let jumped = setting.clock.now() + jiff::SignedDuration::from_hours(5);
    setting.clock.set(jumped);
    let scene = Scene::with(setting).await;
    scene.idle().await;
    assert_eq!(scene.google.requests(), 1);
    scene.pass(1).await;
    assert_eq!(scene.google.requests(), 2);
}

#[tokio::test]
async fn in_another_boot_a_token_lives_by_the_wall_clock() {
    let (scene, bot) = Scene::of_alice().await;
    let before = token(&bot).unwrap();
    let setting = scene.stop().await;
    setting.clock.reboot(secs(19 * MINUTE));
    let scene = Scene::standing_still(setting).await;
    let bot = scene.handle("bot");
    assert_eq!(token(&bot).as_ref(), Some(&before));
    let kept = scene.broker.issuer.current(&bot).unwrap().token;
    let left = kept.remaining(scene.clock.uptime()).unwrap();
    assert_eq!(left, secs(HOUR - 20 * MINUTE));
    let setting = scene.stop().await;
    setting.clock.reboot(secs(41 * MINUTE));
    let scene = Scene::standing_still(setting).await;
    assert_eq!(token(&scene.handle("bot")), None);
}

#[tokio::test]
async fn in_another_boot_a_token_from_the_future_is_not_trusted_nor_are_those_beside_it() {
    let (scene, _bot) = Scene::of_alice().await;
    scene.pass(10 * MINUTE).await;
    scene.connect("bob", &[SEND]).await;
    scene.put("bobs", "bob", &[SEND]).await;
    scene.idle().await;
    let setting = scene.stop().await;
    // Alice's token was obtained before this moment, Bob's after it: the clock was set back.
    let set = setting.clock.now() - jiff::SignedDuration::from_mins(5);
    setting.clock.reboot(secs(MINUTE));
    setting.clock.set(set);
    let mut scene = Scene::standing_still(setting).await;
    assert_eq!(token(&scene.handle("bot")), None);
    assert_eq!(token(&scene.handle("bobs")), None);
    let requests = scene.google.requests();
    scene.run();
    scene.idle().await;
    assert_eq!(scene.google.requests(), requests + 2);
}

#[tokio::test]
async fn in_another_boot_a_token_has_lost_at_least_what_this_one_lasts() {
    // The clock stands just after the moment that the token was obtained, but the machine has run for longer than that.
    let (scene, bot) = Scene::of_alice().await;
    let issued = scene.clock.now();
    let before = token(&bot).unwrap();
    let setting = scene.stop().await;
    setting.clock.reboot(secs(HOUR));
    setting.clock.advance(secs(29 * MINUTE));
    setting.clock.set(issued);
    let scene = Scene::standing_still(setting).await;
    let bot = scene.handle("bot");
    assert_eq!(token(&bot).as_ref(), Some(&before));
    let kept = scene.broker.issuer.current(&bot).unwrap().token;
    let left = kept.remaining(scene.clock.uptime()).unwrap();
    assert_eq!(left, secs(HOUR - 30 * MINUTE));
    let setting = scene.stop().await;
    setting.clock.advance(secs(30 * MINUTE));
    setting.clock.set(issued);
    let scene = Scene::standing_still(setting).await;
    assert_eq!(token(&scene.handle("bot")), None);
}

#[tokio::test]
async fn a_token_that_was_stored_without_its_boot_lives_by_the_wall_clock() {
    let (scene, bot) = Scene::of_alice().await;
    let before = token(&bot).unwrap();
    let mut setting = scene.stop().await;
    setting = altering_tokens(setting, |record| record.issued_in_boot = None).await;
    setting.clock.advance(secs(MINUTE));
    let scene = Scene::standing_still(setting).await;
    assert_eq!(token(&scene.handle("bot")), Some(before));
}

#[tokio::test]
async fn a_token_from_later_in_the_same_boot_is_not_trusted() {
    // A machine that was put back to a snapshot has its boot's id, and less uptime.
    let (scene, _bot) = Scene::of_alice().await;
    let mut setting = scene.stop().await;
    setting = altering_tokens(setting, |record| {
        let issued = record.issued_in_boot.as_mut().unwrap();
        issued.uptime = issued.uptime.after(secs(10 * MINUTE));
    })
    .await;
    let scene = Scene::standing_still(setting).await;
    assert_eq!(token(&scene.handle("bot")), None);
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
            grant_expires_at: None,
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
    setting.google = Arc::new(Google::with_issuer_binding(setting.clock.clone(), elsewhere));
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
    scene.broker.account_checks.check_account(&which).await.unwrap();
    scene.pass_in_steps(2 * HOUR, MINUTE).await;
    assert_eq!(scene.google.requests(), 0);

    // Disconnecting does not send it there either, and says so.
    let done = scene
        .broker
        .disconnect
        .disconnect(&which, token_broker::broker::Revocation::Always, admin())
        .await
        .unwrap();
    assert!(!done.revoked && done.problem().unwrap().contains("#client"));
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
        .agents
        .delete_agent(&"gone".parse().unwrap(), admin())
        .await
        .unwrap();
    let scene = scene.restart().await;
    let names: Vec<_> = scene
        .broker
        .agent_list
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
    assert_eq!(scene.broker.agent_list.handles().len(), 1);
    assert_eq!(state(&scene.handle("bot")), AgentState::Active);
    assert_eq!(scene.store.load().await.unwrap().agents.len(), 2);
}

#[tokio::test]
async fn the_broker_runs_on_several_threads_at_once() {
    fn is_send<T: Send>(_: T) {}
    let (scene, bot) = Scene::of_alice().await;
    let broker: Arc<Broker> = scene.broker.clone();
    is_send(broker.issuer.token(&bot, &query(&[], 0)));
}
