//! `env` means the same to everybody who reads it.

use std::{collections::BTreeMap, path::Path, process::Command};

use super::installed::python;
use crate::support::{Agent, Daemon, Emulator, Output};

type Variables = BTreeMap<String, String>;

/// `set -a; . env` in the system's shell.
fn shell(env: &Path) -> Variables {
    let mut shell = Command::new("/bin/sh");
    shell
        .env_clear()
        .arg("-c")
        .arg("set -a; . \"$0\"; env -0")
        .arg(env);
    let output = Output::of(&mut shell).expect_ok();
    let pairs = output
        .stdout
        .split_terminator('\0')
        .map(|pair| pair.split_once('=').unwrap());
    // What the shell sets by itself.
    pairs
        .filter(|(name, _)| !["PWD", "OLDPWD", "SHLVL", "_"].contains(name))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

/// The Python package python-dotenv.
fn python_dotenv(env: &Path) -> Variables {
    let mut program = python("read_dotenv.py");
    program.arg(env);
    let read = Output::of(&mut program).expect_ok();
    serde_json::from_str(&read.stdout).unwrap()
}

/// `docker run --env-file`, as its documentation says: a line is `NAME=VALUE`, and the value is what follows, with
/// quotes and white space as they are. Lines that begin with `#` are comments; a name alone would be taken from
/// docker's own environment.
fn docker(text: &str) -> Variables {
    let lines = text
        .lines()
        .map(str::trim_start)
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    let pair = |line: &str| {
        let (name, value) = line.split_once('=').expect("no bare name");
        assert!(!name.is_empty() && !name.contains(char::is_whitespace), "{line}");
        (name.to_owned(), value.to_owned())
    };
    lines.map(pair).collect()
}

/// Reads it in all ways; returns what all of them found.
fn read(agent: &Agent) -> Variables {
    let text = agent.env();
    assert!(text.ends_with('\n') && !text.contains('\r'), "{text:?}");
    let path = agent.path("env");
    let found = docker(&text);
    assert_eq!(shell(&path), found);
    assert_eq!(python_dotenv(&path), found);
    found
}

#[test]
fn every_reader_finds_the_same() {
    let google = Emulator::start(&[]);
    let daemon = Daemon::new(&google);
    daemon.write_manifest(
        "invoice-bot",
        "alice",
        &["google.gmail.send", "google.calendar.readonly"],
    );
    daemon.start();
    let agent = daemon.wait_for_state("invoice-bot", "not_connected");
    let without = read(&agent);
    let names: Vec<&str> = without.keys().map(String::as_str).collect();
    assert_eq!(names, ["TOKEN_BROKER_ACTION_URL", "TOKEN_BROKER_STATE"]);

    daemon
        .connect("alice", &["google.gmail.send", "google.calendar.readonly"])
        .expect_ok();
    daemon.wait_for_state("invoice-bot", "active");
    let with = read(&agent);
    assert_eq!(with["GOOGLE_OAUTH_ACCESS_TOKEN"], agent.read("access_token"));
    assert_eq!(
        with["GOOGLE_OAUTH_CAPABILITIES"],
        "google.gmail.send,google.calendar.readonly"
    );
    assert_eq!(with.len(), 4);
}
