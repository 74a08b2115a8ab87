//! The database is backed up while the daemon runs, and put back.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use serde_json::json;

use crate::support::{Daemon, Emulator, Output, wait_until};

const SEND: &str = "google.gmail.send";

/// Alice and bob are connected, each with an agent that has a token.
fn connected() -> (Emulator, Daemon) {
    let accounts = ["alice@example.com", "bob@example.com", "carol@example.com"];
    let google = Emulator::start(&accounts.map(|account| ["--account", account]).concat());
    let daemon = Daemon::new(&google);
    for owner in ["alice", "bob"] {
        daemon.write_manifest(&format!("{owner}s"), owner, &[SEND]);
    }
    daemon.start();
    for owner in ["alice", "bob"] {
        daemon
            .connect_as(owner, &format!("{owner}@example.com"), &[SEND])
            .expect_ok();
        daemon.wait_for_state(&format!("{owner}s"), "active");
    }
    (google, daemon)
}

fn disconnect(daemon: &Daemon, owner: &str) {
    daemon
        .cli(&[
            "integrations",
            "disconnect",
            "--owner",
            owner,
            "--revoke",
            "--yes",
        ])
        .expect_ok();
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn audited(daemon: &Daemon, action: &str) -> usize {
    let lines = daemon
        .cli(&["audit", "list", "--limit", "1000", "--output", "json"])
        .expect_ok();
    let lines = lines.json()["events"].as_array().unwrap().clone();
    lines.iter().filter(|line| line["action"] == action).count()
}

#[test]
fn what_was_disconnected_since_a_backup_is_not_active_after_a_restore() {
    let (_google, daemon) = connected();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("broker.backup");
    let said = daemon.cli(&["backup", text(&file)]).expect_ok();
    assert!(said.stdout.contains("without the master key"), "{}", said.stdout);
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(daemon.cli(&["backup", text(&file)]).code, 1, "it is there");
    daemon.cli(&["backup", "--force", text(&file)]).expect_ok();
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    assert_eq!(audited(&daemon, "database.backed_up"), 2);
    let old = daemon.agent("bobs").token();
    disconnect(&daemon, "alice");
    daemon.write_manifest("carols", "carol", &[SEND]);
    daemon
        .connect_as("carol", "carol@example.com", &[SEND])
        .expect_ok();

    let refused = daemon.cli(&["restore", "--yes", text(&file)]);
    assert_eq!(refused.code, 1);
    assert!(refused.stderr.contains("a daemon runs on"), "{}", refused.stderr);
    assert_eq!(daemon.terminate(), 0);
    // Nobody is there to answer.
    let asks = daemon.cli(&["restore", text(&file)]);
    assert_eq!(asks.code, 2, "{}", asks.stderr);
    let other = daemon.key_file().with_extension("aside");
    fs::rename(daemon.key_file(), &other).unwrap();
    let keyless = daemon.cli(&["restore", "--yes", text(&file)]);
    assert_eq!(keyless.code, 7, "{}", keyless.stderr);
    fs::rename(other, daemon.key_file()).unwrap();
    let restored = daemon
        .cli(&["restore", "--yes", "--output", "json", text(&file)])
        .expect_ok();
    let restored = restored.json();
    assert_eq!(restored["accounts"], 2);
    let replaced = restored["replaced"].as_str().unwrap();
    assert!(Path::new(replaced).exists(), "{replaced}");

    daemon.start();
    daemon.wait_for_state("bobs", "active");
    daemon.wait_for_state("alices", "reconnect_required");
    daemon.wait_for_state("carols", "not_connected");
    assert_ne!(daemon.agent("bobs").token(), old, "the stored one is not used");
    assert_eq!(audited(&daemon, "database.restored"), 1);
    daemon.cli(&["audit", "verify"]).expect_ok();
    daemon.restart();
    assert_eq!(audited(&daemon, "database.restored"), 1);
    // What was replaced can be put back as well, with the account that it knew.
    assert_eq!(daemon.terminate(), 0);
    daemon.cli(&["restore", "--yes", replaced]).expect_ok();
    daemon.start();
    daemon.wait_for_state("carols", "active");
    daemon.wait_for_state("alices", "not_connected");
}

#[test]
fn a_database_that_was_copied_back_by_hand_is_held_while_google_is_away() {
    let (google, daemon) = connected();
    let folder = tempfile::tempdir().unwrap();
    // A copy of the stopped daemon's files, as people make it.
    assert_eq!(daemon.terminate(), 0);
    let (database, copy) = (
        daemon.state_dir().join("broker.db"),
        folder.path().join("copy.db"),
    );
    fs::copy(&database, &copy).unwrap();
    daemon.start();
    disconnect(&daemon, "alice");
    assert_eq!(daemon.terminate(), 0);
    fs::copy(&copy, &database).unwrap();
    let away = google.fault(&json!({ "endpoint": "token", "status": 503 }));
    daemon.start();
    for agent in ["alices", "bobs"] {
        daemon.wait_for_state(agent, "provider_unavailable");
        assert_eq!(daemon.agent(agent).token(), None);
        assert_eq!(daemon.agent(agent).get("/v1/token").status, 503);
    }
    let status = daemon.cli(&["status"]);
    assert!(
        status.stdout.contains("the database was restored"),
        "{}",
        status.stdout
    );
    google.clear_fault(&away);
    for (agent, state) in [("bobs", "active"), ("alices", "reconnect_required")] {
        wait_until("the account to be checked", || {
            daemon.cli(&["integrations", "check", "--owner", &agent[..agent.len() - 1]]);
            daemon.agent(agent).status()["state"] == state
        });
    }
}

#[test]
fn a_stopped_daemons_database_is_backed_up_by_the_command_itself() {
    let (_google, daemon) = connected();
    // Part of it is in the write-ahead log.
    daemon.kill9();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("broker.backup");
    let said = daemon.cli(&["backup", text(&file)]).expect_ok();
    assert!(said.stderr.contains("No daemon answers"), "{}", said.stderr);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    fs::remove_dir_all(daemon.state_dir()).unwrap();
    daemon.cli(&["restore", "--yes", text(&file)]).expect_ok();
    daemon.start();
    daemon.wait_for_state("alices", "active");
    daemon.wait_for_state("bobs", "active");
    // Where a socket is named, a daemon has to be there.
    assert_eq!(daemon.terminate(), 0);
    let other = folder.path().join("other.backup");
    let mut named = daemon.command(&["backup", text(&other), "--admin-socket"]);
    assert_eq!(Output::of(named.arg(daemon.admin_socket())).code, 3);
}
