//! Lives and pauses are spans of uptime: what the provider says of the time, and who sets the wall clock, ends nothing.

use std::sync::Arc;

use jiff::SignedDuration;
use token_broker::{
    broker::{AgentHandle, AgentState},
    clock::after,
};

use crate::support::*;

/// 25 years.
const AGES: SignedDuration = SignedDuration::from_hours(25 * 365 * 24);

/// Four owners, each with an account and an agent of their own.
async fn four() -> (Scene, Vec<Arc<AgentHandle>>) {
    let scene = Scene::new().await;
    let mut bots = Vec::new();
    for owner in ["alice", "bob", "carol", "dave"] {
        scene.connect(owner, &[SEND]).await;
        bots.push(scene.put(&format!("bot-of-{owner}"), owner, &[SEND]).await);
    }
    scene.idle().await;
    (scene, bots)
}

fn have_tokens(bots: &[Arc<AgentHandle>]) -> bool {
    bots.iter()
        .all(|bot| token(bot).is_some() && state(bot) == AgentState::Active)
}

#[tokio::test]
async fn a_refusal_with_another_time_takes_nobodys_token() {
    for ahead in [SignedDuration::from_hours(2), -AGES, AGES] {
        for fault in [
            Fault::unavailable(),
            Fault::new(token_broker::provider::Remedy::Retry, "http_302"),
        ] {
            let (scene, bots) = four().await;
            let begun = scene.uptime();
            let consent = scene.begin("erin", &[SEND]);
            scene.google.habits().date = Some(ahead);
            scene.google.fail(ALICE, fault);
            assert!(scene.ask_for(&bots[0], &refused()).await.is_err());
            scene.pass(2).await;
            assert!(have_tokens(&bots));
            assert_eq!(
                scene.broker.clock_skew(),
                SignedDuration::ZERO,
                "a refusal taught the time"
            );
            for bot in &bots {
                assert_eq!(life_left(&scene, bot) + scene.uptime().since(begun), secs(HOUR));
            }
            // A consent under way ends well, and all go on as if nothing had been.
            scene.google.habits().date = Some(SignedDuration::ZERO);
            scene.google.heal_all();
            let redirect = scene.decided(&consent, &[SEND], Person::named("erin@example.com"));
            scene.complete(&redirect).await.unwrap();
            scene.pass_in_steps(2 * HOUR, MINUTE).await;
            assert!(have_tokens(&bots));
        }
    }
}

#[tokio::test]
async fn a_token_lives_as_long_as_the_answer_says_whatever_time_it_is_there() {
    for ahead in [
        SignedDuration::from_secs(600),
        SignedDuration::from_mins(-90),
        AGES,
        -AGES,
    ] {
        let scene = Scene::new().await;
        scene.google.habits().date = Some(ahead);
        scene.connect("alice", &[SEND]).await;
        let bot = scene.put("bot", "alice", &[SEND]).await;
        scene.idle().await;
        // No clock is right that shows a time from before this program.
        let learnt = if ahead == -AGES {
            SignedDuration::ZERO
        } else {
            ahead
        };
        assert_eq!(scene.broker.clock_skew(), learnt);
        assert_eq!(life_left(&scene, &bot), secs(HOUR));
        assert_eq!(scene.disk.end("bot"), Some(after(scene.now(), secs(HOUR))));
        // The provider's clock is put right, and then nobody answers.
        scene.google.habits().date = Some(SignedDuration::ZERO);
        scene.google.fail(ALICE, Fault::unavailable());
        scene.pass_in_steps(HOUR - MINUTE, MINUTE).await;
        assert!(token(&bot).is_some());
        scene.pass(MINUTE).await;
        assert_eq!((token(&bot), scene.disk.token("bot")), (None, None));
    }
}

#[tokio::test]
async fn a_life_is_counted_from_when_the_token_was_asked_for() {
    let (scene, bot) = Scene::of_alice().await;
    scene.google.hold(ALICE);
    scene.next_renewal().await;
    scene.pass(20).await;
    scene.google.let_go(ALICE);
    scene.idle().await;
    assert_eq!(life_left(&scene, &bot), secs(HOUR - 20));
}

#[tokio::test]
async fn what_readers_see_is_the_nodes_own_time() {
    let scene = Scene::new().await;
    scene.google.habits().date = Some(SignedDuration::from_hours(1));
    scene.connect("alice", &[SEND]).await;
    scene.put("bot", "alice", &[SEND]).await;
    scene.idle().await;
    assert_eq!(scene.disk.end("bot"), Some(after(scene.now(), secs(HOUR))));
    // Nothing is written as long as the clock only runs.
    scene.pass(10 * MINUTE).await;
    assert_eq!(scene.disk.end("bot"), Some(after(scene.now(), secs(50 * MINUTE))));
    // Set by a little, which brings no renewal near: the file says the new time at once.
    scene.clock.set(scene.now() + SignedDuration::from_mins(5));
    scene.idle().await;
    assert_eq!(scene.google.requests(), 1);
    assert_eq!(scene.disk.end("bot"), Some(after(scene.now(), secs(50 * MINUTE))));
}

#[tokio::test]
async fn a_few_seconds_of_difference_mean_nothing() {
    let scene = Scene::new().await;
    scene.google.habits().date = Some(SignedDuration::from_secs(-3));
    scene.connect("alice", &[SEND]).await;
    scene.put("bot", "alice", &[SEND]).await;
    scene.idle().await;
    assert_eq!(scene.broker.clock_skew(), SignedDuration::ZERO);
}

#[tokio::test]
async fn after_a_suspend_tokens_are_gone_at_once_and_renewed() {
    let (scene, bot) = Scene::of_alice().await;
    let old = token(&bot).unwrap();
    scene.google.hold(ALICE);
    scene.pass(8 * HOUR).await;
    assert_eq!((token(&bot), scene.disk.token("bot")), (None, None));
    assert!(scene.broker.issuer.current(&bot).is_none());
    assert_eq!(scene.google.requests(), 2);
    scene.google.let_go(ALICE);
    scene.idle().await;
    assert_eq!(state(&bot), AgentState::Active);
    assert_ne!(token(&bot).unwrap(), old);
}

#[tokio::test]
async fn a_clock_that_jumps_makes_the_broker_ask_and_takes_nothing_away() {
    for to in [
        "2026-03-20T00:00:00Z",
        "2026-02-20T00:00:00Z",
        "2001-01-01T00:00:00Z",
    ] {
        let (scene, bot) = Scene::of_alice().await;
        scene.pass(10 * MINUTE).await;
        let old = token(&bot).unwrap();
        // It may be that a virtual machine slept, and that the token is long dead: nobody here can tell.
        scene.google.fail(ALICE, Fault::unavailable());
        scene.clock.set(to.parse().unwrap());
        scene.idle().await;
        scene.pass(1).await;
        assert_eq!(scene.google.requests(), 2, "{to}");
        assert_eq!(token(&bot).as_ref(), Some(&old), "{to}");
        assert_eq!(
            (state(&bot), scene.disk.token("bot")),
            (AgentState::Active, Some(old.clone()))
        );
        assert_eq!(life_left(&scene, &bot), secs(50 * MINUTE - 1));

        // Nobody takes more from it than its own life, and it is no longer than it was.
        scene.pass_in_steps(50 * MINUTE, MINUTE).await;
        assert_eq!((token(&bot), scene.disk.token("bot")), (None, None), "{to}");
        scene.google.heal(ALICE);
        scene.pass_in_steps(6 * MINUTE, MINUTE).await;
        assert_eq!(state(&bot), AgentState::Active, "{to}");
    }
}

#[tokio::test]
async fn a_jump_brings_renewals_forward_by_as_much_as_it_was() {
    let (scene, _bot) = Scene::of_alice().await;
    let due = scene.broker.next_renewal().unwrap();
    scene.clock.set(scene.now() + SignedDuration::from_mins(20));
    scene.idle().await;
    assert_eq!(scene.broker.next_renewal(), Some(due.before(secs(20 * MINUTE))));
    assert_eq!(scene.google.requests(), 1);
}

#[tokio::test]
async fn many_tokens_are_renewed_apart_after_a_jump() {
    const ACCOUNTS: usize = 100;
    let scene = Scene::new().await;
    for number in 0..ACCOUNTS {
        let owner = format!("owner-{number}");
        scene.connect(&owner, &[SEND]).await;
        scene.put(&format!("bot-{number}"), &owner, &[SEND]).await;
    }
    scene.idle().await;
    scene.clock.set(scene.now() + AGES);
    scene.idle().await;
    let mut before = scene.google.requests();
    for _ in 0..5 {
        scene.pass(1).await;
        let asked = scene.google.requests() - before;
        assert!(asked <= ACCOUNTS / 2, "{asked} of {ACCOUNTS} in one second");
        before += asked;
    }
    assert_eq!(before, 2 * ACCOUNTS);
}

#[tokio::test]
async fn a_clock_that_jumps_all_the_time_costs_a_request_in_five_minutes() {
    let (scene, bot) = Scene::of_alice().await;
    let start = scene.now();
    for minute in 0..60 {
        let to = if minute % 2 == 0 { AGES } else { -AGES };
        scene.clock.set(start + to);
        scene.pass(MINUTE).await;
        assert!(life_left(&scene, &bot) > secs(5 * MINUTE));
    }
    assert!(scene.google.requests() <= 14, "{}", scene.google.requests());
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

#[tokio::test]
async fn a_dead_token_is_not_served_after_a_restart() {
    for minutes in [-90, 0, 90] {
        let scene = Scene::new().await;
        scene.google.habits().date = Some(SignedDuration::from_mins(minutes));
        scene.connect("alice", &[SEND]).await;
        scene.put("bot", "alice", &[SEND]).await;
        scene.idle().await;
        let setting = scene.stop().await;
        setting.clock.advance(secs(30 * MINUTE));
        let scene = Scene::standing_still(setting).await;
        let bot = scene.handle("bot");
        assert_eq!(state(&bot), AgentState::Active, "{minutes}");
        assert_eq!(life_left(&scene, &bot), secs(30 * MINUTE), "{minutes}");
        let setting = scene.stop().await;
        setting.clock.advance(secs(31 * MINUTE));
        let scene = Scene::standing_still(setting).await;
        assert_eq!(token(&scene.handle("bot")), None, "{minutes}");
    }
}

#[tokio::test]
async fn the_nodes_time_is_asserted_where_what_is_said_of_the_providers_is_wrong_twice() {
    let scene = Scene::new().await;
    scene.google.habits().judges_by = Some(SignedDuration::ZERO);
    scene.robot_of("alice").await;
    let bot = scene.put("bot", "alice", &[SA]).await;
    scene.idle().await;
    for hours in [3, 6] {
        scene.google.habits().date = Some(SignedDuration::from_hours(hours));
        let before = token(&bot);
        scene.pass_in_steps(HOUR, MINUTE).await;
        assert_eq!(state(&bot), AgentState::Active, "{hours}");
        assert_ne!(token(&bot), before, "{hours}");
    }
}
