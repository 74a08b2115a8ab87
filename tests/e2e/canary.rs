//! Secrets stay where they belong, also where everything goes wrong and the daemon says all it can say.

use serde_json::json;

use crate::support::{Connecting, Daemon, Emulator, get, wait_until};

const SEND: &str = "google.gmail.send";
const CALENDAR: &str = "google.calendar.readonly";

#[test]
fn with_everything_logged_no_secret_is() {
    for format in ["text", "json"] {
        let google = Emulator::start(&["--token-lifetime", "6s", "--rotation", "leeway"]);
        let daemon = Daemon::with(&google, &[("log.level", "trace"), ("log.format", format)]);
        daemon.write_manifest("bot", "alice", &[SEND, "?google.calendar.readonly"]);
        daemon.start();
        let mut tokens = Vec::new();

        // Consents that fail, each in another way.
        let body = "ya29.emu-A0b1C2d3E4f5G6h7I8j9K0l1M2n3O4p5 1//emu-A0b1C2d3E4f5G6h7I8j9K0l1M2n3O4p5";
        for fault in [
            json!({ "endpoint": "token", "times": 1, "status": 400, "error": "invalid_grant", "error_description": body }),
            json!({ "endpoint": "token", "times": 1, "status": 500, "body": body }),
            json!({ "endpoint": "token", "times": 1, "status": 200, "body": body }),
            json!({ "endpoint": "token", "times": 1, "drop": true }),
        ] {
            let ordered = google.fault(&fault);
            let connecting = Connecting::start(&daemon, "alice", &[SEND, CALENDAR], &[]).unwrap();
            let page = connecting.approve();
            assert!(!page.text().contains("emu-"), "{}", page.text());
            assert_ne!(daemon.remember(connecting.finish()).code, 0, "{fault}");
            google.clear_fault(&ordered);
        }
        // The same in renewals, after one that went well.
        daemon.connect("alice", &[SEND, CALENDAR]).expect_ok();
        tokens.push(daemon.wait_for_token("bot", None));
        tokens.push(daemon.wait_for_token("bot", Some(&tokens[0])));
        let narrowed = daemon
            .agent("bot")
            .get("/v1/token?capability=google.gmail.send")
            .expect_ok()
            .json();
        tokens.push(narrowed["access_token"].as_str().unwrap().to_owned());
        google.fault(&json!({ "endpoint": "token", "times": 1, "status": 500, "body": body }));
        google.fault(&json!({ "endpoint": "token", "times": 1, "status": 401, "error": "invalid_client", "error_description": body }));
        google.wait_for_count("faults_struck", 6);
        wait_until("it to work again", || {
            daemon.agent("bot").get("/v1/token").status == 200
        });
        google.revoke("alice@example.com");
        let agent = daemon.wait_for_state("bot", "reconnect_required");
        // Whoever puts a secret where it does not belong does not get it back.
        let page = get(&format!(
            "{}/oauth/callback?state=canary-state&code=4/emu-canary",
            daemon.http()
        ));
        assert!(!page.text().contains("canary"), "{}", page.text());
        let refused = agent.get(&format!("/v1/token?capability={}", tokens[0]));
        assert!(!refused.text().contains(&tokens[0]), "{}", refused.text());
        daemon
            .cli(&["integrations", "disconnect", "--owner", "alice", "--yes"])
            .expect_ok();
        for command in [
            &["doctor"][..],
            &["status"],
            &["agents", "list"],
            &["integrations", "list"],
            &["audit", "list"],
        ] {
            daemon.cli(command);
        }
        let mut secrets: Vec<&str> = tokens.iter().map(String::as_str).collect();
        secrets.push("canary-state");
        daemon.scan_for_secrets(&secrets);
        assert!(daemon.whole_log().contains("TRACE"), "it says all it can say");
    }
}
