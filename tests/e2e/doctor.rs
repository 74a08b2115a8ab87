//! `doctor` beside a daemon that something has happened to: it looks at what agents see, and ends with 1.

use std::{
    fs::{self, Permissions},
    os::unix::fs::{PermissionsExt, chown},
    path::Path,
};

use crate::support::{
    Daemon, Emulator, Output, is_root, manifest, one_line, program, program_named, wait_until,
};

const SEND: &str = "google.gmail.send";

fn scene() -> (Emulator, Daemon) {
    let google = Emulator::start(&[]);
    let daemon = Daemon::new(&google);
    daemon.write_manifest("bot", "alice", &[SEND]);
    daemon.start();
    daemon.connect("alice", &[SEND]).expect_ok();
    daemon.wait_for_state("bot", "active");
    (google, daemon)
}

/// What it says has to be repaired; the exit code says the same.
fn failures(daemon: &Daemon) -> Vec<String> {
    let said = daemon.cli(&["doctor", "--output", "json"]);
    let checks = said.json()["checks"].as_array().unwrap().clone();
    let failed = checks.iter().filter(|check| check["verdict"] == "fail");
    let failed: Vec<String> = failed
        .map(|check| check["message"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(said.code, i32::from(!failed.is_empty()), "{said:?}");
    failed
}

fn is_said(daemon: &Daemon, part: &str) {
    let found = failures(daemon);
    assert!(
        found.iter().any(|message| message.contains(part)),
        "{part} is not in {found:?}"
    );
}

#[test]
fn all_is_well_until_the_daemon_does_not_run() {
    let (_google, daemon) = scene();
    assert_eq!(failures(&daemon), [""; 0]);
    daemon.terminate();
    is_said(&daemon, "the daemon is not running");
}

#[test]
fn the_daemons_own_client_is_judged_while_it_runs() {
    let google = Emulator::start(&[]);
    let mut daemon = Daemon::new(&google);
    // In the daemon's environment, which no command has.
    let file = daemon.config_dir().join("client_secret");
    let secret = fs::read_to_string(&file).unwrap();
    daemon.environment = vec![("TOKEN_BROKER_GOOGLE_CLIENT_SECRET".to_owned(), secret)];
    fs::remove_file(file).unwrap();
    daemon.start();
    let said = daemon.cli(&["doctor"]).expect_ok().stdout;
    assert!(said.contains("ok    google client: "), "{said}");
    daemon.terminate();
    is_said(&daemon, "google.client_secret_file");
}

#[test]
fn a_folder_that_is_not_followed_and_files_that_are_not_read_are_named() {
    let (_google, daemon) = scene();
    fs::write(daemon.agents_d().join("x.YAML"), manifest("x", "alice", &[SEND])).unwrap();
    let said = daemon.cli(&["doctor"]).expect_ok().stdout;
    assert!(said.contains("x.YAML: it is not read"), "{said}");
    fs::set_permissions(daemon.agents_d(), Permissions::from_mode(0o777)).unwrap();
    is_said(&daemon, "the folder is not followed");
}

#[test]
fn a_master_key_that_is_not_the_databases_is_named() {
    let (_google, daemon) = scene();
    let other = tempfile::tempdir().unwrap();
    let other = other.path().join("etc");
    let mut init = program();
    init.arg("init").arg("--config-dir").arg(&other);
    Output::of(&mut init).expect_ok();
    fs::copy(other.join("master.key"), daemon.key_file()).unwrap();
    is_said(&daemon, "the database's keyring does not open");
}

#[test]
fn a_full_folder_of_agents_files_is_named() {
    assert!(is_root(), "this mounts a small file system: run it as root");
    let google = Emulator::start(&[]);
    let daemon = Daemon::new(&google);
    daemon.write_manifest("bot", "alice", &[SEND]);
    fs::create_dir(daemon.runtime_dir()).unwrap();
    let mount = |args: &[&str]| {
        let mut command = program_named("mount");
        Output::of(command.args(args).arg(daemon.runtime_dir())).expect_ok();
    };
    mount(&["-t", "tmpfs", "-o", "size=1m,mode=0711", "tmpfs"]);
    daemon.start();
    daemon.connect("alice", &[SEND]).expect_ok();
    daemon.wait_for_state("bot", "active");
    assert_eq!(failures(&daemon), [""; 0]);
    let filler = daemon.runtime_dir().join("filler");
    let _ = fs::write(&filler, vec![0; 2 << 20]);
    is_said(&daemon, "is full: ");
    fs::remove_file(filler).unwrap();
    daemon.terminate();
    let mut command = program_named("umount");
    Output::of(command.arg(daemon.runtime_dir())).expect_ok();
}

#[test]
fn an_agent_that_could_have_a_token_and_has_none_is_counted() {
    let google = Emulator::start(&["--token-lifetime", "6s"]);
    let daemon = Daemon::new(&google);
    daemon.write_manifest("bot", "alice", &[SEND]);
    daemon.start();
    daemon.connect("alice", &[SEND]).expect_ok();
    daemon.wait_for_state("bot", "active");
    google.fault(&serde_json::json!({ "endpoint": "token", "status": 503 }));
    wait_until("the token to end", || {
        daemon
            .metrics()
            .contains("token_broker_agents_short_of_token 1\n")
    });
    is_said(
        &daemon,
        "no token, and nobody has to connect or allow anything for it",
    );
}

/// Somebody who is neither root nor the daemon.
const STRANGER: u32 = 4711;

#[test]
fn what_somebody_else_could_exchange_is_named() {
    let (_google, daemon) = scene();
    let mode = |path: &Path, mode| fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    let config_dir = daemon.config_dir();
    let above = config_dir.parent().unwrap();
    for folder in [config_dir.as_path(), above] {
        mode(folder, 0o777);
        is_said(
            &daemon,
            &format!("others than its owner may write {}", folder.display()),
        );
        // Then nobody removes what is not theirs.
        mode(folder, 0o1777);
        assert_eq!(failures(&daemon), [""; 0]);
        mode(folder, 0o711);
    }
    mode(&daemon.config_file(), 0o666);
    is_said(&daemon, "config.toml: others than its owner may write it");
    mode(&daemon.config_file(), 0o600);

    assert!(is_root(), "this gives folders away: run it as root");
    for path in [
        config_dir,
        daemon.config_file(),
        daemon.state_dir(),
        daemon.runtime_dir(),
    ] {
        chown(&path, Some(STRANGER), None).unwrap();
        is_said(&daemon, "belongs to uid 4711");
        let folder = path.is_dir();
        chown(&path, Some(0), None).unwrap();
        assert_eq!(failures(&daemon), [""; 0], "{folder}");
    }
}

#[test]
fn a_start_beside_others_who_may_write_warns_and_goes_on() {
    let google = Emulator::start(&[]);
    let daemon = Daemon::new(&google);
    fs::set_permissions(daemon.config_dir(), Permissions::from_mode(0o777)).unwrap();
    daemon.start();
    let line = one_line(&daemon.log());
    assert!(line.contains("others than its owner may write"), "{line}");
    let problems = daemon.cli(&["status", "--output", "json"]).json()["daemon"]["problems"].to_string();
    assert!(problems.contains("others than its owner may write"), "{problems}");
    // The daemon says so as well, and doctor once.
    let said = daemon.cli(&["doctor"]).expect(1).stdout;
    assert_eq!(
        said.matches("others than its owner may write").count(),
        1,
        "{said}"
    );
}

#[test]
fn a_file_in_the_place_of_the_agents_folder_is_named() {
    let (_google, daemon) = scene();
    let agents = daemon.runtime_dir().join("agents");
    fs::rename(&agents, daemon.runtime_dir().join("moved")).unwrap();
    fs::write(&agents, "").unwrap();
    is_said(&daemon, "agents is not a folder");
    is_said(&daemon, "bot/env is not there");
}

#[test]
fn a_runtime_dir_that_nobody_can_use_is_named_as_that() {
    let (_google, daemon) = scene();
    fs::set_permissions(daemon.runtime_dir(), Permissions::from_mode(0o000)).unwrap();
    is_said(&daemon, "has mode 0000, so that its owner cannot use it");
}

#[test]
fn a_configuration_that_takes_a_restart_is_named_without_secrets() {
    let (_google, daemon) = scene();
    let config = fs::read_to_string(daemon.config_file()).unwrap();
    fs::write(
        daemon.config_file(),
        config.replace("# concurrency = 64", "concurrency = 8"),
    )
    .unwrap();
    is_said(
        &daemon,
        "renewal.concurrency was changed on disk since the daemon was started",
    );
    fs::write(daemon.config_file(), &config).unwrap();
    assert_eq!(failures(&daemon), [""; 0]);
    let secret = daemon.config_dir().join("client_secret");
    let before = fs::read_to_string(&secret).unwrap();
    fs::write(&secret, "GOCSPX-canary-canary-canary-canary").unwrap();
    is_said(
        &daemon,
        "the client secret was changed on disk since the daemon was started",
    );
    let said = daemon.transcript();
    assert!(!said.contains("canary-canary") && !said.contains(before.trim()));
    daemon.restart();
    assert_eq!(failures(&daemon), [""; 0]);
}

#[test]
fn a_files_name_begins_no_line_and_a_secret_in_the_wrong_place_is_not_repeated() {
    let (_google, daemon) = scene();
    let name = "a\n2026-01-01 ERROR forged \u{1b}[2J\u{202e}.yaml";
    fs::write(
        daemon.agents_d().join(name),
        "agent: x\nGOCSPX-abcdefghijklmnopqr: 1\n",
    )
    .unwrap();
    wait_until("the complaint", || daemon.log().contains("ERROR forged"));
    let said = |args: &[&str]| {
        let output = daemon.cli(args);
        format!("{}{}", output.stdout, output.stderr)
    };
    let texts = [
        daemon.log(),
        said(&["doctor"]),
        said(&["status"]),
        said(&["agents", "list"]),
        said(&["agents", "validate", daemon.agents_d().to_str().unwrap()]),
    ];
    for text in texts {
        assert!(text.contains("ERROR forged"), "{text}");
        assert!(
            !text.lines().any(|line| line.starts_with("2026-01-01 ERROR")),
            "{text}"
        );
        assert!(!text.contains(['\u{1b}', '\u{202e}']), "{text:?}");
        assert!(!text.contains("GOCSPX-abc"), "{text}");
    }
}
