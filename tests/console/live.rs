//! Pages hear of changes: of the viewer's own, and of nothing else.

use http_body_util::BodyExt;
use hyper::body::Incoming;

use crate::{
    browser::Browser,
    scene::{ALICE, BOB, EVENTS, SEND, two_owners},
    support::{block_on, open, wait_for},
};

/// What a page listens to.
pub(crate) struct Events {
    body: Incoming,
    heard: String,
}

impl Events {
    pub(crate) fn of(browser: &Browser) -> Self {
        let url = format!("{}/console/events", browser.root);
        let cookie = browser.cookie.clone().unwrap();
        let answer = block_on(open(&url, &[("cookie", &cookie)])).unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        let mut events = Self {
            body: answer.into_body(),
            heard: String::new(),
        };
        // The greeting: from here on nothing is missed.
        events.until("retry:");
        events
    }

    pub(crate) fn until(&mut self, part: &str) {
        while !self.heard.contains(part) {
            let frame = block_on(self.body.frame());
            let frame = frame.unwrap_or_else(|| panic!("it ended before {part:?}: {}", self.heard));
            let data = frame.unwrap().into_data().unwrap();
            self.heard.push_str(std::str::from_utf8(&data).unwrap());
        }
        self.heard.clear();
    }

    fn rest(mut self) -> String {
        while let Some(frame) = block_on(self.body.frame()) {
            let data = frame.unwrap().into_data().unwrap();
            self.heard.push_str(std::str::from_utf8(&data).unwrap());
        }
        self.heard
    }
}

#[test]
fn a_page_hears_of_its_viewers_changes_alone() {
    let (_google, daemon) = two_owners(&[]);
    let mut bob = Browser::signed_in(&daemon, Some("bob"));
    let alice = Browser::signed_in(&daemon, Some("alice"));
    let operator = Browser::signed_in(&daemon, None);
    let mut of_alice = Events::of(&alice);
    let of_bob = Events::of(&bob);
    let mut of_operator = Events::of(&operator);
    daemon.connect_as("alice", ALICE, &[SEND]).expect_ok();
    of_alice.until("event: changed");
    of_operator.until("event: changed");
    daemon.wait_for_state("invoice-bot", "active");
    daemon
        .cli(&["integrations", "disconnect", "--owner", "alice", "--yes"])
        .expect_ok();
    of_alice.until("event: changed");
    daemon.wait_for_state("invoice-bot", "not_connected");

    // All that was Alice's has been said by now. Bob's stream ends with his session, at his own first event.
    bob.submit("/console/sign-out", &[]);
    daemon.connect_as("bob", BOB, &[EVENTS]).expect_ok();
    let heard = of_bob.rest();
    assert!(!heard.contains("changed"), "{heard}");
}

#[test]
fn a_page_that_looks_by_itself_finds_the_new_state() {
    let (_google, daemon) = two_owners(&[]);
    let mut alice = Browser::signed_in(&daemon, Some("alice"));
    daemon.connect_as("alice", ALICE, &[SEND]).expect_ok();
    alice.headers.push(("x-console-live".to_owned(), "1".to_owned()));
    let page = wait_for("the page to say so", || {
        let page = alice.get("/console/integrations");
        page.text().contains(ALICE).then_some(page)
    });
    assert!(page.text().contains("data-live=\"integrations\""));
}

#[test]
fn a_proxy_is_told_to_pass_events_on_at_once() {
    let (_google, daemon) = two_owners(&[]);
    let alice = Browser::signed_in(&daemon, Some("alice"));
    let url = format!("{}/console/events", alice.root);
    let answer = block_on(open(&url, &[("cookie", alice.cookie.as_ref().unwrap())])).unwrap();
    assert_eq!(answer.headers()["x-accel-buffering"], "no");
}

#[test]
fn an_owner_has_so_many_open_pages_and_takes_nothing_from_others() {
    let (_google, daemon) = two_owners(&[]);
    let (mut alice, bob) = (
        Browser::signed_in(&daemon, Some("alice")),
        Browser::signed_in(&daemon, Some("bob")),
    );
    let listen = |browser: &Browser| {
        let url = format!("{}/console/events", browser.root);
        block_on(open(&url, &[("cookie", browser.cookie.as_ref().unwrap())])).unwrap()
    };
    let answers: Vec<_> = (0..40).map(|_| listen(&alice)).collect();
    let (open, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(|answer| answer.status() == 200);
    assert_eq!(open.len(), 16, "of one session");
    assert!(refused.iter().all(|answer| answer.status() == 429));
    let others: Vec<_> = (0..4)
        .map(|_| Browser::signed_in(&daemon, Some("alice")))
        .flat_map(|browser| (0..16).map(move |_| listen(&browser)).collect::<Vec<_>>())
        .filter(|answer| answer.status() == 200)
        .collect();
    assert_eq!(open.len() + others.len(), 32, "of one person");
    // The pages themselves go on, and so does everybody else.
    assert_eq!(alice.get("/console/integrations").status, 200);
    Events::of(&bob);
    drop(others);
    wait_for("a place", || {
        (listen(&Browser::signed_in(&daemon, Some("alice"))).status() == 200).then_some(())
    });
}

#[test]
fn nobody_listens_without_a_session() {
    let (_google, daemon) = two_owners(&[]);
    assert_eq!(Browser::new(&daemon).get("/console/events").status, 401);
}

#[test]
fn the_daemon_ends_without_waiting_for_pages() {
    let (_google, daemon) = two_owners(&[]);
    let alice = Browser::signed_in(&daemon, Some("alice"));
    let events = Events::of(&alice);
    assert_eq!(daemon.terminate(), 0);
    events.rest();
    assert!(!daemon.log().contains("still under way"), "{}", daemon.log());
}
