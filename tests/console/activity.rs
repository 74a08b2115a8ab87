//! What happened, and whether all is well.

use crate::{
    browser::Browser,
    scene::{ALICE, BOB, EVENTS, SEND, two_owners},
    support::{Answer, wait_for},
};

/// The page's text without its marks, one space between words.
fn words(answer: &Answer) -> String {
    let mut text = String::new();
    for part in answer.text().split('<') {
        text.push(' ');
        text.push_str(part.split_once('>').map_or(part, |(_, text)| text));
    }
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

pub(crate) fn page(browser: &mut Browser, address: &str) -> String {
    let answer = browser.get(&format!("/console/{address}"));
    assert_eq!(answer.status, 200, "{address}: {}", answer.text());
    words(&answer)
}

#[test]
fn owners_read_what_happened_to_what_is_theirs() {
    let (_google, daemon) = two_owners(&[]);
    let mut alice = Browser::signed_in(&daemon, Some("alice"));
    let mut bob = Browser::signed_in(&daemon, Some("bob"));
    let empty = page(&mut alice, "activity");
    assert!(
        empty.contains("added or changed an agent agent invoice-bot"),
        "{empty}"
    );
    alice.connect("alice", ALICE, &[SEND]);
    bob.connect("bob", BOB, &[EVENTS]);
    daemon.wait_for_state("invoice-bot", "active");
    daemon.wait_for_state("bobs-helper", "active");
    daemon.agent("invoice-bot").get("/v1/token").expect_ok();

    let told = wait_for("the lines of what happened", || {
        let told = page(&mut alice, "activity");
        told.contains("was given a token").then_some(told)
    });
    for sentence in [
        "You connected alice@example.com to send emails",
        "token-broker got a new token for alice@example.com to send emails",
        "invoice-bot was given a token to send emails with alice@example.com",
        "Access renewed in the last 24 hours: 1 time; failed: 0",
    ] {
        assert!(told.contains(sentence), "{sentence} is not in {told}");
    }
    for other in ["bob", "uid", "line 1", "Is this record as it was written"] {
        assert!(!told.contains(other), "{other} in {told}");
    }

    let agents_only = page(&mut alice, "activity?agent=invoice-bot");
    assert!(agents_only.contains("was given a token"), "{agents_only}");
    assert!(
        !agents_only.contains("You connected"),
        "the filter holds: {agents_only}"
    );
    let of_account = page(&mut alice, "activity?address=Alice%40example.com");
    assert!(of_account.contains("You connected"), "{of_account}");
    assert!(!of_account.contains("an agent agent"), "{of_account}");
    let of_capability = page(&mut alice, &format!("activity?capability={EVENTS}"));
    assert!(
        of_capability.contains("Nothing in the record fits"),
        "{of_capability}"
    );
    for filter in [
        "agent=bobs-helper",
        "capability=google.calendar.readonly",
        "after=0&agent=bobs-helper",
    ] {
        let nothing = page(&mut alice, &format!("activity?{filter}"));
        assert!(
            nothing.contains("Nothing in the record fits"),
            "{filter}: {nothing}"
        );
    }
    let unknown = page(&mut alice, &format!("activity?address={BOB}"));
    assert!(
        unknown.contains("No account with the address bob@example.com is connected."),
        "whether there is one elsewhere is not told: {unknown}"
    );
}

#[test]
fn what_was_typed_into_a_filter_comes_back_as_text() {
    let (_google, daemon) = two_owners(&[]);
    let mut alice = Browser::signed_in(&daemon, Some("alice"));
    let script = "%22%3E%3Cscript%3Ealert(1)%3C/script%3E";
    for field in ["agent", "address", "capability", "before", "owner"] {
        let answer = alice.get(&format!("/console/activity?{field}={script}"));
        assert!(!answer.text().contains("<script>"), "{field}: {}", answer.text());
        assert!([200, 404].contains(&answer.status.as_u16()), "{field}");
    }
    let answer = alice.get("/console/activity");
    let policy = answer.header("content-security-policy");
    assert!(
        policy.contains("style-src 'self'") && !policy.contains("unsafe"),
        "{policy}"
    );
    assert!(
        !answer.text().contains("style="),
        "the policy would forbid it: {}",
        answer.text()
    );
}

#[test]
fn the_operator_sees_everybody_and_has_the_record_checked() {
    let (_google, daemon) = two_owners(&[]);
    daemon.connect_as("alice", ALICE, &[SEND]).expect_ok();
    let mut operator = Browser::signed_in(&daemon, None);
    let all = page(&mut operator, "activity");
    for name in ["agent invoice-bot", "agent bobs-helper", ALICE] {
        assert!(all.contains(name), "{name} is not in {all}");
    }
    let of_bob = page(&mut operator, "activity?owner=bob");
    assert!(of_bob.contains("agent bobs-helper"), "{of_bob}");
    assert!(!of_bob.contains("invoice-bot"), "{of_bob}");
    assert!(!all.contains("follow from each other"), "{all}");
    let checked = page(&mut operator, "activity?verify=1");
    assert!(checked.contains("Whole All "), "{checked}");
    let mut alice = Browser::signed_in(&daemon, Some("alice"));
    let refused = page(&mut alice, "activity?verify=1");
    assert!(
        !refused.contains("Whole"),
        "reading all of it is the operator's: {refused}"
    );
}

#[test]
fn a_page_leads_to_the_older_lines_and_back() {
    let (_google, daemon) = two_owners(&[]);
    for number in 0..60 {
        daemon.write_manifest(&format!("helper-{number}"), "carol", &[SEND]);
    }
    let mut operator = Browser::signed_in(&daemon, None);
    let first = wait_for("the agents' lines", || {
        let answer = operator.get("/console/activity?owner=carol");
        answer.text().contains("Older").then_some(answer)
    });
    let link = |answer: &Answer, name: &str| {
        let marked = format!("rel=\"{name}\" href=\"");
        let (_, rest) = answer.text().split_once(&marked).unwrap();
        rest.split('"').next().unwrap().replace("&#38;", "&")
    };
    let lines = |answer: &Answer| answer.text().matches("<td role=\"cell\"><time").count();
    assert_eq!(lines(&first), 50);
    let older = operator.get(&link(&first, "next"));
    assert!(lines(&older) >= 1, "{}", older.text());
    assert!(!words(&older).contains("invoice-bot"), "the filter goes along");
    let back = operator.get(&link(&older, "prev"));
    assert_eq!(lines(&back), 50);
}

#[test]
fn health_is_the_operators_page() {
    let (_google, daemon) = two_owners(&[]);
    daemon.connect_as("alice", ALICE, &[SEND]).expect_ok();
    daemon.wait_for_state("invoice-bot", "active");
    let mut operator = Browser::signed_in(&daemon, None);
    let health = page(&mut operator, "health");
    for fact in [
        concat!("token-broker ", env!("CARGO_PKG_VERSION")),
        "SQLite 3.",
        "Waiting for their time 1",
        "Renewal for a person’s account",
        "Agents 1 Working 1 No account connected",
        "Accounts 1 Working",
        "It agrees with Google’s.",
        "not checked now",
    ] {
        assert!(health.contains(fact), "{fact} is not in {health}");
    }
    assert!(page(&mut operator, "health?verify=1").contains("Whole All "));
    let mut alice = Browser::signed_in(&daemon, Some("alice"));
    assert_eq!(alice.get("/console/health").status, 404);
    assert!(
        !page(&mut alice, "activity").contains("Health"),
        "nor is it offered"
    );
    daemon.write_manifest("broken", "alice", &["google.moon"]);
    wait_for("the manifest's problem", || {
        let health = page(&mut operator, "health");
        health.contains("Manifests that are not followed").then_some(())
    });
    let not_in_force = "The configuration on disk is not in force";
    assert!(!page(&mut operator, "health").contains(not_in_force));
    let config = std::fs::read_to_string(daemon.config_file()).unwrap();
    let changed = config.replacen("[audit]\n", "[audit]\nretention_days = 7\n", 1);
    std::fs::write(daemon.config_file(), changed).unwrap();
    let health = page(&mut operator, "health");
    assert!(health.contains(not_in_force), "{health}");
    assert!(
        health.contains("audit.retention_days was changed on disk"),
        "{health}"
    );
}
