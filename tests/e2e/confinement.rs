//! How the daemon keeps its keys in memory, and what the kernel refuses to it.

use std::{collections::BTreeSet, fs, os::unix::fs::symlink};

use crate::support::{Daemon, Emulator, wait_for};

const SEND: &str = "google.gmail.send";

/// How much memory of the process is locked, in KiB.
fn locked_kib(daemon: &Daemon) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmLck:"));
    line.unwrap().trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn keys_are_locked_in_memory_where_the_limit_allows_it() {
    let google = Emulator::start(&[]);
    let mut daemon = Daemon::new(&google);
    daemon.start();
    assert!(locked_kib(&daemon) > 0);
    assert!(!daemon.log().contains("swapped out"), "{}", daemon.log());
    assert_eq!(daemon.terminate(), 0);

    daemon.launcher = ["sh", "-c", "ulimit -l 0; exec \"$@\"", "sh"]
        .map(str::to_owned)
        .to_vec();
    daemon.write_manifest("bot", "alice", &[SEND]);
    daemon.start();
    daemon.connect("alice", &[SEND]).expect_ok();
    daemon.wait_for_state("bot", "active");
    assert_eq!(locked_kib(&daemon), 0);
    let log = daemon.log();
    let told = log.lines().filter(|line| line.contains("LimitMEMLOCK="));
    assert_eq!(told.count(), 1, "{log}");
}

/// Whether system calls are filtered, of each thread: 2 is yes.
fn filtered(daemon: &Daemon) -> BTreeSet<String> {
    let threads = fs::read_dir(format!("/proc/{}/task", daemon.pid())).unwrap();
    let statuses =
        threads.filter_map(|thread| fs::read_to_string(thread.unwrap().path().join("status")).ok());
    let of = |status: String| {
        let line = status.lines().find_map(|line| line.strip_prefix("Seccomp:"));
        line.unwrap().trim().to_owned()
    };
    statuses.map(of).collect()
}

#[test]
fn system_calls_are_filtered_in_every_thread_unless_that_is_switched_off() {
    let google = Emulator::start(&[]);
    let mut daemon = Daemon::new(&google);
    daemon.start();
    assert_eq!(filtered(&daemon), ["2".to_owned()].into());
    assert!(
        daemon.log().contains("the kernel refuses system calls"),
        "{}",
        daemon.log()
    );
    assert_eq!(daemon.terminate(), 0);

    let off = ("TOKEN_BROKER_SANDBOX_SECCOMP".to_owned(), "false".to_owned());
    daemon.environment.push(off);
    daemon.start();
    assert_eq!(filtered(&daemon), ["0".to_owned()].into());
    assert_eq!(daemon.terminate(), 0);
}

#[test]
fn a_command_that_came_after_the_start_is_refused_with_what_to_do() {
    let google = Emulator::start(&[]);
    let daemon = Daemon::new(&google);
    daemon.start();
    let config = fs::read_to_string(daemon.config_file()).unwrap();
    let key = daemon.key_file();
    let command = format!("[key]\nsource = \"command:/bin/cat {}\"\n", key.display());
    let others = config
        .lines()
        .filter(|line| !line.starts_with("source = ") && *line != "[key]");
    let others = others.collect::<Vec<_>>().join("\n");
    fs::write(daemon.config_file(), format!("{others}\n{command}")).unwrap();
    let refused = daemon.cli(&["key", "reseal"]);
    assert_ne!(refused.code, 0);
    assert!(refused.stderr.contains("restart it"), "{}", refused.stderr);
    daemon.restart();
    daemon.cli(&["key", "reseal"]).expect_ok();
}

#[test]
fn what_was_named_after_the_start_outside_of_the_daemons_folders_is_refused_with_what_to_do() {
    const OFF: &str = "TOKEN_BROKER_SANDBOX_LANDLOCK";
    let google = Emulator::start(&[]);
    let mut daemon = Daemon::new(&google);
    daemon.write_manifest("here", "alice", &[SEND]);
    daemon.start();
    assert!(
        daemon.log().contains("keeps the daemon to its own folders"),
        "{}",
        daemon.log()
    );
    daemon.connect("alice", &[SEND]).expect_ok();
    daemon.wait_for_state("here", "active");

    let elsewhere = tempfile::tempdir().unwrap();
    let (manifest, key) = (
        elsewhere.path().join("far.yaml"),
        elsewhere.path().join("new.key"),
    );
    let here = daemon.config_file().with_file_name("agents.d/here.yaml");
    let text = fs::read_to_string(&here).unwrap().replace("here", "far");
    fs::write(&manifest, text).unwrap();
    fs::copy(daemon.key_file(), &key).unwrap();
    symlink(&manifest, here.with_file_name("far.yaml")).unwrap();
    wait_for("the linked manifest to be told of", || {
        let listed = daemon.cli(&["agents", "list"]);
        let told = listed.stdout + &listed.stderr;
        (told.contains("is in no folder") && told.contains("restart the daemon")).then_some(())
    });
    let seal = format!("file:{}", key.display());
    let refused = daemon.cli(&["key", "reseal", "--to", &seal]);
    assert_ne!(refused.code, 0);
    assert!(
        refused.stderr.contains("restart the daemon"),
        "{}",
        refused.stderr
    );

    daemon.restart();
    daemon.wait_for_state("far", "active");
    assert_eq!(daemon.terminate(), 0);
    daemon.environment.push((OFF.to_owned(), "false".to_owned()));
    daemon.start();
    daemon.cli(&["key", "reseal", "--to", &seal]).expect_ok();
    assert!(
        daemon.log().contains("sandbox.landlock is false"),
        "{}",
        daemon.log()
    );
}
