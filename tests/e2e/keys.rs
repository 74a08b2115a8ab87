//! The keys that the database is sealed with: rotated, sealed anew, and what a kill at any moment leaves of that.

use std::{io::Write, path::PathBuf, time::Duration};

use serde_json::Value;
use token_broker::{entropy::SystemEntropy, proto::v1::ResealKeysRequest, vault::key};

use crate::support::{Agent, Daemon, Emulator, Output, block_on, nap, wait_until};

const ALICE: &str = "alice@example.com";
const SEND: &str = "google.gmail.send";

/// How often it is killed.
fn kills() -> usize {
    std::env::var("TOKEN_BROKER_TEST_KEY_KILLS").map_or(30, |text| text.parse().unwrap())
}

/// Another master key beside the daemon's.
fn other_key(daemon: &Daemon) -> PathBuf {
    use std::os::unix::fs::OpenOptionsExt;
    let path = daemon.config_dir().join("other.key");
    let mut options = std::fs::OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)
        .unwrap();
    file.write_all(key::encode(&key::generate(&SystemEntropy)).as_bytes())
        .unwrap();
    path
}

fn connected(daemon: &Daemon) -> Agent {
    daemon.write_manifest("bot", "alice", &[SEND]);
    daemon.start();
    daemon.connect_as("alice", ALICE, &[SEND]).expect_ok();
    let agent = daemon.agent("bot");
    wait_until("a token", || agent.ask_token().is_some());
    agent
}

fn status(daemon: &Daemon) -> Value {
    daemon
        .cli(&["key", "status", "--output", "json"])
        .expect_ok()
        .json()
}

/// The keys in this state, each with how many rows need it.
fn in_state(status: &Value, state: &str) -> Vec<(String, u64)> {
    let keys = status["keys"].as_array().unwrap().iter();
    keys.filter(|key| key["state"] == state)
        .map(|key| {
            (
                key["id"].as_str().unwrap().to_owned(),
                key["rows"].as_u64().unwrap(),
            )
        })
        .collect()
}

#[test]
fn a_rotation_and_another_seal_are_noticed_by_nobody_and_outlive_a_restart() {
    let google = Emulator::start(&[]);
    let daemon = Daemon::new(&google);
    let agent = connected(&daemon);
    let before = in_state(&status(&daemon), "active");
    let rotated = daemon
        .cli(&["key", "rotate", "--output", "json"])
        .expect_ok()
        .json();
    assert!(rotated["rows_moved"].as_u64().unwrap() > 4, "{rotated}");
    let after = status(&daemon);
    assert_eq!(
        in_state(&after, "active")[0].0,
        rotated["active_key"].as_str().unwrap()
    );
    assert_eq!(in_state(&after, "retired"), [(before[0].0.clone(), 0)]);
    daemon.cli(&["key", "verify"]).expect_ok();

    let other = other_key(&daemon);
    let seal = format!("file:{}", other.display());
    let resealed = daemon.cli(&["key", "reseal", "--to", &seal]).expect_ok();
    assert!(
        resealed.stdout.contains("set key.source = "),
        "{}",
        resealed.stdout
    );
    let found = daemon.cli(&["doctor"]).expect(1);
    assert!(
        found.stdout.contains("the database's keyring does not open"),
        "{}",
        found.stdout
    );
    assert!(agent.ask_token().is_some());
    assert_eq!(daemon.terminate(), 0);
    let refused = daemon.try_start().unwrap_err();
    assert_eq!(refused.code, 7, "{}", refused.stderr);
    assert!(
        refused.stderr.contains(&format!("was wrapped by {seal}")),
        "{}",
        refused.stderr
    );

    let config = std::fs::read_to_string(daemon.config_file()).unwrap();
    let named = format!("[key]\nsource = \"{seal}\"\n");
    std::fs::write(daemon.config_file(), config.replace("[key]\n", &named)).unwrap();
    std::fs::remove_file(daemon.key_file()).unwrap();
    daemon.start();
    wait_until("the token of before", || agent.ask_token().is_some());
    daemon.cli(&["key", "rotate"]).expect_ok();
    daemon
        .cli(&["integrations", "check", "--owner", "alice"])
        .expect_ok();
    daemon.cli(&["audit", "verify"]).expect_ok();
    assert_eq!(google.count("refresh_token_reuse"), 0);
}

#[test]
fn the_seal_of_the_configuration_is_taken_over_while_the_daemon_runs() {
    let google = Emulator::start(&[]);
    let daemon = Daemon::new(&google);
    connected(&daemon);
    let other = other_key(&daemon);
    let config = std::fs::read_to_string(daemon.config_file()).unwrap();
    let named = format!("[key]\nsource = \"file:{}\"\n", other.display());
    std::fs::write(daemon.config_file(), config.replace("[key]\n", &named)).unwrap();
    let found = daemon.cli(&["doctor"]).expect(1);
    assert!(
        found.stdout.contains("run `token-broker key reseal`"),
        "{}",
        found.stdout
    );
    let resealed = daemon.cli(&["key", "reseal"]).expect_ok();
    assert!(!resealed.stdout.contains("key.source"), "{}", resealed.stdout);
    std::fs::remove_file(daemon.key_file()).unwrap();
    daemon.cli(&["doctor"]).expect_ok();
    let config = std::fs::read_to_string(daemon.config_file()).unwrap();
    let previous = format!("[key]\nprevious = [\"file:{}\"]\n", other.display());
    std::fs::write(daemon.config_file(), config.replace("[key]\n", &previous)).unwrap();
    daemon.cli(&["doctor"]).expect_ok();
    daemon.restart();
    daemon.cli(&["key", "verify"]).expect_ok();
}

#[test]
fn a_file_is_named_from_where_the_command_runs_and_over_grpc_with_its_whole_path() {
    let google = Emulator::start(&[]);
    let daemon = Daemon::new(&google);
    connected(&daemon);
    let other = other_key(&daemon);
    let (folder, name) = (other.parent().unwrap(), other.file_name().unwrap());
    let seal = format!("file:{}", name.to_str().unwrap());
    let mut command = daemon.command(&["key", "reseal", "--to", &seal]);
    let resealed = Output::of(command.current_dir(folder)).expect_ok();
    assert!(
        resealed.stdout.contains(&format!("file:{}", other.display())),
        "{}",
        resealed.stdout
    );
    let mut admin = daemon.admin();
    let refused = block_on(admin.reseal_keys(ResealKeysRequest { seal })).unwrap_err();
    assert!(refused.message().contains("with its whole path"), "{refused}");
    wait_until("the refusal in the log", || {
        daemon.log().contains("with its whole path")
    });
}

#[test]
fn a_restore_says_that_the_key_of_the_backup_was_replaced_since() {
    let google = Emulator::start(&[]);
    let daemon = Daemon::new(&google);
    connected(&daemon);
    let backup = daemon.config_dir().join("backup.db");
    let backup = backup.to_str().unwrap();
    daemon.cli(&["backup", backup]).expect_ok();
    let former = in_state(&status(&daemon), "active")[0].0.clone();
    daemon.cli(&["key", "rotate"]).expect_ok();
    assert_eq!(daemon.terminate(), 0);
    let restored = daemon.cli(&["restore", "--yes", backup]).expect_ok();
    assert!(
        restored.stdout.contains(&format!(
            "the key {former}, which was replaced since, is the active one again"
        )),
        "{}",
        restored.stdout
    );
    daemon.start();
    assert_eq!(in_state(&status(&daemon), "active")[0].0, former);
    daemon.cli(&["key", "rotate"]).expect_ok();

    // One whose tables were changed is not put in the place of a good one.
    assert_eq!(daemon.terminate(), 0);
    let changed = rusqlite::Connection::open(backup).unwrap();
    changed
        .execute_batch("ALTER TABLE agents RENAME TO kept; CREATE VIEW agents AS SELECT * FROM kept;")
        .unwrap();
    drop(changed);
    let refused = daemon.cli(&["restore", "--yes", backup]).expect(1);
    assert!(refused.stderr.contains("agents"), "{}", refused.stderr);
    daemon.start();
    daemon.cli(&["key", "verify"]).expect_ok();
}

#[test]
fn killed_at_any_step_of_a_rotation_or_of_sealing_anew_nothing_is_lost() {
    // A kill may meet a renewal, too.
    let google = Emulator::start(&["--token-lifetime", "10s", "--rotation", "leeway"]);
    let daemon = Daemon::new(&google);
    let other = other_key(&daemon);
    let config = std::fs::read_to_string(daemon.config_file()).unwrap();
    let previous = format!("[key]\nprevious = [\"file:{}\"]\n", other.display());
    std::fs::write(daemon.config_file(), config.replace("[key]\n", &previous)).unwrap();
    let agent = connected(&daemon);
    let seal = format!("file:{}", other.display());
    let (mut cut, mut resumed) = (0, 0);
    for kill in 0..kills() {
        let args: &[&str] = if kill % 3 == 2 {
            &["key", "reseal", "--to", &seal]
        } else {
            &["key", "rotate"]
        };
        let mut command = daemon.command(args).spawn().unwrap();
        nap(Duration::from_millis(160));
        daemon.kill9();
        cut += u32::from(!command.wait().unwrap().success());
        daemon.start();
        resumed += u32::from(!in_state(&status(&daemon), "retiring").is_empty());
        wait_until("the end of the rotation", || {
            in_state(&status(&daemon), "retiring").is_empty()
        });
        let after = status(&daemon);
        let (active, retired) = (in_state(&after, "active"), in_state(&after, "retired"));
        assert_eq!(active.len(), 1, "{after}");
        assert!(active[0].1 > 4, "{after}");
        assert!(retired.iter().all(|(_, rows)| *rows == 0), "{after}");
        daemon.cli(&["key", "verify"]).expect_ok();
        wait_until("a token", || agent.ask_token().is_some());
    }
    daemon
        .cli(&["integrations", "check", "--owner", "alice"])
        .expect_ok();
    daemon.cli(&["audit", "verify"]).expect_ok();
    assert_eq!(google.count("refresh_token_reuse"), 0);
    writeln!(
        std::io::stdout(),
        "{} kills cut {cut} commands, and {resumed} rotations went on after the start",
        kills()
    )
    .unwrap();
}
