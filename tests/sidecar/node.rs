//! A sidecar that takes its agent's tokens from the node's daemon.

use std::fs;

use crate::{
    pod::Pod,
    remote::SEND,
    support::{Daemon, Emulator},
};

pub(crate) fn node() -> (Emulator, Daemon) {
    let google = Emulator::start(&["--token-lifetime", "10s"]);
    let daemon = Daemon::new(&google);
    daemon.write_manifest("invoice-bot", "alice", &[SEND]);
    daemon.start();
    daemon.connect("alice", &[SEND]).expect_ok();
    daemon.wait_for_state("invoice-bot", "active");
    (google, daemon)
}

#[test]
fn the_nodes_socket_is_followed_and_forwarded() {
    let (_google, daemon) = node();
    let mut pod = Pod::new();
    let from = format!("unix://{}", daemon.agent("invoice-bot").socket().display());
    pod.start(&["--from".to_owned(), from]);
    pod.wait_until_ready();
    let first = pod.wait_for_token(None);
    pod.wait_for_token(Some(&first));
    assert!(
        pod.agent()
            .grpc()
            .token()
            .unwrap()
            .access_token
            .starts_with("ya29.")
    );
    let metadata = pod
        .agent()
        .get("/computeMetadata/v1/instance/service-accounts/default/token");
    assert_eq!(metadata.status, 403, "without the flavor");
    // The daemon's restart is none of the pod's concern.
    daemon.restart();
    let second = pod.wait_for_token(None);
    pod.wait_for_token(Some(&second));
}

#[test]
fn the_daemons_own_directory_is_left_alone() {
    let (_google, daemon) = node();
    let agent = daemon.agent("invoice-bot");
    let mut command = crate::support::program();
    command
        .args(["sidecar", "--from"])
        .arg(format!("unix://{}", agent.socket().display()));
    command.arg("--directory").arg(&agent.directory);
    let refused = crate::support::Output::of(&mut command).expect(1);
    assert!(
        refused.stderr.contains("is where --from's socket is"),
        "{refused:?}"
    );
    agent.get("/v1/token").expect_ok();
}

#[test]
fn the_socket_of_another_agent_is_noticed() {
    let (_google, daemon) = node();
    let mut pod = Pod::new();
    let from = format!("unix://{}", daemon.agent("invoice-bot").socket().display());
    pod.start(&[
        "--from".to_owned(),
        from,
        "--agent".to_owned(),
        "other-bot".to_owned(),
    ]);
    let status = pod.wait_for_message("is the socket of the agent invoice-bot, and --agent says other-bot");
    assert_eq!(status["state"], "misconfigured");
    assert!(pod.agent().token().is_none() && !pod.has_socket());
}

#[test]
fn a_removed_agents_token_goes_and_comes_again_with_the_agent() {
    let google = Emulator::start(&["--token-lifetime", "1h"]);
    let daemon = Daemon::new(&google);
    daemon.write_manifest("invoice-bot", "alice", &[SEND]);
    daemon.start();
    daemon.connect("alice", &[SEND]).expect_ok();
    daemon.wait_for_state("invoice-bot", "active");
    let mut pod = Pod::new();
    let from = format!("unix://{}", daemon.agent("invoice-bot").socket().display());
    pod.start(&["--from".to_owned(), from]);
    pod.wait_until_ready();
    // A daemon that is away says nothing of the agent.
    let token = pod.wait_for_token(None);
    daemon.restart();
    assert_eq!(pod.wait_for_token(None), token);
    pod.agent()
        .get("/v1/token?capability=google.gmail.send")
        .expect_ok();
    // The sidecar hears of what happens once it has found the daemon again: what it is told then, it tells.
    daemon.write_manifest("invoice-bot", "alice", &[SEND, "?google.gmail.readonly"]);
    pod.wait_for_message("google.gmail.readonly");
    fs::remove_file(daemon.agents_d().join("invoice-bot.yaml")).unwrap();
    let status = pod.wait_for_message("The agent was removed");
    assert_eq!(status["state"], "misconfigured");
    pod.wait_for_none();
    daemon.write_manifest("invoice-bot", "alice", &[SEND]);
    pod.wait_for_token(None);
}
