//! Where a consent comes back to: who fetches it ahead ends nothing, and who ended it is told so again.

use http::Method;

use crate::{
    browser::{Browser, approve},
    scene::{ALICE, EVENTS, SEND, two_owners},
    support::{Connecting, Daemon, post_form},
};

/// A consent of the command line, and where Google sends the browser that approved it.
fn approved(daemon: &Daemon) -> (Connecting, String) {
    let connecting = Connecting::start(daemon, "alice", &[SEND], &[]).unwrap();
    let back = approve(connecting.url.as_str(), ALICE);
    (connecting, back)
}

#[test]
fn what_is_fetched_ahead_ends_no_consent() {
    let (google, daemon) = two_owners(&[]);
    let (connecting, back) = approved(&daemon);
    let mut alice = Browser::new(&daemon);
    let head = alice.send(Method::HEAD, &back, &[], String::new());
    assert_eq!(head.status, 200);
    for ahead in [
        ("sec-purpose", "prefetch"),
        ("sec-purpose", "prefetch;prerender"),
        ("sec-purpose", "Prefetch;anonymous-client-ip"),
        ("purpose", "prefetch"),
        ("x-purpose", "preview"),
        ("x-moz", "prefetch"),
    ] {
        let refused = alice.send(Method::GET, &back, &[ahead], String::new());
        assert_eq!(refused.status, 503, "{ahead:?}");
        assert_eq!(refused.header("cache-control"), "no-store");
    }
    assert!(alice.known_by.is_none());
    assert_eq!(google.count("exchange"), 0);
    let ending = alice.get(&back);
    assert!(ending.text().contains("Google is connected"), "{}", ending.text());
    connecting.finish().expect_ok();
}

#[test]
fn the_browser_that_ended_a_consent_is_shown_the_same_again() {
    let (google, daemon) = two_owners(&[]);
    let (connecting, back) = approved(&daemon);
    let mut alice = Browser::new(&daemon);
    let ending = alice.get(&back);
    let cookie = ending.header("set-cookie");
    for attribute in ["HttpOnly", "SameSite=Lax", "Path=/", "Max-Age=3600"] {
        assert!(cookie.contains(attribute), "{cookie}");
    }
    connecting.finish().expect_ok();
    for _ in 0..2 {
        let again = alice.get(&back);
        assert_eq!(again.status, 200);
        assert_eq!(again.text(), ending.text());
    }
    // Another consent of the same browser takes nothing from the first.
    let connecting = Connecting::start(&daemon, "bob", &[EVENTS], &[]).unwrap();
    let denied = post_form(connecting.url.as_str(), &[("decision", "deny")]);
    let back_again = denied.header("location").to_owned();
    let first = alice.get(&back_again);
    assert!(first.text().contains("Nothing was changed."), "{}", first.text());
    connecting.finish();
    assert_eq!(alice.get(&back_again).text(), first.text());
    assert_eq!(alice.get(&back).text(), ending.text());

    for mut other in [Browser::new(&daemon), Browser::signed_in(&daemon, Some("alice"))] {
        let refused = other.get(&back);
        assert_eq!(refused.status, 409);
        let text = refused.text();
        assert!(text.contains("This was ended already"), "{text}");
        assert!(
            !text.contains(ALICE) && !text.contains("Nothing was changed"),
            "{text}"
        );
        assert!(other.known_by.is_none());
    }
    // A cookie that nobody's browser was given says nothing.
    let mut guessing = Browser::new(&daemon);
    guessing.known_by = Some("token-broker-browser=".to_owned());
    assert_eq!(guessing.get(&back).status, 409);
    assert_eq!(google.count("exchange"), 1);
}

#[test]
fn a_platforms_page_is_gone_back_to_again() {
    let (_google, daemon) = two_owners(&[("connect.return_url_origins", "https://platform.example")]);
    let url = ["--return-url", "https://platform.example/done?x=1"];
    let connecting = Connecting::start(&daemon, "alice", &[SEND], &url).unwrap();
    let back = approve(connecting.url.as_str(), ALICE);
    let mut alice = Browser::new(&daemon);
    let there = alice.get(&back).header("location").to_owned();
    assert!(
        there.starts_with("https://platform.example/done?x=1&connected="),
        "{there}"
    );
    assert_eq!(alice.get(&back).header("location"), there);
    assert_eq!(Browser::new(&daemon).get(&back).status, 409);
}
