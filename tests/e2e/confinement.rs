//! How the daemon keeps its keys in memory, and what the kernel refuses to it.

use std::{collections::BTreeSet, fs};

use crate::support::{Daemon, Emulator};

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
