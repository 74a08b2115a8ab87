//! What `doctor` finds in a container, and that one file mounted by itself never changes.

use crate::{
    container::Container,
    renewals::{LIFETIME, next_token},
    support::{Daemon, Emulator, wait_until},
};

const SEND: &str = "google.gmail.send";

#[test]
fn a_file_that_is_mounted_by_itself_never_changes_and_doctor_names_it() {
    let google = Emulator::start(&LIFETIME);
    let daemon = Daemon::new(&google);
    daemon.write_manifest("bot", "alice", &[SEND]);
    daemon.start();
    daemon.connect("alice", &[SEND]).expect_ok();
    let agent = daemon.wait_for_state("bot", "active");
    let mut events = agent.watch();
    let container = Container::idle(&agent)
        .mount(agent.path("env"), "/app/env")
        .start();
    let read = |file: &str| container.exec(&["cat", file]).expect_ok().stdout;
    let first = read("/app/env");

    // Before a renewal and after it, when the mounted file has no name any more.
    for _ in 0..2 {
        let said = daemon.cli(&["doctor", "--offline"]);
        assert_eq!(said.code, 1, "{said:?}");
        assert!(said.stdout.contains("/app/env"), "on the node: {}", said.stdout);
        assert!(
            said.stdout.contains("agents/bot/env is mounted by itself"),
            "{}",
            said.stdout
        );
        let said = container.exec(&["token-broker", "doctor", "--offline"]);
        assert!(said.stdout.contains("/app/env"), "in the container: {said:?}");
        let old = next_token(&mut events);
        let token = next_token(&mut events);
        assert_ne!(old, token);
        wait_until("the directory to show the renewal", || {
            read("/run/token-broker/env").contains(&token)
        });
        assert_eq!(read("/app/env"), first);
    }
}

#[test]
fn in_a_container_doctor_looks_at_what_the_agent_sees() {
    let google = Emulator::start(&[]);
    let daemon = Daemon::new(&google);
    daemon.write_manifest("bot", "alice", &[SEND]);
    daemon.start();
    let agent = daemon.wait_for_state("bot", "not_connected");
    let container = Container::idle(&agent).start();
    let said = container.exec(&["token-broker", "doctor"]);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.stdout.contains("FAIL  socket: not_connected"), "{said:?}");
    assert!(said.stdout.contains("-> http://"), "{said:?}");

    daemon.connect("alice", &[SEND]).expect_ok();
    daemon.wait_for_state("bot", "active");
    let said = container.exec(&["token-broker", "doctor"]).expect_ok();
    assert!(said.stdout.contains("Everything looks right."), "{said:?}");

    let said = container.exec_as(1234, &["token-broker", "doctor"]);
    assert!(said.stdout.contains("and this is uid 1234"), "{said:?}");
}
