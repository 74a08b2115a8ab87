//! A reverse proxy that says who people are.

use crate::{
    browser::Browser,
    scene::two_owners,
    support::{wait_for, wait_until},
};

const SETTINGS: [(&str, &str); 3] = [
    ("console.proxy_addresses", "127.0.0.0/8"),
    ("console.proxy_header", "x-forwarded-user"),
    ("console.operators", "ops@example.com"),
];

fn named(browser: &mut Browser, name: &str) {
    browser.headers = vec![("x-forwarded-user".to_owned(), name.to_owned())];
}

#[test]
fn whom_a_trusted_proxy_names_is_signed_in() {
    let (_google, daemon) = two_owners(&SETTINGS);
    let mut browser = Browser::new(&daemon);
    named(&mut browser, "alice");
    let page = browser.get("/console/agents");
    assert_eq!(page.status, 200);
    assert!(page.text().contains("invoice-bot") && !page.text().contains("bobs-helper"));
    assert!(browser.cookie.is_some());
    let cookie = browser.cookie.clone();
    browser.get("/console/agents");
    assert_eq!(browser.cookie, cookie, "the session goes on");
    // Forms are checked all the same.
    assert_eq!(
        browser.post("/console/connect", &[("owner", "alice")]).status,
        403
    );

    // Somebody else signs in at the proxy in the same browser.
    named(&mut browser, "bob");
    let page = browser.get("/console/agents");
    assert!(page.text().contains("bobs-helper") && !page.text().contains("invoice-bot"));
    let mut before = Browser::new(&daemon);
    before.cookie = cookie;
    assert_eq!(
        before.get("/console/agents").status,
        401,
        "the first session has ended"
    );

    // A program that keeps no cookie arrives once.
    for _ in 0..2 {
        let mut program = Browser::new(&daemon);
        named(&mut program, "bob");
        assert_eq!(program.get("/console/agents").status, 200);
    }

    named(&mut browser, "ops@example.com");
    let page = browser.get("/console/agents");
    assert!(page.text().contains("bobs-helper") && page.text().contains("invoice-bot"));
    let arrived = wait_for("the operator's line", || {
        let trail = daemon.cli(&["audit", "list"]).expect_ok().stdout;
        trail.contains("person:ops@example.com").then_some(trail)
    });
    let arrivals = arrived.matches("by the header of the trusted proxy").count();
    assert_eq!(arrivals, 3, "{arrived}");
}

#[test]
fn a_header_of_anybody_else_says_nothing() {
    let elsewhere = [SETTINGS[1], SETTINGS[2], ("console.proxy_addresses", "192.0.2.7")];
    let (_google, daemon) = two_owners(&elsewhere);
    let mut browser = Browser::new(&daemon);
    named(&mut browser, "ops@example.com");
    assert_eq!(browser.get("/console/agents").status, 401);
    assert!(browser.cookie.is_none());

    let (_google, unconfigured) = two_owners(&[]);
    let mut browser = Browser::new(&unconfigured);
    named(&mut browser, "ops@example.com");
    assert_eq!(browser.get("/console/agents").status, 401);
}

#[test]
fn a_name_that_came_twice_or_is_none_signs_nobody_in() {
    let (_google, daemon) = two_owners(&SETTINGS);
    let mut browser = Browser::new(&daemon);
    let header = |name: &str| ("x-forwarded-user".to_owned(), name.to_owned());
    browser.headers = vec![header("alice"), header("ops@example.com")];
    for _ in 0..50 {
        assert_eq!(browser.get("/console/agents").status, 401);
    }
    let told = daemon.log();
    let told = told
        .lines()
        .filter(|line| line.contains("a header that names people"));
    assert_eq!(told.count(), 1, "{}", daemon.log());
    named(&mut browser, "");
    assert_eq!(browser.get("/console/agents").status, 401);
    let told = || {
        let log = daemon.log();
        log.lines()
            .filter(|line| line.contains("cannot be an owner"))
            .count()
    };
    assert_eq!(told(), 0, "nobody is named: {}", daemon.log());
    for wrong in ["two words", "quo\"te", "jörg@example.com", &"x".repeat(129)] {
        named(&mut browser, wrong);
        assert_eq!(browser.get("/console/agents").status, 401, "{wrong:?}");
    }
    // The log is written beside the answers.
    wait_until("the log tells of it", || told() > 0);
    assert_eq!(told(), 1, "{}", daemon.log());
}
