//! A node full of agents.

use std::collections::HashMap;

use crate::{
    container::Container,
    support::{Agent, Daemon, Emulator, wait_until},
};

const ACCOUNTS: usize = 20;
/// With each account another token for each of them.
const KEYS: [&str; 10] = [
    "google.gmail.readonly",
    "google.gmail.send",
    "google.calendar.readonly",
    "google.calendar",
    "google.drive.readonly",
    "google.drive",
    "google.sheets.readonly",
    "google.sheets",
    "google.docs.readonly",
    "google.docs",
];

/// Writes each token that the file shows, once, and what the socket says of it; a shell and nothing else, so that two
/// hundred cost little.
const WRITE_TOKENS: &str = "token-broker token || exit 1
while :; do
    token= ; read -r token < /run/token-broker/access_token
    [ -z \"$token\" ] || [ \"$token\" = \"$last\" ] || { echo \"$token\"; last=$token; }
    sleep 1
done";

#[test]
fn two_hundred_containers_see_their_own_tokens_also_when_the_daemon_is_killed() {
    let accounts: Vec<String> = (0..ACCOUNTS)
        .map(|number| format!("person{number}@example.com"))
        .collect();
    let mut args = vec!["--token-lifetime", "30s"];
    args.extend(
        accounts
            .iter()
            .flat_map(|account| ["--account", account.as_str()]),
    );
    let google = Emulator::start(&args);
    let daemon = Daemon::new(&google);
    let mut names = Vec::new();
    for owner in 0..ACCOUNTS {
        for (number, key) in KEYS.iter().enumerate() {
            let name = format!("bot-{owner}-{number}");
            daemon.write_manifest(&name, &format!("owner-{owner}"), &[key]);
            names.push(name);
        }
    }
    daemon.start();
    for (owner, account) in accounts.iter().enumerate() {
        daemon
            .connect_as(&format!("owner-{owner}"), account, &KEYS)
            .expect_ok();
    }
    let agents: Vec<Agent> = names
        .iter()
        .map(|name| daemon.wait_for_state(name, "active"))
        .collect();
    let containers: Vec<Container> = agents
        .iter()
        .map(|agent| Container::of(agent, &["sh", "-c", WRITE_TOKENS]).start())
        .collect();
    for container in &containers {
        container.wait_for_lines(2);
    }
    daemon.kill9();
    daemon.start();
    // Each is there all the time, and each sees a renewal of the new daemon's.
    let before: Vec<usize> = containers
        .iter()
        .map(|container| container.stdout().lines().count())
        .collect();
    for (container, before) in containers.iter().zip(before) {
        container.wait_for_lines(before + 1);
    }
    let mut whose: HashMap<String, usize> = HashMap::new();
    for (number, container) in containers.iter().enumerate() {
        for token in container.stdout().lines() {
            assert!(token.starts_with("ya29."), "{token}");
            let owner = *whose.entry(token.to_owned()).or_insert(number);
            assert_eq!(names[owner], names[number], "a token in two containers");
        }
    }
    for (agent, container) in agents.iter().zip(&containers) {
        wait_until("the container to see what the node's file holds", || {
            container.stdout().lines().last() == agent.token().as_deref()
        });
        let problem = container.stderr();
        assert_eq!(problem, "", "{}", agent.name);
    }
}
