//! What the console says of an account whose address was another once, and of one that ends by itself.

use serde_json::json;

use crate::{
    activity::page,
    browser::Browser,
    scene::{ALICE, BOB, SEND, two_owners},
    support::{manifest, wait_until},
};

#[test]
fn a_former_address_is_shown_with_the_manifests_that_still_say_it() {
    let (google, daemon) = two_owners(&[]);
    let mut alice = Browser::signed_in(&daemon, Some("alice"));
    alice.connect("alice", ALICE, &[SEND]);
    for (agent, address) in [("old-bot", ALICE), ("new-bot", "alice@example.org")] {
        daemon.put_file(
            agent,
            &format!("{}account: {address}\n", manifest(agent, "alice", &[SEND])),
        );
    }
    daemon.wait_for_state("old-bot", "active");
    let before = page(&mut alice, "integrations");
    assert!(!before.contains("Its address was"), "{before}");

    google.order(
        "/rename",
        &json!({ "account": ALICE, "email": "alice@example.org" }),
    );
    alice.connect("alice", "alice@example.org", &[SEND]);
    daemon.wait_for_state("new-bot", "active");
    daemon.wait_for_state("old-bot", "active");
    let after = page(&mut alice, "integrations");
    for sentence in [
        "Its address was alice@example.com before, which still names it.",
        "Manifests that say so: old-bot.",
        "Write account: alice@example.org there.",
    ] {
        assert!(after.contains(sentence), "{sentence} is not in {after}");
    }
    assert!(!after.contains("new-bot. Write"), "{after}");
}

#[test]
fn a_grant_that_ends_by_itself_says_when_and_offers_to_connect_again_when_it_is_soon() {
    let (google, daemon) = two_owners(&[]);
    let mut operator = Browser::signed_in(&daemon, None);
    let connect = |owner: &str, account: &str, seconds: u32| {
        google.fault(&json!({
            "endpoint": "token", "account": account, "fields": { "refresh_token_expires_in": seconds }
        }));
        Browser::signed_in(&daemon, Some(owner)).connect(owner, account, &[SEND]);
        page(&mut Browser::signed_in(&daemon, Some(owner)), "integrations")
    };
    let later = connect("alice", ALICE, 6 * 86_400);
    assert!(later.contains(", ends by itself "), "{later}");
    assert!(!later.contains("Connect again"), "{later}");
    // Of a short life it is the second half.
    connect("bob", BOB, 2);
    let mut bob = Browser::signed_in(&daemon, Some("bob"));
    wait_until("the page to offer it", || {
        let soon = page(&mut bob, "integrations");
        soon.contains(", ends by itself ") && soon.contains("Connect again")
    });
    let all = page(&mut operator, "integrations");
    assert_eq!(all.matches(" , ends by itself ").count(), 2, "{all}");
}
