//! A person connects an account and an agent gets what it needs, and nobody else does.

use std::{fs, os::unix::fs::MetadataExt, path::Path};

use serde_json::Value;

use crate::support::{AGENT_UID, Agent, Connecting, Daemon, Emulator, Output, is_root, program_as};

const SEND: &str = "google.gmail.send";
const CALENDAR: &str = "google.calendar.readonly";
const SCOPE_SEND: &str = "https://www.googleapis.com/auth/gmail.send";

#[test]
fn connect_fills_the_directory_of_an_agent_with_what_is_promised_and_no_more() {
    let google = Emulator::start(&[]);
    let daemon = Daemon::new(&google);
    daemon.write_manifest("invoice-bot", "alice", &[SEND, "?google.calendar.readonly"]);
    daemon.start();
    let agent = daemon.wait_for_state("invoice-bot", "not_connected");
    let url = format!("{}/agents/invoice-bot", daemon.http());
    assert_eq!(
        agent.env(),
        format!("TOKEN_BROKER_STATE=not_connected\nTOKEN_BROKER_ACTION_URL={url}\n")
    );
    assert_eq!(agent.try_read("access_token"), None);

    let connected = daemon.connect("alice", &[SEND, CALENDAR]).expect_ok();
    let last: Value = serde_json::from_str(connected.stdout.lines().last().unwrap()).unwrap();
    assert_eq!(last["account"], "alice@example.com");
    assert_eq!(last["state"], "active");
    daemon.wait_for_state("invoice-bot", "active");

    let answer = agent.get("/v1/token").expect_ok().json();
    let token = answer["access_token"].as_str().unwrap();
    let expires_at = answer["expires_at"].as_str().unwrap();
    assert_eq!(expires_at.len(), "2024-01-15T10:30:00Z".len(), "{expires_at}");
    assert_eq!(
        agent.env(),
        format!(
            "GOOGLE_OAUTH_ACCESS_TOKEN={token}\n\
             GOOGLE_OAUTH_TOKEN_EXPIRES_AT={expires_at}\n\
             GOOGLE_OAUTH_CAPABILITIES=google.gmail.send,google.calendar.readonly\n\
             TOKEN_BROKER_STATE=active\n"
        )
    );
    assert_eq!(agent.read("access_token"), token);
    assert_eq!(agent.get("/v1/env").expect_ok().text(), agent.env());
    assert_eq!(agent.get("/v1/status").expect_ok().json(), agent.status());
    assert_eq!(agent.grpc().token().unwrap().access_token, token);
    // The token is one that Google takes, and it carries these capabilities alone.
    assert_eq!(
        google.call("/calendar/v3/users/me/calendarList", token).status,
        200
    );
    assert_eq!(google.call("/drive/v3/files", token).status, 403);
    assert_eq!(
        names(&agent),
        ["access_token", "broker.sock", "env", "status.json"]
    );
    daemon.scan_for_secrets(&[token, &google.client_secret]);
}

#[test]
fn the_agent_can_read_its_directory_and_nobody_else_can() {
    assert!(is_root(), "this takes on other uids: run it as root");
    let google = Emulator::start(&[]);
    let daemon = Daemon::new(&google);
    daemon.write_manifest("invoice-bot", "alice", &[SEND]);
    daemon.start();
    daemon.connect("alice", &[SEND]).expect_ok();
    let agent = daemon.wait_for_state("invoice-bot", "active");
    for file in ["env", "access_token", "status.json"] {
        let metadata = fs::metadata(agent.path(file)).unwrap();
        assert_eq!(metadata.mode() & 0o7777, 0o400, "{file}");
        assert_eq!(metadata.uid(), AGENT_UID, "{file}");
    }
    let stranger = AGENT_UID + 1;
    for path in ["env", "access_token", "status.json"].map(|file| agent.path(file)) {
        let own = read_as(AGENT_UID, &path);
        assert_eq!((own.code, own.stdout), (0, fs::read_to_string(&path).unwrap()));
        let refused = read_as(stranger, &path);
        assert_eq!(
            (refused.code, refused.stdout.as_str()),
            (1, ""),
            "{}",
            path.display()
        );
    }
    let token = agent.token().unwrap();
    let own = token_as(AGENT_UID, &agent);
    assert_eq!(
        (own.code, own.stdout.trim_end()),
        (0, token.as_str()),
        "{}",
        own.stderr
    );
    let refused = token_as(stranger, &agent);
    assert_eq!(
        (refused.code, refused.stdout.as_str()),
        (3, ""),
        "{}",
        refused.stderr
    );
    // Neither can they see who else is there, nor reach the daemon's own socket.
    let mut listing = program_as(stranger, Path::new("/bin/ls"));
    assert_ne!(
        Output::of(listing.arg(daemon.runtime_dir().join("agents"))).code,
        0
    );
    let mut status = daemon.command_as(AGENT_UID, &["agents", "list"]);
    assert_eq!(Output::of(&mut status).code, 3);
}

#[test]
fn a_box_left_unticked_is_known_and_can_be_ticked_later() {
    let google = Emulator::start(&[]);
    let daemon = Daemon::new(&google);
    daemon.write_manifest("mailer", "alice", &[SEND, "?google.calendar.readonly"]);
    daemon.write_manifest("planner", "alice", &[SEND, CALENDAR]);
    daemon.start();
    let connecting = Connecting::start(&daemon, "alice", &[SEND, CALENDAR], &[]).unwrap();
    let page = connecting.approve_only("alice@example.com", &[SCOPE_SEND, "openid", "email"]);
    assert_eq!(page.status, 200);
    let connected = daemon.remember(connecting.finish()).expect_ok();
    let last: Value = serde_json::from_str(connected.stdout.lines().last().unwrap()).unwrap();
    assert_eq!(last["capabilities_missing"], serde_json::json!([CALENDAR]));

    let mailer = daemon.wait_for_state("mailer", "active");
    assert_eq!(
        mailer.variable("GOOGLE_OAUTH_CAPABILITIES").as_deref(),
        Some(SEND)
    );
    let planner = daemon.wait_for_state("planner", "permission_missing");
    assert_eq!(planner.token(), None);
    let action = planner.variable("TOKEN_BROKER_ACTION_URL").unwrap();
    let page = crate::support::get(&action).expect_ok();
    assert!(
        page.text()
            .contains("connect --owner alice --capability google.calendar.readonly")
    );
    assert!(
        !page.text().contains("--capability google.gmail.send"),
        "it is granted"
    );
    assert_eq!(daemon.cli(&["token", "--agent", "planner"]).code, 5);

    // What was granted before is kept.
    daemon.connect("alice", &[CALENDAR]).expect_ok();
    daemon.wait_for_state("planner", "active");
    crate::support::wait_until("the optional capability to arrive", || {
        mailer.variable("GOOGLE_OAUTH_CAPABILITIES").as_deref()
            == Some("google.gmail.send,google.calendar.readonly")
    });
}

#[test]
fn another_account_is_refused_with_both_addresses() {
    let google = Emulator::start(&[]);
    let daemon = Daemon::new(&google);
    daemon.write_manifest("invoice-bot", "alice", &[SEND]);
    daemon.start();
    daemon
        .connect_as("alice", "alice@example.com", &[SEND])
        .expect_ok();
    let token = daemon.wait_for_token("invoice-bot", None);
    let connecting = Connecting::start(&daemon, "alice", &[CALENDAR], &[]).unwrap();
    let page = connecting.approve_as("bob@example.com");
    let refused = daemon.remember(connecting.finish());
    assert_ne!(refused.code, 0);
    for address in ["alice@example.com", "bob@example.com"] {
        assert!(refused.stderr.contains(address), "{}", refused.stderr);
        assert!(page.text().contains(address), "{}", page.text());
    }
    assert!(!page.status.is_success());
    assert_eq!(
        daemon.agent("invoice-bot").token(),
        Some(token),
        "the first account stays"
    );
}

#[test]
fn a_denial_is_told_to_the_person_and_to_the_command() {
    let google = Emulator::start(&[]);
    let daemon = Daemon::new(&google);
    daemon.start();
    let connecting = Connecting::start(&daemon, "alice", &[SEND], &[]).unwrap();
    let page = connecting.deny();
    let refused = daemon.remember(connecting.finish());
    assert_eq!(refused.code, 5, "{}", refused.stderr);
    assert!(page.header("content-type").starts_with("text/html"));
    assert!(page.text().contains("Nothing was changed"), "{}", page.text());
    let integrations = daemon
        .cli(&["integrations", "list", "--output", "json"])
        .expect_ok();
    assert_eq!(integrations.json()["integrations"], serde_json::json!([]));
}

#[test]
fn a_person_who_never_comes_back_ends_the_command_with_124() {
    let google = Emulator::start(&[]);
    let daemon = Daemon::new(&google);
    daemon.start();
    let connecting = Connecting::start(&daemon, "alice", &[SEND], &["--timeout", "300ms"]).unwrap();
    let ended = daemon.remember(connecting.finish()).expect(124);
    assert!(ended.stderr.contains("redirect_uri_mismatch"), "{}", ended.stderr);
}

#[test]
fn an_authorization_answer_works_once() {
    let google = Emulator::start(&[]);
    let daemon = Daemon::new(&google);
    daemon.start();
    let connecting = Connecting::start(&daemon, "alice", &[SEND], &[]).unwrap();
    let back = crate::support::get(connecting.url.as_str());
    let callback = back.header("location").to_owned();
    assert_eq!(crate::support::get(&callback).status, 200);
    daemon.remember(connecting.finish()).expect_ok();
    let again = crate::support::get(&callback);
    assert!(again.status.is_client_error(), "{}", again.status);
    let forged = crate::support::get(&format!(
        "{}/oauth/callback?state=guess&code=4/emu-guess",
        daemon.http()
    ));
    assert!(forged.status.is_client_error(), "{}", forged.status);
    assert_eq!(google.count("exchange"), 1);
    daemon.scan_for_secrets(&["4/emu-guess"]);
}

/// What is in an agent's directory, sorted.
fn names(agent: &Agent) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(&agent.directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn read_as(uid: u32, path: &Path) -> Output {
    Output::of(program_as(uid, Path::new("/bin/cat")).arg(path))
}

fn token_as(uid: u32, agent: &Agent) -> Output {
    let program = Path::new(env!("CARGO_BIN_EXE_token-broker"));
    Output::of(
        program_as(uid, program)
            .args(["token", "--socket"])
            .arg(agent.socket()),
    )
}
