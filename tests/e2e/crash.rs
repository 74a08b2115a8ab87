//! The daemon is killed at any moment, and nothing that was promised is lost.

use std::{
    collections::HashSet,
    io::Write,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use jiff::Timestamp;
use serde_json::{Value, json};
use token_broker::clock::{Clock, SystemClock};

use crate::support::{Agent, Daemon, Emulator, nap, wait_until};

const SEND: &str = "google.gmail.send";
const OWNERS: usize = 20;

/// How many agents and owners are added between two kills, at most: however slow the machine is.
const ADDED_PER_KILL: usize = 12;
/// How often an account is connected, at most. It has a hundred live refresh tokens per client, and its oldest ends when
/// there is one more.
const CONNECTED_PER_ACCOUNT: usize = 90;

/// How often it is killed.
fn kills() -> usize {
    std::env::var("TOKEN_BROKER_TEST_KILLS").map_or(100, |text| text.parse().unwrap())
}

#[test]
fn killed_a_hundred_times_under_load_it_loses_nothing() {
    let accounts: Vec<String> = (0..OWNERS)
        .map(|number| format!("person{number}@example.com"))
        .collect();
    let mut args = vec!["--token-lifetime", "3s", "--rotation", "leeway"];
    args.extend(
        accounts
            .iter()
            .flat_map(|account| ["--account", account.as_str()]),
    );
    let google = Emulator::start(&args);
    let daemon = Daemon::new(&google);
    for number in 0..OWNERS / 2 {
        daemon.write_manifest(&format!("agent-{number}"), &format!("owner-{number}"), &[SEND]);
    }
    daemon.start();
    for number in OWNERS / 2..OWNERS {
        add_agent(&daemon, &format!("agent-{number}"), &format!("owner-{number}"));
    }
    for (number, account) in accounts.iter().enumerate() {
        let connected = daemon.connect_as(&format!("owner-{number}"), account, &[SEND]);
        connected.expect_ok();
    }
    let agents: Vec<Agent> = (0..OWNERS)
        .map(|number| daemon.agent(&format!("agent-{number}")))
        .collect();
    wait_for_all(&agents);

    let load = Load::default();
    let mut cut = 0;
    std::thread::scope(|scope| {
        // Also when this thread panics: the others must not keep it waiting.
        let _stop = StopOnDrop(&load.stop);
        scope.spawn(|| load.ask(&agents, &google));
        scope.spawn(|| load.read(&agents));
        scope.spawn(|| load.put_agents(&daemon));
        scope.spawn(|| load.connect_owners(&daemon, &accounts));
        for kill in 0..kills() {
            load.kills.store(kill + 1, Ordering::Relaxed);
            nap(Duration::from_millis(700));
            daemon.kill9();
            if kill % 5 == 4 {
                killed_while_starting(&daemon);
            }
            for agent in &agents {
                whole(agent);
            }
            let started = SystemClock.now();
            daemon.start();
            for agent in &agents {
                if let Some(expires_at) = whole(agent) {
                    // `env` has whole seconds.
                    assert!(
                        expires_at + Duration::from_secs(1) > started,
                        "an expired token was left behind"
                    );
                }
            }
            load.expect_kept(&daemon);
            wait_for_all(&agents);
            cut += daemon.log().matches("a renewal was cut off").count();
            // A grant that was rotated out is never used once its successor was.
            assert_eq!(google.count("refresh_token_reuse"), 0);
            daemon.cli(&["audit", "verify"]).expect_ok();
        }
    });

    assert!(load.asked.load(Ordering::Relaxed) > 0, "there was load");
    load.expect_kept(&daemon);
    let listed = daemon
        .cli(&["integrations", "list", "--output", "json"])
        .expect_ok()
        .json();
    for integration in listed["integrations"].as_array().unwrap() {
        assert_eq!(integration["state"], "active", "{integration}");
    }
    let mut out = std::io::stdout();
    writeln!(out, "{} kills cut {cut} renewals", kills()).unwrap();
    daemon.scan_for_secrets(&[&google.client_secret]);
}

/// What goes on beside the killing.
#[derive(Default)]
struct Load {
    stop: AtomicBool,
    asked: AtomicU64,
    /// How many kills were begun.
    kills: AtomicUsize,
    /// Agents whose addition was acknowledged.
    agents: Mutex<Vec<String>>,
    /// Owners whose connection was acknowledged.
    owners: Mutex<Vec<String>>,
    trail: Mutex<Trail>,
}

/// What the audit trail says, as far as it was read.
#[derive(Default)]
struct Trail {
    /// The last line's number.
    last: u64,
    /// Agents that were added.
    agents: HashSet<String>,
    /// Owners that connected an account.
    owners: HashSet<String>,
}

impl Trail {
    /// Reads on, page by page.
    fn read_on(&mut self, daemon: &Daemon) {
        loop {
            let after = self.last.to_string();
            let page = [
                "audit", "list", "--after", &after, "--limit", "10000", "--output", "json",
            ];
            let page = daemon.cli(&page).expect_ok().json();
            let events = page["events"].as_array().unwrap();
            let Some(last) = events.last() else {
                return;
            };
            self.last = last["sequence"].as_u64().unwrap();
            for detail in events.iter().filter_map(|event| event["detail"].as_str()) {
                if let Some(agent) = detail.strip_prefix("agent ") {
                    self.agents.insert(agent.to_owned());
                } else if let Some((owner, _)) = detail.split_once(" connected ") {
                    self.owners.insert(owner.to_owned());
                }
            }
        }
    }
}

struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Load {
    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }

    /// Asks the sockets; whatever is answered must be of use.
    fn ask(&self, agents: &[Agent], google: &Emulator) {
        for agent in agents.iter().cycle().take_while(|_| self.goes_on()) {
            let Ok(answer) = agent.try_get("/v1/token") else {
                continue;
            };
            if answer.status == 200 {
                let token = answer.json()["access_token"].as_str().unwrap().to_owned();
                assert!(google.is_alive(&token), "{} got a dead token", agent.name);
                self.asked.fetch_add(1, Ordering::Relaxed);
            } else {
                let code = answer.json()["code"].clone();
                assert_eq!(code, "provider_unavailable", "{}", answer.text());
            }
        }
    }

    /// Reads the files.
    fn read(&self, agents: &[Agent]) {
        for agent in agents.iter().cycle().take_while(|_| self.goes_on()) {
            whole(agent);
            // A moment for the others: this loop alone would take half the machine.
            nap(Duration::from_millis(1));
        }
    }

    /// The numbers of what is added: each in its turn, no more of them than the kills so far allow.
    fn numbers(&self) -> impl Iterator<Item = usize> {
        (0..).take_while(|number| {
            while self.goes_on() && *number >= self.kills.load(Ordering::Relaxed) * ADDED_PER_KILL {
                nap(Duration::from_millis(100));
            }
            self.goes_on()
        })
    }

    /// Adds agents.
    fn put_agents(&self, daemon: &Daemon) {
        for number in self.numbers() {
            let name = format!("added-{number}");
            let owner = format!("owner-{}", number % OWNERS);
            let added = daemon.cli(&["agents", "add", &name, "--owner", &owner, "--capability", SEND]);
            if added.code == 0 {
                self.agents.lock().unwrap().push(name);
            }
            nap(Duration::from_millis(400));
        }
    }

    /// Connects owners.
    fn connect_owners(&self, daemon: &Daemon, accounts: &[String]) {
        for number in self.numbers().take(accounts.len() * CONNECTED_PER_ACCOUNT) {
            let owner = format!("late-{number}");
            if daemon.try_connect_as(&owner, &accounts[number % OWNERS], &[SEND]) {
                self.owners.lock().unwrap().push(owner);
            }
            nap(Duration::from_millis(400));
        }
    }

    /// What was acknowledged is there.
    fn expect_kept(&self, daemon: &Daemon) {
        let known = |command: &[&str], list: &str, field: &str| -> HashSet<String> {
            let listed = daemon.cli(command).expect_ok().json();
            let entries = listed[list].as_array().unwrap().iter();
            entries
                .map(|entry| entry[field].as_str().unwrap().to_owned())
                .collect()
        };
        // Copied before the daemon is asked: later ones may not be in its answer.
        let agents = self.agents.lock().unwrap().clone();
        let owners = self.owners.lock().unwrap().clone();
        let listed = known(&["agents", "list", "--output", "json"], "agents", "agent");
        let mut trail = self.trail.lock().unwrap();
        trail.read_on(daemon);
        for agent in agents {
            assert!(
                trail.agents.contains(&agent),
                "{agent} was acknowledged and has no line in the trail"
            );
            assert!(listed.contains(&agent), "{agent} was acknowledged and is lost");
        }
        let listed = known(
            &["integrations", "list", "--output", "json"],
            "integrations",
            "owner",
        );
        for owner in owners {
            assert!(
                trail.owners.contains(&owner),
                "{owner} was acknowledged and has no line in the trail"
            );
            assert!(listed.contains(&owner), "{owner} was acknowledged and is lost");
        }
    }
}

fn add_agent(daemon: &Daemon, name: &str, owner: &str) {
    let added = daemon.cli(&["agents", "add", name, "--owner", owner, "--capability", SEND]);
    added.expect_ok();
}

/// Starts it and kills it before it is ready, or just after.
fn killed_while_starting(daemon: &Daemon) {
    let mut process = daemon.spawn();
    nap(Duration::from_millis(300));
    process.kill().unwrap();
    process.wait().unwrap();
}

/// Checks that an agent's `env` is whole; returns when its token ends, where it has one.
fn whole(agent: &Agent) -> Option<Timestamp> {
    let env = agent.env();
    assert!(env.ends_with('\n'), "{} is torn: {env:?}", agent.name);
    let names: Vec<&str> = env.lines().map(|line| line.split_once('=').unwrap().0).collect();
    match names.as_slice() {
        ["TOKEN_BROKER_STATE"] => {
            assert_eq!(env, "TOKEN_BROKER_STATE=provider_unavailable\n", "{}", agent.name);
            None
        }
        [
            "GOOGLE_OAUTH_ACCESS_TOKEN",
            "GOOGLE_OAUTH_TOKEN_EXPIRES_AT",
            "GOOGLE_OAUTH_CAPABILITIES",
            "TOKEN_BROKER_STATE",
        ] => {
            let line = env.lines().nth(1).unwrap();
            Some(line.split_once('=').unwrap().1.parse().unwrap())
        }
        _ => panic!("{} is not whole: {env}", agent.name),
    }
}

/// Every integration works: each agent has a token of now.
fn wait_for_all(agents: &[Agent]) {
    for agent in agents {
        wait_until(&format!("{} to have a token", agent.name), || {
            let active = agent.variable("TOKEN_BROKER_STATE").as_deref() == Some("active");
            active && whole(agent).is_some_and(|expires_at| expires_at > SystemClock.now())
        });
    }
}

/// A daemon that was killed after Google had rotated alice's grant and before the new one was stored.
fn cut_between_answer_and_commit(rotation: &str) -> (Emulator, Daemon) {
    let google = Emulator::start(&["--rotation", rotation]);
    let daemon = Daemon::new(&google);
    daemon.write_manifest("invoice-bot", "alice", &[SEND]);
    daemon.write_manifest("other-bot", "bob", &[SEND]);
    daemon.start();
    // Bob's token lives an hour, so that no renewal of his can be under way at the kill.
    daemon.connect_as("bob", "bob@example.com", &[SEND]).expect_ok();
    daemon.wait_for_state("other-bot", "active");
    google.set_lifetime(Duration::from_secs(5));
    daemon
        .connect_as("alice", "alice@example.com", &[SEND])
        .expect_ok();
    daemon.wait_for_state("invoice-bot", "active");
    let alice = json!({ "endpoint": "token", "grant_type": "refresh_token", "account": "alice@example.com" });
    let fault = |more: Value| {
        let mut fault = alice.clone();
        fault
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        google.fault(&fault)
    };
    // Google does its work and its answer never arrives; what is asked after that waits until the kill.
    fault(json!({ "times": 1, "drop": "after" }));
    fault(json!({ "hold": true }));
    let struck = google.count("faults_struck");
    google.wait_for_count("faults_struck", struck + 1);
    daemon.kill9();
    google.clear_faults();
    daemon.start();
    assert_eq!(
        daemon.log().matches("a renewal was cut off").count(),
        1,
        "{}",
        daemon.log()
    );
    (google, daemon)
}

#[test]
fn a_renewal_that_was_cut_is_tried_once_more_with_the_old_grant() {
    let (google, daemon) = cut_between_answer_and_commit("leeway");
    let token = daemon.wait_for_token("invoice-bot", None);
    wait_until("a renewal after the crash", || {
        daemon
            .agent("invoice-bot")
            .token()
            .is_some_and(|now| now != token)
    });
    assert_eq!(
        daemon
            .agent("invoice-bot")
            .variable("TOKEN_BROKER_STATE")
            .as_deref(),
        Some("active")
    );
    assert_eq!(google.count("refresh_token_reuse"), 0);
    // It is over: the next start knows of nothing cut.
    daemon.restart();
    assert!(!daemon.log().contains("was cut off"), "{}", daemon.log());
}

#[test]
fn where_the_old_grant_is_spent_the_state_says_that_a_crash_cost_it() {
    let (google, daemon) = cut_between_answer_and_commit("strict");
    let agent = daemon.wait_for_state("invoice-bot", "reconnect_required");
    assert_eq!(agent.token(), None);
    let status = agent.status();
    let message = status["message"].as_str().unwrap();
    assert!(
        message.contains("cut off before its answer was stored, by a crash"),
        "{message}"
    );
    assert!(message.contains("connect"), "says what to do: {message}");
    let shown = daemon.cli(&["integrations", "show", "--owner", "alice", "--output", "json"]);
    let shown = shown.expect_ok().json();
    assert_eq!(
        (&shown["state"], &shown["message"]),
        (&json!("reconnect_required"), &status["message"])
    );
    // Once, and no more; and nothing else is touched.
    assert_eq!(google.count("refresh_token_reuse"), 1);
    let other = daemon.wait_for_token("other-bot", None);
    daemon
        .cli(&["integrations", "check", "--owner", "bob"])
        .expect_ok();
    daemon.wait_for_token("other-bot", Some(&other));
    assert_eq!(google.count("refresh_token_reuse"), 1);
    // It stays so over a restart, and ends with a new consent.
    daemon.restart();
    assert_eq!(
        agent.variable("TOKEN_BROKER_STATE").as_deref(),
        Some("reconnect_required")
    );
    daemon
        .connect_as("alice", "alice@example.com", &[SEND])
        .expect_ok();
    daemon.wait_for_state("invoice-bot", "active");
}
