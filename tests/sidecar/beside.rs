//! An agent that uses a service account beside a person's.

use std::{fs, time::Duration};

use serde_json::json;

use crate::{
    former_broker::FormerBroker,
    pod::Pod,
    remote::SEND,
    support::{Agent, Daemon, Emulator, wait_for},
};

const SA: &str = "google.sa";
const HOUR: Duration = Duration::from_secs(3600);
const SECOND: &str = "GOOGLE_SA_ACCESS_TOKEN";

/// The person's token lives for an hour, the service account's for `second`.
fn node(second: Duration) -> (Emulator, Daemon) {
    let google = Emulator::start(&["--token-lifetime", "1h"]);
    let daemon = Daemon::new(&google);
    daemon.write_manifest("both", "alice", &[SEND]);
    daemon.start();
    daemon.connect("alice", &[SEND]).expect_ok();
    let both = daemon.wait_for_state("both", "active");
    google.set_lifetime(second);
    let key = google.order("/service-accounts", &json!({ "name": "robot" }));
    let file = daemon.config_dir().join("robot.json");
    fs::write(&file, key.to_string()).unwrap();
    let file = file.to_str().unwrap();
    daemon
        .cli(&["service-account", "add", "--owner", "alice", "--key", file])
        .expect_ok();
    daemon.write_manifest("both", "alice", &[SEND, SA]);
    second_token(&both, "");
    (google, daemon)
}

fn second_token(of: &Agent, old: &str) -> String {
    wait_for("another token of the service account's", || {
        of.variable(SECOND).filter(|token| token != old)
    })
}

#[test]
fn each_token_is_there_when_it_is_on_the_node_long_before_the_one_before_ends() {
    let (_google, daemon) = node(HOUR);
    let node = daemon.agent("both");
    let mut pod = Pod::new();
    pod.start(&["--from".to_owned(), format!("unix://{}", node.socket().display())]);
    pod.wait_until_ready();
    let first = pod.agent().variable(SECOND).unwrap();
    let person = pod.wait_for_token(None);
    let refreshed = node
        .get("/v1/token?integration=google-sa&refresh=true")
        .expect_ok();
    let refreshed = refreshed.json()["access_token"].as_str().unwrap().to_owned();
    assert_eq!(second_token(&pod.agent(), &first), refreshed);
    assert_eq!(pod.agent().token(), Some(person), "nothing else has changed");
}

#[test]
fn a_broker_of_the_release_before_is_asked_when_a_token_is_about_to_end() {
    let (_google, daemon) = node(Duration::from_secs(10));
    let node = daemon.agent("both");
    let mut pod = Pod::new();
    let former = FormerBroker::start(pod.folder(), node.socket());
    pod.start(&former.source());
    pod.wait_until_ready();
    let first = pod.agent().variable(SECOND).unwrap();
    let second = second_token(&pod.agent(), &first);
    second_token(&pod.agent(), &second);
}
