//! Letting go of an account at a server that wants to know who revokes.

use crate::{
    provider::{Provider, connect},
    support::{Daemon, post_form},
};

const SEND: &str = "google.gmail.send";

fn scene() -> (Provider, Daemon, String) {
    let provider = Provider::start();
    let daemon = provider.daemon();
    daemon.write_manifest("mail-bot", "alice", &[SEND]);
    daemon.start();
    connect(&daemon, ("alice", "alice"), &[SEND], &[]).expect_ok();
    daemon.wait_for_state("mail-bot", "active");
    let token = daemon.agent("mail-bot").token().unwrap();
    assert!(provider.is_alive(&token));
    (provider, daemon, token)
}

#[test]
fn disconnecting_revokes_the_grant_with_the_clients_own_credentials() {
    let (provider, daemon, token) = scene();
    let refresh_token = provider.refresh_tokens(false).pop().unwrap();
    // A request as Google takes it is refused here, and the grant lives.
    let plain = post_form(
        &format!("{}/revoke", provider.base_url),
        &[("token", &refresh_token)],
    );
    assert_eq!(plain.status, 400);
    assert!(provider.is_alive(&token));

    let done = daemon
        .cli(&[
            "integrations",
            "disconnect",
            "--owner",
            "alice",
            "--yes",
            "--output",
            "json",
        ])
        .expect_ok()
        .json();
    assert_eq!(done["revoked"], true, "{done}");
    assert!(provider.refresh_tokens(false).is_empty());
    assert!(!provider.is_alive(&token));
    assert_eq!(provider.present(&refresh_token).json()["error"], "invalid_grant");
    daemon.wait_for_state("mail-bot", "not_connected");
}

#[test]
fn forgetting_locally_leaves_the_grant_alive_there() {
    let (provider, daemon, token) = scene();
    daemon
        .cli(&[
            "integrations",
            "disconnect",
            "--owner",
            "alice",
            "--yes",
            "--revoke=never",
        ])
        .expect_ok();
    daemon.wait_for_state("mail-bot", "not_connected");
    assert!(provider.is_alive(&token));
    assert_eq!(provider.refresh_tokens(false).len(), 1);
}
