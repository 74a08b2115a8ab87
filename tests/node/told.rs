//! What a node is told.

use crate::broker::{Broker, SEND, SEVEN, forwarded, token};

#[test]
fn a_node_is_told_its_own_agents_and_each_change_of_them() {
    let broker = Broker::start("10s");
    broker.give_active("bot", &[SEVEN, "node-8.corp.example"]);
    broker.give_active("other", &["node-8.corp.example"]);
    broker.daemon.write_manifest("local", "alice", &[SEND]);
    let node = broker.node(SEVEN);
    let mut told = node.resume(&[("gone", b"1")]);
    let (agents, views) = told.settled();
    assert_eq!(agents, ["bot"]);
    let [view] = &views[..] else {
        panic!("{}", views.len())
    };
    let first = token(view).unwrap().to_owned();
    assert!(first.starts_with("ya29."));
    assert_eq!(view.status.as_ref().unwrap().state, "active");
    // Renewed.
    let next = told.view(|view| token(view).is_some_and(|token| token != first));
    assert_ne!(next.revision, view.revision);
    // Another agent, and one of another's that becomes its own.
    broker.give_active("second", &[SEVEN]);
    told.view(|view| view.status.as_ref().unwrap().agent == "second" && token(view).is_some());
    broker.give("other", &[SEVEN]);
    told.view(|view| view.status.as_ref().unwrap().agent == "other" && token(view).is_some());
    // Given to another node, and removed.
    broker.give("other", &["node-8.corp.example"]);
    assert_eq!(told.withdrawn(), ("other".to_owned(), "wrong_node".to_owned()));
    std::fs::remove_file(broker.daemon.agents_d().join("second.yaml")).unwrap();
    assert_eq!(
        told.withdrawn(),
        ("second".to_owned(), "agent_removed".to_owned())
    );
    // Disconnected.
    let disconnect = ["integrations", "disconnect", "--owner", "alice", "--yes"];
    broker.daemon.cli(&disconnect).expect_ok();
    let empty = told.view(|view| token(view).is_none());
    assert_eq!(empty.status.unwrap().state, "not_connected");
    let audit = broker.daemon.cli(&["audit", "list"]).stdout;
    assert!(
        audit.contains(
            "the tokens of the agent bot to a node whose certificate has spiffe://corp.example/node/7"
        ),
        "{audit}"
    );
}

#[test]
fn a_node_that_comes_back_is_told_what_it_does_not_have() {
    let broker = Broker::start("1h");
    broker.give_active("bot", &[SEVEN]);
    broker.give_active("second", &[SEVEN]);
    let (_, views) = broker.node(SEVEN).resume(&[]).settled();
    let revision = |agent: &str| {
        let view = views
            .iter()
            .find(|view| view.status.as_ref().unwrap().agent == agent);
        view.unwrap().revision.clone()
    };
    let known = revision("bot");
    let has: &[(&str, &[u8])] = &[("bot", &known), ("second", b"another"), ("gone", b"1")];
    let (mut agents, views) = broker.node(SEVEN).resume(has).settled();
    agents.sort();
    assert_eq!(agents, ["bot", "second"]);
    let told: Vec<_> = views
        .iter()
        .map(|view| &*view.status.as_ref().unwrap().agent)
        .collect();
    assert_eq!(told, ["second"]);
    // It stands for what it says on every broker alike, and over a restart.
    broker.daemon.restart();
    let (_, views) = broker.node(SEVEN).resume(&[("bot", &known)]).settled();
    let told: Vec<_> = views
        .iter()
        .map(|view| &*view.status.as_ref().unwrap().agent)
        .collect();
    assert_eq!(told, ["second"]);
}

#[test]
fn what_an_agent_asks_beyond_that_is_sent_on() {
    let broker = Broker::start("1h");
    broker.give_active("bot", &[SEVEN]);
    let path = format!("/v1/token?capability={SEND}");
    let (status, token) = forwarded(&broker, SEVEN, Some("bot"), &path);
    assert_eq!(status, 200);
    assert!(token["access_token"].as_str().unwrap().starts_with("ya29."));
    let (status, problem) = forwarded(&broker, SEVEN, Some("bot"), "/v1/token?capability=google.drive");
    assert_eq!((status, problem["code"].as_str()), (403, Some("not_declared")));
}

#[test]
fn who_may_read_it_is_part_of_what_is_told() {
    let broker = Broker::start("1h");
    let text = format!(
        "agent: bot\nowner: alice\nuid: 1234\ngid: 5678\nnodes: [node-8.corp.example]\nintegrations: [{{key: {SEND}}}]\n"
    );
    broker.daemon.put_file("bot", &text);
    let mut told = broker.node("node-8.corp.example").resume(&[]);
    let (_, views) = told.settled();
    let view = views.into_iter().next().unwrap_or_else(|| told.view(|_| true));
    assert_eq!((view.uid, view.gid), (Some(1234), Some(5678)));
}
