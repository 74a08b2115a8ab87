//! The program as a shell sees it: what it prints, and the codes it ends with.

#![allow(clippy::unwrap_used, reason = "what cannot be set up fails the test")]

use std::{
    fs,
    io::{self, BufRead, BufReader, Read, Write},
    os::unix::net::UnixListener,
    path::Path,
    process::{Command, Output, Stdio},
    thread,
};

const PROGRAM: &str = env!("CARGO_BIN_EXE_token-broker");

#[test]
fn cases() {
    // Help is wrapped to the terminal; a pipe has none, whatever the surroundings say.
    trycmd::TestCases::new()
        .env("COLUMNS", "100")
        .case("tests/cli/*.trycmd");
}

/// An agent's socket whose `/v1/env` is `env`.
fn serve(socket: &Path, env: &'static str) {
    let listener = UnixListener::bind(socket).unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                if stream.read(&mut byte).unwrap_or(0) == 0 {
                    break;
                }
                request.push(byte[0]);
            }
            let length = env.len();
            let answer =
                format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{env}");
            // A client that went away is its own affair.
            let _ = stream.write_all(answer.as_bytes());
        }
    });
}

fn exec(command: &[&str]) -> Output {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("broker.sock");
    serve(
        &socket,
        "GOOGLE_OAUTH_ACCESS_TOKEN=ya29.fresh\nTOKEN_BROKER_STATE=active\n",
    );
    Command::new(PROGRAM)
        .args(["exec", "--socket"])
        .arg(&socket)
        .arg("--")
        .args(command)
        .env("GOOGLE_OAUTH_ACCESS_TOKEN", "ya29.stale")
        .env("GOOGLE_SA_ACCESS_TOKEN", "ya29.stale")
        .output()
        .unwrap()
}

#[test]
fn exec_gives_the_command_fresh_variables_and_takes_its_code() {
    let output = exec(&[
        "sh",
        "-c",
        "echo $GOOGLE_OAUTH_ACCESS_TOKEN ${GOOGLE_SA_ACCESS_TOKEN-unset}; exit 9",
    ]);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "ya29.fresh unset\n");
    assert_eq!(output.status.code(), Some(9));
}

#[test]
fn exec_says_when_the_command_cannot_be_run() {
    let missing = exec(&["/no/such/command"]);
    assert_eq!(missing.status.code(), Some(127));
    assert!(String::from_utf8_lossy(&missing.stderr).contains("there is no such command"));

    let file = tempfile::NamedTempFile::new().unwrap();
    let not_executable = exec(&[file.path().to_str().unwrap()]);
    assert_eq!(not_executable.status.code(), Some(126));
}

/// What reaches the command from the terminal itself is not passed on to it a second time.
#[test]
fn on_a_terminal_a_key_is_one_signal() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("broker.sock");
    serve(
        &socket,
        "GOOGLE_OAUTH_ACCESS_TOKEN=ya29.fresh\nTOKEN_BROKER_STATE=active\n",
    );
    let script = dir.path().join("command");
    let text = "trap 'count=$((count+1)); echo \"INT $count\"' INT
        trap 'echo \"$count in all\"; read -r line; exit 4' QUIT
        echo ready
        while :; do sleep 0.01; done";
    fs::write(&script, text).unwrap();
    let (socket, script) = (socket.display(), script.display());
    // In the shell's place: a shell in between would be of the foreground too, and SIGQUIT ends it.
    let line = format!("exec {PROGRAM} exec --socket {socket} --on-renewal signal -- sh {script}");
    // script(1) gives it a terminal, whose keys are what is written here. Whoever runs the tests in the background may have
    // had both signals ignored, and a shell cannot catch those.
    let mut terminal = Command::new("env")
        .args(["--default-signal=INT,QUIT", "SHELL=/bin/sh"])
        .args(["script", "-q", "-e", "-c", &line, "/dev/null"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut keys = terminal.stdin.take().unwrap();
    let mut lines = BufReader::new(terminal.stdout.take().unwrap()).lines();
    let mut seen = Vec::new();
    let mut until = |part: &str| {
        for line in lines.by_ref() {
            seen.push(line.unwrap());
            if seen.last().is_some_and(|line| line.contains(part)) {
                return seen.last().cloned().unwrap();
            }
        }
        panic!("the terminal ended before {part:?}: {seen:?}");
    };
    until("ready");
    for number in 1..=5 {
        keys.write_all(b"\x03").unwrap();
        until(&format!("INT {number}"));
    }
    keys.write_all(b"\x1c").unwrap();
    let last = until("in all");
    assert!(last.contains("5 in all"), "{last}");
    // The command ends only now: script(1) may drop what it has not read when its child ends.
    keys.write_all(b"\n").unwrap();
    assert_eq!(terminal.wait().unwrap().code(), Some(4));
}

#[test]
fn a_signal_that_was_ignored_before_stays_ignored() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("broker.sock");
    serve(
        &socket,
        "GOOGLE_OAUTH_ACCESS_TOKEN=ya29.fresh\nTOKEN_BROKER_STATE=active\n",
    );
    // As nohup does it. The command signals the process that passes signals on.
    let script = "trap 'exit 6' USR1; kill -HUP $PPID; kill -USR1 $PPID; while :; do sleep 0.01; done";
    let output = Command::new("sh")
        .args([
            "-c",
            "trap '' HUP; exec \"$@\"",
            "sh",
            PROGRAM,
            "exec",
            "--on-renewal=signal",
            "--socket",
        ])
        .arg(&socket)
        .args(["--", "sh", "-c", script])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(6), "{output:?}");
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    let (reader, writer) = io::pipe().unwrap();
    drop(reader);
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("config.toml");
    fs::write(&config, format!("runtime_dir = {:?}\n", dir.path())).unwrap();
    let output = Command::new(PROGRAM)
        .arg("--config")
        .arg(&config)
        .arg("capabilities")
        .stdout(writer)
        .output()
        .unwrap();
    assert_eq!(
        output.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
