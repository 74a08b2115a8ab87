//! Refresh tokens that rotate, at a server that ends the grant when a spent one comes back.

use serde_json::{Value, json};

use crate::{
    provider::{Provider, connect},
    support::{Agent, Daemon, Output, block_on, open_unix, wait_until},
};

/// Everything that this server knows: enough selections for many renewals.
const ALL: [&str; 5] = [
    "google.gmail.send",
    "google.calendar.readonly",
    "google.drive.readonly",
    "google.sheets.readonly",
    "google.docs.readonly",
];
const ASKERS: usize = 64;

fn scene() -> (Provider, Daemon, Agent) {
    let provider = Provider::start();
    let daemon = provider.daemon();
    daemon.write_manifest("bot", "alice", &ALL);
    daemon.start();
    connect(&daemon, ("alice", "alice"), &ALL, &[]).expect_ok();
    let agent = daemon.wait_for_state("bot", "active");
    (provider, daemon, agent)
}

/// The path that asks for a token with these capabilities alone.
fn asking_for(capabilities: &[&str]) -> String {
    let names: Vec<String> = capabilities
        .iter()
        .map(|name| format!("capability={name}"))
        .collect();
    format!("/v1/token?{}", names.join("&"))
}

/// One asker that goes away while the provider works, and then many more for the same token.
fn rush(provider: &Provider, agent: &Agent, path: &str) -> Vec<Value> {
    let before = provider.count("refreshes");
    provider.hold("before");
    let socket = agent.socket();
    let (first, asked) = (socket.clone(), path.to_owned());
    let first = crate::support::runtime().spawn(async move { open_unix(&first, &asked).await.map(drop) });
    provider.wait_for_count("waiting", 1);
    first.abort();

    let askers: Vec<_> = (0..ASKERS)
        .map(|_| {
            let (socket, path) = (socket.clone(), path.to_owned());
            crate::support::runtime().spawn(async move { crate::support::read_unix(&socket, &path).await })
        })
        .collect();
    provider.release();
    let answers = askers.into_iter().map(|asker| {
        let answer = block_on(asker).unwrap().unwrap();
        answer.expect_ok().json()
    });
    let answers: Vec<Value> = answers.collect();
    assert_eq!(
        provider.count("refreshes"),
        before + 1,
        "one request for all of them"
    );
    answers
}

#[test]
fn sixty_four_askers_and_a_first_one_that_is_gone_use_no_refresh_token_twice() {
    let (provider, daemon, agent) = scene();
    for round in 1..ALL.len() {
        for selection in [&ALL[..round], &ALL[round..]] {
            let answers = rush(&provider, &agent, &asking_for(selection));
            let token = &answers[0]["access_token"];
            assert!(answers.iter().all(|answer| &answer["access_token"] == token));
            assert!(provider.is_alive(token.as_str().unwrap()));
        }
        if round == 2 {
            // What was rotated is on the disk, in order or not.
            daemon.restart();
            daemon.wait_for_state("bot", "active");
            daemon.kill9();
            daemon.start();
        }
    }
    // Several selections at once: the account's turn keeps them apart.
    let pairs: Vec<String> = (0..ALL.len())
        .map(|n| asking_for(&[ALL[n], ALL[(n + 2) % ALL.len()]]))
        .collect();
    let askers: Vec<_> = (0..ASKERS)
        .map(|n| {
            let (socket, path) = (agent.socket(), pairs[n % pairs.len()].clone());
            crate::support::runtime().spawn(async move { crate::support::read_unix(&socket, &path).await })
        })
        .collect();
    for asker in askers {
        block_on(asker).unwrap().unwrap().expect_ok();
    }

    provider.expect_no_reuse();
    assert_eq!(provider.refresh_tokens(false).len(), 1, "one grant, alive");
    assert!(provider.refresh_tokens(true).len() >= 13);
    check(&daemon).expect_ok();
    assert!(provider.is_alive(&agent.token().unwrap()));
}

#[test]
fn renewals_go_on_by_themselves_across_restarts() {
    let (provider, daemon, agent) = scene();
    provider.order("lifetime", &json!({ "seconds": 6 }));
    check(&daemon).expect_ok();
    let mut last = agent.token();
    for round in 0..4 {
        let next = daemon.wait_for_token("bot", last.as_deref());
        assert!(provider.is_alive(&next));
        if round == 1 {
            daemon.restart();
        }
        last = Some(next);
    }
    provider.expect_no_reuse();
}

/// This is what the scenes above would look like if a refresh token were used twice.
#[test]
fn a_single_double_use_ends_the_grant_and_is_seen() {
    let (provider, daemon, _agent) = scene();
    check(&daemon).expect_ok();
    let spent = provider
        .refresh_tokens(true)
        .pop()
        .expect("a spent refresh token");
    assert_eq!(provider.present(&spent).json()["error"], "invalid_grant");
    assert_eq!(provider.count("reuses"), 1);
    assert!(
        provider.refresh_tokens(false).is_empty(),
        "the whole family is gone"
    );

    assert_eq!(check(&daemon).code, 5);
    daemon.wait_for_state("bot", "reconnect_required");
    // A new consent heals it.
    connect(&daemon, ("alice", "alice"), &ALL, &[]).expect_ok();
    daemon.wait_for_state("bot", "active");
}

/// The one exception: an answer that a crash swallowed. The old grant is tried once, and what that cost is said.
#[test]
fn a_crash_between_answer_and_commit_is_tried_once_and_explained() {
    let (provider, daemon, agent) = scene();
    provider.hold("after");
    let path = asking_for(&ALL[..1]);
    let socket = agent.socket();
    let asker = crate::support::runtime().spawn(async move { open_unix(&socket, &path).await.map(drop) });
    provider.wait_for_count("waiting", 1);
    daemon.kill9();
    provider.release();
    let _ = block_on(asker);

    daemon.start();
    daemon.wait_for_state("bot", "reconnect_required");
    assert_eq!(provider.count("reuses"), 1, "once, and no more");
    let message = agent.status()["message"].as_str().unwrap().to_owned();
    assert!(
        message.contains("was cut off before its answer was stored"),
        "{message}"
    );
    wait_until("the trail to tell it", || daemon.audit().contains("cut off"));
}

fn check(daemon: &Daemon) -> Output {
    daemon.cli(&["integrations", "check", "--owner", "alice"])
}
