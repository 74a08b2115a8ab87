//! The daemon with each seal: set up, restarted, the seal away, its key rotated.

use std::fs;

use serde_json::{Value, json};

use crate::{
    bao::Bao,
    plugin::Plugin,
    support::{Agent, Daemon, Emulator, wait_until},
};

const ALICE: &str = "alice@example.com";
const SEND: &str = "google.gmail.send";

/// A daemon with this seal, and no master key, that has an account.
fn connected(google: &Emulator, settings: &[(&str, &str)]) -> (Daemon, Agent) {
    let daemon = Daemon::with(google, settings);
    assert!(!daemon.key_file().exists());
    daemon.write_manifest("bot", "alice", &[SEND]);
    daemon.start();
    daemon.connect_as("alice", ALICE, &[SEND]).expect_ok();
    let agent = daemon.agent("bot");
    wait_until("a token", || agent.ask_token().is_some());
    (daemon, agent)
}

/// The grant is opened, and Google is asked with it.
#[track_caller]
fn expect_use(daemon: &Daemon) {
    daemon
        .cli(&["integrations", "check", "--owner", "alice"])
        .expect_ok();
}

fn status(daemon: &Daemon) -> Value {
    daemon
        .cli(&["key", "status", "--output", "json"])
        .expect_ok()
        .json()
}

/// Which key of the seal's the active key lies under.
fn seal_key(daemon: &Daemon) -> String {
    let status = status(daemon);
    let mut keys = status["keys"].as_array().unwrap().iter();
    let active = keys.find(|key| key["state"] == "active").unwrap();
    active["seal_key"].as_str().unwrap().to_owned()
}

/// Starts a daemon whose seal is away; it waits, until `back` brings that back.
fn start_waits(daemon: &Daemon, back: impl FnOnce()) {
    assert_eq!(daemon.terminate(), 0);
    let mut process = daemon.spawn();
    wait_until("the start to wait", || {
        daemon.log().contains("the start waits for the seal")
    });
    assert!(process.try_wait().unwrap().is_none());
    back();
    wait_until("the daemon to be ready", || daemon.log().contains(" ready "));
    process.kill().unwrap();
    process.wait().unwrap();
    daemon.start();
}

#[test]
fn vault_is_asked_at_the_start_alone_and_waited_for_there() {
    let (mut bao, google) = (Bao::start(), Emulator::start(&[]));
    let section = bao.section();
    let (token_file, ca) = (section.token_file, section.ca_file.unwrap());
    let (daemon, agent) = connected(
        &google,
        &[
            ("key.source", &bao.source()),
            ("key.transit_token_file", token_file.to_str().unwrap()),
            ("key.transit_ca_file", ca.to_str().unwrap()),
        ],
    );
    daemon.restart();
    expect_use(&daemon);
    assert_eq!(seal_key(&daemon), "tb:v1");

    bao.seal();
    assert!(agent.ask_token().is_some());
    expect_use(&daemon);
    let told = daemon.cli(&["key", "status"]).expect_ok();
    assert!(told.stdout.contains("Vault is sealed"), "{}", told.stdout);
    for command in ["status", "doctor"] {
        let told = daemon.cli(&[command]);
        assert!(
            told.stdout.contains("Vault is sealed"),
            "{command}: {}",
            told.stdout
        );
    }
    start_waits(&daemon, || bao.unseal());
    expect_use(&daemon);

    bao.root("POST", "transit/keys/tb/rotate", &json!({}));
    daemon.restart();
    daemon.cli(&["key", "reseal"]).expect_ok();
    assert_eq!(seal_key(&daemon), "tb:v2");
    bao.root(
        "POST",
        "transit/keys/tb/config",
        &json!({"min_decryption_version": 2}),
    );

    // A token that ended, and the next one that an agent beside the daemon writes.
    bao.put_token("hvs.CanaryOfATokenThatEnded");
    start_waits(&daemon, || bao.write_token(crate::bao::POLICY));
    expect_use(&daemon);
    let log = daemon.whole_log();
    let last = fs::read_to_string(&token_file).unwrap();
    for secret in ["CanaryOfATokenThatEnded", last.trim()] {
        assert!(!log.contains(secret), "{secret}");
    }
}

#[test]
fn a_plugin_is_asked_at_the_start_alone_and_waited_for_there() {
    let (mut plugin, google) = (Plugin::start(), Emulator::start(&[]));
    let (daemon, agent) = connected(&google, &[("key.source", &plugin.source())]);
    daemon.restart();
    expect_use(&daemon);
    assert_eq!(seal_key(&daemon), "key-1");

    plugin.stop();
    assert!(agent.ask_token().is_some());
    expect_use(&daemon);
    start_waits(&daemon, || plugin.serve());
    expect_use(&daemon);

    plugin.make_key("key-2", "02");
    plugin.use_key("key-2");
    daemon.cli(&["key", "reseal"]).expect_ok();
    assert_eq!(seal_key(&daemon), "key-2");
    plugin.delete_key("key-1");
    daemon.restart();
    expect_use(&daemon);
}

#[test]
fn a_database_goes_from_a_file_to_a_plugin_to_vault_and_the_one_before_is_not_needed() {
    let (plugin, bao, google) = (Plugin::start(), Bao::start(), Emulator::start(&[]));
    let section = bao.section();
    let (token_file, ca) = (section.token_file, section.ca_file.unwrap());
    let settings = [
        ("key.transit_token_file", token_file.to_str().unwrap()),
        ("key.transit_ca_file", ca.to_str().unwrap()),
    ];
    let daemon = Daemon::with(&google, &settings);
    daemon.write_manifest("bot", "alice", &[SEND]);
    daemon.start();
    daemon.connect_as("alice", ALICE, &[SEND]).expect_ok();

    let move_to = |source: &str| {
        let config = fs::read_to_string(daemon.config_file()).unwrap();
        let others = config.lines().filter(|line| !line.starts_with("source = "));
        let with = others.flat_map(|line| match line {
            "[key]" => vec![line.to_owned(), format!("source = \"{source}\"")],
            _ => vec![line.to_owned()],
        });
        fs::write(daemon.config_file(), with.collect::<Vec<_>>().join("\n")).unwrap();
        daemon.cli(&["key", "reseal"]).expect_ok();
        daemon.cli(&["key", "verify"]).expect_ok();
    };
    move_to(&plugin.source());
    fs::remove_file(daemon.key_file()).unwrap();
    daemon.restart();
    expect_use(&daemon);
    move_to(&bao.source());
    drop(plugin);
    daemon.restart();
    expect_use(&daemon);
    assert_eq!(seal_key(&daemon), "tb:v1");
}
