//! Time is corrected by the provider's, and a clock that jumps makes nothing expire unseen.

use jiff::SignedDuration;
use token_broker::{
    broker::AgentState,
    clock::{Clock, after},
};

use crate::support::*;

async fn with_skew(minutes: i64) -> Scene {
    let scene = Scene::new().await;
    scene.google.habits().date = Some(SignedDuration::from_mins(minutes));
    scene.connect("alice", &[SEND]).await;
    scene.put("bot", "alice", &[SEND]).await;
    scene.idle().await;
    scene
}

#[tokio::test]
async fn expiry_is_told_in_the_providers_time() {
    for minutes in [-90, 90] {
        let scene = with_skew(minutes).await;
        let skew = SignedDuration::from_mins(minutes);
        assert_eq!(scene.broker.clock_skew(), skew);
        assert_eq!(scene.broker.now(), scene.now() + skew);
        let bot = scene.handle("bot");
        let expires_at = bot.snapshot().main.token.as_ref().unwrap().expires_at;
        assert_eq!(expires_at, after(scene.now() + skew, secs(HOUR)));
        // The token lives its hour of real time, no more and no less.
        assert_eq!(life_left(&scene, &bot), secs(HOUR));
        scene.pass_in_steps(44 * MINUTE, MINUTE).await;
        assert_eq!(scene.google.requests(), 1);
        scene.pass_in_steps(7 * MINUTE, MINUTE).await;
        assert_eq!(scene.google.requests(), 2);
        assert_eq!(state(&bot), AgentState::Active);
    }
}

#[tokio::test]
async fn a_few_seconds_of_difference_mean_nothing() {
    let scene = Scene::new().await;
    scene.google.habits().date = Some(SignedDuration::from_secs(-3));
    scene.connect("alice", &[SEND]).await;
    scene.put("bot", "alice", &[SEND]).await;
    scene.idle().await;
    assert_eq!(scene.broker.clock_skew(), SignedDuration::ZERO);
    assert_eq!(scene.broker.now(), scene.now());
}

#[tokio::test]
async fn failures_teach_the_time_too() {
    let (scene, bot) = Scene::of_alice().await;
    // The clock of this machine is an hour slow, which only the refusal's `Date` tells.
    scene.google.habits().date = Some(SignedDuration::from_hours(1));
    scene.google.fail(ALICE, Fault::unavailable());
    scene.next_renewal().await;
    assert_eq!(scene.broker.clock_skew(), SignedDuration::from_hours(1));
    assert_eq!(
        (token(&bot), scene.disk.token("bot")),
        (None, None),
        "a token that has expired is served"
    );
}

#[tokio::test]
async fn a_wrong_clock_at_a_restart_serves_no_dead_token() {
    for minutes in [-90, 90] {
        let scene = with_skew(minutes).await;
        let setting = scene.stop().await;
        // More than the token's life; the machine's clock is as wrong as before.
        setting.clock.advance(secs(61 * MINUTE));
        let scene = Scene::standing_still(setting).await;
        assert_eq!(token(&scene.handle("bot")), None, "{minutes}");
    }
    // Where the clock was right all along, or is slow by the same amount, what lives is served.
    for minutes in [0, 90] {
        let setting = with_skew(minutes).await.stop().await;
        setting.clock.advance(secs(30 * MINUTE));
        let scene = Scene::standing_still(setting).await;
        assert_eq!(state(&scene.handle("bot")), AgentState::Active, "{minutes}");
    }
}

#[tokio::test]
async fn a_clock_put_right_while_the_daemon_was_down_serves_no_dead_token() {
    for minutes in [-90, 90] {
        let setting = with_skew(minutes).await.stop().await;
        setting.clock.advance(secs(61 * MINUTE));
        let right = setting.clock.now() + SignedDuration::from_mins(minutes);
        setting.clock.set(right);
        let scene = Scene::standing_still(setting).await;
        assert_eq!(token(&scene.handle("bot")), None, "{minutes}");
    }
}

#[tokio::test]
async fn after_a_suspend_tokens_are_gone_at_once_and_renewed() {
    let (scene, bot) = Scene::of_alice().await;
    let old = token(&bot).unwrap();
    scene.google.hold(ALICE);
    scene.pass(8 * HOUR).await;
    assert_eq!((token(&bot), scene.disk.token("bot")), (None, None));
    assert!(scene.broker.current(&bot).is_none());
    assert_eq!(scene.google.requests(), 2);
    scene.google.let_go(ALICE);
    scene.idle().await;
    assert_eq!(state(&bot), AgentState::Active);
    assert_ne!(token(&bot).unwrap(), old);
}

#[tokio::test]
async fn setting_the_clock_back_gives_no_token_more_life() {
    let (scene, bot) = Scene::of_alice().await;
    scene.pass(40 * MINUTE).await;
    scene.google.fail(ALICE, Fault::unavailable());
    scene.clock.set("2026-02-20T00:00:00Z".parse().unwrap());
    // Google cannot be reached, so nobody corrects the clock.
    scene.google.habits().date = None;
    scene.idle().await;
    assert_eq!(life_left(&scene, &bot), secs(20 * MINUTE));
    scene.pass_in_steps(20 * MINUTE, MINUTE).await;
    assert_eq!((token(&bot), scene.disk.token("bot")), (None, None));
    assert!(scene.google.requests() > 2, "renewals stopped");
}

#[tokio::test]
async fn setting_the_clock_back_stops_no_renewal() {
    let (scene, bot) = Scene::of_alice().await;
    scene.clock.set("2026-02-20T00:00:00Z".parse().unwrap());
    for _ in 0..180 {
        scene.pass(MINUTE).await;
        assert!(life_left(&scene, &bot) > secs(5 * MINUTE));
    }
    assert!(
        (4..=6).contains(&scene.google.requests()),
        "{}",
        scene.google.requests()
    );
}

#[tokio::test]
async fn setting_the_clock_forward_costs_no_burst() {
    let (scene, bot) = Scene::of_alice().await;
    let before = token(&bot);
    scene.clock.set("2026-03-20T00:00:00Z".parse().unwrap());
    scene.idle().await;
    assert_eq!(
        (token(&bot), scene.google.requests()),
        (before, 1),
        "no time has passed"
    );
    scene.pass(51 * MINUTE).await;
    assert_eq!((state(&bot), scene.google.requests()), (AgentState::Active, 2));
}

#[tokio::test]
async fn before_the_first_answer_a_clock_that_is_put_right_is_believed() {
    let setting = Scene::of_alice().await.0.stop().await;
    // The machine comes up with a clock that stands where it stood; NTP puts it right a moment later.
    let scene = Scene::with(setting).await;
    let bot = scene.handle("bot");
    assert!(token(&bot).is_some());
    scene.clock.set("2026-03-01T13:00:01Z".parse().unwrap());
    scene.idle().await;
    assert_eq!(state(&bot), AgentState::Active);
    assert_eq!(scene.google.requests(), 2, "the old token has expired");
}

#[tokio::test]
async fn a_provider_without_a_date_changes_nothing() {
    let scene = Scene::new().await;
    scene.google.habits().date = None;
    scene.connect("alice", &[SEND]).await;
    let bot = scene.put("bot", "alice", &[SEND]).await;
    scene.idle().await;
    scene.pass_in_steps(2 * HOUR, MINUTE).await;
    assert_eq!(state(&bot), AgentState::Active);
    assert_eq!(scene.broker.clock_skew(), SignedDuration::ZERO);
}
