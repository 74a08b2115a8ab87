//! What those may use up who have proven nothing, and what one pod may take from the others.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::{StreamExt, stream::FuturesUnordered};
use http::StatusCode;
use tokio::task::JoinSet;

use crate::{
    kubernetes::AUDIENCE,
    remote::Remote,
    stranger::{Client, Target},
    support::{Memory, block_on, open_unix},
};

/// A flood may make the daemon grow by this much at most, in KiB: it has to live in a container of 128 MiB.
const GROWTH: u64 = 32 * 1024;

/// So many connections of strangers …
const STRANGERS: usize = 40;
/// … with so many requests each, all at once.
const REQUESTS: usize = 200;

/// Asks with tokens of its own; counts the requests that ended, however they did. Those that are judged do not end.
async fn ask_often(target: Target, number: usize, size: usize, ended: Arc<AtomicUsize>) {
    let client = target.connect("127.0.0.2").await;
    let asked = (0..REQUESTS).map(|request| {
        let client = client.as_ref().ok().cloned();
        async move {
            let token = format!("{number}.{request}.{}", "x".repeat(size));
            client?.get("/v1/token", &token).await.ok()
        }
    });
    let mut asked: FuturesUnordered<_> = asked.collect();
    while let Some(answer) = asked.next().await {
        assert!(answer.is_none_or(|answer| answer.status() != StatusCode::OK));
        ended.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn strangers_cost_little_and_pods_do_not_wait_behind_them() {
    let remote = Remote::with_lifetime("1h");
    let (target, token) = (Target::of(&remote), remote.token("billing", "invoice-bot"));
    let memory = Memory(remote.daemon.pid());
    block_on(async {
        let mut pod = target.connect("127.0.0.1").await.unwrap();
        let proven = pod.get("/v1/token", &token).await.unwrap();
        assert_eq!(proven.status(), StatusCode::OK);
    });
    // From here on the Kubernetes API does not answer about tokens that it never issued.
    remote.kubernetes.hold_strangers(true);
    memory.forget_peak();
    let before = memory.now();
    let ended = Arc::new(AtomicUsize::new(0));
    block_on(async {
        let mut strangers = JoinSet::new();
        for number in 0..STRANGERS {
            // Such as a head may hold, and larger.
            let size = [6 * 1024, 20 * 1024][number % 2];
            strangers.spawn(ask_often(target.clone(), number, size, Arc::clone(&ended)));
        }
        let mut rounds = 0;
        while rounds < 10 || ended.load(Ordering::Relaxed) < STRANGERS * REQUESTS - 64 {
            // On a new connection, and once more on it.
            let mut pod = target.connect("127.0.0.1").await.unwrap();
            for _ in 0..2 {
                let answer = pod.get("/v1/token", &token).await.unwrap();
                assert_eq!(answer.status(), StatusCode::OK);
            }
            rounds += 1;
        }
    });
    let grown = memory.peak().saturating_sub(before);
    assert!(grown < GROWTH, "the daemon grew by {grown} KiB");
    // What is told of it is little as well.
    let log = remote.daemon.log();
    let lines = log.lines().filter(|line| line.contains("WARN")).count();
    assert!(lines < 20, "{log}");
}

#[test]
fn silent_connections_keep_nobody_out() {
    let remote = Remote::with_lifetime("1h");
    let (target, token) = (Target::of(&remote), remote.token("billing", "invoice-bot"));
    block_on(async {
        let mut silent = Vec::new();
        for _ in 0..3 {
            for _ in 0..2048 {
                silent.extend(target.silent("127.0.0.1").await);
            }
            let mut pod = target.connect("127.0.0.1").await.unwrap();
            let answer = pod.get("/v1/token", &token).await.unwrap();
            assert_eq!(answer.status(), StatusCode::OK);
            silent.clear();
        }
    });
}

#[test]
fn one_pod_does_not_lock_the_others_out() {
    let remote = Remote::with_lifetime("1h");
    let target = Target::of(&remote);
    let token = |pod: &str| remote.kubernetes.issue("billing", "invoice-bot", pod, AUDIENCE);
    let (greedy, other) = (token("greedy"), token("other"));
    block_on(async {
        let mut held = Vec::new();
        let mut refused = 0;
        for _ in 0..60 {
            let mut client = target.connect("127.0.0.1").await.unwrap();
            match client.get("/v1/watch", &greedy).await {
                Ok(answer) if answer.status() == StatusCode::OK => held.push((client, answer)),
                Ok(answer) => {
                    assert_eq!(answer.status(), StatusCode::TOO_MANY_REQUESTS);
                    refused += 1;
                }
                Err(_) => refused += 1,
            }
        }
        assert!(held.len() < 40 && refused > 0, "{} connections", held.len());
        let mut pod = target.connect("127.0.0.1").await.unwrap();
        let answer = pod.get("/v1/token", &other).await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        // What is given back can be had again.
        drop(held);
        let again = async || -> Option<Client> {
            let mut client = target.connect("127.0.0.1").await.ok()?;
            let answer = client.get("/v1/token", &greedy).await.ok()?;
            (answer.status() == StatusCode::OK).then_some(client)
        };
        while again().await.is_none() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
}

#[test]
fn a_pods_streams_are_counted_over_its_connections() {
    let remote = Remote::with_lifetime("1h");
    let target = Target::of(&remote);
    let token = |pod: &str| remote.kubernetes.issue("billing", "invoice-bot", pod, AUDIENCE);
    let (greedy, other) = (token("greedy"), token("other"));
    block_on(async {
        let (mut held, mut refused) = (Vec::new(), 0);
        for _ in 0..4 {
            let mut client = target.connect("127.0.0.1").await.unwrap();
            for _ in 0..30 {
                let answer = client.get("/v1/watch", &greedy).await.unwrap();
                match answer.status() {
                    StatusCode::OK => held.push(answer),
                    status => {
                        assert_eq!(status, StatusCode::TOO_MANY_REQUESTS);
                        refused += 1;
                    }
                }
            }
            let answer = client.get("/v1/token", &greedy).await.unwrap();
            assert_eq!(answer.status(), StatusCode::OK, "what is no stream is served");
        }
        assert_eq!((held.len(), refused), (64, 56));
        let mut pod = target.connect("127.0.0.1").await.unwrap();
        let answer = pod.get("/v1/watch", &other).await.unwrap();
        assert_eq!(
            answer.status(),
            StatusCode::OK,
            "another pod of the agent has its own"
        );
    });
}

#[test]
fn streams_through_a_sidecar_leave_room_for_requests() {
    let remote = Remote::with_lifetime("1h");
    let pod = remote.running();
    let agent = pod.agent();
    pod.wait_for_token(None);
    let socket = agent.socket();
    let held = block_on(async {
        let mut held = Vec::new();
        for number in 0..40 {
            let answer = open_unix(&socket, "/v1/watch").await.unwrap();
            if number < 12 {
                assert_eq!(answer.status(), StatusCode::OK);
            }
            held.push(answer);
        }
        assert_eq!(held.last().unwrap().status(), StatusCode::TOO_MANY_REQUESTS);
        held
    });
    agent.get("/v1/token").expect_ok();
    agent.grpc().token().unwrap();
    drop(held);
}
