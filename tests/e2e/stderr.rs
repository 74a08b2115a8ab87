//! Nobody reads what the program writes to standard error, or the other end is gone.

use std::process::Stdio;

use rustix::process::Signal;

use crate::support::{Daemon, Emulator, Output, Pipe, get, wait_until};

const SEND: &str = "google.gmail.send";
const DROPPED: &str = "token_broker_log_lines_dropped_total ";

/// A daemon that logs as much as it can, and an agent.
fn scene() -> (Emulator, Daemon) {
    let google = Emulator::start(&["--token-lifetime", "6s"]);
    let daemon = Daemon::with(&google, &[("log.level", "trace")]);
    daemon.write_manifest("bot", "alice", &[SEND]);
    (google, daemon)
}

#[test]
fn a_log_that_nobody_reads_holds_up_nothing() {
    let (_google, daemon) = scene();
    let mut log = daemon.start_logging_to_a_pipe();
    log.fill();
    daemon.connect("alice", &[SEND]).expect_ok();
    let mut token = daemon.wait_for_token("bot", None);
    // However much there is to say.
    wait_until("lines to be dropped", || {
        daemon.cli(&["status"]).expect_ok();
        daemon.metric(DROPPED) > 0.0
    });
    for _ in 0..3 {
        assert_eq!(get(&format!("{}/healthz", daemon.http())).status, 200);
        token = daemon.wait_for_token("bot", Some(&token));
    }
    // When somebody reads again, they learn what they missed; and it can go on like this.
    let read = log.read_until("lines of the log were dropped, because nobody read it");
    assert!(read.contains("TRACE"), "what was kept is there");
    log.fill();
    daemon.wait_for_token("bot", Some(&token));
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.wait_for_end(), 0);
    assert!(!daemon.admin_socket().exists());
}

#[test]
fn a_log_whose_reader_is_gone_holds_up_nothing() {
    let (_google, daemon) = scene();
    drop(daemon.start_logging_to_a_pipe());
    daemon.connect("alice", &[SEND]).expect_ok();
    let token = daemon.wait_for_token("bot", None);
    daemon.wait_for_token("bot", Some(&token));
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.wait_for_end(), 0);
}

#[test]
fn a_command_ends_although_nobody_reads_what_it_says() {
    let (_google, daemon) = scene();
    daemon.start();
    let said_to_nobody = |args: &[&str]| {
        let pipe = Pipe::full();
        let mut command = daemon.command(args);
        command.stdout(Stdio::piped()).stderr(pipe.end());
        let output = Output::of_child(command.spawn().unwrap());
        drop(pipe);
        output.code
    };
    assert_eq!(said_to_nobody(&["wait", "--agent", "bot", "--timeout", "0"]), 124);
    assert_eq!(
        said_to_nobody(&["exec", "--agent", "bot", "--timeout", "0", "--", "true"]),
        124
    );
    let on_renewal = [
        "exec",
        "--agent",
        "bot",
        "--timeout",
        "0",
        "--on-renewal",
        "restart",
        "--",
        "true",
    ];
    assert_eq!(said_to_nobody(&on_renewal), 124);
    assert_eq!(said_to_nobody(&["integrations", "show", "--owner", "nobody"]), 4);
}

#[test]
fn exec_goes_on_although_nobody_reads_what_it_says() {
    let (_google, daemon) = scene();
    daemon.start();
    daemon.connect("alice", &[SEND]).expect_ok();
    daemon.wait_for_state("bot", "active");
    let pipe = Pipe::full();
    let beats = daemon.config_dir().join("beats");
    let script = format!(
        "trap 'echo >> {}' HUP; while :; do sleep 0.05; done",
        beats.display()
    );
    let args = [
        "exec",
        "--agent",
        "bot",
        "--on-renewal",
        "signal",
        "--",
        "sh",
        "-c",
        &script,
    ];
    let mut exec = daemon.command(&args).stderr(pipe.end()).spawn().unwrap();
    wait_until("two renewals to be passed on", || {
        std::fs::read_to_string(&beats).is_ok_and(|beats| beats.len() >= 2)
    });
    let pid = rustix::process::Pid::from_child(&exec);
    rustix::process::kill_process(pid, Signal::TERM).unwrap();
    wait_until("it to end", || exec.try_wait().unwrap().is_some());
}
