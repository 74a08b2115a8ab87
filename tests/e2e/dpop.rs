//! Grants that are bound to a key (DPoP), from outside: connect, renew, restart, restore, disconnect, and a thief.

use serde_json::{Value, json};

use crate::support::{CLIENT_ID, Daemon, Emulator, Output, post_form};

const SEND: &str = "google.gmail.send";
const SCOPE_SEND: &str = "https://www.googleapis.com/auth/gmail.send";
const ALICE: &str = "alice@example.com";

/// Alice is connected, and her agent has a token, which is renewed every few seconds.
fn scene(settings: &[(&str, &str)]) -> (Emulator, Daemon) {
    let google = Emulator::start(&["--token-lifetime", "6s", "--rotation", "strict"]);
    let daemon = Daemon::with(&google, settings);
    daemon.write_manifest("bot", "alice", &[SEND]);
    daemon.start();
    daemon.connect("alice", &[SEND]).expect_ok();
    daemon.wait_for_state("bot", "active");
    (google, daemon)
}

fn renewed(google: &Emulator, times: u64) {
    google.wait_for_count("refresh", google.count("refresh") + times);
}

fn binding(daemon: &Daemon) -> Value {
    let shown = daemon.cli(&["integrations", "show", "--owner", "alice", "--output", "json"]);
    shown.expect_ok().json()["dpop"].clone()
}

/// What Google gives to who stole Alice's refresh token and the client's secret.
fn thief(google: &Emulator) -> (u16, Value) {
    let stolen = google.order("/refresh-token", &json!({ "account": ALICE }));
    let form = [
        ("grant_type", "refresh_token"),
        ("client_id", CLIENT_ID),
        ("client_secret", &google.client_secret),
        ("refresh_token", stolen["refresh_token"].as_str().unwrap()),
    ];
    let answer = post_form(&format!("{}/token", google.base_url), &form);
    (answer.status.as_u16(), answer.json()["error"].clone())
}

/// Since `before`, at most so many token requests had no proof that was accepted: the thief's, one that knew no nonce, one
/// that is being looked at.
#[track_caller]
fn unproven(google: &Emulator, before: &Value, most: u64) {
    let now = google.look("/stats");
    let since = |counter: &str| now[counter].as_u64().unwrap() - before[counter].as_u64().unwrap_or_default();
    let (asked, proven) = (since("exchange") + since("refresh"), since("proofs"));
    assert!(proven > 0 && proven + most >= asked, "{proven} of {asked}");
}

#[test]
fn a_bound_grant_lives_from_its_connection_to_its_end_and_a_thief_has_nothing_of_it() {
    let (google, daemon) = scene(&[("google.dpop", "true")]);
    assert_eq!(binding(&daemon), "bound");
    renewed(&google, 3);
    assert_eq!(thief(&google), (400, json!("invalid_grant")));
    renewed(&google, 1);
    unproven(&google, &json!({}), 2);

    // From now on Google wants a nonce, and then another one.
    for nonce in ["first", "second"] {
        google.order("/dpop-nonce", &json!({ "nonce": nonce }));
        renewed(&google, 3);
        daemon.wait_for_state("bot", "active");
    }
    let before = google.look("/stats");
    daemon.restart();
    daemon.wait_for_state("bot", "active");
    renewed(&google, 3);
    // The first one did not know the nonce.
    unproven(&google, &before, 2);
    assert_eq!(binding(&daemon), "bound");
    let checked = daemon.cli(&["integrations", "check", "--owner", "alice"]);
    checked.expect_ok();
    assert_eq!(thief(&google), (400, json!("invalid_grant")));
    assert_eq!(google.count("refresh_token_reuse"), 0);

    let stolen = google.order("/refresh-token", &json!({ "account": ALICE }));
    daemon.scan_for_secrets(&[stolen["refresh_token"].as_str().unwrap(), &google.client_secret]);
    let disconnect = [
        "integrations",
        "disconnect",
        "--owner",
        "alice",
        "--revoke",
        "--yes",
    ];
    daemon.cli(&disconnect).expect_ok();
    daemon.wait_for_state("bot", "not_connected");
    assert_eq!(google.count("revoke"), 1);
    assert_eq!(google.look("/state")[0]["refresh_tokens"], 0);
}

#[test]
fn a_renewal_that_a_crash_cuts_off_goes_on_with_the_same_key() {
    let (google, daemon) = scene(&[("google.dpop", "true")]);
    // Google has renewed, and its answer is never read.
    google.set_rotation("leeway");
    renewed(&google, 1);
    google.fault(&json!({ "endpoint": "token", "hold_answer": true }));
    renewed(&google, 1);
    daemon.kill9();
    google.clear_faults();
    daemon.start();
    daemon.wait_for_state("bot", "active");
    renewed(&google, 1);
    assert_eq!(binding(&daemon), "bound");
}

#[test]
fn a_connection_that_a_lost_answer_ends_leaves_nothing_and_the_next_one_binds() {
    let google = Emulator::start(&[]);
    let daemon = Daemon::with(&google, &[("google.dpop", "true")]);
    daemon.write_manifest("bot", "alice", &[SEND]);
    daemon.start();
    google.fault(&json!({
        "endpoint": "token", "grant_type": "authorization_code", "drop": "after", "times": 1,
    }));
    assert_ne!(daemon.connect("alice", &[SEND]).code, 0);
    daemon.wait_for_state("bot", "not_connected");
    daemon.connect("alice", &[SEND]).expect_ok();
    daemon.wait_for_state("bot", "active");
    assert_eq!(binding(&daemon), "bound");
}

#[test]
fn a_backup_has_the_keys_with_it() {
    let (google, daemon) = scene(&[("google.dpop", "true")]);
    // The grant of the backup goes on being good.
    google.set_rotation("off");
    renewed(&google, 1);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("broker.backup");
    daemon.cli(&["backup", file.to_str().unwrap()]).expect_ok();
    assert_eq!(daemon.terminate(), 0);
    daemon
        .cli(&["restore", "--yes", file.to_str().unwrap()])
        .expect_ok();
    daemon.start();
    daemon.wait_for_state("bot", "active");
    assert_eq!(binding(&daemon), "bound");
    renewed(&google, 1);
    assert_eq!(thief(&google), (400, json!("invalid_grant")));
}

#[test]
fn what_is_imported_stays_unbound_and_says_so_until_it_is_connected_again() {
    let google = Emulator::start(&[]);
    let daemon = Daemon::with(&google, &[("google.dpop", "true")]);
    daemon.start();
    let order = json!({ "account": ALICE, "scopes": ["openid", "email", SCOPE_SEND] });
    let seeded = google.order("/grants", &order);
    let mut import = daemon.command(&["integrations", "import", "--owner", "alice", "--output", "json"]);
    let grant = seeded["refresh_token"].as_str().unwrap();
    let imported = daemon.remember(Output::of_fed(&mut import, grant)).expect_ok();
    assert!(imported.stdout.contains("\"unbound\""), "{}", imported.stdout);
    assert_eq!((binding(&daemon), thief(&google).0), (json!("unbound"), 200));
    let doctor = daemon.cli(&["doctor"]);
    assert!(
        doctor.stdout.contains("1 account is not bound to a key"),
        "{}",
        doctor.stdout
    );

    daemon.connect("alice", &[SEND]).expect_ok();
    assert_eq!(binding(&daemon), "bound");
    assert!(!daemon.cli(&["doctor"]).stdout.contains("not bound to a key"));
    assert_eq!(thief(&google), (400, json!("invalid_grant")));
}

#[test]
fn without_the_setting_nothing_is_proven() {
    let (google, daemon) = scene(&[]);
    renewed(&google, 1);
    assert_eq!((binding(&daemon), google.count("proofs")), (json!("unbound"), 0));
}
