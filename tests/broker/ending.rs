//! Grants that end by themselves.

use jiff::SignedDuration;
use token_broker::broker::{AgentState, EventKind};

use crate::support::*;

const DAY: u64 = 24 * HOUR;

/// Alice's grant lives for a week, and an agent works with it.
async fn for_a_week() -> Scene {
    let scene = Scene::new().await;
    scene.google.habits().grant_life = Some(secs(7 * DAY));
    scene.connect("alice", &[SEND]).await;
    scene.put("bot", "alice", &[SEND]).await;
    scene.idle().await;
    scene
}

fn is_told(scene: &Scene) -> bool {
    let bot = scene.handle("bot");
    assert_eq!(state(&bot), AgentState::Active);
    let (view, message) = (scene.account("alice"), bot.snapshot().message.clone());
    assert_eq!((view.message(), view.ends_soon), (&*message, !message.is_empty()));
    assert_eq!(view.action_url.is_some(), view.ends_soon);
    if view.ends_soon {
        let ends = "What alice@example.com allowed ends by itself at 2026-03-08T12:00:00Z: connect the account again";
        assert!(message.starts_with(ends), "{message}");
    }
    view.ends_soon
}

#[tokio::test]
async fn the_owner_hears_of_it_two_days_before_and_once() {
    let scene = for_a_week().await;
    let mut events = scene.broker.events();
    let ends = scene.account("alice").record.grant_expires_at.unwrap();
    assert_eq!(ends.to_string(), "2026-03-08T12:00:00Z");
    scene.pass_in_steps(5 * DAY - 2 * HOUR, HOUR).await;
    assert!(!is_told(&scene));
    scene.pass_in_steps(4 * HOUR, HOUR / 2).await;
    assert!(is_told(&scene));
    scene.pass_in_steps(DAY, HOUR / 2).await;
    let mut told = 0;
    while let Ok(event) = events.try_recv() {
        told += usize::from(event.kind == EventKind::IntegrationEnding);
    }
    assert_eq!(told, 1);
    // Whoever connects again has another week.
    scene.connect("alice", &[SEND]).await;
    scene.idle().await;
    assert!(!is_told(&scene));
}

#[tokio::test]
async fn a_clock_that_is_set_moves_no_end_and_a_restart_goes_by_it() {
    let scene = for_a_week().await;
    let real = scene.now();
    scene
        .clock
        .set(real.checked_add(SignedDuration::from_hours(24 * 6)).unwrap());
    scene.idle().await;
    scene.pass_in_steps(HOUR, MINUTE).await;
    assert!(!is_told(&scene));
    let scene = scene.restart().await;
    scene.idle().await;
    assert!(is_told(&scene));
}

#[tokio::test]
async fn of_a_short_life_the_second_half_is_told() {
    let scene = Scene::new().await;
    scene.google.habits().grant_life = Some(secs(12 * HOUR));
    scene.connect("alice", &[SEND]).await;
    let bot = scene.put("bot", "alice", &[SEND]).await;
    scene.pass_in_steps(5 * HOUR, HOUR / 2).await;
    assert_eq!(bot.snapshot().message, "");
    scene.pass_in_steps(2 * HOUR, HOUR / 2).await;
    assert!(bot.snapshot().message.contains("2026-03-02T00:00:00Z"));
}

#[tokio::test]
async fn what_a_refresh_tells_of_the_end_counts_and_is_kept() {
    let scene = for_a_week().await;
    let ends = |scene: &Scene| scene.account("alice").record.grant_expires_at.unwrap();
    let before = ends(&scene);
    // The same end, told a moment later.
    scene.google.habits().grant_rest = Some(secs(7 * DAY - HOUR));
    scene.next_renewal().await;
    assert_eq!(ends(&scene), before);
    scene.google.habits().grant_rest = Some(secs(HOUR));
    scene.next_renewal().await;
    let after = ends(&scene);
    assert!(after < before);
    assert!(scene.account("alice").ends_soon);
    assert!(scene.handle("bot").snapshot().message.contains("ends by itself"));
    scene.google.habits().grant_rest = None;
    scene.next_renewal().await;
    let scene = scene.restart().await;
    // As it is stored, in microseconds.
    assert_eq!(ends(&scene).as_microsecond(), after.as_microsecond());
}
