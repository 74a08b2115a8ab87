//! Agents come, change and go while the daemon runs.

use std::{fs, io::Write};

use crate::support::{Agent, Daemon, Emulator, Output, block_on, manifest, wait_until};

const SEND: &str = "google.gmail.send";
const CALENDAR: &str = "google.calendar.readonly";

fn connected() -> (Emulator, Daemon) {
    let google = Emulator::start(&[]);
    let daemon = Daemon::new(&google);
    daemon.start();
    daemon.connect("alice", &[SEND, CALENDAR]).expect_ok();
    (google, daemon)
}

fn capabilities(agent: &Agent) -> Option<String> {
    agent.variable("GOOGLE_OAUTH_CAPABILITIES")
}

fn problems(daemon: &Daemon) -> Vec<String> {
    let listed = daemon
        .cli(&["agents", "list", "--output", "json"])
        .expect_ok()
        .json();
    serde_json::from_value(listed["problems"].clone()).unwrap()
}

#[test]
fn manifests_are_applied_as_they_come_change_and_go() {
    let (google, daemon) = connected();
    daemon.write_manifest("bot", "alice", &[SEND]);
    let agent = daemon.wait_for_state("bot", "active");
    assert_eq!(capabilities(&agent).as_deref(), Some(SEND));

    // Renamed over, with less and with more.
    daemon.write_manifest("bot", "alice", &[SEND, CALENDAR]);
    wait_until("the second capability", || {
        capabilities(&agent).as_deref() == Some("google.gmail.send,google.calendar.readonly")
    });
    daemon.write_manifest("bot", "alice", &[CALENDAR]);
    wait_until("the first capability to go", || {
        capabilities(&agent).as_deref() == Some(CALENDAR)
    });
    let token = agent.token().unwrap();
    assert_eq!(
        google.call("/gmail/v1/users/me/messages", &token).status,
        403,
        "the token carries no more"
    );

    // The same agent in a file of another name: nothing happens to it.
    let mut events = agent.watch();
    events.until("the token", |event, _| event == "token");
    fs::rename(
        daemon.agents_d().join("bot.yaml"),
        daemon.agents_d().join("renamed.yaml"),
    )
    .unwrap();
    daemon.write_manifest("late", "alice", &[SEND]);
    daemon.wait_for_state("late", "active");
    assert_eq!(agent.token().as_deref(), Some(token.as_str()));

    // Removed: directory, socket and whatever is open end.
    let mut grpc = agent.grpc();
    let mut stream = grpc.watch();
    block_on(stream.message()).unwrap().unwrap();
    fs::remove_file(daemon.agents_d().join("renamed.yaml")).unwrap();
    wait_until("the directory to go", || !agent.directory.exists());
    while events.next().is_some() {}
    while let Ok(Some(_)) = block_on(stream.message()) {}
    assert!(grpc.token().is_err());
    assert!(agent.try_get("/v1/token").is_err());
    assert_eq!(daemon.cli(&["agents", "show", "bot"]).code, 4);
    assert!(daemon.agent("late").token().is_some(), "the others stay");
    // And it comes back as it was.
    daemon.write_manifest("bot", "alice", &[CALENDAR]);
    daemon.wait_for_state("bot", "active");
}

#[test]
fn a_bad_manifest_leaves_the_last_good_one_in_force() {
    let (_google, daemon) = connected();
    daemon.write_manifest("bot", "alice", &[SEND]);
    let agent = daemon.wait_for_state("bot", "active");
    let token = agent.token().unwrap();

    let cases = [
        (
            "agent: bot\nowner: alice\nintegrations:\n  - key: google.gmail.sned\n",
            "bot.yaml:4",
            "google.gmail.sned",
        ),
        (
            "agent: bot\nowner: alice\nintegration: []\n",
            "bot.yaml:3",
            "integration",
        ),
        (
            "agent: Bot!\nowner: alice\nintegrations: []\n",
            "bot.yaml:1",
            "agent",
        ),
        (
            "agent: bot\nowner: alice\nuid: minus one\nintegrations: []\n",
            "bot.yaml:3",
            "uid",
        ),
        ("agent: [bot\n", "bot.yaml", ""),
        ("", "bot.yaml", ""),
    ];
    for (text, place, field) in cases {
        daemon.put_file("bot", text);
        wait_until(&format!("a problem with {text:?}"), || {
            let problems = problems(&daemon);
            problems.len() == 1 && problems[0].contains(place) && problems[0].contains(field)
        });
        assert_eq!(agent.token().as_deref(), Some(token.as_str()), "after {text:?}");
        assert_eq!(agent.get("/v1/token").status, 200);
    }
    let listed = daemon.cli(&["agents", "list"]).expect_ok();
    assert!(listed.stdout.contains("bot.yaml"), "{}", listed.stdout);
    assert!(daemon.log().contains("bot.yaml"), "it is in the log as well");
    let file = daemon.agents_d().join("bot.yaml");
    let validated = Output::of(daemon.command(&["agents", "validate"]).arg(&file));
    assert_eq!(validated.code, 1, "{validated:?}");

    // Half of a manifest, and then the rest of it.
    let whole = manifest("bot", "alice", &[SEND, CALENDAR]);
    let (first, second) = whole.split_at(whole.len() - 30);
    let mut written = fs::File::create(&file).unwrap();
    written.write_all(first.as_bytes()).unwrap();
    written.sync_all().unwrap();
    assert!(agent.token().is_some());
    written.write_all(second.as_bytes()).unwrap();
    drop(written);
    wait_until("the whole manifest", || {
        capabilities(&agent).as_deref() == Some("google.gmail.send,google.calendar.readonly")
    });
    wait_until("the problem to go", || problems(&daemon).is_empty());

    // Two files that claim the same agent: the one in force stays, and the other is named.
    let other = manifest("bot", "mallory", &[SEND]);
    daemon.put_file("usurper", &other);
    wait_until("the conflict", || {
        problems(&daemon)
            .iter()
            .any(|problem| problem.contains("usurper.yaml"))
    });
    assert_eq!(agent.status()["owner"], "alice");
}

#[test]
fn a_storm_of_changes_ends_in_what_the_folder_says() {
    let (_google, daemon) = connected();
    for round in 0..5 {
        for number in 0..40 {
            let keys: &[&str] = if round % 2 == 0 {
                &[SEND]
            } else {
                &[SEND, CALENDAR]
            };
            daemon.write_manifest(&format!("bot-{number}"), "alice", keys);
        }
    }
    for number in 0..20 {
        fs::remove_file(daemon.agents_d().join(format!("bot-{number}.yaml"))).unwrap();
    }
    for number in 20..40 {
        let agent = daemon.wait_for_state(&format!("bot-{number}"), "active");
        wait_until("the last version", || {
            capabilities(&agent).as_deref() == Some(SEND)
        });
    }
    wait_until("the removed ones to go", || {
        (0..20).all(|number| !daemon.agent(&format!("bot-{number}")).directory.exists())
    });
    let listed = daemon
        .cli(&["agents", "list", "--output", "json"])
        .expect_ok()
        .json();
    assert_eq!(listed["agents"].as_array().unwrap().len(), 20);
}

#[test]
fn agents_that_a_platform_adds_stay_and_are_removed_by_it() {
    let (_google, daemon) = connected();
    let add = ["agents", "add", "bot", "--owner", "alice", "--capability", SEND];
    let added = daemon.cli(&add).expect_ok();
    // Acknowledged means that it is there: no wait.
    let agent = daemon.agent("bot");
    assert!(agent.directory.join("env").exists(), "{added:?}");
    daemon.wait_for_state("bot", "active");
    let replaced = daemon.cli(&[
        "agents",
        "add",
        "bot",
        "--owner",
        "alice",
        "--capability",
        CALENDAR,
    ]);
    replaced.expect_ok();
    wait_until("the other capability", || {
        capabilities(&agent).as_deref() == Some(CALENDAR)
    });
    let given = Output::of_fed(
        &mut daemon.command(&["agents", "add", "--file", "-"]),
        &manifest("piped", "alice", &[SEND]),
    );
    given.expect_ok();
    daemon.wait_for_state("piped", "active");
    let wrong = daemon.cli(&[
        "agents",
        "add",
        "bot",
        "--owner",
        "alice",
        "--capability",
        "google.gmail.sned",
    ]);
    assert_ne!(wrong.code, 0);
    assert!(
        wrong.stderr.contains("google.gmail.send"),
        "it suggests: {}",
        wrong.stderr
    );
    daemon.kill9();
    daemon.start();
    assert_eq!(capabilities(&agent).as_deref(), Some(CALENDAR));

    daemon.cli(&["agents", "remove", "bot", "--yes"]).expect_ok();
    assert!(!agent.directory.exists());
    assert_eq!(daemon.cli(&["agents", "remove", "bot", "--yes"]).code, 4);
    daemon.restart();
    assert!(!agent.directory.exists());
    // One that a manifest declares is changed there.
    daemon.write_manifest("filed", "alice", &[SEND]);
    daemon.wait_for_state("filed", "active");
    let refused = daemon.cli(&["agents", "remove", "filed", "--yes"]);
    assert_ne!(refused.code, 0);
    assert!(refused.stderr.contains("filed.yaml"), "{}", refused.stderr);
    let refused = daemon.cli(&[
        "agents",
        "add",
        "filed",
        "--owner",
        "mallory",
        "--capability",
        SEND,
    ]);
    assert_ne!(refused.code, 0);
    assert_eq!(daemon.agent("filed").status()["owner"], "alice");
}
