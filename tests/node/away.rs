//! A node whose broker is away, and comes back.

use crate::{
    broker::{Broker, SEVEN},
    machine::Machine,
    support::{Authority, wait_until},
};

#[test]
fn tokens_are_served_to_their_end_and_a_broker_that_comes_back_is_followed() {
    let broker = Broker::start("20s");
    broker.give_active("bot", &[SEVEN]);
    let machine = Machine::started(&broker, SEVEN);
    let token = machine.wait_for_token("bot", None);
    wait_until("the broker to have told everything", || {
        machine.log().contains("the broker has told everything")
    });
    broker.daemon.kill9();
    wait_until("the node to know", || machine.log().contains("not ready"));
    // It is at hand.
    let told = machine.agent("bot").get("/v1/token").json();
    let at_hand = told["access_token"].as_str().unwrap().to_owned();
    assert!(at_hand == token || at_hand.starts_with("ya29."));
    // What takes a broker says that it is away.
    let refused = machine.agent("bot").get("/v1/token?min_ttl=3000").json();
    assert_eq!(refused["code"], "provider_unavailable");
    // The file says so when it matters: the token has ended.
    machine.wait_for_none("bot", "provider_unavailable");
    let status = machine.agent("bot").try_read("status.json").unwrap();
    assert!(status.contains("the broker at localhost:"), "{status}");
    broker.daemon.start();
    machine.wait_for_token("bot", Some(&at_hand));
    assert!(
        machine
            .agent("bot")
            .try_read("env")
            .unwrap()
            .contains("TOKEN_BROKER_STATE=active")
    );
}

#[test]
fn a_node_that_starts_again_while_its_broker_is_away_has_its_tokens() {
    let broker = Broker::start("1h");
    broker.give_active("bot", &[SEVEN]);
    broker.give_active("gone", &[SEVEN]);
    let mut machine = Machine::started(&broker, SEVEN);
    let token = machine.wait_for_token("bot", None);
    machine.wait_for_token("gone", None);
    // It keeps what it was told at its end, at the latest.
    assert_eq!(machine.terminate(), 0, "{}", machine.log());
    assert_eq!(
        machine.agent("bot").token().as_deref(),
        Some(&*token),
        "nothing is taken away"
    );
    broker.daemon.kill9();
    machine.start();
    wait_until("the node to know that it is alone", || {
        machine.log().contains("not ready")
    });
    let told = machine.agent("bot").get("/v1/token").json();
    assert_eq!(told["access_token"], token);
    assert_eq!(machine.agent("bot").token().as_deref(), Some(&*token));
    // What was taken away meanwhile goes before anything else.
    std::fs::remove_file(broker.daemon.agents_d().join("gone.yaml")).unwrap();
    broker.daemon.start();
    wait_until("the agent that was removed to go", || {
        !machine.agent("gone").directory.exists()
    });
    assert_eq!(machine.agent("bot").token().as_deref(), Some(&*token));
}

#[test]
fn a_node_that_is_not_let_in_says_why() {
    let broker = Broker::start("1h");
    let stranger = Authority::named("a stranger").client(&[SEVEN]);
    let mut machine = Machine::with(&broker, &stranger);
    machine.start();
    wait_until("the node to say why", || machine.log().contains("not ready"));
    let log = machine.log();
    assert!(log.contains("the broker at localhost:"), "{log}");
    let nameless = Machine::with(&broker, &broker.authority.client(&[]));
    let mut machine = nameless;
    machine.start();
    wait_until("the node to say why", || {
        machine
            .log()
            .contains("has no URI and no DNS name among its subject alternative names")
    });
}
