//! The program as a shell sees it: what it prints, and the codes it ends with.

#![allow(clippy::unwrap_used, reason = "what cannot be set up fails the test")]

use std::{
    fs,
    io::{self, Read, Write},
    os::unix::net::UnixListener,
    path::Path,
    process::{Command, Output},
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
