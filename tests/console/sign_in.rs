//! Signing in and out.

use crate::{
    browser::{Browser, link},
    scene::two_owners,
    support::{block_on, wait_for},
};
use token_broker::proto::v1::BeginSessionRequest;

#[test]
fn a_link_says_whom_it_signs_in_and_does_so_once() {
    let (_google, daemon) = two_owners(&[]);
    let link = link(&daemon, Some("alice"));
    let mut alice = Browser::new(&daemon);
    for _ in 0..2 {
        // A mail scanner that looks at the link uses nothing up.
        let page = alice.get(&link);
        assert_eq!(page.status, 200);
        assert!(page.text().contains("Continue as alice?"), "{}", page.text());
        assert!(alice.cookie.is_none());
    }
    let signed_in = alice.follow_link(&link);
    assert_eq!(signed_in.status, 303);
    assert_eq!(signed_in.header("location"), "/console/");
    let cookie = signed_in.header("set-cookie");
    for attribute in ["HttpOnly", "SameSite=Lax", "Path=/"] {
        assert!(cookie.contains(attribute), "{cookie}");
    }
    assert!(!cookie.contains("Secure"), "plain HTTP on loopback: {cookie}");
    let page = alice.get("/console/integrations");
    assert_eq!(page.status, 200);
    assert!(page.text().contains(">alice<"), "{}", page.text());

    let mut thief = Browser::new(&daemon);
    assert_eq!(thief.get(&link).status, 410);
    let refused = thief.follow_link(&link);
    assert_eq!(refused.status, 410);
    assert!(refused.text().contains("no longer good"), "{}", refused.text());
    assert!(thief.cookie.is_none());
    assert_eq!(thief.get("/console/integrations").status, 401);
    daemon.scan_for_secrets(&[link.split_once("link=").unwrap().1, cookie_value(cookie)]);
}

fn cookie_value(cookie: &str) -> &str {
    let (_, value) = cookie.split(';').next().unwrap().split_once('=').unwrap();
    value
}

#[test]
fn a_session_that_was_planted_is_not_taken_over() {
    let (_google, daemon) = two_owners(&[]);
    let mut mallory = Browser::signed_in(&daemon, Some("bob"));
    let planted = mallory.cookie.clone().unwrap();
    let mut alice = Browser::new(&daemon);
    alice.cookie = Some(planted.clone());
    alice.follow_link(&link(&daemon, Some("alice")));
    assert_ne!(alice.cookie, Some(planted));
    assert!(alice.get("/console/integrations").text().contains(">alice<"));
    assert_eq!(
        mallory.get("/console/integrations").status,
        401,
        "the session before has ended"
    );

    let mut made_up = Browser::new(&daemon);
    made_up.cookie = Some("token-broker=of-my-own-choice".to_owned());
    assert_eq!(made_up.get("/console/integrations").status, 401);
}

#[test]
fn signing_out_ends_the_session() {
    let (_google, daemon) = two_owners(&[]);
    let mut alice = Browser::signed_in(&daemon, Some("alice"));
    let cookie = alice.cookie.clone();
    let page = alice.submit("/console/sign-out", &[]);
    assert_eq!(page.status, 200);
    assert!(
        page.header("set-cookie").contains("Max-Age=0"),
        "{}",
        page.header("set-cookie")
    );
    alice.cookie = cookie;
    assert_eq!(alice.get("/console/integrations").status, 401);
}

#[test]
fn behind_tls_the_cookie_is_for_this_host_and_for_tls_alone() {
    let (_google, daemon) = two_owners(&[("public_url", "https://broker.example")]);
    let link = link(&daemon, None);
    assert!(
        link.starts_with("https://broker.example/console/sign-in?link="),
        "{link}"
    );
    let mut browser = Browser::new(&daemon);
    let answer = browser.follow_link(&link);
    let cookie = answer.header("set-cookie");
    assert!(cookie.starts_with("__Host-token-broker="), "{cookie}");
    assert!(cookie.contains("Secure"), "{cookie}");
}

#[test]
fn a_platform_gets_links_that_lead_to_a_page_and_back_to_itself() {
    let (_google, daemon) = two_owners(&[("connect.return_url_origins", "https://platform.example")]);
    let mut admin = daemon.admin();
    let request = |return_url: &str, page: &str| BeginSessionRequest {
        owner: "alice".to_owned(),
        return_url: return_url.to_owned(),
        page: page.to_owned(),
    };
    let begun =
        block_on(admin.begin_session(request("https://platform.example/settings", "agents/invoice-bot")));
    let url = begun.unwrap().into_inner().url.clone();
    let mut alice = Browser::new(&daemon);
    let question = alice.get(&url);
    assert!(
        question.text().contains("value=\"agents/invoice-bot\""),
        "{}",
        question.text()
    );
    alice.follow_link(&url);
    let page = alice.get("/console/agents/invoice-bot");
    assert!(
        page.text().contains("href=\"https://platform.example/settings\""),
        "{}",
        page.text()
    );

    for foreign in ["https://evil.example/", "javascript:alert(1)", "//evil.example"] {
        let refused = block_on(admin.begin_session(request(foreign, ""))).unwrap_err();
        assert!(
            refused.message().contains("is not allowed"),
            "{}",
            refused.message()
        );
    }
    for page in ["//evil.example", "../x", "agents?x=1"] {
        let refused = block_on(admin.begin_session(request("", page)));
        // Two slashes are a path of the console's own.
        assert!(refused.is_err() || page.starts_with('/'), "{page}");
    }
}

#[test]
fn a_page_in_the_form_cannot_lead_away() {
    let (_google, daemon) = two_owners(&[]);
    for page in [
        "//evil.example",
        "https://evil.example",
        "\\\\evil.example",
        "a%0d%0ab",
    ] {
        let link = link(&daemon, None);
        let token = link.split_once("link=").unwrap().1;
        let answer = Browser::new(&daemon).post("/console/sign-in", &[("link", token), ("page", page)]);
        let location = answer.header("location");
        assert!(location.starts_with("/console/"), "{page}: {location}");
    }
}

#[test]
fn owners_see_who_was_let_in_as_them() {
    let (_google, daemon) = two_owners(&[]);
    let mut bob = Browser::signed_in(&daemon, Some("bob"));
    let mut alice = Browser::new(&daemon);
    let link = link(&daemon, Some("alice"));
    alice.follow_link(&link);
    alice.follow_link(&link);
    let record = |browser: &mut Browser, sentence: &str| {
        wait_for(sentence, || {
            let page = browser.get("/console/activity").text().to_owned();
            page.contains(sentence).then_some(page)
        })
    };
    let page = record(&mut alice, "signed in to these pages");
    assert!(page.contains("made a link to these pages"), "{page}");
    assert_eq!(page.matches("signed in to these pages").count(), 1, "{page}");
    let page = record(&mut bob, "signed in to these pages");
    assert!(!page.contains("alice"), "{page}");
    let trail = daemon.cli(&["audit", "list"]).expect_ok().stdout;
    for line in [
        "a link that signs owner alice in once, until",
        "as owner alice, with a one-time link",
    ] {
        assert!(trail.contains(line), "{line} is not in {trail}");
    }
    daemon.scan_for_secrets(&[link.split_once("link=").unwrap().1]);
}

#[test]
fn the_operator_signs_an_owner_out() {
    let (_google, daemon) = two_owners(&[]);
    let mut alice = Browser::signed_in(&daemon, Some("alice"));
    let mut bob = Browser::signed_in(&daemon, Some("bob"));
    let unused = link(&daemon, Some("alice"));
    let ended = daemon.cli(&["console", "--sign-out", "--owner", "alice"]);
    assert_eq!(ended.expect_ok().stdout, "Ended 1 session and 1 unused link.\n");
    assert_eq!(alice.get("/console/integrations").status, 401);
    assert_eq!(alice.follow_link(&unused).status, 410);
    assert_eq!(bob.get("/console/integrations").status, 200);
    let everybody = daemon.cli(&["console", "--sign-out"]);
    assert_eq!(
        everybody.expect_ok().stdout,
        "Ended 1 session and 0 unused links.\n"
    );
    assert_eq!(bob.get("/console/integrations").status, 401);
}
