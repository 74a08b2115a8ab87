//! A provider that is busy for a moment, and connections that were forgotten on the way: the release's own client against
//! them.

use serde_json::json;

use crate::support::{Daemon, Emulator};

const SEND: &str = "google.gmail.send";

#[test]
fn one_answer_that_it_is_busy_loses_no_consent_and_no_asking_agent() {
    let google = Emulator::start(&[]);
    let daemon = Daemon::new(&google);
    daemon.write_manifest("bot", "alice", &[SEND]);
    daemon.start();
    for endpoint in ["token", "certs"] {
        google.fault(&json!({ "endpoint": endpoint, "times": 1, "status": 503 }));
    }
    daemon.connect("alice", &[SEND]).expect_ok();
    assert_eq!((google.count("exchange"), google.count("certs")), (2, 2));
    let agent = daemon.wait_for_state("bot", "active");
    let refreshed = google.count("refresh");
    google.fault(&json!({ "endpoint": "token", "times": 1, "status": 503 }));
    agent.get("/v1/token?refresh=true").expect_ok();
    assert_eq!(google.count("refresh"), refreshed + 2);
}

#[test]
fn connections_that_were_forgotten_on_the_way_lose_no_consent_and_no_asking_agent() {
    let google = Emulator::start(&["--rotation", "strict"]);
    let daemon = Daemon::new(&google);
    daemon.write_manifest("bot", "alice", &[SEND]);
    daemon.start();
    google.fault(&json!({ "endpoint": "any", "reused": true, "drop": true }));
    for _ in 0..2 {
        daemon.connect("alice", &[SEND]).expect_ok();
    }
    let agent = daemon.wait_for_state("bot", "active");
    for _ in 0..2 {
        agent.get("/v1/token?refresh=true").expect_ok();
    }
    let disconnected = daemon.cli(&["integrations", "disconnect", "--owner", "alice", "--yes"]);
    assert_eq!(disconnected.code, 0, "{disconnected:?}");
}
