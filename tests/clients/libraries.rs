//! Google's own libraries in programs that know nothing of a broker, each in one process across renewals, by a
//! credential file and by a metadata server.
//!
//! Tokens live seconds here. Python and Node take such a token for stale at once and ask before every call, so
//! for them this shows that a process gets each new token, that every call works with it, and that what they ask
//! on the way is answered. Go keeps a token of the credential file until 10 s before its end: there a kept token is
//! seen to be replaced in time, too.

use std::{process::Command, thread};

use serde_json::{Value, json};

use super::installed::{cpp, go, java, node, python, ruby, rust};
use crate::support::{Agent, Daemon, Emulator, Output};

const CAPABILITIES: [&str; 2] = ["google.gmail.readonly", "google.calendar.readonly"];
/// One at the beginning and three from renewals.
const TOKENS: usize = 4;
/// Long enough that Go keeps a token for a while, and short enough for a test.
const LIFETIME: [&str; 2] = ["--token-lifetime", "16s"];

type Program = fn() -> Command;

struct Scene {
    google: Emulator,
    daemon: Daemon,
    agent: Agent,
}

impl Scene {
    /// The agent `bot`, without an account as yet.
    fn unconnected(args: &[&str]) -> Self {
        let google = Emulator::start(args);
        let daemon = Daemon::for_libraries(&google, "bot");
        daemon.write_manifest("bot", "alice", &CAPABILITIES);
        daemon.start();
        let agent = daemon.wait_for_state("bot", "not_connected");
        Self {
            google,
            daemon,
            agent,
        }
    }

    fn connected() -> Self {
        let scene = Self::unconnected(&LIFETIME);
        scene.daemon.connect("alice", &CAPABILITIES).expect_ok();
        scene.daemon.wait_for_state("bot", "active");
        scene
    }

    /// Runs a program that finds its credentials in this environment.
    fn run(&self, mut program: Command, environment: &str, tokens: usize) -> Output {
        for line in environment.lines() {
            let (name, value) = line.split_once('=').unwrap();
            program.env(name, value);
        }
        // No library looks elsewhere: neither for files of a user's, nor for a machine of Google's.
        program.env("HOME", "/nonexistent");
        Output::of(program.args([&self.google.base_url, &tokens.to_string()]))
    }

    /// What `env --adc` prints.
    fn by_credential_file(&self) -> String {
        let printed = self.daemon.cli(&["env", "--adc", "--agent", "bot"]);
        printed.expect_ok().stdout
    }

    /// What `env --metadata` prints, with the port that was really bound.
    fn by_metadata(&self) -> String {
        let mut command = self.daemon.command(&["env", "--metadata"]);
        command.env("TOKEN_BROKER_METADATA_LISTEN", self.daemon.metadata_host());
        Output::of(&mut command).expect_ok().stdout
    }

    /// Both ways at once, each in a process of its own.
    fn across_renewals(&self, program: Program) -> [Value; 2] {
        let ways = [self.by_credential_file(), self.by_metadata()];
        let before = self.google.count("refresh");
        let runs = thread::scope(|scope| {
            let runs = ways
                .each_ref()
                .map(|way| scope.spawn(move || self.run(program(), way, TOKENS)));
            runs.map(|run| run.join().unwrap())
        });
        let seen = runs.map(|run| run.expect_ok().json());
        for seen in &seen {
            let mut tokens: Vec<&str> = seen["tokens"]
                .as_array()
                .unwrap()
                .iter()
                .map(|token| token.as_str().unwrap())
                .collect();
            tokens.sort_unstable();
            tokens.dedup();
            assert!(tokens.len() >= TOKENS, "{seen}");
            assert!(tokens.iter().all(|token| token.starts_with("ya29.")), "{seen}");
            assert!(seen["calls"].as_u64().unwrap() >= 2 * TOKENS as u64, "{seen}");
            assert_eq!(seen["address"], "alice@example.com");
            let events = seen["events"].as_array().unwrap();
            assert!(events.contains(&json!("Weekly planning")), "{seen}");
        }
        // No library had to try again with another token after a refusal.
        assert_eq!(self.google.count("api_unauthorized"), 0);
        // However often they ask the broker, Google is asked once for each token.
        let renewals = self.google.count("refresh") - before;
        let asked = seen
            .iter()
            .map(|seen| seen["calls"].as_u64().unwrap())
            .sum::<u64>();
        assert!(renewals >= TOKENS as u64 - 1, "{renewals} renewals");
        assert!(renewals < asked / 2, "{renewals} renewals for {asked} calls");
        seen
    }

    /// The library's own error, for an agent without an account.
    fn fails_with_our_sentence(&self, program: Program) {
        let page = format!("{}/agents/bot", self.daemon.http());
        for way in [self.by_credential_file(), self.by_metadata()] {
            let output = self.run(program(), &way, 1);
            assert_ne!(output.code, 0, "{output:?}");
            let said = &output.stderr;
            assert!(said.contains("not_connected: "), "{way}\n{said}");
            assert!(said.contains(&page), "{way}\n{said}");
        }
        assert_eq!(self.agent.status()["state"], "not_connected");
    }
}

fn in_python() -> Command {
    python("library_agent.py")
}

fn in_node() -> Command {
    node("library_agent.cjs")
}

#[test]
fn python_stays_fresh() {
    let [file, metadata] = Scene::connected().across_renewals(in_python);
    assert_eq!(
        file["credentials"],
        "google.auth.external_account_authorized_user.Credentials"
    );
    assert_eq!(
        metadata["credentials"],
        "google.auth.compute_engine.credentials.Credentials"
    );
    assert_eq!(metadata["project"], "token-broker");
}

#[test]
fn node_stays_fresh() {
    let [file, metadata] = Scene::connected().across_renewals(in_node);
    assert_eq!(file["credentials"], "ExternalAccountAuthorizedUserClient");
    assert_eq!(metadata["credentials"], "Compute");
}

#[test]
fn go_stays_fresh() {
    let [file, metadata] = Scene::connected().across_renewals(go);
    assert_eq!(file["project"], "");
    assert_eq!(metadata["project"], "token-broker");
}

fn in_java() -> Command {
    java("1.57.0")
}

#[test]
fn java_stays_fresh() {
    let [file, metadata] = Scene::connected().across_renewals(in_java);
    assert_eq!(file["credentials"], "ExternalAccountAuthorizedUserCredentials");
    assert_eq!(metadata["credentials"], "ComputeEngineCredentials");
}

/// Versions 1.39 and 1.40 ask the metadata server for all accounts at once.
#[test]
fn java_of_before_stays_fresh() {
    Scene::connected().across_renewals(|| java("1.40.0"));
}

#[test]
fn rust_stays_fresh() {
    Scene::connected().across_renewals(rust);
}

/// gRPC's C core, under C++, Python, Ruby and PHP, knows the file for workload identity federation alone. Its metadata
/// server has a fixed name, so that one is tried in a container.
#[test]
fn grpcs_c_core_stays_fresh() {
    let scene = Scene::connected();
    let before = scene.google.count("refresh");
    let file = scene.agent.path("adc-external.json");
    let mut program = cpp();
    program.arg(TOKENS.to_string());
    program.env("GOOGLE_APPLICATION_CREDENTIALS", file);
    let seen = Output::of(&mut program).expect_ok().json();
    let tokens = seen["tokens"].as_array().unwrap();
    assert!(tokens.len() >= TOKENS, "{seen}");
    let issued = |token: &Value| token.as_str().unwrap().starts_with("ya29.");
    assert!(tokens.iter().all(issued), "{seen}");
    assert!(scene.google.count("refresh") - before >= TOKENS as u64 - 1);
}

/// googleauth before 1 knows the metadata server alone, at an address that no variable changes. What it asks there is
/// plain HTTP, unlike Google's APIs, so a proxy for plain HTTP leads it to the port.
#[test]
fn ruby_of_before_stays_fresh() {
    let scene = Scene::connected();
    let proxy = format!(
        "http_proxy=http://{}\nno_proxy=127.0.0.1",
        scene.daemon.metadata_host()
    );
    let seen = scene
        .run(ruby("library_agent.rb"), &proxy, TOKENS)
        .expect_ok()
        .json();
    assert_eq!(seen["credentials"], "Google::Auth::GCECredentials");
    assert_eq!(seen["address"], "alice@example.com");
    assert_eq!(seen["tokens"].as_array().unwrap().len(), TOKENS, "{seen}");
    assert_eq!(scene.google.count("api_unauthorized"), 0);
}

#[test]
fn java_says_what_is_missing() {
    Scene::unconnected(&[]).fails_with_our_sentence(in_java);
}

#[test]
fn rust_says_what_is_missing() {
    Scene::unconnected(&[]).fails_with_our_sentence(rust);
}

#[test]
fn python_says_what_is_missing() {
    Scene::unconnected(&[]).fails_with_our_sentence(in_python);
}

#[test]
fn node_says_what_is_missing() {
    Scene::unconnected(&[]).fails_with_our_sentence(in_node);
}

#[test]
fn go_says_what_is_missing() {
    Scene::unconnected(&[]).fails_with_our_sentence(go);
}
