//! Google is away for longer than a token lives.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::json;
use token_broker::clock::{Clock, SystemClock};

use crate::support::{Agent, Daemon, Emulator};

const SEND: &str = "google.gmail.send";
const OWNERS: u64 = 10;
const RETRY_AFTER: Duration = Duration::from_secs(4);
/// How late a busy machine may be to take an expired token away.
const LATE: Duration = Duration::from_secs(2);

#[test]
fn a_living_token_is_served_on_and_an_expired_one_is_not() {
    let accounts: Vec<String> = (0..OWNERS)
        .map(|number| format!("person{number}@example.com"))
        .collect();
    let mut args = vec!["--token-lifetime", "6s"];
    args.extend(
        accounts
            .iter()
            .flat_map(|account| ["--account", account.as_str()]),
    );
    let google = Emulator::start(&args);
    let daemon = Daemon::new(&google);
    for number in 0..OWNERS {
        daemon.write_manifest(&format!("agent-{number}"), &format!("owner-{number}"), &[SEND]);
    }
    daemon.start();
    for (number, account) in accounts.iter().enumerate() {
        let connected = daemon.connect_as(&format!("owner-{number}"), account, &[SEND]);
        connected.expect_ok();
    }
    let agents: Vec<Agent> = (0..OWNERS)
        .map(|number| daemon.agent(&format!("agent-{number}")))
        .collect();
    for agent in &agents {
        daemon.wait_for_state(&agent.name, "active");
    }

    google.fault(&json!({
        "endpoint": "token", "grant_type": "refresh_token", "status": 503,
        "headers": { "Retry-After": RETRY_AFTER.as_secs().to_string() }
    }));
    let mut last_calm = Instant::now();
    let mut served_after_a_failure = false;
    let mut watched: Vec<&Agent> = agents.iter().collect();
    while !watched.is_empty() {
        let now = Instant::now();
        let failures = google.count("faults_struck");
        if failures == 0 {
            last_calm = now;
        }
        watched.retain(|agent| {
            let asked_at = SystemClock.now();
            let answer = agent.get("/v1/token");
            if answer.status == 200 {
                expect_alive(
                    asked_at,
                    answer.json()["expires_at"].as_str().unwrap(),
                    Duration::ZERO,
                );
                served_after_a_failure |= failures >= OWNERS;
            } else {
                assert_eq!(answer.json()["code"], "provider_unavailable", "{}", answer.text());
            }
            let read_at = SystemClock.now();
            match agent.variable("GOOGLE_OAUTH_TOKEN_EXPIRES_AT") {
                Some(expires_at) => {
                    expect_alive(read_at, &expires_at, LATE);
                    true
                }
                None => false,
            }
        });
    }
    assert!(served_after_a_failure, "living tokens were served on");
    for agent in &agents {
        assert_eq!(agent.env(), "TOKEN_BROKER_STATE=provider_unavailable\n");
        assert_eq!(agent.try_read("access_token"), None);
        assert_eq!(agent.status()["state"], "provider_unavailable");
        assert_eq!(agent.status()["action_url"], json!(null), "nobody has to act");
        let refused = agent.get("/v1/token");
        assert_eq!(
            (refused.status.as_u16(), refused.json()["code"].clone()),
            (503, json!("provider_unavailable"))
        );
        assert_ne!(refused.header("retry-after"), "");
    }
    assert_eq!(daemon.cli(&["token", "--agent", "agent-0"]).code, 6);
    assert_eq!(daemon.page("/readyz").status, 200, "the daemon itself is well");
    let counted = format!("token_broker_agents_short_of_token {}\n", agents.len());
    assert!(daemon.metrics().contains(&counted), "{}", daemon.metrics());

    // However often agents asked: Google was asked once for each account, again after each Retry-After, once more before
    // the token's end, and once on demand.
    let failures = google.count("faults_struck");
    let pauses = last_calm.elapsed().as_millis().div_ceil(RETRY_AFTER.as_millis());
    assert!(
        u128::from(failures) <= u128::from(OWNERS) * (3 + pauses),
        "{failures} requests in {:?}",
        last_calm.elapsed()
    );

    // Google is back: one request for each account, and all is well.
    google.set_lifetime(Duration::from_hours(1));
    let before = google.count("refresh");
    google.clear_faults();
    for agent in &agents {
        daemon.wait_for_state(&agent.name, "active");
        assert_eq!(agent.get("/v1/token").status, 200);
    }
    let asked = google.count("refresh") - before;
    // The last refusals may fall between the look and the end of the fault.
    let refused = google.count("faults_struck") - failures;
    assert!(
        asked <= OWNERS + refused,
        "{asked} requests for {OWNERS} accounts"
    );
}

#[test]
fn without_a_network_the_daemon_starts_and_serves_what_it_has() {
    let google = Emulator::start(&[]);
    let daemon = Daemon::new(&google);
    daemon.write_manifest("invoice-bot", "alice", &[SEND, "google.drive.readonly"]);
    daemon.start();
    daemon
        .connect("alice", &[SEND, "google.drive.readonly"])
        .expect_ok();
    let token = daemon.wait_for_token("invoice-bot", None);
    drop(google);
    daemon.restart();
    let agent = daemon.wait_for_state("invoice-bot", "active");
    assert_eq!(
        agent.get("/v1/token").expect_ok().json()["access_token"],
        json!(token)
    );
    let checked = daemon.cli(&["integrations", "check", "--owner", "alice"]);
    assert_eq!(checked.code, 6, "{checked:?}");
    assert_eq!(
        agent.token().as_deref(),
        Some(token.as_str()),
        "a failed check costs nothing"
    );
    // A narrower one was never asked for, and cannot be had now.
    let refused = agent.get("/v1/token?capability=google.gmail.send");
    assert_eq!(
        (refused.status.as_u16(), refused.json()["code"].clone()),
        (503, json!("provider_unavailable"))
    );
}

fn expect_alive(at: Timestamp, expires_at: &str, late: Duration) {
    let expires_at: Timestamp = expires_at.parse().unwrap();
    // It is written in whole seconds.
    let end = expires_at + Duration::from_secs(1) + late;
    assert!(
        at < end,
        "an expired token was there at {at}: it ended at {expires_at}"
    );
}
