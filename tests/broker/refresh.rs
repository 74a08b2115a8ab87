//! An API refused an agent's token: another one, at once, and not endlessly.

use token_broker::broker::{AgentState, TokenRequest};

use crate::support::*;

#[tokio::test]
async fn a_refused_token_is_replaced_for_everybody_who_uses_it() {
    let (scene, bot) = Scene::of_alice().await;
    let other = scene.put("other", "alice", &[SEND]).await;
    scene.idle().await;
    let old = token(&bot).unwrap();
    assert_eq!(token(&other), Some(old.clone()));
    let new = scene.ask_for(&bot, &refused()).await.unwrap();
    assert_ne!(new, old);
    scene.idle().await;
    for agent in ["bot", "other"] {
        assert_eq!(scene.disk.token(agent).as_ref(), Some(&new));
    }
    assert_eq!(scene.ask(&other).await.unwrap(), new);
    assert_eq!(scene.google.requests(), 2);
    let trail = scene.audited("token.refresh").await;
    assert_eq!(trail.len(), 1, "{trail:?}");
    assert!(trail[0].starts_with("agent:bot allowed"), "{trail:?}");
}

#[tokio::test]
async fn whoever_asks_at_the_same_time_or_right_after_shares_the_request() {
    let scene = Scene::new().await;
    scene.connect("alice", &[SEND]).await;
    let mut agents = Vec::new();
    for number in 0..64 {
        agents.push(scene.put(&format!("bot-{number}"), "alice", &[SEND]).await);
    }
    scene.idle().await;
    let old = token(&agents[0]).unwrap();
    scene.google.hold(ALICE);
    let ask = |agent: &std::sync::Arc<token_broker::broker::AgentHandle>| {
        let (broker, agent) = (scene.broker.clone(), agent.clone());
        tokio::spawn(async move {
            let grant = broker.issuer.token(&agent, &refused()).await;
            grant.map(|grant| grant.token.access_token.expose().to_owned())
        })
    };
    // One of them with many threads: whoever only joins is not counted.
    let first = &agents[0];
    let asking: Vec<_> = agents[..32].iter().chain([first; 16]).map(ask).collect();
    scene.idle().await;
    scene.google.let_go(ALICE);
    let mut answers = Vec::new();
    for asked in asking {
        answers.push(asked.await.unwrap().unwrap());
    }
    assert!(
        answers
            .iter()
            .all(|answer| *answer == answers[0] && *answer != old)
    );
    assert_eq!(scene.google.requests(), 2);

    // To those who ask a moment later it is news, too.
    scene.pass(1).await;
    for agent in &agents[32..] {
        assert_eq!(scene.ask_for(agent, &refused()).await.unwrap(), answers[0]);
    }
    assert_eq!(scene.google.requests(), 2);
    // But not to one who had it, and says that it was refused as well.
    let next = scene.ask_for(first, &refused()).await.unwrap();
    assert_ne!(next, answers[0]);
    assert_eq!(scene.google.requests(), 3);
}

#[tokio::test]
async fn three_in_a_row_and_then_it_is_slowed_down_for_this_agent_alone() {
    let (scene, bot) = Scene::of_alice().await;
    scene.connect("carol", &[SEND]).await;
    let carols = scene.put("carols", "carol", &[SEND]).await;
    scene.idle().await;
    let mut tokens = vec![token(&bot).unwrap()];
    for _ in 0..3 {
        tokens.push(scene.ask_for(&bot, &refused()).await.unwrap());
    }
    tokens.dedup();
    assert_eq!(tokens.len(), 4, "each is another one");
    let requests = scene.google.requests();
    for _ in 0..10 {
        let problem = scene.ask_for(&bot, &refused()).await.unwrap_err();
        assert_eq!(problem.code.as_str(), "rate_limited");
        assert_eq!(problem.retry_after, Some(secs(30)));
    }
    assert_eq!(scene.google.requests(), requests);
    // The token itself is there all the same, and others are not slowed down.
    assert_eq!(scene.ask(&bot).await.unwrap(), tokens[3]);
    scene.ask_for(&carols, &refused()).await.unwrap();
    scene.pass(30).await;
    scene.ask_for(&bot, &refused()).await.unwrap();
    assert_eq!(
        scene.ask_for(&bot, &refused()).await.unwrap_err().code.as_str(),
        "rate_limited"
    );
}

#[tokio::test]
async fn where_there_is_no_other_token_the_reason_is_told_and_not_the_refused_one() {
    let (scene, bot) = Scene::of_alice().await;
    scene
        .google
        .fail_once(ALICE, Fault::unavailable().retry_after(50));
    let problem = scene.ask_for(&bot, &refused()).await.unwrap_err();
    assert_eq!(problem.code.as_str(), "provider_unavailable");
    // Whether it was refused for good is for Google to say: until then the others keep it.
    assert_eq!(state(&bot), AgentState::Active);

    // By then the broker has a new one by itself, and it is not news any more.
    scene.pass_in_steps(10 * MINUTE, MINUTE).await;
    scene.google.fail(ALICE, Fault::invalid_grant());
    let problem = scene.ask_for(&bot, &refused()).await.unwrap_err();
    assert_eq!(problem.code.as_str(), "reconnect_required");
    assert!(problem.action_url.is_some());
    assert_eq!(
        (state(&bot), scene.disk.token("bot")),
        (AgentState::ReconnectRequired, None)
    );
    // Nothing more is asked of Google, and it costs nothing.
    let requests = scene.google.requests();
    for _ in 0..10 {
        let problem = scene.ask_for(&bot, &refused()).await.unwrap_err();
        assert_eq!(problem.code.as_str(), "reconnect_required");
    }
    assert_eq!(scene.google.requests(), requests);
}

#[tokio::test]
async fn a_narrowed_token_is_replaced_by_itself() {
    let scene = Scene::new().await;
    scene.connect("alice", &[SEND, CALENDAR]).await;
    let bot = scene.put("bot", "alice", &[SEND, CALENDAR]).await;
    scene.idle().await;
    let whole = token(&bot);
    let narrow = scene.ask_for(&bot, &query(&[SEND], 0)).await.unwrap();
    let again = TokenRequest {
        refresh: true,
        ..query(&[SEND], 0)
    };
    assert_ne!(scene.ask_for(&bot, &again).await.unwrap(), narrow);
    assert_eq!(scene.google.asked().last().unwrap().scopes, scopes(&[SEND]));
    assert_eq!(token(&bot), whole);
}
