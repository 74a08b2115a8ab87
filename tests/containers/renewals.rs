//! A container sees every renewal, whoever it runs as.

use std::fs;

use crate::{
    container::Container,
    support::{AGENT_UID, Daemon, Emulator, EventStream},
};

const SEND: &str = "google.gmail.send";
/// Renewed when 4 to 6 s are left: so much may a busy machine delay it.
pub(crate) const LIFETIME: [&str; 2] = ["--token-lifetime", "10s"];

/// Writes each token that the file shows, once.
pub(crate) const WRITE_TOKENS: &str = "while :; do
    token=$(cat /run/token-broker/access_token) || exit 1
    [ \"$token\" = \"$last\" ] || { echo \"$token\"; last=$token; }
    usleep 20000
done";

/// The next token that the node is told of.
pub(crate) fn next_token(events: &mut EventStream) -> String {
    let data = events.until("a token", |event, _| event == "token");
    data["access_token"].as_str().unwrap().to_owned()
}

#[test]
fn a_container_of_another_uid_sees_every_renewal() {
    let google = Emulator::start(&LIFETIME);
    let daemon = Daemon::new(&google);
    daemon.write_manifest("bot", "alice", &[SEND]);
    daemon.start();
    daemon.connect("alice", &[SEND]).expect_ok();
    let agent = daemon.wait_for_state("bot", "active");
    let mut events = agent.watch();
    let mut told = vec![next_token(&mut events)];
    let container = Container::of(&agent, &["sh", "-c", WRITE_TOKENS]).start();
    let first = container.wait_for_lines(1).remove(0);
    while told.last() != Some(&first) {
        told.push(next_token(&mut events));
    }
    let begin = told.len() - 1;
    told.extend((0..3).map(|_| next_token(&mut events)));
    let seen = container.wait_for_lines(4);
    assert_eq!(seen[..4], told[begin..]);

    // Another user of the container gets nothing, neither from the files nor from the socket; nor does its root.
    let other = container.exec_as(AGENT_UID + 1, &["cat", "/run/token-broker/env"]);
    assert_eq!((other.code, other.stdout.as_str()), (1, ""), "{other:?}");
    let other = container.exec_as(AGENT_UID + 1, &["token-broker", "token"]);
    assert_eq!((other.code, other.stdout.as_str()), (3, ""), "{other:?}");
    let root = container.exec_as(0, &["cat", "/run/token-broker/env"]);
    assert_eq!((root.code, root.stdout.as_str()), (1, ""), "{root:?}");
}

#[test]
fn a_container_in_a_user_namespace_sees_its_token_and_renewals() {
    const ROOT_IS: u32 = 200_000;
    let google = Emulator::start(&LIFETIME);
    let daemon = Daemon::new(&google);
    let manifest = "agent: bot\nowner: alice\nuid: 201000\nintegrations:\n  - key: google.gmail.send\n    \
                    description: For a test\n";
    daemon.put_file("bot", manifest);
    daemon.start();
    daemon.connect("alice", &[SEND]).expect_ok();
    let agent = daemon.wait_for_state("bot", "active");
    let container = Container::of(&agent, &["sh", "-c", WRITE_TOKENS])
        .uid(1000)
        .root_is(ROOT_IS)
        .start();
    let seen = container.wait_for_lines(3);
    assert!(seen.iter().all(|token| token.starts_with("ya29.")), "{seen:?}");
    let asked = container.exec(&["token-broker", "token"]).expect_ok();
    assert!(google.is_alive(asked.stdout.trim()), "{asked:?}");
    // Mapped as it is said: inside it is uid 1000, on the node the manifest's.
    let inside = container
        .exec(&["stat", "-c", "%u %a", "/run/token-broker/env"])
        .expect_ok();
    assert_eq!(inside.stdout, "1000 400\n");
    // Root of that namespace is nobody on the node.
    let root = container.exec_as(
        0,
        &["sh", "-c", "token-broker token || rm -f /run/token-broker/env"],
    );
    assert_ne!(root.code, 0, "{root:?}");
    assert!(!root.stdout.contains("ya29."), "{root:?}");
    assert!(fs::exists(agent.path("env")).unwrap());
}
