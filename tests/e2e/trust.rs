//! Whom the daemon takes manifests from, and what it repeats of files that are none.

use std::{
    fs::{self, Permissions},
    os::unix::fs::{PermissionsExt, symlink},
};

use crate::support::{Daemon, Emulator, Output, manifest, program, wait_until};

const SEND: &str = "google.gmail.send";

fn scene() -> (Emulator, Daemon) {
    let google = Emulator::start(&[]);
    let daemon = Daemon::new(&google);
    daemon.write_manifest("bot", "alice", &[SEND]);
    (google, daemon)
}

fn set_mode(path: &std::path::Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_folder_that_others_may_write_stops_the_start_and_takes_nothing_away_later() {
    let (_google, daemon) = scene();
    set_mode(&daemon.agents_d(), 0o777);
    let refused = daemon.try_start().unwrap_err();
    assert_eq!(refused.code, 7, "{}", refused.stderr);
    assert!(
        refused
            .stderr
            .contains("the folder is not followed, because others than its owner may write it (mode 0777)"),
        "{}",
        refused.stderr
    );
    set_mode(&daemon.agents_d(), 0o755);
    daemon.start();
    daemon.connect("alice", &[SEND]).expect_ok();
    let agent = daemon.wait_for_state("bot", "active");
    set_mode(&daemon.agents_d(), 0o777);
    fs::write(
        daemon.agents_d().join("thief.yaml"),
        manifest("thief", "alice", &[SEND]),
    )
    .unwrap();
    wait_until("the folder to be refused", || {
        daemon
            .cli(&["status"])
            .stdout
            .contains("the folder is not followed")
    });
    assert_eq!(agent.get("/v1/token").status, 200);
    assert_eq!(daemon.cli(&["agents", "show", "thief"]).code, 4);
}

#[test]
fn a_manifest_that_others_may_write_gives_nobody_a_token() {
    let (_google, daemon) = scene();
    daemon.start();
    daemon.connect("alice", &[SEND]).expect_ok();
    daemon.wait_for_state("bot", "active");
    let thief = daemon.agents_d().join(".thief");
    fs::write(&thief, manifest("thief", "alice", &[SEND])).unwrap();
    set_mode(&thief, 0o666);
    fs::rename(&thief, daemon.agents_d().join("thief.yaml")).unwrap();
    wait_until("the file to be refused", || {
        let listed = daemon.cli(&["agents", "list"]);
        listed
            .stdout
            .contains("others than its owner may write it (mode 0666)")
            || listed
                .stderr
                .contains("others than its owner may write it (mode 0666)")
    });
    assert_eq!(daemon.cli(&["agents", "show", "thief"]).code, 4);
}

#[test]
fn what_a_link_leads_to_is_not_repeated() {
    let (_google, daemon) = scene();
    let shadow = daemon.config_dir().join("shadow");
    let line = "root:$y$j9T$CANARYCANARY/canary$Q7zYh:19000:0:99999:7:::\n";
    fs::write(&shadow, format!("{line}daemon:*:19000:0:99999:7:::\n")).unwrap();
    set_mode(&shadow, 0o600);
    symlink(&shadow, daemon.agents_d().join("x.yaml")).unwrap();
    daemon.start();
    let told = daemon.cli(&["agents", "list"]);
    assert!(
        told.stdout.contains("x.yaml:1:1: ") || told.stderr.contains("x.yaml:1:1: "),
        "{told:?}"
    );
    let config = daemon.config_dir().join("linked.toml");
    symlink(&shadow, &config).unwrap();
    let mut refused = program();
    refused.arg("--config").arg(&config).arg("serve");
    let refused = Output::of(&mut refused).expect(7);
    assert!(refused.stderr.contains("linked.toml:1: "), "{}", refused.stderr);
    for text in [daemon.whole_log(), daemon.transcript(), refused.stderr] {
        assert!(!text.to_lowercase().contains("canary"), "{text}");
    }
}
