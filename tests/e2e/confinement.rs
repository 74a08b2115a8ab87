//! How the daemon keeps its keys in memory.

use std::fs;

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
