//! A disk that is full: renewals and deletions go on as long as the reserve lasts, and nothing is told to be done that is not.

use serde_json::{Value, json};

use crate::support::{Daemon, Disk, Emulator, is_root, one_line, wait_until};

const SEND: &str = "google.gmail.send";

fn actions(daemon: &Daemon) -> Vec<String> {
    let listed = daemon
        .cli(&["audit", "list", "--limit", "1000", "--output", "json"])
        .expect_ok()
        .json();
    let events = listed["events"].as_array().unwrap().iter();
    events
        .map(|event| event["action"].as_str().unwrap().to_owned())
        .collect()
}

/// A daemon whose state is on a small file system, with an agent of each of these owners, who are connected.
fn on_a_small_disk(google: &[&str], owners: &[&str]) -> (Emulator, Daemon, Disk) {
    assert!(is_root(), "this mounts a small file system: run it as root");
    let google = Emulator::start(google);
    let daemon = Daemon::new(&google);
    let disk = Disk::mount(&daemon.state_dir(), "2m");
    for owner in owners {
        daemon.write_manifest(&format!("{owner}s"), owner, &[SEND]);
    }
    daemon.start();
    for owner in owners {
        let address = format!("{owner}@example.com");
        daemon.connect_as(owner, &address, &[SEND]).expect_ok();
    }
    (google, daemon, disk)
}

#[test]
fn grants_that_the_provider_replaces_are_renewed_and_deleted_on_a_full_disk() {
    let short = ["--token-lifetime", "6s", "--rotation", "strict"];
    let (_google, daemon, disk) = on_a_small_disk(&short, &["alice", "bob"]);
    daemon
        .cli(&["agents", "add", "extra", "--owner", "alice", "--capability", SEND])
        .expect_ok();
    disk.fill();
    // Each renewal replaces the grant, which has to be on the disk before the token is.
    let mut token = daemon.wait_for_token("alices", None);
    for _ in 0..4 {
        token = daemon.wait_for_token("alices", Some(&token));
    }
    daemon
        .cli(&["integrations", "disconnect", "--owner", "bob", "--yes"])
        .expect_ok();
    daemon.cli(&["agents", "remove", "extra", "--yes"]).expect_ok();
    let connected = daemon.connect_as("bob", "bob@example.com", &[SEND]);
    assert_ne!(connected.code, 0, "{}", connected.stdout);
    let told = one_line(&connected.stderr);
    assert!(told.contains("disk is full"), "{told}");
    daemon.kill9();
    daemon.start();
    // The rotated grant was kept, what was deleted stays so, and what was refused is not there.
    daemon.wait_for_token("alices", Some(&token));
    daemon.wait_for_state("bobs", "not_connected");
    assert_eq!(daemon.cli(&["agents", "show", "extra"]).code, 4);
    let done = actions(&daemon);
    for action in ["integration.disconnected", "agent.removed"] {
        assert!(done.iter().any(|found| found == action), "{action} in {done:?}");
    }
    disk.free();
    wait_until("the daemon to be ready", || daemon.page("/readyz").status == 200);
    // What waited for room is told now.
    wait_until("the trail to tell of renewals", || {
        actions(&daemon)
            .iter()
            .filter(|found| *found == "token.renewed")
            .count()
            > done.iter().filter(|found| *found == "token.renewed").count()
    });
    daemon.connect_as("bob", "bob@example.com", &[SEND]).expect_ok();
    daemon.cli(&["audit", "verify"]).expect_ok();
    daemon.terminate();
    drop(disk);
}

#[test]
fn a_full_disk_spends_no_grant_that_the_provider_replaces() {
    let short = ["--token-lifetime", "6s", "--rotation", "strict"];
    let (_google, daemon, disk) = on_a_small_disk(&short, &["alice"]);
    let first = daemon.wait_for_token("alices", None);
    daemon.wait_for_token("alices", Some(&first));
    disk.fill();
    // What is kept in reserve is for renewals, until somebody takes that too.
    // The last token then lives to its end, and what there is says why there is no other.
    let status = wait_for_message(&daemon, "disk is full", || disk.fill());
    wait_until("the token to end", || {
        disk.fill();
        daemon.agent("alices").token().is_none()
    });
    assert_eq!(
        daemon.agent("alices").status()["state"],
        "misconfigured",
        "{status}"
    );
    disk.free();
    daemon.wait_for_state("alices", "active");
    daemon.terminate();
    drop(disk);
}

#[test]
fn a_full_disk_costs_nothing_that_was_there_and_heals() {
    let (_google, daemon, disk) = on_a_small_disk(&["--token-lifetime", "6s"], &["alice"]);
    let first = daemon.wait_for_token("alices", None);

    disk.fill();
    // Something that needs room is refused with a sentence, and is not half there.
    let connected = daemon.connect_as("bob", "bob@example.com", &[SEND]);
    assert_ne!(connected.code, 0);
    assert!(
        one_line(&connected.stderr).contains("disk is full"),
        "{}",
        connected.stderr
    );
    let added = daemon.cli(&["agents", "add", "extra", "--owner", "alice", "--capability", SEND]);
    assert_ne!(added.code, 0);
    assert!(
        one_line(&added.stderr).contains("disk is full"),
        "{}",
        added.stderr
    );
    // Google lets a grant as it is, so tokens come from memory; the log says what could not be kept.
    let second = daemon.wait_for_token("alices", Some(&first));
    daemon.wait_for_token("alices", Some(&second));
    assert!(daemon.whole_log().contains("disk is full"));
    assert_eq!(daemon.cli(&["agents", "show", "extra"]).code, 4);
    // It says that it cannot do its work; it lives all the same.
    wait_until("the daemon not to be ready", || {
        daemon.page("/readyz").status == 503
    });
    assert!(
        daemon.page("/readyz").text().contains("disk is full"),
        "{}",
        daemon.page("/readyz").text()
    );
    assert_eq!(daemon.page("/healthz").status, 200);
    assert!(daemon.metric("token_broker_ready ").abs() < f64::EPSILON);
    assert!(daemon.metric("token_broker_agents_short_of_token ").abs() < f64::EPSILON);
    let status = daemon.cli(&["status"]).expect_ok().stdout;
    assert!(
        status.contains("not ready: changes cannot be written: "),
        "{status}"
    );

    disk.free();
    daemon.wait_for_state("alices", "active");
    wait_until("the daemon to be ready", || daemon.page("/readyz").status == 200);
    daemon.connect_as("bob", "bob@example.com", &[SEND]).expect_ok();
    daemon
        .cli(&["agents", "add", "extra", "--owner", "alice", "--capability", SEND])
        .expect_ok();
    daemon.cli(&["audit", "verify"]).expect_ok();

    // Full at the start: it says so, or it serves what it has; afterwards all is there.
    disk.fill();
    daemon.kill9();
    if let Err(refused) = daemon.try_start() {
        assert!(
            one_line(&refused.stderr).contains("disk is full"),
            "{}",
            refused.stderr
        );
        disk.free();
        daemon.start();
    } else {
        disk.free();
    }
    daemon.wait_for_state("alices", "active");
    daemon.cli(&["agents", "show", "extra"]).expect_ok();
    daemon
        .cli(&["integrations", "show", "--owner", "bob"])
        .expect_ok();
    daemon.cli(&["audit", "verify"]).expect_ok();
    daemon.terminate();
    drop(disk);
}

/// Waits for a message, and does something meanwhile, again and again.
fn wait_for_message(daemon: &Daemon, part: &str, meanwhile: impl Fn()) -> Value {
    let mut status = json!(null);
    wait_until(&format!("a message about {part:?}"), || {
        meanwhile();
        status = daemon.agent("alices").status();
        status["message"]
            .as_str()
            .is_some_and(|message| message.contains(part))
    });
    status
}
