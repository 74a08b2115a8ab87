//! Somebody removes what the sidecar made while it runs.

use std::{fs, os::unix::fs::MetadataExt};

use crate::{remote::Remote, support::wait_until};

#[test]
fn files_and_socket_of_the_shared_directory_are_made_again() {
    let remote = Remote::with_lifetime("1h");
    let pod = remote.running();
    let agent = pod.agent();
    let token = agent.token().unwrap();
    let mut events = agent.watch();
    events.until("the token", |event, _| event == "token");
    for file in ["env", "access_token", "status.json", "broker.sock"] {
        fs::remove_file(agent.path(file)).unwrap();
    }
    let is_whole = || {
        agent.token().as_ref() == Some(&token)
            && agent.try_read("access_token").as_ref() == Some(&token)
            && agent.try_read("status.json").is_some()
            && agent
                .try_get("/v1/token")
                .is_ok_and(|answer| answer.text().contains(&token))
    };
    wait_until("everything to be made again", is_whole);
    // Once more, by its successor, and with something else in the way.
    fs::remove_file(agent.socket()).unwrap();
    fs::create_dir(agent.socket()).unwrap();
    fs::write(agent.socket().join("planted"), "").unwrap();
    wait_until("the socket to be made again", is_whole);
    // What was open stays open.
    remote
        .daemon
        .cli(&["integrations", "disconnect", "--owner", "alice", "--yes"])
        .expect_ok();
    events.until("the end of the token", |event, _| event == "state");
}

#[test]
fn the_shared_directory_itself_is_made_again() {
    let remote = Remote::with_lifetime("1h");
    let pod = remote.running();
    let agent = pod.agent();
    let token = agent.token().unwrap();
    let directory = agent.path("");
    let mode = || fs::metadata(&directory).unwrap().mode();
    let before = mode();
    fs::remove_dir_all(&directory).unwrap();
    wait_until("everything to be made again", || {
        agent.token().as_ref() == Some(&token)
            && agent
                .try_get("/v1/token")
                .is_ok_and(|answer| answer.text().contains(&token))
    });
    assert_eq!(mode(), before);
    assert!(pod.log().contains("was gone and is made again"), "{}", pod.log());
}
