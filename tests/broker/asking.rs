//! What an agent may ask for, and what it is told.

use token_broker::{
    broker::{AgentState, ProblemCode, TokenRequest},
    budget::table::NARROWED_TOKENS,
    clock::{self, Clock},
};

use crate::support::*;

#[tokio::test]
async fn narrowing_asks_for_literal_scopes_of_just_those_capabilities() {
    let scene = Scene::new().await;
    scene.connect("alice", &[SEND, CALENDAR, DRIVE]).await;
    let bot = scene.put("bot", "alice", &[SEND, CALENDAR]).await;
    scene.idle().await;
    assert_eq!(
        scene.google.asked()[0].scopes,
        scopes(&[SEND, CALENDAR]),
        "not Drive, which it did not declare"
    );

    let grant = scene
        .broker
        .issuer
        .token(&bot, &query(&[SEND], 0))
        .await
        .map_err(|p| p.to_string())
        .unwrap();
    assert_eq!(scene.google.asked()[1].scopes, scopes(&[SEND]));
    assert_eq!(grant.token.scopes, scopes(&[SEND]));
    assert_eq!(
        grant
            .capabilities
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>(),
        [SEND]
    );
    let full = token(&bot).unwrap();
    assert_ne!(grant.token.access_token.expose(), full);
    assert_eq!(
        scene.ask(&bot).await.unwrap(),
        full,
        "its own token is not narrowed by it"
    );

    // Asked again it is at hand; all of them, in any order and twice, is the token it has.
    let again = scene.ask_for(&bot, &query(&[SEND, SEND], 0)).await.unwrap();
    assert_eq!(again, grant.token.access_token.expose());
    assert_eq!(
        scene.ask_for(&bot, &query(&[CALENDAR, SEND], 0)).await.unwrap(),
        full
    );
    assert_eq!(scene.google.requests(), 2);
}

#[tokio::test]
async fn a_wider_grant_stands_in_with_its_own_literal_scope() {
    let scene = Scene::new().await;
    scene.connect("alice", &[CALENDAR]).await;
    let bot = scene.put("bot", "alice", &[CALENDAR_READONLY]).await;
    scene.idle().await;
    let snapshot = bot.snapshot();
    assert_eq!(snapshot.state, AgentState::Active);
    assert_eq!(
        snapshot.capabilities[0].satisfied_by.as_ref().unwrap().as_str(),
        CALENDAR
    );
    assert_eq!(scene.google.asked()[0].scopes, scopes(&[CALENDAR]));
    scene
        .ask_for(&bot, &query(&[CALENDAR_READONLY], 0))
        .await
        .unwrap();
    // The wider key itself was not declared.
    let problem = scene.ask_for(&bot, &query(&[CALENDAR], 0)).await.unwrap_err();
    assert_eq!(problem.code.as_str(), "not_declared");
    assert_eq!(scene.google.requests(), 1);
}

#[tokio::test]
async fn what_was_not_declared_or_does_not_exist_is_refused_and_google_not_asked() {
    let (scene, bot) = Scene::of_alice().await;
    for (asked, code, words) in [
        (DRIVE, "not_declared", "does not declare `google.drive`"),
        (
            "google.gmail.sned",
            "unknown_capability",
            "Did you mean `google.gmail.send`?",
        ),
        ("", "unknown_capability", "There is no capability ``."),
        (
            "ya29.a0AfB_byC1dEfGh2IjKlMnOp3",
            "unknown_capability",
            "There is no capability `[redacted]`.",
        ),
        ("\u{1b}[2J", "unknown_capability", "\\u{1b}"),
    ] {
        let problem = scene.ask_for(&bot, &query(&[asked], 0)).await.unwrap_err();
        assert_eq!(problem.code.as_str(), code);
        assert!(problem.message.contains(words), "{problem}");
        // Together with a good one it is refused all the same.
        let problem = scene.ask_for(&bot, &query(&[SEND, asked], 0)).await.unwrap_err();
        assert_eq!(problem.code.as_str(), code);
    }
    let sa = TokenRequest {
        integration: Some("google-sa".parse().unwrap()),
        ..TokenRequest::default()
    };
    assert_eq!(
        scene.ask_for(&bot, &sa).await.unwrap_err().code.as_str(),
        "not_declared"
    );
    assert_eq!(scene.google.requests(), 1);
}

#[tokio::test]
async fn an_optional_capability_that_was_not_granted_is_named_with_a_url() {
    let scene = Scene::new().await;
    scene.connect("alice", &[SEND]).await;
    let bot = scene.put("bot", "alice", &[SEND, "google.drive?"]).await;
    scene.idle().await;
    let problem = scene.ask_for(&bot, &query(&[DRIVE], 0)).await.unwrap_err();
    assert_eq!(problem.code.as_str(), "permission_missing");
    assert!(problem.message.contains(DRIVE), "{problem}");
    assert_eq!(
        problem.action_url.as_deref(),
        Some("https://broker.example/agents/bot")
    );
    scene.ask(&bot).await.unwrap();
}

#[tokio::test]
async fn a_narrowed_token_that_does_not_carry_what_was_asked_is_not_handed_out() {
    let scene = Scene::new().await;
    scene.connect("alice", &[SEND, CALENDAR]).await;
    let bot = scene.put("bot", "alice", &[SEND, CALENDAR]).await;
    scene.idle().await;
    scene.google.carry_only(scopes(&[CALENDAR]));
    let problem = scene.ask_for(&bot, &query(&[SEND], 0)).await.unwrap_err();
    assert_eq!(problem.code.as_str(), "permission_missing");
    assert!(problem.message.contains(SEND), "{problem}");
}

#[tokio::test]
async fn at_least_so_much_life_renews_when_need_be() {
    let (scene, bot) = Scene::of_alice().await;
    scene.pass(20 * MINUTE).await;
    let old = token(&bot).unwrap();
    assert_eq!(scene.ask_for(&bot, &query(&[], 40 * MINUTE)).await.unwrap(), old);
    assert_eq!(scene.google.requests(), 1);
    let new = scene.ask_for(&bot, &query(&[], 40 * MINUTE + 1)).await.unwrap();
    assert_ne!(new, old);
    assert_eq!(token(&bot).unwrap(), new, "everybody gets the fresher one");
    assert_eq!(scene.disk.token("bot"), Some(new));
    assert_eq!(scene.google.requests(), 2);
}

#[tokio::test]
async fn more_life_than_tokens_have_is_refused_without_asking_google_each_time() {
    let (scene, bot) = Scene::of_alice().await;
    scene.pass(20 * MINUTE).await;
    for _ in 0..20 {
        let problem = scene.ask_for(&bot, &query(&[], 2 * HOUR)).await.unwrap_err();
        assert_eq!(problem.code.as_str(), "invalid_request");
        assert!(problem.message.contains("3600 s"), "{problem}");
    }
    assert_eq!(scene.google.requests(), 1);
}

#[tokio::test]
async fn a_token_is_never_handed_out_with_less_life_than_was_asked_for() {
    let (scene, bot) = Scene::of_alice().await;
    scene.pass(20 * MINUTE).await;
    // Google takes 20 s to answer, so that even a new token has less than its full life left.
    scene.google.hold(ALICE);
    let (broker, asker) = (scene.broker.clone(), bot.clone());
    let asking = tokio::spawn(async move {
        broker
            .issuer
            .token(&asker, &query(&[], HOUR - 10))
            .await
            .map(|_| ())
    });
    scene.idle().await;
    scene.clock.advance(secs(20));
    scene.google.let_go(ALICE);
    let problem = asking.await.unwrap().unwrap_err();
    assert_eq!(problem.code.as_str(), "invalid_request");
    scene.ask_for(&bot, &query(&[], HOUR - 30)).await.unwrap();
}

#[tokio::test]
async fn asking_for_a_fresher_one_over_and_over_is_slowed_down() {
    let (scene, bot) = Scene::of_alice().await;
    scene.pass(MINUTE).await;
    let mut refused = 0;
    for _ in 0..60 {
        scene.pass(1).await;
        if let Err(problem) = scene.ask_for(&bot, &query(&[], HOUR)).await {
            assert_eq!(problem.code.as_str(), "rate_limited");
            assert!(problem.retry_after.is_some_and(|wait| wait <= secs(10)));
            refused += 1;
        }
    }
    assert!(refused >= 50, "{refused}");
    assert!(scene.google.requests() <= 8, "{}", scene.google.requests());
}

#[tokio::test]
async fn a_fresher_one_that_cannot_be_had_is_no_reason_to_withhold_what_will_do() {
    let (scene, bot) = Scene::of_alice().await;
    let old = token(&bot).unwrap();
    scene.google.fail(ALICE, Fault::unavailable());
    scene.pass(56 * MINUTE).await;
    assert!(
        scene.broker.issuer.current(&bot).is_none(),
        "below the floor it is not simply handed out"
    );
    assert_eq!(scene.ask(&bot).await.unwrap(), old);
    assert_eq!(scene.ask_for(&bot, &query(&[], 3 * MINUTE)).await.unwrap(), old);
    let problem = scene.ask_for(&bot, &query(&[], 10 * MINUTE)).await.unwrap_err();
    assert_eq!(problem.code.as_str(), "provider_unavailable");
}

#[tokio::test]
async fn below_the_floor_an_asker_gets_the_fresher_one() {
    let (scene, bot) = Scene::of_alice().await;
    let old = token(&bot).unwrap();
    scene.google.fail(ALICE, Fault::unavailable().retry_after(50));
    scene.pass(55 * MINUTE + 1).await;
    scene.google.heal(ALICE);
    // The queue waits a little longer; whoever asks after the time that Google named does not.
    scene.clock.advance(secs(76));
    let new = scene.ask(&bot).await.unwrap();
    assert_ne!(new, old);
}

#[tokio::test]
async fn selections_without_end_are_bounded() {
    let scene = Scene::new().await;
    let all = [
        SEND,
        READ,
        CALENDAR,
        CALENDAR_READONLY,
        DRIVE,
        "google.drive.readonly",
        SHEETS,
        "google.sheets.readonly",
        DOCS,
        "google.docs.readonly",
    ];
    scene.connect("alice", &all).await;
    let bot = scene.put("bot", "alice", &all).await;
    scene.idle().await;
    let mut refused = 0;
    for selection in 1_u32..200 {
        let names: Vec<_> = (0..10)
            .filter(|bit| selection & (1 << bit) != 0)
            .map(|bit| all[bit])
            .collect();
        if let Err(problem) = scene.ask_for(&bot, &query(&names, 0)).await {
            assert_eq!(problem.code.as_str(), "rate_limited");
            assert!(problem.retry_after.is_some());
            refused += 1;
        }
    }
    assert_eq!(refused, 199 - 64);
    assert_eq!(scene.google.requests(), 65);
    // What is there is still served, and the agent's own token is renewed.
    scene.ask_for(&bot, &query(&[SEND], 0)).await.unwrap();
    scene.next_renewal().await;
    assert_eq!(state(&bot), AgentState::Active);
    // Places become free as tokens expire.
    scene.pass(HOUR).await;
    scene
        .ask_for(&bot, &query(&[READ, CALENDAR, DRIVE, SHEETS, DOCS], 0))
        .await
        .unwrap();
}

#[tokio::test]
async fn who_keeps_asking_while_google_fails_costs_a_try_now_and_then() {
    let scene = Scene::new().await;
    scene.connect("alice", &[SEND, CALENDAR]).await;
    let bot = scene.put("bot", "alice", &[SEND, CALENDAR]).await;
    scene.idle().await;
    scene.google.fail(ALICE, Fault::unavailable());
    for _ in 0..20 * MINUTE {
        assert!(scene.ask_for(&bot, &query(&[SEND], 0)).await.is_err());
        scene.pass(1).await;
    }
    let requests = scene.google.requests() - 1;
    // Two in a minute on demand, and those that are due by themselves, ever more rarely.
    assert!(
        (40..=70).contains(&requests),
        "{requests} requests in twenty minutes"
    );
}

#[tokio::test]
async fn a_removed_agents_open_connection_gets_nothing_more() {
    let (scene, old) = Scene::of_alice().await;
    scene.connect("mallory", &[SEND]).await;
    scene
        .broker
        .agents
        .delete_agent(old.name(), admin())
        .await
        .unwrap();
    assert!(old.is_removed());
    assert!(
        scene.broker.issuer.current(&old).is_none(),
        "the snapshot still holds a token"
    );
    assert_eq!(token(&old), None);
    let problem = scene.ask(&old).await.unwrap_err();
    assert!(problem.message.contains("was removed"), "{problem}");

    // Neither when another agent takes its name, of another owner or of the same.
    for owner in ["mallory", "alice"] {
        let new = scene.put("bot", owner, &[SEND]).await;
        scene.idle().await;
        assert_eq!(state(&new), AgentState::Active);
        for query in [query(&[], 0), query(&[SEND], 0), query(&[], MINUTE)] {
            assert!(scene.ask_for(&old, &query).await.is_err());
        }
        scene.ask(&new).await.unwrap();
        scene
            .broker
            .agents
            .delete_agent(new.name(), admin())
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn what_was_withdrawn_while_an_asker_waited_is_not_handed_out() {
    let scene = Scene::standing_still(Setting::default()).await;
    scene.connect("alice", &[SEND]).await;
    let bot = scene.put("bot", "alice", &[SEND]).await;
    scene.google.hold(ALICE);
    let (broker, asker) = (scene.broker.clone(), bot.clone());
    let asking = tokio::spawn(async move { broker.issuer.token(&asker, &query(&[], 0)).await.map(|_| ()) });
    scene.idle().await;
    scene
        .broker
        .agents
        .delete_agent(bot.name(), admin())
        .await
        .unwrap();
    scene.google.let_go(ALICE);
    assert!(asking.await.unwrap().is_err());
}

#[tokio::test]
async fn every_state_without_a_token_is_told_as_it_is() {
    let scene = Scene::new().await;
    let bot = scene.put("bot", "alice", &[SEND]).await;
    let problem = scene.ask(&bot).await.unwrap_err();
    assert_eq!(problem.code.as_str(), "not_connected");
    assert!(problem.action_url.is_some());
    scene.connect("alice", &[CALENDAR]).await;
    let problem = scene.ask(&bot).await.unwrap_err();
    assert_eq!(problem.code.as_str(), "permission_missing");
    assert!(problem.action_url.is_some());
    let nothing = scene.put("nothing", "alice", &[]).await;
    let problem = scene.ask(&nothing).await.unwrap_err();
    assert!(problem.message.contains("declares no integration"), "{problem}");
    scene.idle().await;
    assert_eq!(scene.google.requests(), 0);
}

/// A selection of the capabilities for each bit that is set.
fn selection(keys: &[&'static str], bits: usize) -> Vec<&'static str> {
    let chosen = keys
        .iter()
        .enumerate()
        .filter(|(index, _)| bits & (1 << index) != 0);
    chosen.map(|(_, key)| *key).collect()
}

#[tokio::test]
async fn an_agent_that_asks_for_every_selection_leaves_the_others_theirs() {
    const KEYS: [&str; 8] = [
        SEND,
        CALENDAR,
        DRIVE,
        "google.gmail.readonly",
        "google.sheets",
        "google.docs",
        "google.sheets.readonly",
        "google.docs.readonly",
    ];
    let scene = Scene::new().await;
    scene.connect("alice", &KEYS).await;
    let greedy = scene.put("greedy", "alice", &KEYS).await;
    let modest = scene.put("modest", "alice", &KEYS).await;
    scene.idle().await;
    let mut given = 0;
    let mut refused = None;
    for bits in 1..255 {
        match scene.ask_for(&greedy, &query(&selection(&KEYS, bits), 0)).await {
            Ok(_) => given += 1,
            Err(problem) => refused = Some(problem),
        }
    }
    assert_eq!(given, NARROWED_TOKENS.each);
    let refused = refused.unwrap();
    assert_eq!(refused.code, ProblemCode::RateLimited);
    assert!(
        refused.retry_after.is_some() && refused.message.contains("This agent"),
        "{refused:?}"
    );
    scene
        .ask_for(&modest, &query(&selection(&KEYS, 254), 0))
        .await
        .unwrap();
    // What was asked for before is shared, whoever asks.
    scene
        .ask_for(&modest, &query(&selection(&KEYS, 1), 0))
        .await
        .unwrap();
    // Its places come back as its tokens end.
    scene.pass(61 * MINUTE).await;
    scene
        .ask_for(&greedy, &query(&selection(&KEYS, 254), 0))
        .await
        .unwrap();
}

#[tokio::test]
async fn the_second_of_the_last_use_is_told() {
    let scene = Scene::new().await;
    scene.connect("alice", &[SEND]).await;
    let bot = scene.put("bot", "alice", &[SEND]).await;
    scene.idle().await;
    let last_used = || {
        let view = scene.broker.agent_list.agent(bot.name()).unwrap();
        view.last_used.map(|used| used.to_string())
    };
    assert_eq!(last_used(), None);
    let asked_at = clock::rfc3339(scene.clock.now());
    scene.clock.advance(std::time::Duration::from_millis(300));
    scene.ask(&bot).await.unwrap();
    assert_eq!(last_used(), Some(asked_at));
}
