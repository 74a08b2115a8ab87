//! curl on an agent's socket.

use std::{
    io::{BufRead, BufReader},
    process::Stdio,
};

use serde_json::Value;

use super::installed::curl;
use crate::support::{Agent, Daemon, Emulator, Output};

struct Got {
    status: String,
    kind: String,
    body: Value,
}

/// `curl --unix-socket … http://broker<path>`.
fn get(agent: &Agent, path: &str) -> Got {
    let mut curl = curl();
    curl.args(["--silent", "--show-error", "--write-out"])
        .arg("\n%{http_code} %{content_type}")
        .arg("--unix-socket")
        .arg(agent.socket())
        .arg(format!("http://broker{path}"));
    let output = Output::of(&mut curl).expect_ok();
    let (body, about) = output.stdout.rsplit_once('\n').unwrap();
    let (status, kind) = about.split_once(' ').unwrap();
    Got {
        status: status.to_owned(),
        kind: kind.to_owned(),
        body: serde_json::from_str(body).unwrap(),
    }
}

#[test]
fn a_token_and_problems_come_as_json() {
    let google = Emulator::start(&[]);
    let daemon = Daemon::new(&google);
    daemon.write_manifest("invoice-bot", "alice", &["google.gmail.send"]);
    daemon.start();
    let agent = daemon.wait_for_state("invoice-bot", "not_connected");
    let problem = get(&agent, "/v1/token");
    assert_eq!(
        (&*problem.status, &*problem.kind),
        ("403", "application/problem+json")
    );
    assert_eq!(problem.body["code"], "not_connected");
    assert_eq!(
        problem.body["action_url"],
        format!("{}/agents/invoice-bot", daemon.http())
    );

    daemon.connect("alice", &["google.gmail.send"]).expect_ok();
    daemon.wait_for_state("invoice-bot", "active");
    let token = get(&agent, "/v1/token");
    assert_eq!((&*token.status, &*token.kind), ("200", "application/json"));
    assert_eq!(token.body["token_type"], "Bearer");
    assert!(google.is_alive(token.body["access_token"].as_str().unwrap()));
    let problem = get(&agent, "/v1/token?capability=google.drive");
    assert_eq!(
        (&*problem.status, &*problem.kind),
        ("403", "application/problem+json")
    );
    assert_eq!(problem.body["code"], "not_declared");
    assert_eq!(problem.body["status"], 403);
}

#[test]
fn a_renewal_comes_as_an_event() {
    let google = Emulator::start(&["--token-lifetime", "12s"]);
    let daemon = Daemon::new(&google);
    daemon.write_manifest("invoice-bot", "alice", &["google.gmail.send"]);
    daemon.start();
    daemon.connect("alice", &["google.gmail.send"]).expect_ok();
    let agent = daemon.wait_for_state("invoice-bot", "active");
    let mut curl = curl();
    let mut watching = curl
        .args(["--silent", "--no-buffer", "--max-time", "90", "--unix-socket"])
        .arg(agent.socket())
        .arg("http://broker/v1/watch")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(watching.stdout.take().unwrap()).lines();
    let lines: Vec<String> = lines
        .map(Result::unwrap)
        .filter(|line| !line.starts_with(':'))
        .take(6)
        .collect();
    watching.kill().unwrap();
    watching.wait().unwrap();
    let token = |line: &str| {
        let data: Value = serde_json::from_str(line.strip_prefix("data: ").unwrap()).unwrap();
        data["access_token"].as_str().unwrap().to_owned()
    };
    assert_eq!(lines[0], "event: token");
    assert_eq!(lines[2], "");
    assert_eq!(lines[3], "event: token");
    assert_ne!(token(&lines[1]), token(&lines[4]));
}
