//! After an outage nobody waits for long: one try on demand is allowed, and the first success is good for all.

use token_broker::{
    broker::{AgentHandle, AgentState},
    provider::Remedy,
};

use crate::support::*;

/// The most that a pause can be.
const LONGEST_PAUSE: u64 = 6 * MINUTE;

async fn many(count: usize) -> (Scene, Vec<std::sync::Arc<AgentHandle>>) {
    let scene = Scene::new().await;
    let mut bots = Vec::new();
    for number in 0..count {
        let owner = format!("owner-{number}");
        scene.connect(&owner, &[SEND]).await;
        bots.push(scene.put(&format!("bot-{number}"), &owner, &[SEND]).await);
    }
    scene.idle().await;
    (scene, bots)
}

fn without_token(bots: &[std::sync::Arc<AgentHandle>]) -> usize {
    bots.iter().filter(|bot| token(bot).is_none()).count()
}

fn fail_all(scene: &Scene, count: usize, fault: &Fault) {
    for number in 0..count {
        scene
            .google
            .fail(&email(&format!("owner-{number}")), fault.clone());
    }
}

#[tokio::test]
async fn however_long_google_asks_to_wait_an_agent_that_asks_is_tried_for() {
    for asked in [3600, 86_400, u64::MAX] {
        let (scene, bot) = Scene::of_alice().await;
        scene.google.fail(ALICE, Fault::unavailable().retry_after(asked));
        scene.pass(61 * MINUTE).await;
        assert_eq!(token(&bot), None);
        scene.google.heal(ALICE);
        assert!(scene.ask(&bot).await.is_ok(), "Retry-After: {asked}");
        assert_eq!(state(&bot), AgentState::Active);
    }
}

#[tokio::test]
async fn however_long_google_asks_to_wait_the_pause_is_a_few_minutes() {
    let (scene, bot) = Scene::of_alice().await;
    scene.google.fail(ALICE, Fault::unavailable().retry_after(86_400));
    scene.pass(61 * MINUTE).await;
    assert_eq!(token(&bot), None);
    scene.google.heal(ALICE);
    scene.pass_in_steps(LONGEST_PAUSE, 10).await;
    assert_eq!(state(&bot), AgentState::Active);
}

#[tokio::test]
async fn a_living_token_is_tried_once_more_before_its_end() {
    let scene = Scene::new().await;
    scene.google.habits().lifetime = secs(10 * MINUTE);
    scene.connect("alice", &[SEND]).await;
    let bot = scene.put("bot", "alice", &[SEND]).await;
    scene.idle().await;
    let first = token(&bot);
    // The renewal fails with four to six minutes left, and Google asks for an hour.
    scene
        .google
        .fail_once(ALICE, Fault::unavailable().retry_after(HOUR));
    scene.next_renewal().await;
    assert!(life_left(&scene, &bot) > secs(3 * MINUTE));
    for _ in 0..60 {
        scene.pass(10).await;
        assert!(token(&bot).is_some());
        if token(&bot) != first {
            return;
        }
    }
    panic!("nothing was tried before its end");
}

#[tokio::test]
async fn agents_are_told_what_the_daemon_does() {
    for asked in [120, 3600, 86_400] {
        let scene = Scene::new().await;
        scene.connect("alice", &[SEND]).await;
        scene.google.fail(ALICE, Fault::unavailable().retry_after(asked));
        let bot = scene.put("bot", "alice", &[SEND]).await;
        scene.idle().await;
        // The first one is tried for, the second is not: both hear the same.
        for requests in [2, 2] {
            let problem = scene.ask(&bot).await.unwrap_err();
            assert_eq!(scene.google.requests(), requests);
            let due = scene.broker.next_renewal().unwrap();
            assert_eq!(
                problem.retry_after,
                scene.uptime().until(due),
                "Retry-After: {asked}"
            );
        }
        let told = scene.ask(&bot).await.unwrap_err().retry_after.unwrap();
        assert!(
            told >= secs(asked.min(300)) && told <= secs(LONGEST_PAUSE),
            "{told:?}"
        );
    }
}

#[tokio::test]
async fn tries_on_demand_are_shared_and_bounded_per_account() {
    let scene = Scene::new().await;
    scene.connect("alice", &[SEND, READ]).await;
    scene.google.fail(ALICE, Fault::unavailable().retry_after(300));
    let bots = [
        scene.put("bot", "alice", &[SEND]).await,
        scene.put("other", "alice", &[READ]).await,
    ];
    scene.idle().await;
    let before = scene.google.requests();
    // A minute of asking every second, by two agents of one account.
    for _ in 0..60 {
        for bot in &bots {
            assert!(scene.ask(bot).await.is_err());
        }
        scene.pass(1).await;
    }
    let tried = scene.google.requests() - before;
    assert!((2..=3).contains(&tried), "{tried} requests in a minute");

    // Those who ask at the same time share one.
    scene.pass(30).await;
    scene.google.heal(ALICE);
    scene.google.hold(ALICE);
    let before = scene.google.requests();
    let asking: Vec<_> = (0..64)
        .map(|_| {
            let (broker, bot) = (scene.broker.clone(), bots[0].clone());
            tokio::spawn(async move { broker.issuer.token(&bot, &query(&[], 0)).await.is_ok() })
        })
        .collect();
    scene.idle().await;
    scene.google.let_go(ALICE);
    for asked in asking {
        assert!(asked.await.unwrap());
    }
    assert_eq!(scene.google.requests(), before + 1);
    scene.pass(1).await;
    assert_eq!(
        scene.google.requests(),
        before + 2,
        "the other agent's is due by that"
    );
}

#[tokio::test]
async fn the_first_success_is_good_for_all_one_after_another() {
    const ACCOUNTS: usize = 200;
    let (scene, bots) = many(ACCOUNTS).await;
    fail_all(&scene, ACCOUNTS, &Fault::unavailable());
    scene.pass_in_steps(70 * MINUTE, 30).await;
    assert_eq!(without_token(&bots), ACCOUNTS);
    scene.google.heal_all();
    // Somebody asks.
    let before = scene.google.requests();
    assert!(scene.ask(&bots[7]).await.is_ok());
    let mut seconds = 0;
    while without_token(&bots) > 0 {
        let before = scene.google.requests();
        scene.pass(1).await;
        seconds += 1;
        let asked = scene.google.requests() - before;
        assert!(asked <= 60, "a burst: {asked} in a second");
    }
    assert!(seconds <= 11, "the last one waited for {seconds} s");
    assert!(seconds >= 5, "all of them within {seconds} s");
    assert_eq!(scene.google.requests() - before, ACCOUNTS);
}

#[tokio::test]
async fn a_consent_that_ends_well_is_a_success_too() {
    let (scene, bot) = Scene::of_alice().await;
    scene.google.fail(ALICE, Fault::unavailable().retry_after(HOUR));
    scene.pass(61 * MINUTE).await;
    assert_eq!(token(&bot), None);
    scene.google.heal(ALICE);
    scene.connect("bob", &[SEND]).await;
    scene.pass(1).await;
    assert_eq!(state(&bot), AgentState::Active);
}

#[tokio::test]
async fn what_fails_by_itself_is_not_tried_at_the_pace_of_the_others() {
    let (scene, _bots) = many(30).await;
    // One account is refused for long, while the others are renewed all the time.
    let fault = Fault::new(Remedy::Retry, "http_429").retry_after(300);
    scene.google.fail(&email("owner-0"), fault);
    scene.google.habits().lifetime = secs(5 * MINUTE);
    scene.pass_in_steps(HOUR, 1).await;
    let (refused, others) = (
        scene.google.asked_for(&email("owner-0")).len(),
        scene.google.requests(),
    );
    assert!(others > 100, "{others}");
    assert!(refused <= 2 * 12 + 2, "{refused} requests in an hour");
}

#[tokio::test]
async fn after_the_disk_was_full_the_first_commit_is_good_for_all() {
    const ACCOUNTS: usize = 40;
    let scene = Scene::new().await;
    // A provider that may replace grants is not asked while the intent cannot be written.
    scene.google.habits().rotates = true;
    let mut bots = Vec::new();
    for number in 0..ACCOUNTS {
        let owner = format!("owner-{number}");
        scene.connect(&owner, &[SEND]).await;
        bots.push(scene.put(&format!("bot-{number}"), &owner, &[SEND]).await);
    }
    scene.idle().await;
    scene.store.fail(Part::Begin);
    scene.pass_in_steps(70 * MINUTE, 30).await;
    assert_eq!(without_token(&bots), ACCOUNTS);
    scene.store.heal();
    assert!(scene.ask(&bots[0]).await.is_ok());
    scene.pass_in_steps(3, 1).await;
    assert_eq!(without_token(&bots), 0);
}

#[tokio::test]
async fn a_living_token_lives_to_its_end_whoever_has_to_act() {
    for (kind, code, after) in [
        (Remedy::Operator, "invalid_client", AgentState::Misconfigured),
        (Remedy::Permission, "invalid_scope", AgentState::PermissionMissing),
        (Remedy::Retry, "http_503", AgentState::ProviderUnavailable),
    ] {
        let (scene, bot) = Scene::of_alice().await;
        let living = token(&bot).unwrap();
        scene.google.fail(ALICE, Fault::new(kind, code));
        scene.pass_in_steps(HOUR - 10, 10).await;
        assert_eq!(token(&bot).as_ref(), Some(&living), "{code}");
        assert_eq!(scene.disk.token("bot").as_ref(), Some(&living), "{code}");
        assert_eq!(scene.ask(&bot).await.unwrap(), living, "{code}");
        assert_eq!(state(&bot), AgentState::ProviderUnavailable, "{code}");
        assert!(
            bot.snapshot().message.contains(code),
            "{}",
            bot.snapshot().message
        );
        scene.pass(10).await;
        assert_eq!((token(&bot), scene.disk.token("bot")), (None, None), "{code}");
        assert_eq!(state(&bot), after, "{code}");
    }
}

#[tokio::test]
async fn a_living_token_lives_to_its_end_while_the_disk_is_full() {
    let scene = Scene::new().await;
    scene.google.habits().rotates = true;
    scene.connect("alice", &[SEND]).await;
    let bot = scene.put("bot", "alice", &[SEND]).await;
    scene.idle().await;
    let living = token(&bot).unwrap();
    scene.store.fail(Part::Begin);
    scene.pass_in_steps(HOUR - 10, 10).await;
    assert_eq!(scene.ask(&bot).await.unwrap(), living);
    assert_eq!(scene.disk.token("bot"), Some(living));
}
