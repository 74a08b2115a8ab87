//! What lies on the disk is not what the daemon left there: it says so, harms nothing, and the rest works.

use std::{fs, os::unix::fs::PermissionsExt};

use rusqlite::Connection;
use serde_json::json;

use crate::support::{Daemon, Emulator, Output, Refused, one_line};

const SEND: &str = "google.gmail.send";

/// Alice and bob are connected, each with an agent, and the daemon is stopped.
fn stopped() -> (Emulator, Daemon) {
    let google = Emulator::start(&[]);
    let daemon = Daemon::new(&google);
    for (agent, owner) in [("alices", "alice"), ("bobs", "bob")] {
        daemon.write_manifest(agent, owner, &[SEND]);
    }
    daemon.start();
    for owner in ["alice", "bob"] {
        daemon
            .connect_as(owner, &format!("{owner}@example.com"), &[SEND])
            .expect_ok();
    }
    daemon.wait_for_state("alices", "active");
    daemon.wait_for_state("bobs", "active");
    assert_eq!(daemon.terminate(), 0);
    (google, daemon)
}

fn database(daemon: &Daemon) -> Connection {
    Connection::open(daemon.state_dir().join("broker.db")).unwrap()
}

/// Where an owner's grant lies, and where his only access token does.
const GRANT: &str = "place = (SELECT number << 16 FROM integrations WHERE owner = ?1)";
const TOKEN: &str = "place = (SELECT (number << 16) + 1 FROM integrations WHERE owner = ?1)";

fn secret_of(database: &Connection, which: &str, owner: &str) -> Vec<u8> {
    let query = format!("SELECT secret FROM secrets WHERE {which}");
    database.query_row(&query, [owner], |row| row.get(0)).unwrap()
}

fn set_secret(database: &Connection, which: &str, owner: &str, secret: &[u8]) {
    let change = format!("UPDATE secrets SET secret = ?2 WHERE {which}");
    assert_eq!(
        database
            .execute(&change, rusqlite::params![owner, secret])
            .unwrap(),
        1
    );
}

/// The database and what its write-ahead log holds.
fn state(daemon: &Daemon) -> [Vec<u8>; 2] {
    ["broker.db", "broker.db-wal"].map(|name| fs::read(daemon.state_dir().join(name)).unwrap_or_default())
}

/// Puts a text where the master key is.
fn put_key(daemon: &Daemon, text: &str) {
    fs::write(daemon.key_file(), text).unwrap();
    fs::set_permissions(daemon.key_file(), fs::Permissions::from_mode(0o600)).unwrap();
}

/// Bob's grant does not open: alice's works, bob's says so everywhere, and nothing was written over.
fn expect_bobs_grant_closed(google: &Emulator, daemon: &Daemon) {
    let damaged = secret_of(&database(daemon), GRANT, "bob");
    // His last token is not there to live on.
    database(daemon)
        .execute(&format!("DELETE FROM secrets WHERE {TOKEN}"), ["bob"])
        .unwrap();
    let asked = google.count("refresh");
    daemon.start();
    let alices = daemon.agent("alices");
    assert_eq!(alices.get("/v1/token").status, 200);
    let bobs = daemon.wait_for_state("bobs", "misconfigured");
    let status = bobs.status();
    let message = status["message"].as_str().unwrap();
    assert!(
        message.contains("grant of bob@example.com cannot be opened"),
        "{message}"
    );
    assert!(
        message.contains("restore it from a backup, or connect the account again"),
        "{message}"
    );
    let problem = bobs.get("/v1/token").json();
    assert_eq!(
        (&problem["code"], &problem["detail"]),
        (&json!("misconfigured"), &status["message"])
    );
    let shown = daemon.cli(&["agents", "show", "bobs"]).expect_ok();
    assert!(
        one_line(&shown.stdout).contains("grant of bob@example.com cannot be opened"),
        "{}",
        shown.stdout
    );
    assert_eq!(daemon.cli(&["status", "--agent", "bobs"]).code, 7);
    assert_eq!(daemon.cli(&["integrations", "check", "--owner", "bob"]).code, 7);
    assert_eq!(daemon.cli(&["integrations", "check", "--owner", "alice"]).code, 0);
    assert_eq!(
        google.count("refresh"),
        asked + 1,
        "what does not open was sent to nobody"
    );
    assert_eq!(daemon.terminate(), 0);
    assert_eq!(secret_of(&database(daemon), GRANT, "bob"), damaged);
}

#[test]
fn a_ciphertext_moved_to_another_row_does_not_open() {
    let (google, daemon) = stopped();
    let own = secret_of(&database(&daemon), GRANT, "bob");
    let alices = secret_of(&database(&daemon), GRANT, "alice");
    set_secret(&database(&daemon), GRANT, "bob", &alices);
    expect_bobs_grant_closed(&google, &daemon);
    // Put back from a backup, it works again.
    set_secret(&database(&daemon), GRANT, "bob", &own);
    daemon.start();
    daemon.wait_for_state("bobs", "active");
}

#[test]
fn a_flipped_bit_is_found_and_a_new_consent_heals_it() {
    let (google, daemon) = stopped();
    let mut secret = secret_of(&database(&daemon), GRANT, "bob");
    *secret.last_mut().unwrap() ^= 1;
    set_secret(&database(&daemon), GRANT, "bob", &secret);
    expect_bobs_grant_closed(&google, &daemon);
    daemon.start();
    daemon.wait_for_state("bobs", "misconfigured");
    daemon.connect_as("bob", "bob@example.com", &[SEND]).expect_ok();
    daemon.wait_for_state("bobs", "active");
    daemon.restart();
    assert_eq!(
        daemon.agent("bobs").variable("TOKEN_BROKER_STATE").as_deref(),
        Some("active")
    );
}

#[test]
fn a_token_moved_to_another_row_is_not_handed_out() {
    let (google, daemon) = stopped();
    let alices = daemon.agent("alices").token();
    let moved = secret_of(&database(&daemon), TOKEN, "alice");
    set_secret(&database(&daemon), TOKEN, "bob", &moved);
    daemon.start();
    daemon.wait_for_state("bobs", "active");
    let bobs = daemon.agent("bobs").token().unwrap();
    assert_ne!(Some(&bobs), alices.as_ref());
    assert!(google.is_alive(&bobs));
    assert_eq!(daemon.agent("alices").token(), alices, "alice keeps hers");
}

#[test]
fn an_account_that_was_given_to_somebody_else_is_named_and_can_be_removed() {
    let (_google, daemon) = stopped();
    let stolen = "UPDATE integrations SET owner = 'bob' WHERE owner = 'alice'";
    database(&daemon).execute(stolen, []).unwrap();
    daemon.start();
    daemon.wait_for_state("alices", "not_connected");
    daemon.wait_for_state("bobs", "active");
    let status = daemon.cli(&["status", "--output", "json"]);
    let problems = status.json()["daemon"]["problems"].to_string();
    assert!(
        problems.contains("alice@example.com of bob, as it says"),
        "{problems}"
    );
    let doctor = one_line(&daemon.cli(&["doctor"]).expect(1).stdout);
    assert!(
        doctor.contains("alice@example.com of bob, as it says"),
        "{doctor}"
    );
    let words = problems.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    let id = words.into_iter().find(|word| word.starts_with("int_")).unwrap();
    let plan = daemon
        .cli(&["integrations", "disconnect", id, "--dry-run"])
        .expect_ok();
    assert!(plan.stdout.contains("Would remove the record"), "{}", plan.stdout);
    daemon
        .cli(&["integrations", "disconnect", id, "--yes"])
        .expect_ok();
    assert_eq!(daemon.cli(&["integrations", "disconnect", id, "--yes"]).code, 4);
    daemon
        .connect_as("alice", "alice@example.com", &[SEND])
        .expect_ok();
    daemon.restart();
    daemon.wait_for_state("alices", "active");
    daemon.wait_for_state("bobs", "active");
    let status = daemon.cli(&["status", "--output", "json"]).expect_ok();
    assert!(!status.stdout.contains("as it says"), "{}", status.stdout);
}

/// A start that is refused with a sentence and leaves the state as it was.
#[track_caller]
fn expect_refused(daemon: &Daemon, code: i32, sentence: &str) {
    let before = state(daemon);
    let Refused { code: found, stderr } = daemon.try_start().unwrap_err();
    let last = stderr.lines().last().unwrap_or_default();
    assert!(last.contains(sentence), "{stderr}");
    assert_eq!(found, code, "{stderr}");
    assert!(!stderr.contains("panicked"), "{stderr}");
    assert!(state(daemon) == before, "the state was changed");
}

#[test]
fn without_its_own_master_key_the_daemon_does_not_start() {
    let (_google, daemon) = stopped();
    let key = fs::read_to_string(daemon.key_file()).unwrap();
    fs::remove_file(daemon.key_file()).unwrap();
    expect_refused(&daemon, 7, "master.key");
    for (content, sentence) in [("", "is empty"), ("AAAA\n", "3 bytes"), ("not a key\n", "base64")] {
        put_key(&daemon, content);
        expect_refused(&daemon, 7, sentence);
    }
    // Another daemon's.
    let other = tempfile::tempdir().unwrap();
    let mut init = crate::support::program();
    Output::of(init.args(["init", "--config-dir"]).arg(other.path())).expect_ok();
    let foreign = fs::read_to_string(other.path().join("master.key")).unwrap();
    put_key(&daemon, &foreign);
    expect_refused(
        &daemon,
        7,
        "name the one that wrapped it in key.source or key.previous",
    );
    assert!(!daemon.whole_log().contains(key.trim()) && !daemon.whole_log().contains(foreign.trim()));
    put_key(&daemon, &key);
    daemon.start();
    assert!(daemon.agent("bobs").token().is_some());
    daemon.scan_for_secrets(&[key.trim(), foreign.trim()]);
}

#[test]
fn a_database_of_a_newer_version_is_left_alone() {
    let (_google, daemon) = stopped();
    let version = |row: &rusqlite::Row<'_>| row.get::<_, i64>(0);
    let own = database(&daemon)
        .pragma_query_value(None, "user_version", version)
        .unwrap();
    database(&daemon).pragma_update(None, "user_version", 99).unwrap();
    expect_refused(&daemon, 1, "version 99");
    database(&daemon)
        .pragma_update(None, "user_version", own)
        .unwrap();
    daemon.start();
    assert!(daemon.agent("bobs").token().is_some());
}

#[test]
fn what_is_no_database_is_left_alone() {
    let (_google, daemon) = stopped();
    let file = daemon.state_dir().join("broker.db");
    let good = fs::read(&file).unwrap();
    let mut damaged = good.clone();
    damaged[..100].fill(b'x');
    fs::write(&file, &damaged).unwrap();
    expect_refused(&daemon, 1, "it was left as it is");
    fs::write(&file, &good).unwrap();
    daemon.start();
    assert!(daemon.agent("bobs").token().is_some());
}

#[test]
fn a_second_daemon_is_refused_and_disturbs_nothing() {
    let (_google, daemon) = stopped();
    daemon.start();
    let token = daemon.agent("bobs").token();
    let mut events = daemon.agent("bobs").watch();
    let second = Output::of(&mut daemon.command(&["serve"]));
    assert_ne!(second.code, 0);
    let last = second.stderr.lines().last().unwrap_or_default();
    assert!(
        last.contains("another token-broker is running on the state directory"),
        "{}",
        second.stderr
    );
    assert!(daemon.is_alive());
    assert_eq!(
        daemon.agent("bobs").get("/v1/token").expect_ok().json()["access_token"].as_str(),
        token.as_deref()
    );
    daemon.cli(&["status"]).expect_ok();
    events.until("the token", |event, _| event == "token");
    // Nor does one with another state and the same sockets.
    let other = tempfile::tempdir().unwrap();
    let mut second = daemon.command(&["serve"]);
    let second = Output::of(second.env("TOKEN_BROKER_STATE_DIR", other.path().join("state")));
    assert_ne!(second.code, 0, "{}", second.stderr);
    let last = second.stderr.lines().last().unwrap_or_default();
    assert!(
        last.contains("another token-broker is running on the runtime directory"),
        "{}",
        second.stderr
    );
    assert!(daemon.is_alive());
    assert_eq!(daemon.agent("bobs").get("/v1/token").status, 200);
    daemon.cli(&["status"]).expect_ok();
}
