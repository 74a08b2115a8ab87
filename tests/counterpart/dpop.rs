//! Grants that are bound to a key, at a server that was not written here.

use serde_json::json;

use crate::{
    browser::Browser,
    other_provider::in_console,
    provider::{PUBLIC_CLIENT_ID, Provider, connect},
    support::{Connecting, Daemon, Emulator, post_form},
};

const FILES: &str = "acme.files.read";

/// A daemon with the counterpart as a provider, whose client has no secret.
fn daemon(google: &Emulator, acme: &Provider) -> Daemon {
    let daemon = Daemon::new(google);
    let client = format!("client_id = \"{PUBLIC_CLIENT_ID}\"\ndpop = true");
    acme.configure(&daemon, &client, &[(FILES, "Read files", "files.read")]);
    daemon.write_manifest("acme-bot", "alice", &[FILES]);
    daemon.start();
    daemon
}

#[test]
fn a_bound_grant_is_renewed_over_rotations_nonces_and_a_restart() {
    let (google, acme) = (Emulator::start(&[]), Provider::start());
    acme.order("bind", &json!({ "access": false }));
    acme.order("lifetime", &json!({ "seconds": 6 }));
    let daemon = daemon(&google, &acme);
    let connecting = Connecting::start(&daemon, "alice", &[FILES], &[]).unwrap();
    assert_eq!(
        connecting.parameter("dpop_jkt").len(),
        43,
        "the code is bound too"
    );
    let asked = connecting.asked();
    let asked: Vec<&str> = asked.iter().map(String::as_str).collect();
    Browser::default().consent(connecting.url.as_str(), "alice", &asked);
    connecting.finish().expect_ok();
    daemon.wait_for_state("acme-bot", "active");
    let shown = daemon.cli(&["integrations", "show", "--owner", "alice", "--output", "json"]);
    assert_eq!(shown.expect_ok().json()["dpop"], "bound");
    let page = in_console(&daemon, "/console/integrations?owner=alice");
    assert!(
        page.contains("is bound to a key of this program (DPoP)"),
        "{page}"
    );
    acme.wait_for_count("refreshes", acme.count("refreshes") + 3);

    acme.order("nonce", &json!({ "required": true }));
    acme.wait_for_count("refreshes", acme.count("refreshes") + 3);
    daemon.restart();
    acme.wait_for_count("refreshes", acme.count("refreshes") + 3);
    let token = daemon
        .wait_for_state("acme-bot", "active")
        .get("/v1/token?integration=acme");
    let token = token.expect_ok().json()["access_token"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(acme.is_alive(&token), "agents use it as any other");
    acme.expect_no_reuse();

    // Whoever has the refresh token alone has nothing.
    assert_eq!(daemon.terminate(), 0);
    let all = acme.state();
    assert!(
        all["refresh"]
            .as_array()
            .unwrap()
            .iter()
            .all(|token| token["bound"] == true)
    );
    let stolen = acme.refresh_tokens(false).pop().unwrap();
    let refused = post_form(
        &format!("{}/token", acme.base_url),
        &[
            ("grant_type", "refresh_token"),
            ("refresh_token", &stolen),
            ("client_id", PUBLIC_CLIENT_ID),
        ],
    );
    assert_eq!(
        (refused.status.as_u16(), &refused.json()["error"]),
        (400, &json!("invalid_grant")),
        "{}",
        refused.text()
    );
}

#[test]
fn a_server_that_binds_access_tokens_too_is_of_no_use_and_is_told_so() {
    let (google, acme) = (Emulator::start(&[]), Provider::start());
    let daemon = daemon(&google, &acme);
    let refused = connect(&daemon, ("alice", "alice"), &[FILES], &[]);
    assert_eq!(refused.code, 7, "{refused:?}");
    for words in [
        "its `token_type` is `DPoP`",
        "refresh tokens alone",
        "`dpop = true`",
    ] {
        assert!(refused.stderr.contains(words), "{refused:?}");
    }
    daemon.wait_for_state("acme-bot", "not_connected");
}

#[test]
fn a_server_without_proofs_is_asked_for_nothing() {
    let (google, acme) = (
        Emulator::start(&[]),
        Provider::start_with(&[("WITHOUT_DPOP", "true")]),
    );
    let daemon = daemon(&google, &acme);
    let refused = daemon.cli(&[
        "connect",
        "--owner",
        "alice",
        "--no-browser",
        "--capability",
        FILES,
    ]);
    assert_eq!(refused.code, 7, "{refused:?}");
    assert!(
        refused
            .stderr
            .contains("does not say that the server takes proofs")
            && refused.stderr.contains("`dpop = true`"),
        "{refused:?}"
    );
}
