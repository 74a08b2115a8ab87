//! What is tried from outside, and fails.

use http::Method;

use crate::{
    browser::{Browser, approve},
    scene::{ALICE, SEND, two_owners},
};

#[test]
fn a_form_that_another_page_sends_does_nothing() {
    let (google, daemon) = two_owners(&[]);
    let mut alice = Browser::signed_in(&daemon, Some("alice"));
    let mut bob = Browser::signed_in(&daemon, Some("bob"));
    let (own, of_bob) = (alice.form_token(), bob.form_token());
    for wrong in ["", "x", of_bob.as_str()] {
        let refused = alice.post(
            "/console/connect",
            &[("form_token", wrong), ("owner", "alice"), ("capability", SEND)],
        );
        assert_eq!(refused.status, 403, "{wrong}");
        assert!(refused.text().contains("out of date"), "{}", refused.text());
    }
    let body = format!("form_token={own}&owner=alice&capability={SEND}");
    let form = ("content-type", "application/x-www-form-urlencoded");
    for foreign in [
        ("origin", "https://evil.example"),
        ("origin", "null"),
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
    ] {
        // Even with the right token, which such a page cannot know.
        let refused = alice.send(Method::POST, "/console/connect", &[form, foreign], body.clone());
        assert_eq!(refused.status, 403, "{foreign:?}");
        assert!(refused.text().contains("another site"), "{}", refused.text());
    }
    assert_eq!(google.count("authorize"), 0);
    assert!(alice.cookie.is_some(), "nobody was signed out by it");
    assert_eq!(alice.get("/console/agents").status, 200);
}

#[test]
fn nobody_is_signed_in_as_somebody_else_by_another_sites_form() {
    let (_google, daemon) = two_owners(&[]);
    let link = crate::browser::link(&daemon, Some("bob"));
    let token = link.split_once("link=").unwrap().1;
    let mut alice = Browser::signed_in(&daemon, Some("alice"));
    let headers = [
        ("content-type", "application/x-www-form-urlencoded"),
        ("origin", "https://evil.example"),
    ];
    let refused = alice.send(
        Method::POST,
        "/console/sign-in",
        &headers,
        format!("link={token}"),
    );
    assert_eq!(refused.status, 403);
    assert!(
        alice.get("/console/agents").text().contains("invoice-bot"),
        "still Alice"
    );
}

#[test]
fn only_posts_change_anything() {
    let (_google, daemon) = two_owners(&[]);
    daemon.connect_as("alice", ALICE, &[SEND]).expect_ok();
    let mut alice = Browser::signed_in(&daemon, Some("alice"));
    let page = alice.get("/console/integrations").text().to_owned();
    let (_, rest) = page.split_once("/console/integrations/").unwrap();
    let id = rest.split('/').next().unwrap();
    for path in [
        format!("/console/integrations/{id}/check"),
        "/console/sign-out".to_owned(),
        "/console/agents/invoice-bot/invite".to_owned(),
    ] {
        assert_eq!(alice.get(&path).status, 404, "{path}");
    }
    for method in [Method::PUT, Method::DELETE, Method::OPTIONS] {
        let refused = alice.send(method.clone(), "/console/agents", &[], String::new());
        assert_eq!(refused.status, 405, "{method}");
    }
    daemon.wait_for_state("invoice-bot", "active");
}

#[test]
fn a_state_that_was_made_up_or_used_ends_nothing() {
    let (google, daemon) = two_owners(&[]);
    let mut alice = Browser::signed_in(&daemon, Some("alice"));
    let url = alice.begin_consent(&[("capability", SEND)]);
    let back = approve(&url, ALICE);
    let state = |value: &str| {
        let mut url = url::Url::parse(&back).unwrap();
        let pairs: Vec<(String, String)> = url
            .query_pairs()
            .map(|(name, kept)| {
                let kept = if name == "state" {
                    value.to_owned()
                } else {
                    kept.into_owned()
                };
                (name.into_owned(), kept)
            })
            .collect();
        url.query_pairs_mut().clear().extend_pairs(pairs);
        url.to_string()
    };
    for forged in ["", "x", &"A".repeat(43)] {
        assert_eq!(alice.get(&state(forged)).status, 400, "{forged}");
    }
    assert_eq!(alice.get(&back).status, 303, "the true one still works");
    assert_eq!(alice.get(&back).status, 303, "and shows the same again");
    assert_eq!(google.count("exchange"), 1, "the code is used once");
}

#[test]
fn forms_that_are_too_large_or_broken_are_refused() {
    let (_google, daemon) = two_owners(&[]);
    let mut alice = Browser::signed_in(&daemon, Some("alice"));
    let token = alice.form_token();
    let large = "x".repeat(70_000);
    let refused = alice.post(
        "/console/connect",
        &[("form_token", &token), ("capability", &large)],
    );
    assert_eq!(refused.status, 400);
    assert!(refused.text().contains("did not arrive"), "{}", refused.text());
    let broken = [("content-type", "multipart/form-data; boundary=x")];
    let refused = alice.send(
        Method::POST,
        "/console/service-account",
        &broken,
        "--x\r\nno".to_owned(),
    );
    assert_eq!(refused.status, 400);
    let unknown = alice.submit("/console/connect", &[("capability", "google.nothing<script>")]);
    assert_eq!(unknown.status, 400);
    assert!(!unknown.text().contains("<script>"), "{}", unknown.text());
    let none = alice.submit("/console/connect", &[("owner", "alice")]);
    assert_eq!(none.status, 400);
    assert!(
        none.text().contains("Choose at least one permission."),
        "{}",
        none.text()
    );
}

#[test]
fn what_others_wrote_is_text_and_no_page_holds_a_token() {
    let evil = "x\"><img/src=x>@example.com";
    let google = crate::support::Emulator::start(&["--account", evil]);
    let daemon = crate::support::Daemon::new(&google);
    daemon.put_file(
        "invoice-bot.yaml",
        "agent: invoice-bot\nowner: alice\nintegrations:\n  - key: google.gmail.send\n    \
         description: \"</ul><script>alert(1)</script>\"\n",
    );
    daemon.start();
    let mut alice = Browser::signed_in(&daemon, Some("alice"));
    let chosen = alice.get("/console/connect?owner=alice");
    assert!(chosen.text().contains("&#60;script&#62;"), "{}", chosen.text());
    alice.connect("alice", evil, &[SEND]);
    let token = daemon.wait_for_state("invoice-bot", "active").token().unwrap();
    let page = alice.get("/console/integrations");
    let (_, rest) = page.text().split_once("/console/integrations/").unwrap();
    let id = rest.split('/').next().unwrap().to_owned();
    let pages = [
        "integrations".to_owned(),
        format!("integrations/{id}/disconnect"),
        format!("connect?integration={id}"),
        "agents".to_owned(),
        "agents/invoice-bot".to_owned(),
        format!("integrations?done=connected&account={id}"),
        "activity".to_owned(),
        "agents?after=%3Cscript%3E".to_owned(),
        "integrations?done=%3Cscript%3E&account=%3Cscript%3E".to_owned(),
    ];
    for path in pages {
        let page = alice.get(&format!("/console/{path}"));
        let text = page.text();
        assert_eq!(page.status, 200, "{path}");
        for part in ["<script>", "<img", "ya29.", "1//"] {
            assert!(!text.contains(part), "{part} in {path}: {text}");
        }
        assert!(!text.contains(&token), "{path}");
        assert!(
            !text.contains(" style=") && !text.contains("onclick"),
            "{path}: {text}"
        );
    }
}

#[test]
fn every_page_is_kept_out_of_frames_caches_and_other_sites() {
    let (_google, daemon) = two_owners(&[]);
    let mut alice = Browser::signed_in(&daemon, Some("alice"));
    for path in [
        "integrations",
        "agents",
        "agents/invoice-bot",
        "activity",
        "health",
        "nothing",
        "sign-in?link=x",
    ] {
        let page = alice.get(&format!("/console/{path}"));
        let policy = page.header("content-security-policy");
        for part in [
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "form-action 'self'",
            "frame-ancestors 'none'",
            "base-uri 'none'",
        ] {
            assert!(policy.contains(part), "{path}: {policy}");
        }
        assert!(!policy.contains("unsafe"), "{policy}");
        for (header, value) in [
            ("x-frame-options", "DENY"),
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "same-origin"),
            ("cache-control", "no-store"),
            ("cross-origin-opener-policy", "same-origin"),
        ] {
            assert_eq!(page.header(header), value, "{path}: {header}");
        }
    }
}
