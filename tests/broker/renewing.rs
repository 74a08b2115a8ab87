//! Renewal ahead of time, and what happens while it fails.

use std::collections::BTreeSet;

use token_broker::broker::AgentState;

use crate::support::*;

/// Below this Google's own libraries ask again on every call.
const FLOOR: u64 = 300;

#[tokio::test]
async fn nobody_ever_holds_less_than_the_floor_while_google_answers() {
    let (scene, bot) = Scene::of_alice().await;
    for _ in 0..6 * 60 {
        scene.pass(MINUTE).await;
        assert_eq!(state(&bot), AgentState::Active);
        assert!(
            life_left(&scene, &bot) > secs(FLOOR),
            "{:?} left",
            life_left(&scene, &bot)
        );
        assert_eq!(scene.disk.token("bot"), token(&bot));
    }
    let requests = scene.google.requests();
    assert!((7..=9).contains(&requests), "{requests} requests in six hours");
}

#[tokio::test]
async fn short_lived_tokens_are_renewed_well_before_their_end_too() {
    let scene = Scene::new().await;
    scene.google.habits().lifetime = secs(60);
    scene.connect("alice", &[SEND]).await;
    let bot = scene.put("bot", "alice", &[SEND]).await;
    scene.idle().await;
    for _ in 0..300 {
        scene.pass(2).await;
        assert!(life_left(&scene, &bot) > secs(12));
    }
    let requests = scene.google.requests();
    assert!(
        (15..=26).contains(&requests),
        "{requests} requests in ten minutes"
    );
}

#[tokio::test]
async fn tokens_obtained_together_are_renewed_apart() {
    let scene = Scene::new().await;
    let mut ids = Vec::new();
    for number in 0..200 {
        let owner = format!("owner-{number}");
        ids.push(scene.connect(&owner, &[SEND]).await);
        scene.put(&format!("bot-{number}"), &owner, &[SEND]).await;
    }
    scene.idle().await;
    assert_eq!(scene.google.requests(), 200);
    let start = scene.now();
    scene.pass_in_steps(HOUR, 10).await;

    let moments: Vec<_> = scene.google.asked()[200..]
        .iter()
        .map(|asked| asked.at.duration_since(start).as_secs())
        .collect();
    assert_eq!(moments.len(), 200);
    assert!(moments.iter().all(|at| (2700..=3010).contains(at)), "{moments:?}");
    let different: BTreeSet<_> = moments.iter().collect();
    assert!(different.len() >= 25, "only {} moments", different.len());
    assert!(scene.google.most_under_way().0 <= 8);
}

#[tokio::test]
async fn the_queue_sleeps_until_the_next_is_due() {
    let (scene, _bot) = Scene::of_alice().await;
    let due = scene.broker.next_renewal().unwrap();
    assert_eq!(scene.broker.renewals_waiting(), 1);
    scene.clock.set(scene.now());
    scene.pass(40 * MINUTE).await;
    assert_eq!(scene.google.requests(), 1);
    assert_eq!(scene.broker.next_renewal(), Some(due));
}

#[tokio::test]
async fn a_failed_renewal_keeps_serving_the_token_that_lives() {
    let (scene, bot) = Scene::of_alice().await;
    let living = token(&bot).unwrap();
    scene.google.fail(ALICE, Fault::unavailable());

    // From the first failure until the floor the agent works, and its status says what is wrong.
    scene.pass_in_steps(54 * MINUTE, 10).await;
    assert!(scene.google.requests() > 2);
    let snapshot = bot.snapshot();
    assert_eq!(snapshot.state, AgentState::Active);
    assert!(
        snapshot.message.contains("its renewal fails"),
        "{}",
        snapshot.message
    );
    assert_eq!(scene.ask(&bot).await.unwrap(), living);
    assert_eq!(scene.account("alice").state(), AgentState::ProviderUnavailable);

    // Below the floor the state says so, at that very moment; the token is served to its end.
    scene.pass_in_steps(2 * MINUTE, 10).await;
    assert_eq!(state(&bot), AgentState::ProviderUnavailable);
    assert_eq!(scene.ask(&bot).await.unwrap(), living);
    assert_eq!(scene.disk.token("bot").as_deref(), Some(&*living));

    // Nobody sees it a moment longer.
    scene.pass_in_steps(4 * MINUTE, 10).await;
    assert_eq!(token(&bot), None);
    assert_eq!(scene.disk.token("bot"), None);
    let problem = scene.ask(&bot).await.unwrap_err();
    assert_eq!(problem.code.as_str(), "provider_unavailable");
    assert!(problem.message.contains("http_503"), "{problem}");
    assert!(problem.retry_after.is_some());

    scene.google.heal(ALICE);
    scene.pass_in_steps(6 * MINUTE, 10).await;
    assert_eq!(state(&bot), AgentState::Active);
    assert_eq!(bot.snapshot().message, "");
    assert_ne!(scene.disk.token("bot"), None);
}

#[tokio::test]
async fn the_state_changes_at_the_floor_also_when_google_asked_for_a_long_silence() {
    let (scene, bot) = Scene::of_alice().await;
    scene.google.fail(ALICE, Fault::unavailable().retry_after(HOUR));
    scene.pass(51 * MINUTE).await;
    assert_eq!(scene.google.requests(), 2);
    assert_eq!(state(&bot), AgentState::Active);
    scene.pass(4 * MINUTE + 1).await;
    assert_eq!(state(&bot), AgentState::ProviderUnavailable);
    assert!(token(&bot).is_some());
    scene.pass(5 * MINUTE).await;
    assert_eq!((token(&bot), scene.disk.token("bot")), (None, None));
}

#[tokio::test]
async fn failures_in_a_row_are_spaced_wider_and_wider() {
    let (scene, _bot) = Scene::of_alice().await;
    scene.google.fail(ALICE, Fault::unavailable());
    // Each is due at a random point of an interval that doubles: compare sums, not single steps.
    let mut gaps = Vec::new();
    scene.next_renewal().await;
    for _ in 0..14 {
        let before = scene.now();
        scene.next_renewal().await;
        gaps.push(scene.now().duration_since(before).as_secs_f64());
    }
    for (failures, gap) in gaps.iter().enumerate() {
        let most = f64::min(300.0, 2.0 * f64::from(1_u32 << failures.min(10)));
        assert!(
            (0.5..=most + 0.1).contains(gap),
            "{failures}: {gap} of at most {most}"
        );
    }
    let (first, last) = (gaps[..4].iter().sum::<f64>(), gaps[10..].iter().sum::<f64>());
    assert!(last > 2.0 * first, "{gaps:?}");
    let different: BTreeSet<_> = gaps[8..].iter().map(|gap| gap.round().to_string()).collect();
    assert!(different.len() > 2, "no jitter: {gaps:?}");
}

#[tokio::test]
async fn a_wish_for_silence_is_honoured_by_the_queue_and_by_askers() {
    let scene = Scene::new().await;
    scene.connect("alice", &[SEND]).await;
    scene.google.fail(ALICE, Fault::unavailable().retry_after(120));
    let bot = scene.put("bot", "alice", &[SEND]).await;
    scene.idle().await;
    assert_eq!(scene.google.requests(), 1);
    scene.pass_in_steps(110, 10).await;
    assert_eq!(
        scene.google.requests(),
        1,
        "asked again before the time that Google named"
    );
    // One try on demand, and then they hear when it is tried next.
    for _ in 0..5 {
        let problem = scene.ask(&bot).await.unwrap_err();
        assert!(problem.retry_after.is_some_and(|wait| wait <= secs(180)));
        scene.pass(5).await;
    }
    assert_eq!(scene.google.requests(), 2);
    scene.google.heal(ALICE);
    scene.pass(90).await;
    assert_eq!(scene.google.requests(), 2);
    scene.pass(66).await;
    assert_eq!(scene.google.requests(), 3);
    assert_eq!(state(&bot), AgentState::Active);
}

#[tokio::test]
async fn five_hundred_accounts_recover_without_a_burst() {
    const ACCOUNTS: usize = 500;
    let scene = Scene::new().await;
    let mut bots = Vec::new();
    for number in 0..ACCOUNTS {
        let owner = format!("owner-{number}");
        scene.connect(&owner, &[SEND]).await;
        scene.google.fail(&email(&owner), Fault::unavailable());
        bots.push(scene.put(&format!("bot-{number}"), &owner, &[SEND]).await);
    }
    scene.pass_in_steps(20 * MINUTE, 5).await;
    let (healed_at, before) = (scene.now(), scene.google.requests());
    scene.google.heal_all();
    scene.google.forget_most_under_way();
    scene.pass_in_steps(60, 1).await;

    assert!(bots.iter().all(|bot| state(bot) == AgentState::Active));
    let (at_once, _) = scene.google.most_under_way();
    assert!(at_once <= 8, "{at_once} requests at once");
    let asked = &scene.google.asked()[before..];
    assert_eq!(asked.len(), ACCOUNTS);
    let mut shares = [0; 61];
    for asked in asked {
        shares[usize::try_from(asked.at.duration_since(healed_at).as_secs()).unwrap()] += 1;
    }
    assert!(
        shares.iter().all(|share| *share <= ACCOUNTS / 10),
        "a burst: {shares:?}"
    );
}

#[tokio::test]
async fn an_answer_without_a_refresh_token_keeps_the_old_one() {
    let (scene, bot) = Scene::of_alice().await;
    for _ in 0..3 {
        scene.next_renewal().await;
    }
    let presented: BTreeSet<_> = scene
        .google
        .asked()
        .into_iter()
        .map(|asked| asked.refresh_token)
        .collect();
    assert_eq!(presented.len(), 1);
    let scene = scene.restart().await;
    scene.next_renewal().await;
    assert_eq!(
        scene.google.asked().last().unwrap().refresh_token,
        *presented.first().unwrap()
    );
    assert_eq!(state(&scene.handle("bot")), AgentState::Active);
    drop(bot);
}

#[tokio::test]
async fn a_rotated_refresh_token_is_used_from_then_on_also_after_a_restart() {
    let scene = Scene::new().await;
    scene.google.habits().rotates = true;
    scene.connect("alice", &[SEND]).await;
    scene.put("bot", "alice", &[SEND]).await;
    scene.idle().await;
    scene.next_renewal().await;
    let scene = scene.restart().await;
    scene.next_renewal().await;
    scene.next_renewal().await;
    let presented: BTreeSet<_> = scene
        .google
        .asked()
        .into_iter()
        .map(|asked| asked.refresh_token)
        .collect();
    assert_eq!(presented.len(), 4);
    assert_eq!(scene.google.spent_presented(), 0);
}

#[tokio::test]
async fn a_token_that_nobody_uses_any_more_is_not_renewed() {
    let (scene, _bot) = Scene::of_alice().await;
    scene
        .broker
        .agents
        .delete_agent(&"bot".parse().unwrap(), admin())
        .await
        .unwrap();
    assert_eq!(scene.broker.renewals_waiting(), 0);
    scene.pass_in_steps(3 * HOUR, MINUTE).await;
    assert_eq!(scene.google.requests(), 1);
}
