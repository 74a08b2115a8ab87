//! What each address answers to which method.

use http::Method;

use crate::{
    browser::Browser,
    scene::two_owners,
    support::{Answer, Daemon},
};

fn send(browser: &mut Browser, method: &Method, path: &str) -> Answer {
    browser.send(method.clone(), path, &[], String::new())
}

/// The lines of a head, but for the moment.
fn head(answer: &Answer) -> Vec<String> {
    let lines = answer.headers.iter().filter(|(name, _)| *name != "date");
    let mut lines: Vec<_> = lines.map(|(name, value)| format!("{name}: {value:?}")).collect();
    lines.sort();
    lines
}

#[test]
fn head_has_the_head_of_get() {
    let (_google, daemon) = two_owners(&[]);
    let mut nobody = Browser::new(&daemon);
    let mut alice = Browser::signed_in(&daemon, Some("alice"));
    for (browser, paths) in [
        (
            &mut nobody,
            vec![
                "/",
                "/help",
                "/help/nothing",
                "/nothing",
                "/agents/invoice-bot",
                "/healthz",
                "/console/agents",
            ],
        ),
        (
            &mut alice,
            vec![
                "/console/",
                "/console/agents",
                "/console/nothing",
                "/console/style.css",
            ],
        ),
    ] {
        for path in paths {
            let get = send(browser, &Method::GET, path);
            let shown = send(browser, &Method::HEAD, path);
            assert_eq!(shown.status, get.status, "{path}");
            assert_eq!(head(&shown), head(&get), "{path}");
            assert!(shown.body.is_empty(), "{path}");
        }
    }
    // It ends no consent, so nobody knows how long the page would be that says how it ended.
    let callback = send(&mut nobody, &Method::HEAD, "/oauth/callback?state=x");
    assert_eq!(
        (callback.status.as_u16(), callback.header("content-length")),
        (200, "")
    );
}

#[test]
fn another_method_is_refused_with_those_that_are_served() {
    let (_google, daemon) = two_owners(&[("risc.audiences", "audience.example")]);
    let mut alice = Browser::signed_in(&daemon, Some("alice"));
    let others = [
        Method::PUT,
        Method::DELETE,
        Method::OPTIONS,
        Method::PATCH,
        Method::TRACE,
    ];
    let mut refused = |method: &Method, path: &str, allowed: &str| {
        let answer = send(&mut alice, method, path);
        let sentence = format!("only {} is served here\n", allowed.replace(", ", " and "));
        assert_eq!(answer.status, 405, "{method} {path}");
        assert_eq!(answer.header("allow"), allowed, "{method} {path}");
        assert_eq!(answer.text(), sentence, "{method} {path}");
        assert_eq!(answer.header("x-frame-options"), "DENY", "{method} {path}");
    };
    for method in &others {
        for path in [
            "/",
            "/nothing",
            "/healthz",
            "/help",
            "/agents/invoice-bot",
            "/oauth/callback",
        ] {
            refused(method, path, "GET, HEAD");
        }
        for path in [
            "/console",
            "/console/agents",
            "/console/sign-out",
            "/console/nothing",
        ] {
            refused(method, path, "GET, HEAD, POST");
        }
        refused(method, "/risc", "POST");
    }
    for path in [
        "/",
        "/nothing",
        "/healthz",
        "/help",
        "/agents/invoice-bot",
        "/oauth/callback",
    ] {
        refused(&Method::POST, path, "GET, HEAD");
    }
    refused(&Method::GET, "/risc", "POST");
}

#[test]
fn a_page_that_there_is_not_is_not_told_from_a_form_or_another_owners() {
    let (_google, daemon) = two_owners(&[]);
    let mut alice = Browser::signed_in(&daemon, Some("alice"));
    let missing = alice.get("/console/nothing");
    assert_eq!(missing.status, 404);
    for path in [
        "/console/sign-out",
        "/console/agents/invoice-bot/invite",
        "/console/agents/bobs-helper",
        "/console/agents/nobody",
        "/console/agents/%ff",
        "/console/agents/",
        "/console/agents/a/b/c",
        "/console/health",
    ] {
        let answer = alice.get(path);
        assert_eq!(answer.status, 404, "{path}");
        assert_eq!(head(&answer), head(&missing), "{path}");
        assert_eq!(answer.text(), missing.text(), "{path}");
    }
    for path in ["/console/agents", "/console/nothing", "/console/style.css"] {
        let answer = alice.submit(path, &[]);
        assert_eq!(
            (answer.status.as_u16(), head(&answer)),
            (404, head(&missing)),
            "{path}"
        );
    }
}

/// The token is asked for before anything else is said, also of pages that there are not.
#[test]
fn no_form_is_taken_without_its_token() {
    fn refused(daemon: &Daemon, path: &str) {
        let mut alice = Browser::signed_in(daemon, Some("alice"));
        let answer = alice.post(path, &[("form_token", "x"), ("owner", "alice")]);
        assert_eq!(answer.status, 403, "{path}");
        assert!(answer.text().contains("out of date"), "{path}: {}", answer.text());
        assert_eq!(
            alice.get("/console/agents").status,
            200,
            "{path}: nobody was signed out"
        );
    }
    let (_google, daemon) = two_owners(&[]);
    for path in [
        "/console/sign-out",
        "/console/connect",
        "/console/service-account",
        "/console/integrations/int_00000000000000000001/check",
        "/console/integrations/int_00000000000000000001/disconnect",
        "/console/agents/invoice-bot/invite",
        "/console/nothing",
    ] {
        refused(&daemon, path);
    }
}
