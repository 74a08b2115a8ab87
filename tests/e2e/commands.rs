//! The commands, as a person or a script uses them against a real daemon.

use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf, process::Stdio};

use rusqlite::Connection;
use serde_json::Value;

use crate::support::{Daemon, Emulator, Output, program, program_named};

const SEND: &str = "google.gmail.send";

fn running() -> (Emulator, Daemon) {
    let google = Emulator::start(&[]);
    let daemon = Daemon::new(&google);
    daemon.write_manifest("bot", "alice", &[SEND]);
    daemon.start();
    daemon.connect("alice", &[SEND]).expect_ok();
    daemon.wait_for_state("bot", "active");
    (google, daemon)
}

#[test]
fn token_env_and_exec_give_an_agent_what_its_files_hold() {
    let (_google, daemon) = running();
    let agent = daemon.agent("bot");
    let token = agent.token().unwrap();
    let socket = agent.socket();
    let socket = socket.to_str().unwrap();
    for place in [["--agent", "bot"], ["--socket", socket]] {
        let run = |command: &str| daemon.cli(&[command, place[0], place[1]]).expect_ok().stdout;
        assert_eq!(run("token"), format!("{token}\n"));
        assert_eq!(run("env"), agent.env());
        assert!(run("status").contains("active"));
    }
    let printed = daemon
        .cli(&["exec", "--agent", "bot", "--", "/usr/bin/env"])
        .expect_ok()
        .stdout;
    for line in agent.env().lines() {
        assert!(
            printed.lines().any(|printed| printed == line),
            "{line} is not in {printed}"
        );
    }
    let shell = |script: &str| daemon.cli(&["exec", "--agent", "bot", "--", "/bin/sh", "-c", script]);
    assert_eq!(shell("exit 42").code, 42);
    assert_eq!(
        daemon
            .cli(&["exec", "--agent", "bot", "--", "no-such-command"])
            .code,
        127
    );
    assert_eq!(
        daemon.cli(&["exec", "--agent", "bot", "--", "/etc/passwd"]).code,
        126
    );
    assert_eq!(
        daemon
            .cli(&["token", "--agent", "bot", "--capability", "google.drive"])
            .code,
        7
    );
    assert_eq!(
        daemon
            .cli(&["token", "--agent", "bot", "--capability", "google.drvie"])
            .code,
        4
    );
    assert_eq!(daemon.cli(&["token", "--agent", "nobody"]).code, 3);
    assert_eq!(daemon.cli(&["token", "--agent", "Not A Name"]).code, 2);
    let missing = daemon.cli(&["integrations", "show", "--owner", "nobody"]);
    assert_eq!(missing.code, 4, "{missing:?}");
    let capabilities = daemon.cli(&["capabilities"]).expect_ok();
    assert!(capabilities.stdout.contains(SEND));
}

#[test]
fn wait_waits_for_the_daemon_the_agent_and_the_token() {
    let google = Emulator::start(&[]);
    let daemon = Daemon::new(&google);
    let ended = daemon.cli(&["wait", "--agent", "bot", "--timeout", "200ms"]);
    assert_eq!(ended.code, 124, "{ended:?}");
    let mut command = daemon.command(&["wait", "--agent", "bot", "--timeout", "80s"]);
    let waiting = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    daemon.start();
    daemon.write_manifest("bot", "alice", &[SEND]);
    daemon.wait_for_state("bot", "not_connected");
    let ended = daemon.cli(&["wait", "--agent", "bot", "--timeout", "200ms"]);
    assert_eq!(ended.code, 124, "{ended:?}");
    assert!(ended.stderr.contains("not_connected"), "{}", ended.stderr);
    daemon.connect("alice", &[SEND]).expect_ok();
    Output::of_child(waiting).expect_ok();
}

#[test]
fn the_audit_trail_tells_who_did_what_and_finds_an_edited_line() {
    let (google, daemon) = running();
    daemon.cli(&["token", "--agent", "bot", "--capability", SEND]);
    let listed = daemon
        .cli(&["audit", "list", "--output", "json"])
        .expect_ok()
        .json();
    let events = listed["events"].as_array().unwrap();
    assert!(events.len() >= 2, "{listed}");
    assert!(
        events
            .iter()
            .any(|event| event["capabilities"].to_string().contains(SEND)),
        "{listed}"
    );
    let table = daemon.cli(&["audit", "list"]).expect_ok();
    assert!(!table.stdout.contains("ya29."), "{}", table.stdout);
    daemon.cli(&["audit", "verify"]).expect_ok();
    assert_eq!(daemon.terminate(), 0);
    let change = "UPDATE audit SET detail = 'nothing happened' WHERE sequence = 2";
    let database = Connection::open(daemon.state_dir().join("broker.db")).unwrap();
    assert_eq!(database.execute(change, []).unwrap(), 1);
    drop(database);
    daemon.start();
    let verified = daemon.cli(&["audit", "verify"]);
    assert_eq!(verified.code, 1);
    assert!(
        format!("{}{}", verified.stdout, verified.stderr).contains('2'),
        "{verified:?}"
    );
    assert_eq!(
        daemon.agent("bot").get("/v1/token").status,
        200,
        "the daemon works on"
    );
    drop(google);
}

#[test]
fn init_never_writes_over_what_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let init = || Output::of(program().args(["init", "--config-dir"]).arg(folder.path()));
    init().expect_ok();
    let files = ["config.toml", "master.key"].map(|name| folder.path().join(name));
    let before = files.clone().map(|file| fs::read(file).unwrap());
    let mode = fs::metadata(&files[1]).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o600);
    let again = init();
    assert_ne!(again.code, 0);
    assert!(again.stderr.contains("config.toml"), "{}", again.stderr);
    // A key alone is not written over, either.
    fs::remove_file(&files[0]).unwrap();
    assert_ne!(init().code, 0);
    fs::write(&files[0], &before[0]).unwrap();
    assert!(files.map(|file| fs::read(file).unwrap()) == before);
}

#[test]
fn doctor_finds_nothing_in_a_good_set_up_and_names_what_is_wrong_in_a_bad_one() {
    let (google, daemon) = running();
    let good = daemon.cli(&["doctor", "--output", "json"]).expect_ok();
    let wrong = |output: &Output| -> Vec<Value> {
        let checks = output.json()["checks"].as_array().unwrap().clone();
        checks
            .into_iter()
            .filter(|check| check["verdict"] == "fail")
            .collect()
    };
    assert_eq!(wrong(&good), Vec::<Value>::new());

    fs::set_permissions(daemon.key_file(), fs::Permissions::from_mode(0o644)).unwrap();
    daemon.put_file("broken", "agent: [\n");
    daemon.terminate();
    drop(google);
    let bad = daemon.cli(&["doctor", "--output", "json"]);
    assert_eq!(bad.code, 1);
    let found = wrong(&bad).iter().map(ToString::to_string).collect::<String>();
    for part in ["master.key", "chmod 600", "broken.yaml", "127.0.0.1"] {
        assert!(found.contains(part), "{part} is not in {found}");
    }
    let table = daemon.cli(&["doctor"]);
    assert_eq!(table.code, 1);
    assert!(table.stdout.contains("chmod 600"), "{}", table.stdout);
}

#[test]
fn without_a_daemon_each_command_says_so() {
    let google = Emulator::start(&[]);
    let daemon = Daemon::new(&google);
    for command in [
        &["status"][..],
        &["agents", "list"],
        &["integrations", "list"],
        &["audit", "verify"],
        &["connect", "--owner", "alice", "--capability", SEND],
        &["token", "--agent", "bot"],
    ] {
        let said = daemon.cli(command);
        assert_eq!(
            (said.code, said.stdout.as_str()),
            (3, ""),
            "{command:?}: {said:?}"
        );
        assert!(
            said.stderr.contains("token-broker serve") || said.stderr.contains("bot"),
            "{}",
            said.stderr
        );
    }
    for shell in ["bash", "zsh", "fish"] {
        let script = Output::of(program().args(["completions", shell])).expect_ok();
        assert!(script.stdout.contains("google-emulator"), "{shell}");
    }
}

#[test]
fn the_demo_runs_through_one_renewal_and_leaves_nothing_behind() {
    let mut demo = program();
    let shown = Output::of(demo.args(["demo", "--once", "--token-lifetime", "5s"])).expect_ok();
    assert!(shown.stdout.contains("invoice-bot") && shown.stdout.contains("calendar-bot"));
    assert!(!shown.stdout.contains("1//emu-") && !shown.stderr.contains("1//emu-"));
    // It names its folder in the commands to try.
    let name = shown
        .stdout
        .split_once("/token-broker-demo-")
        .expect("the demo's folder")
        .1;
    let name = name
        .split(|c: char| c == '/' || c.is_whitespace())
        .next()
        .unwrap();
    for parent in [PathBuf::from("/dev/shm"), std::env::temp_dir()] {
        assert!(!parent.join(format!("token-broker-demo-{name}")).exists());
    }
}

#[test]
fn too_few_open_files_and_no_threads_are_told_in_a_sentence() {
    // Below that not even the system's own libraries are found.
    for limit in 6..16 {
        let mut shell = program_named("sh");
        let command = format!(
            "ulimit -n {limit} && exec {} status",
            program().get_program().to_string_lossy()
        );
        let said = Output::of(shell.args(["-c", &command]));
        assert_eq!(said.code, 7, "{limit}: {said:?}");
        let sentence =
            format!("error: this process may open {limit} files at once, and a command takes up to 24");
        assert!(said.stderr.starts_with(&sentence), "{}", said.stderr);
    }
    let google = Emulator::start(&[]);
    let mut daemon = Daemon::new(&google);
    daemon
        .environment
        .push(("TOKIO_WORKER_THREADS".to_owned(), "0".to_owned()));
    let refused = daemon.try_start().unwrap_err();
    assert_eq!(refused.code, 7);
    assert!(
        refused.stderr.contains("TOKIO_WORKER_THREADS is \"0\""),
        "{}",
        refused.stderr
    );
    assert!(!refused.stderr.contains("panic"), "{}", refused.stderr);
}
