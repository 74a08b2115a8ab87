//! An owner sees and changes what is theirs alone.

use crate::{
    browser::{Browser, approve},
    scene::{ALICE, BOB, EVENTS, SEND, two_owners},
    support::{Daemon, wait_for},
};
use serde_json::Value;

fn integration_of(daemon: &Daemon, owner: &str) -> String {
    let listed = daemon.cli(&["integrations", "list", "--owner", owner, "--output", "json"]);
    let listed: Value = serde_json::from_str(&listed.expect_ok().stdout).unwrap();
    listed["integrations"][0]["id"].as_str().unwrap().to_owned()
}

#[test]
fn another_owners_things_are_not_there() {
    let (google, daemon) = two_owners(&[]);
    daemon.connect_as("alice", ALICE, &[SEND]).expect_ok();
    let mut bob = Browser::signed_in(&daemon, Some("bob"));
    let of_alice = integration_of(&daemon, "alice");
    for page in ["integrations", "agents"] {
        let page = bob.get(&format!("/console/{page}"));
        assert_eq!(page.status, 200);
        for name in ["alice", "invoice-bot", of_alice.as_str()] {
            assert!(!page.text().contains(name), "{name} in {}", page.text());
        }
    }
    for page in [
        "integrations?owner=alice".to_owned(),
        "agents?owner=alice".to_owned(),
        "agents/invoice-bot".to_owned(),
        format!("integrations/{of_alice}/disconnect"),
        "connect?owner=alice".to_owned(),
        format!("connect?integration={of_alice}"),
        "connect?agent=invoice-bot".to_owned(),
        "service-account?owner=alice".to_owned(),
        "activity?owner=alice".to_owned(),
    ] {
        let answer = bob.get(&format!("/console/{page}"));
        assert_eq!(answer.status, 404, "{page}: {}", answer.text());
        assert!(!answer.text().contains("invoice-bot"), "{page}");
    }
    let token = bob.form_token();
    for (page, pairs) in [
        (format!("integrations/{of_alice}/disconnect"), vec![]),
        (format!("integrations/{of_alice}/check"), vec![]),
        (
            "connect".to_owned(),
            vec![("owner", "alice"), ("capability", SEND)],
        ),
        (
            "connect".to_owned(),
            vec![("integration", of_alice.as_str()), ("capability", SEND)],
        ),
        (
            "connect".to_owned(),
            vec![("agent", "invoice-bot"), ("capability", SEND)],
        ),
        (
            "connect".to_owned(),
            vec![
                ("owner", "bob"),
                ("integration", of_alice.as_str()),
                ("capability", SEND),
            ],
        ),
        (
            "service-account".to_owned(),
            vec![("owner", "alice"), ("key", "{}")],
        ),
        ("agents/invoice-bot/invite".to_owned(), vec![]),
        ("agents/bobs-helper/invite".to_owned(), vec![]),
    ] {
        let mut all = vec![("form_token", token.as_str())];
        all.extend(pairs);
        let answer = bob.post(&format!("/console/{page}"), &all);
        assert_eq!(answer.status, 404, "{page}: {}", answer.text());
    }
    daemon.wait_for_state("invoice-bot", "active");
    assert_eq!(google.count("revoke"), 0);
}

#[test]
fn the_operator_sees_everything_and_acts_for_an_owner() {
    let (_google, daemon) = two_owners(&[]);
    let mut operator = Browser::signed_in(&daemon, None);
    let ending = operator.connect("bob", BOB, &[EVENTS]);
    assert_eq!(ending.status, 303);
    daemon.wait_for_state("bobs-helper", "active");
    let page = operator.get("/console/integrations");
    assert!(page.text().contains(BOB), "{}", page.text());
    let agents = operator.get("/console/agents");
    assert!(agents.text().contains("invoice-bot") && agents.text().contains("bobs-helper"));
    let actor = wait_for("the line of the trail", || {
        let trail = daemon.audit();
        let line = trail
            .lines()
            .find(|line| line.contains("integration.connected"))?
            .to_owned();
        Some(line)
    });
    assert!(actor.contains("admin:uid=0"), "{actor}");
}

#[test]
fn a_consent_ends_in_the_session_that_began_it() {
    let (google, daemon) = two_owners(&[]);
    let mut alice = Browser::signed_in(&daemon, Some("alice"));
    let mut bob = Browser::signed_in(&daemon, Some("bob"));
    let url = alice.begin_consent(&[("capability", SEND)]);
    let back = approve(&url, BOB);
    // Bob's browser, or one of nobody's, is sent to Alice's ending with an account of Bob's own.
    for browser in [&mut bob, &mut Browser::new(&daemon)] {
        let refused = browser.get(&back);
        assert_eq!(refused.status, 403, "{}", refused.text());
        assert!(
            refused.text().contains("begun somewhere else"),
            "{}",
            refused.text()
        );
    }
    assert_eq!(google.count("exchange"), 0, "the code was not even used");
    let ending = alice.get(&back);
    assert_eq!(ending.status, 303, "{}", ending.text());
    assert!(
        ending
            .header("location")
            .starts_with("/console/integrations?done=connected")
    );
    let page = alice.get(ending.header("location"));
    assert!(
        page.text().contains("bob@example.com is connected."),
        "{}",
        page.text()
    );
    let replayed = alice.get(&back);
    assert_eq!(replayed.header("location"), ending.header("location"));
    // To Bob, whose account it is, it is nobody's business how it ended.
    let elsewhere = bob.get(&back);
    assert_eq!(elsewhere.status, 409);
    assert!(!elsewhere.text().contains(BOB), "{}", elsewhere.text());
}

#[test]
fn a_consent_of_an_ended_session_connects_nothing() {
    let (_google, daemon) = two_owners(&[]);
    let mut alice = Browser::signed_in(&daemon, Some("alice"));
    let url = alice.begin_consent(&[("capability", SEND)]);
    alice.submit("/console/sign-out", &[]);
    let refused = alice.get(&approve(&url, ALICE));
    assert_eq!(refused.status, 403, "{}", refused.text());
    daemon.wait_for_state("invoice-bot", "not_connected");
}

#[test]
fn an_agents_page_says_when_it_asked_last() {
    let (_google, daemon) = two_owners(&[]);
    daemon.connect_as("alice", ALICE, &[SEND]).expect_ok();
    let agent = daemon.wait_for_state("invoice-bot", "active");
    let mut alice = Browser::signed_in(&daemon, Some("alice"));
    let page = alice.get("/console/agents/invoice-bot");
    assert!(
        page.text().contains("not since token-broker started"),
        "{}",
        page.text()
    );
    agent.get("/v1/token").expect_ok();
    let page = alice.get("/console/agents/invoice-bot");
    assert!(
        !page.text().contains("not since token-broker started"),
        "{}",
        page.text()
    );
    let shown = daemon
        .cli(&["agents", "show", "invoice-bot", "--output", "json"])
        .json();
    let at = shown["last_used_at"].as_str().unwrap();
    assert!(
        page.text().contains(&format!("datetime=\"{at}\"")),
        "{at}: {}",
        page.text()
    );
}
