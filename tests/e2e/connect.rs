//! A person connects an account and an agent gets what it needs.

use crate::support::{Daemon, Emulator};

#[test]
fn a_connected_account_reaches_its_agent() {
    let google = Emulator::start(&[]);
    let daemon = Daemon::new(&google);
    daemon.write_manifest("invoice-bot", "alice", &["google.gmail.send"]);
    daemon.start();
    let agent = daemon.wait_for_state("invoice-bot", "not_connected");
    daemon.connect("alice", &["google.gmail.send"]).expect_ok();
    daemon.wait_for_state("invoice-bot", "active");
    let token = agent.get("/v1/token").expect_ok().json();
    let token = token["access_token"].as_str().unwrap();
    assert!(google.is_alive(token));
    assert_eq!(agent.token().as_deref(), Some(token));
    assert_eq!(agent.grpc().token().unwrap().access_token, token);
    let mut watch = agent.watch();
    watch.until("the token", |event, data| {
        event == "token" && data["access_token"] == token
    });
    assert_eq!(daemon.cli(&["audit", "verify"]).expect_ok().code, 0);
    daemon.scan_for_secrets(&[token, &google.client_secret]);
    daemon.restart();
    assert_eq!(agent.token().as_deref(), Some(token));
    daemon.kill9();
    daemon.start();
    assert!(daemon.metric("token_broker_") >= 0.0);
}
