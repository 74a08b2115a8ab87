//! Somebody removes what the daemon made while it runs.

use std::{
    fs,
    os::unix::{fs::MetadataExt, net::UnixStream},
    path::Path,
};

use crate::support::{Agent, Daemon, Emulator, wait_until};

const SEND: &str = "google.gmail.send";

/// The agent has all it should, with this token.
fn is_whole(agent: &Agent, token: &str) -> bool {
    let read = |file: &str| agent.try_read(file).unwrap_or_default();
    let has_token = read("env").contains(token) && read("access_token") == token;
    has_token
        && read("status.json").contains("\"active\"")
        && agent
            .try_get("/v1/token")
            .is_ok_and(|answer| answer.text().contains(token))
}

fn answers(socket: &Path) -> bool {
    UnixStream::connect(socket).is_ok()
}

fn is_ready(daemon: &Daemon) -> bool {
    daemon.page("/readyz").status == 200
}

#[test]
fn everything_is_made_again_or_the_daemon_is_not_ready_and_says_why() {
    let google = Emulator::start(&[]);
    let daemon = Daemon::for_libraries(&google, "one");
    for agent in ["one", "two", "three"] {
        daemon.write_manifest(agent, "alice", &[SEND]);
    }
    daemon.start();
    daemon.connect("alice", &[SEND]).expect_ok();
    let agents = ["one", "two", "three"].map(|agent| daemon.wait_for_state(agent, "active"));
    let token = agents[0].token().unwrap();
    let all = || agents.iter().all(|agent| is_whole(agent, &token));
    let admin = || answers(&daemon.admin_socket());
    assert!(all() && admin());

    // One thing of each kind: a file, the socket, the credential file, a whole directory, the admin socket.
    let credentials = agents[0].read("adc.json");
    for file in ["env", "broker.sock", "adc.json"] {
        fs::remove_file(agents[0].path(file)).unwrap();
    }
    fs::remove_file(agents[1].path("access_token")).unwrap();
    fs::write(agents[1].path("env"), "GOOGLE_OAUTH_ACCESS_TOKEN=planted\n").unwrap_or_default();
    fs::remove_dir_all(&agents[2].directory).unwrap();
    fs::remove_file(daemon.admin_socket()).unwrap();
    wait_until("everything to be made again", || all() && admin());
    assert_eq!(agents[0].read("adc.json"), credentials);
    daemon.cli(&["status"]).expect_ok();
    assert!(is_ready(&daemon));

    // All of it.
    let before = fs::metadata(daemon.runtime_dir()).unwrap().ino();
    fs::remove_dir_all(daemon.runtime_dir()).unwrap();
    wait_until("the runtime folder to be made again", || all() && admin());
    assert_ne!(fs::metadata(daemon.runtime_dir()).unwrap().ino(), before);
    assert_eq!(agents[0].read("adc.json"), credentials);
    let log = daemon.log();
    assert!(
        log.contains("containers that have theirs mounted have to be started again"),
        "{log}"
    );

    // Nothing can be made where a file is.
    fs::remove_dir_all(daemon.runtime_dir()).unwrap();
    fs::write(daemon.runtime_dir(), "in the way").unwrap();
    wait_until("the daemon not to be ready", || !is_ready(&daemon));
    wait_until("the reasons", || {
        let why = daemon.page("/readyz").text().to_owned();
        let named = |path: &Path| why.contains(path.to_str().unwrap());
        named(&daemon.runtime_dir()) && named(&daemon.admin_socket())
    });
    assert_eq!(daemon.page("/healthz").status, 200);
    fs::remove_file(daemon.runtime_dir()).unwrap();
    wait_until("everything to be made again", || {
        all() && admin() && is_ready(&daemon)
    });
    assert_eq!(daemon.terminate(), 0);
    assert!(!daemon.admin_socket().exists());
}
