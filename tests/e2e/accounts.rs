//! Permissions that come one after the other, and owners with several accounts: the real program, with an
//! emulated Google.

use serde_json::{Value, json};

use crate::support::{Agent, Connecting, Daemon, Emulator, get, reason, wait_until};

const SEND: &str = "google.gmail.send";
const CALENDAR: &str = "google.calendar.readonly";
const SCOPE_CALENDAR: &str = "https://www.googleapis.com/auth/calendar.readonly";
const ALICE: &str = "alice@example.com";
/// Another of the emulator's accounts, which is hers here.
const WORK: &str = "bob@example.com";

fn last_line(output: &str) -> Value {
    serde_json::from_str(output.lines().last().unwrap()).unwrap()
}

/// How the account's capabilities stand, as `integrations show` says it.
fn standings(daemon: &Daemon, account: &str) -> Vec<(String, String)> {
    let show = [
        "integrations",
        "show",
        "--owner",
        "alice",
        "--account",
        account,
        "--output",
        "json",
    ];
    let shown = daemon.cli(&show).expect_ok().json();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let states = shown["capability_states"].as_array().unwrap().clone();
    states
        .iter()
        .map(|one| (text(&one["key"]), text(&one["state"])))
        .collect()
}

/// `token-broker integrations add-permissions`, waiting for its person.
fn adding(daemon: &Daemon, which: &[&str], capability: &str) -> Connecting {
    let mut args = vec!["integrations", "add-permissions", "--capability", capability];
    args.extend_from_slice(which);
    Connecting::command(daemon, &args).unwrap_or_else(|ended| panic!("{ended:?}"))
}

#[test]
fn gmail_is_unticked_and_calendar_kept_and_gmail_is_added_later() {
    let google = Emulator::start(&[]);
    let daemon = Daemon::new(&google);
    daemon.write_manifest("planner", "alice", &[CALENDAR]);
    daemon.write_manifest("mailer", "alice", &[SEND]);
    daemon.start();
    let connecting = Connecting::start(&daemon, "alice", &[SEND, CALENDAR], &[]).unwrap();
    connecting.approve_only(ALICE, &[SCOPE_CALENDAR, "openid", "email"]);
    let connected = daemon.remember(connecting.finish()).expect_ok();
    assert_eq!(
        last_line(&connected.stdout)["capabilities_missing"],
        json!([SEND])
    );

    // The calendar's agent works, with a token that is good for the calendar alone.
    let planner = daemon.wait_for_state("planner", "active");
    let token = planner.token().unwrap();
    assert_eq!(
        google.call("/calendar/v3/users/me/calendarList", &token).status,
        200
    );
    assert_eq!(google.call("/gmail/v1/users/me/messages", &token).status, 403);
    // The e-mail's agent says what is missing and where it is added, on every surface.
    let mailer = daemon.wait_for_state("mailer", "permission_missing");
    let url = format!("{}/agents/mailer", daemon.http());
    told_what_is_missing(&daemon, &mailer, &url);
    let declined = (SEND.to_owned(), "declined".to_owned());
    assert!(
        standings(&daemon, ALICE).contains(&declined),
        "{:?}",
        standings(&daemon, ALICE)
    );
    let mut events = mailer.watch();
    events.until("the state", |event, data| {
        event == "state" && data["state"] == "permission_missing"
    });

    // It is added by the account's id: Google's page asks for e-mails alone, and for this account.
    let id = last_line(&connected.stdout)["id"].as_str().unwrap().to_owned();
    let adding = adding(&daemon, &[&id], SEND);
    let asked = adding.asked();
    assert!(
        asked.iter().any(|scope| scope.ends_with("/gmail.send")),
        "{asked:?}"
    );
    assert!(!asked.iter().any(|scope| scope.contains("calendar")), "{asked:?}");
    let parameter = |name: &str| {
        adding
            .url
            .query_pairs()
            .find(|(n, _)| n == name)
            .map(|(_, v)| v.into_owned())
    };
    assert_eq!(parameter("include_granted_scopes").as_deref(), Some("true"));
    assert_eq!(parameter("login_hint").as_deref(), Some(ALICE));
    adding.approve_as(ALICE);
    let added = daemon.remember(adding.finish()).expect_ok();
    assert_eq!(last_line(&added.stdout)["id"], json!(id));
    // Without a restart, also for who was watching; and the calendar's agent goes on.
    events.until("the token", |event, _| event == "token");
    daemon.wait_for_state("mailer", "active");
    let mails = mailer.token().unwrap();
    assert_eq!(
        google.call("/calendar/v3/users/me/calendarList", &mails).status,
        403,
        "it declared no calendar"
    );
    wait_until("the planner to have a token of the new grant", || {
        planner
            .token()
            .is_some_and(|now| now != token && google.is_alive(&now))
    });
    assert!(
        standings(&daemon, ALICE)
            .iter()
            .all(|(_, state)| state == "granted")
    );
    daemon.scan_for_secrets(&[&token, &mails, &google.client_secret]);
}

#[test]
fn an_address_of_any_script_is_shown_and_selected() {
    const THAI: &str = "ผู้ใช้@ตัวอย่าง.ไทย";
    const COMPOSED: &str = "\u{e9}mile@example.com";
    const DECOMPOSED: &str = "e\u{301}mile@example.com";
    let google = Emulator::start(&["--account", THAI, "--account", DECOMPOSED]);
    let daemon = Daemon::new(&google);
    daemon.start();
    for (agent, address, written) in [("thai", THAI, THAI), ("emile", DECOMPOSED, COMPOSED)] {
        let connected = daemon.connect_as(agent, address, &[SEND]).expect_ok();
        assert!(connected.stdout.contains(address), "{connected:?}");
        let manifest = format!(
            "agent: {agent}\nowner: {agent}\naccount: {written}\nintegrations:\n  - key: {SEND}\n    description: x\n"
        );
        // As some editors write it.
        std::fs::write(
            daemon.agents_d().join(format!("{agent}.yaml")),
            format!("\u{feff}{manifest}"),
        )
        .unwrap();
        daemon.wait_for_state(agent, "active");
        let shown = daemon
            .cli(&["integrations", "show", "--owner", agent, "--account", written])
            .expect_ok();
        assert!(shown.stdout.contains(address), "{shown:?}");
    }
}

fn told_what_is_missing(daemon: &Daemon, mailer: &Agent, url: &str) {
    assert_eq!(
        mailer.env(),
        format!("TOKEN_BROKER_STATE=permission_missing\nTOKEN_BROKER_ACTION_URL={url}\n")
    );
    let status = mailer.status();
    assert_eq!(status["capabilities"][0]["state"], "declined");
    let message = status["message"].as_str().unwrap();
    assert!(message.contains(SEND), "{message}");
    let problem = mailer.get("/v1/token");
    assert_eq!(problem.status, 403);
    let problem = problem.json();
    assert_eq!(
        (&problem["code"], &problem["action_url"], &problem["detail"]),
        (&json!("permission_missing"), &json!(url), &json!(message))
    );
    let refused = mailer.grpc().token().unwrap_err();
    assert_eq!(
        reason(&refused),
        ("permission_missing".to_owned(), Some(url.to_owned()))
    );
    let said = daemon.cli(&["token", "--agent", "mailer"]);
    assert_eq!(said.code, 5);
    assert!(
        said.stderr.contains(SEND) && said.stderr.contains(url),
        "{}",
        said.stderr
    );
    let page = get(url).expect_ok();
    assert!(page.text().contains("asked for and not given"), "{}", page.text());
    assert!(
        page.text()
            .contains("connect --owner alice --capability google.gmail.send"),
        "{}",
        page.text()
    );
}

#[test]
fn whoever_says_no_to_more_keeps_what_there_is() {
    let google = Emulator::start(&[]);
    let daemon = Daemon::new(&google);
    daemon.write_manifest("planner", "alice", &[CALENDAR]);
    daemon.write_manifest("mailer", "alice", &[SEND]);
    daemon.start();
    daemon.connect_as("alice", ALICE, &[CALENDAR]).expect_ok();
    let token = daemon.wait_for_token("planner", None);
    let adding = adding(&daemon, &["--owner", "alice"], SEND);
    adding.deny();
    assert_eq!(daemon.remember(adding.finish()).code, 5);
    let mailer = daemon.wait_for_state("mailer", "permission_missing");
    wait_until("it to be known as declined", || {
        mailer.status()["capabilities"][0]["state"] == "declined"
    });
    assert_eq!(daemon.agent("planner").token(), Some(token.clone()));
    assert!(google.is_alive(&token));
    daemon.restart();
    assert_eq!(mailer.status()["capabilities"][0]["state"], "declined");
    assert_eq!(daemon.agent("planner").token(), Some(token));
}

#[test]
fn a_desktop_client_asks_for_old_and_new_together_and_loses_nothing() {
    let google = Emulator::start(&["--client-type", "desktop"]);
    let daemon = Daemon::with(&google, &[("google.client_type", "desktop")]);
    daemon.write_manifest("planner", "alice", &[CALENDAR]);
    daemon.write_manifest("mailer", "alice", &[SEND]);
    daemon.start();
    daemon.connect_as("alice", ALICE, &[CALENDAR]).expect_ok();
    let token = daemon.wait_for_token("planner", None);

    let first = adding(&daemon, &["--owner", "alice"], SEND);
    let asked = first.asked();
    assert!(asked.iter().any(|scope| scope == SCOPE_CALENDAR), "{asked:?}");
    assert!(!first.url.query().unwrap().contains("include_granted_scopes"));
    // The person leaves unticked what was granted before: the grant in force stays.
    first.approve_only(
        ALICE,
        &["https://www.googleapis.com/auth/gmail.send", "openid", "email"],
    );
    let refused = daemon.remember(first.finish());
    assert_eq!(refused.code, 5, "{refused:?}");
    assert!(refused.stderr.contains(CALENDAR), "{}", refused.stderr);
    assert_eq!(daemon.agent("planner").token(), Some(token));

    let second = adding(&daemon, &["--owner", "alice"], SEND);
    second.approve_as(ALICE);
    daemon.remember(second.finish()).expect_ok();
    daemon.wait_for_state("mailer", "active");
    daemon.wait_for_state("planner", "active");
}

#[test]
fn two_accounts_of_one_owner_serve_the_agents_that_name_them() {
    let google = Emulator::start(&[]);
    let daemon = Daemon::new(&google);
    daemon.write_manifest("unsure", "alice", &[SEND]);
    daemon.start();
    daemon.connect_as("alice", ALICE, &[SEND]).expect_ok();
    daemon.wait_for_state("unsure", "active");
    let connecting = Connecting::start(&daemon, "alice", &[SEND], &["--account", "new"]).unwrap();
    connecting.approve_as(WORK);
    let connected = daemon.remember(connecting.finish()).expect_ok();
    assert!(
        connected.stderr.contains("unsure"),
        "it is said before: {}",
        connected.stderr
    );
    let work = last_line(&connected.stdout)["id"].as_str().unwrap().to_owned();

    // Who names none is not guessed for.
    let unsure = daemon.wait_for_state("unsure", "misconfigured");
    let message = unsure.status()["message"].as_str().unwrap().to_owned();
    assert!(message.contains(ALICE) && message.contains(WORK), "{message}");
    assert_eq!(daemon.cli(&["token", "--agent", "unsure"]).code, 7);
    for (agent, account) in [("private", ALICE), ("work", WORK)] {
        let text =
            format!("agent: {agent}\nowner: alice\naccount: {account}\nintegrations:\n  - key: {SEND}\n");
        daemon.put_file(agent, &text);
        let agent = daemon.wait_for_state(agent, "active");
        assert_eq!(agent.status()["account"], account);
        assert!(google.is_alive(&agent.token().unwrap()));
    }
    let add = [
        "agents",
        "add",
        "api",
        "--owner",
        "alice",
        "--account",
        WORK,
        "--capability",
        SEND,
    ];
    daemon.cli(&add).expect_ok();
    daemon.wait_for_state("api", "active");

    // A requirement cannot name one: the line is told.
    daemon.put_file(
        "both",
        &format!("agent: both\nowner: alice\nintegrations:\n  - key: {SEND}\n    account: {WORK}\n"),
    );
    wait_until("the problem to be told", || {
        daemon
            .cli(&["agents", "list"])
            .stdout
            .contains("both.yaml:5:5: integrations[0].account")
    });

    whoever_does_not_say_which_account_is_told(&daemon);
    another_account_is_refused(&daemon, &work);

    // One goes, and the other stays.
    let token = daemon.agent("private").token();
    daemon
        .cli(&["integrations", "disconnect", &work, "--yes"])
        .expect_ok();
    let gone = daemon.agent("work");
    assert_eq!(
        gone.variable("TOKEN_BROKER_STATE").as_deref(),
        Some("not_connected")
    );
    assert!(gone.status()["message"].as_str().unwrap().contains(ALICE));
    assert_eq!(daemon.agent("private").token(), token);
    daemon.wait_for_state("unsure", "active");
}

/// Commands need to be told which account, and say which there are.
fn whoever_does_not_say_which_account_is_told(daemon: &Daemon) {
    for command in ["show", "check", "disconnect", "add-permissions"] {
        let mut args = vec!["integrations", command, "--owner", "alice"];
        if command == "add-permissions" {
            args.extend(["--capability", CALENDAR]);
        }
        let asked = daemon.cli(&args);
        assert_eq!(asked.code, 2, "{command}: {asked:?}");
        for words in [ALICE, WORK, "--account"] {
            assert!(asked.stderr.contains(words), "{command}: {}", asked.stderr);
        }
    }
    assert_eq!(daemon.connect("alice", &[CALENDAR]).code, 2);
    let missing = daemon.cli(&[
        "integrations",
        "show",
        "--owner",
        "alice",
        "--account",
        "nobody@example.com",
    ]);
    assert_eq!(missing.code, 4);
    assert!(
        missing.stderr.contains(ALICE) && missing.stderr.contains(WORK),
        "{}",
        missing.stderr
    );
    let check = ["integrations", "check", "--owner", "alice", "--account", WORK];
    daemon.cli(&check).expect_ok();
}

/// Another account than the integration's is refused, and so is one that is connected already.
fn another_account_is_refused(daemon: &Daemon, work: &str) {
    let adding = adding(daemon, &[work], CALENDAR);
    adding.approve_as(ALICE);
    let refused = daemon.remember(adding.finish());
    assert_eq!(refused.code, 5);
    assert!(
        refused.stderr.contains(ALICE) && refused.stderr.contains(WORK),
        "{}",
        refused.stderr
    );
    let again = Connecting::start(daemon, "alice", &[SEND], &["--account", "new"]).unwrap();
    again.approve_as(WORK);
    assert_eq!(daemon.remember(again.finish()).code, 5);
}

#[test]
fn a_refused_token_is_replaced_on_demand_and_not_endlessly() {
    let google = Emulator::start(&[]);
    let daemon = Daemon::new(&google);
    daemon.write_manifest("bot", "alice", &[SEND]);
    daemon.write_manifest("other", "alice", &[SEND]);
    daemon.start();
    daemon.connect_as("alice", ALICE, &[SEND]).expect_ok();
    let old = daemon.wait_for_token("bot", None);
    let agent = daemon.agent("bot");
    let answer = agent.get("/v1/token?refresh=true").expect_ok().json();
    let new = answer["access_token"].as_str().unwrap().to_owned();
    assert_ne!(new, old);
    assert!(google.is_alive(&new));
    for name in ["bot", "other"] {
        wait_until("the new token in the files", || {
            daemon.agent(name).token().as_deref() == Some(new.as_str())
        });
    }
    let second = agent.grpc().refreshed_token().unwrap().access_token.clone();
    assert_ne!(second, new);
    let third = daemon.cli(&["token", "--agent", "bot", "--refresh"]).expect_ok();
    assert_ne!(third.stdout.trim_end(), second);

    let refused = agent.get("/v1/token?refresh=true");
    assert_eq!(
        (refused.status.as_u16(), refused.json()["code"].clone()),
        (429, json!("rate_limited"))
    );
    let wait: u64 = refused.header("retry-after").parse().unwrap();
    assert!((1..=30).contains(&wait), "{wait}");
    let refused = agent.grpc().refreshed_token().unwrap_err();
    assert_eq!(refused.code(), tonic::Code::ResourceExhausted);
    assert_eq!(reason(&refused).0, "rate_limited");
    let retry = tonic_types::StatusExt::get_details_retry_info(&refused).unwrap();
    assert!(retry.retry_delay.is_some());
    assert_eq!(daemon.cli(&["token", "--agent", "bot", "--refresh"]).code, 6);
    // Without asking for another one there is no limit.
    assert_eq!(agent.get("/v1/token").status, 200);

    // Where the grant is dead, that is what is told.
    google.revoke(ALICE);
    let other = daemon.agent("other");
    // What another agent was given a moment ago is news to this one; when that is refused as well, Google is asked.
    other.get("/v1/token?refresh=true");
    let told = other.get("/v1/token?refresh=true");
    assert_eq!(told.json()["code"], "reconnect_required");
    daemon.wait_for_state("bot", "reconnect_required");
    let audit = daemon.audit();
    assert!(audit.contains("token.refresh"), "{audit}");
}
