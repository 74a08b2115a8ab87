//! The daemon comes and goes; containers stay.

use std::{fs, os::unix::fs::MetadataExt};

use crate::{
    container::Container,
    renewals::{LIFETIME, WRITE_TOKENS, next_token},
    support::{Daemon, Emulator, wait_until},
};

const SEND: &str = "google.gmail.send";

#[test]
fn a_restart_of_the_daemon_needs_none_of_the_container() {
    let google = Emulator::start(&LIFETIME);
    let daemon = Daemon::new(&google);
    daemon.write_manifest("bot", "alice", &[SEND]);
    daemon.start();
    daemon.connect("alice", &[SEND]).expect_ok();
    let agent = daemon.wait_for_state("bot", "active");
    let inode = || fs::metadata(&agent.directory).unwrap().ino();
    let before = inode();
    let container = Container::of(&agent, &["sh", "-c", WRITE_TOKENS]).start();
    container.wait_for_lines(1);

    for round in 0..4 {
        if round % 2 == 0 {
            assert_eq!(daemon.terminate(), 0);
        } else {
            daemon.kill9();
        }
        let gone = container.exec(&["token-broker", "token"]);
        assert_eq!((gone.code, gone.stdout.as_str()), (3, ""), "{gone:?}");
        daemon.start();
        assert_eq!(inode(), before, "what is mounted is what is written to");
        // A new token, from the new daemon, in the file that the container has had open all along.
        let token = next_token_after(&daemon, &container);
        let asked = container.exec(&["token-broker", "wait", "--timeout", "80s"]);
        asked.expect_ok();
        assert!(container.stdout().contains(&token));
    }
    let seen = container.wait_for_lines(5);
    let mut distinct = seen.clone();
    distinct.sort();
    distinct.dedup();
    assert_eq!(distinct.len(), seen.len(), "no token came back: {seen:?}");
}

/// Waits for a renewal, and until the container has seen it.
fn next_token_after(daemon: &Daemon, container: &Container) -> String {
    let mut events = daemon.agent("bot").watch();
    let old = next_token(&mut events);
    let token = next_token(&mut events);
    assert_ne!(old, token);
    wait_until("the container to see the new token", || {
        container.stdout().contains(&token)
    });
    token
}

#[test]
fn a_removed_agent_loses_access_at_once() {
    let google = Emulator::start(&[]);
    let daemon = Daemon::new(&google);
    daemon.start();
    daemon.connect("alice", &[SEND]).expect_ok();
    let uid = crate::support::AGENT_UID.to_string();
    let add = [
        "agents",
        "add",
        "bot",
        "--owner",
        "alice",
        "--uid",
        &uid,
        "--capability",
        SEND,
    ];
    daemon.cli(&add).expect_ok();
    let agent = daemon.wait_for_state("bot", "active");
    let container = Container::idle(&agent).start();
    let token = container.exec(&["token-broker", "token"]).expect_ok().stdout;
    assert_eq!(token.trim(), agent.token().unwrap());

    daemon.cli(&["agents", "remove", "bot", "--yes"]).expect_ok();
    let left = container.exec(&["ls", "-A", "/run/token-broker"]).expect_ok();
    assert_eq!(left.stdout, "", "the mounted directory is empty");
    let refused = container.exec(&["token-broker", "token"]);
    assert_eq!((refused.code, refused.stdout.as_str()), (3, ""), "{refused:?}");

    // An agent of the same name is another one: its container has to be started with the new directory.
    daemon.cli(&add).expect_ok();
    let agent = daemon.wait_for_state("bot", "active");
    let refused = container.exec(&["token-broker", "token"]);
    assert_eq!((refused.code, refused.stdout.as_str()), (3, ""), "{refused:?}");
    let again = Container::idle(&agent).start();
    again.exec(&["token-broker", "token"]).expect_ok();
}
